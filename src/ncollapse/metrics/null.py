"""Nulls: what each metric reads where there is nothing to read. A row says which null it has.

NC1 and class share ask whether the labels mean anything: they are read of the same features under
shuffled labels, counts kept. NC2 and NC3 ask whether the class means lie in special directions
among those that the features have: they are read of random directions that fill the features' span
with their spectrum, as far apart as measured; for equal counts that is what shuffling gives.
Neither depends on how many columns the features lie in. Shares are compared with independent
guesses.
All draws come from an own generator; `metrics.shuffle` says how they are made.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch

from ncollapse.collect.statistics.decisions import Decisions
from ncollapse.collect.statistics.summary import ClassStatistics
from ncollapse.geometry import LARGEST_GRAM, Geometry
from ncollapse.metrics.catalog import METRICS
from ncollapse.metrics.evidence import Evidence
from ncollapse.metrics.head_share import chance
from ncollapse.metrics.nc1 import between_trace
from ncollapse.metrics.population.sample import CannotTellError, Sample
from ncollapse.metrics.ray_noise import shuffled as shuffled_rays
from ncollapse.metrics.readings import read
from ncollapse.metrics.shuffle import Draws, Features
from ncollapse.metrics.shuffled import fisher, share, vci
from ncollapse.pairs.means import Progress
from ncollapse.record.readings import Null

# Averages over pairs are the same for a subset of classes: simulate at most this many.
PAIR_CLASSES = 1024
# Samples are dealt anew for rays: as few draws as give quantiles.
OF_RAYS = 50
# Rows whose shuffled draws are read of the fixed total, without second moments of their own.
SHORT = {"nc1_fisher": fisher, "nc1_vci": vci}


def nulls(
    keys: Iterable[str],
    evidence: Evidence,
    definition: str = "macro",
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Null]:
    """The nulls of these rows that what is at hand can give.

    Where neither samples nor a scatter were kept the spectrum of the features is unknown: then
    class share alone has one, the widest that any spectrum gives.
    """
    mine: dict[object, list[str]] = {}
    for key in keys:
        mine.setdefault(METRICS[key].null, []).append(key)
    found: dict[str, Null] = {}
    of_rays = [key for key in mine.get("shuffled", []) if "rays" in METRICS[key].needs]
    if of_rays:
        mine["shuffled"] = [key for key in mine["shuffled"] if key not in of_rays]
        if evidence.residuals is not None and evidence.geometry is not None:
            generator = torch.Generator().manual_seed(seed)
            number = min(draws_for(evidence.statistics.num_classes), OF_RAYS)
            drawn = shuffled_rays(of_rays, evidence, number, generator)
            found |= {key: null_of(key, values) for key, values in drawn.items()}
    if evidence.geometry is not None:
        for key in mine.get("span", []):
            arguments = METRICS[key].resolve(definition)[1]
            known = chance(evidence.statistics, evidence.geometry, **arguments)
            found |= {} if known is None else {key: known}
        features = Features.of(evidence.statistics, evidence.geometry, evidence.residuals)
        if features is not None:
            found |= _drawn(mine, evidence, features, definition, seed, progress)
        elif "class_share" in mine.get("shuffled", []):
            widest = _widest(evidence.statistics)
            found |= {} if widest is None else {"class_share": widest}
    if evidence.decisions is not None:
        for key in mine.get("guesses", []):
            found[key] = _guess(evidence.decisions, METRICS[key].direction)
    return found


def draws_for(num_classes: int) -> int:
    """How many times to draw: fewer for many classes, where averages hardly vary."""
    return max(3, min(200, 3200 // num_classes))


def _drawn(
    mine: dict[object, list[str]],
    evidence: Evidence,
    features: Features,
    definition: str,
    seed: int,
    progress: Progress | None,
) -> dict[str, Null]:
    """Each draw serves both: labels shuffled, and directions at random."""
    K = evidence.statistics.num_classes
    shuffled = mine.get("shuffled", []) if features.samples > K else []
    shuffled = [key for key in shuffled if key not in SHORT or _has_scatter(features)]
    # What is over the null of another row is formed of it.
    directed = [key for key in mine.get("directions", []) if METRICS[key].takes == ("geometry",)]
    geometry = evidence.geometry
    assert geometry is not None
    if geometry.weight is None:
        directed = [key for key in directed if "head" not in METRICS[key].needs]
    found: dict[str, list[float]] = {}
    if shuffled or directed:
        generator = torch.Generator().manual_seed(seed)
        done, total = 0, draws_for(K)
        for draws in features.draws(total, generator):
            if progress is not None:
                progress("nulls", done, total)
                done += len(draws.directions)
            if shuffled:
                _shuffled(found, shuffled, draws, evidence, features, definition, generator)
            if directed:
                _directions(found, directed, draws, evidence, definition, generator)
        if progress is not None:
            progress("nulls", total, total)
    return {key: null_of(key, values) for key, values in found.items()}


def _has_scatter(features: Features) -> bool:
    return features.rank is not None and features.statistics.num_classes <= LARGEST_GRAM


def _shuffled(
    found: dict[str, list[float]],
    wanted: list[str],
    draws: Draws,
    evidence: Evidence,
    features: Features,
    definition: str,
    generator: torch.Generator,
) -> None:
    """The same features under shuffled labels."""
    counts = draws.counts
    traces = features.total * (1 - 1 / counts)
    for key, rule in SHORT.items():
        if key in wanted:
            arguments = METRICS[key].resolve(definition)[1]
            found.setdefault(key, []).extend(rule(draws, features, arguments, generator))
    if "class_share" in wanted:
        found.setdefault("class_share", []).extend(share(draws, features))
    plain = [key for key in wanted if key not in SHORT and key != "class_share"]
    if len(counts) <= LARGEST_GRAM:
        weights = evidence.statistics.class_weights("micro" if definition == "micro" else "macro")
        endless = torch.full_like(counts, torch.inf)
        sample = Sample(endless, draws.directions, traces, weights).knowing(draws.gram)
        plain = together(found, plain, sample, definition)
    loose = ClassStatistics(counts=evidence.statistics.counts, traces=traces)
    for means in draws.means if plain else ():
        _collect(found, plain, loose, Geometry(means), definition, generator)


def _directions(
    found: dict[str, list[float]],
    keys: list[str],
    draws: Draws,
    evidence: Evidence,
    definition: str,
    generator: torch.Generator,
) -> None:
    """Random class means against the measured classifier, and random rows in its place."""
    geometry = evidence.geometry
    assert geometry is not None
    K, rows = geometry.num_classes, draws.directions
    apart = ((rows - rows.mean(1, keepdim=True)) ** 2).sum((1, 2), dtype=torch.float64)
    scale = float(between_trace(evidence.statistics, geometry, "macro")) / (apart / K)
    rows = rows * scale.sqrt()[:, None, None].to(rows.dtype)
    means = rows.to(torch.float64) + geometry.global_mean
    of_weight = [key for key in keys if METRICS[key].needs == ("head",)]
    of_means = [key for key in keys if key not in of_weight]
    if K <= LARGEST_GRAM:
        weights = evidence.statistics.class_weights("macro")
        endless, still = torch.full_like(weights, torch.inf), torch.zeros_like(weights)
        G = draws.products * scale[:, None, None]
        middle = G.mean(-1, keepdim=True)
        inner = G - middle - middle.mT + middle.mean(-2, keepdim=True)
        sample = Sample(
            endless, means, still, weights, head=geometry.weight, reads=geometry.reads
        ).knowing(inner)
        of_means = together(found, of_means, sample, definition)
        # Centred rows differ by their size alone, which no row of NC2 sees: they are read once.
        uncentred = [key for key in of_weight if METRICS[key].uncentred]
        centred = [key for key in of_weight if key not in uncentred]
        plain = Sample(endless, rows, still, weights, centre=False).knowing(G)
        of_weight = together(found, centred, sample, definition)
        of_weight += together(found, uncentred, plain, definition)
    for place in range(len(rows)) if of_means or of_weight else ():
        own = Geometry(means[place], geometry.weight, reads=geometry.reads)
        _collect(found, of_means, None, own, definition, generator)
        if of_weight:
            both = rows[place].to(torch.float64)
            own = Geometry(both, both)
            _collect(found, of_weight, None, own, definition, generator)


def together(
    found: dict[str, list[float]], keys: list[str], sample: Sample, definition: str
) -> list[str]:
    """Read all draws at once, where a row's population value can be read of means without noise: it
    is the value then. The keys that are left."""
    left = []
    for key in keys:
        row = METRICS[key]
        if not isinstance(row.estimate, str) or row.resolve(definition)[0] not in row.estimated:
            left.append(key)
        elif sample.num_classes >= row.least_classes:
            own = sample.uncentred if row.uncentred else sample
            known = own.__dict__.setdefault("_read", {})
            try:
                if row.estimate not in known:
                    known[row.estimate] = row.shown(row.population(own))
            except CannotTellError:
                continue
            values = known[row.estimate]
            if bool(values.isfinite().all()):
                found.setdefault(key, []).extend(values.tolist())
    return left


def _collect(
    found: dict[str, list[float]],
    keys: list[str],
    statistics: ClassStatistics | None,
    geometry: Geometry,
    definition: str,
    generator: torch.Generator,
) -> None:
    """Read `keys`, those that average over pairs on a random subset of many classes."""
    small_geometry, small = geometry, statistics
    if geometry.num_classes > 2 * PAIR_CLASSES:
        chosen = torch.randperm(geometry.num_classes, generator=generator)[:PAIR_CLASSES]
        small_geometry = geometry.select(chosen)
        small = None if statistics is None else statistics.select(chosen)
    over_pairs = [key for key in keys if METRICS[key].pairs != "none"]
    others = [key for key in keys if METRICS[key].pairs == "none"]
    for part, some, where in ((over_pairs, small, small_geometry), (others, statistics, geometry)):
        values, _ = read(part, statistics=some, geometry=where, definition=definition)
        for key, value in values.items():
            if value is not None:
                found.setdefault(key, []).append(value)


def null_of(key: str, values: Sequence[float]) -> Null:
    """Mean and central 95 % of draws: their quantiles from 40 on, normal below, on the log scale
    where the row's is."""
    sample = torch.tensor(values, dtype=torch.float64)
    mean = float(sample.mean())
    if len(values) >= 40:
        low, high = sample.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
        return Null(mean, low, high)
    row = METRICS[key]
    if len(values) < 2:
        return Null(mean, *row.within(mean, mean))
    if row.scale == "log" and float(sample.min()) > 0:
        width = 1.96 * float(sample.log().std())
        middle = math.exp(float(sample.log().mean()))
        return Null(mean, *row.within(middle * math.exp(-width), middle * math.exp(width)))
    width = 1.96 * float(sample.std())
    return Null(mean, *row.within(mean - width, mean + width))


def _widest(statistics: ClassStatistics) -> Null | None:
    """Class share under shuffled labels has mean 0 and standard deviation
    √(2(K-1)/d_eff)/(N-K), d_eff ≥ 1 the effective dimension of the features."""
    free = statistics.num_samples - statistics.num_classes
    if free < 1:
        return None
    width = 1.96 * math.sqrt(2 * (statistics.num_classes - 1)) / free
    return Null(0.0, -width, min(width, 1.0))


def _guess(decisions: Decisions, direction: str | None) -> Null:
    """Two decisions drawn independently with the class frequencies: how often they agree, or
    differ where less is better."""
    counts = decisions.counts.to(torch.float64)
    number = float(counts.sum())
    match = float(((counts / number) ** 2).sum())
    width = 1.96 * math.sqrt(match * (1 - match) / number)
    low, high = max(0.0, match - width), min(1.0, match + width)
    return Null(match, low, high) if direction == "up" else Null(1 - match, 1 - high, 1 - low)
