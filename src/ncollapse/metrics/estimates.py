"""Estimates: population values with 95 % intervals.

Population values (`metrics.population`) are read of all samples and without each of ten blocks of
them. The delete-a-group jackknife of these, on the row's scale, takes away the bias that is left
and gives the standard error: centre 10 θ - 9 θ̄, interval ± t(9 df) · se. Rows that solve with a
scatter, which ten blocks would do ten times over, have their bias removed by formula and the
standard error from influences (`metrics.influence`). An interval is of the population value over
draws of the data, the network fixed: not over training runs, and of training data not about new
data. Source of the rules and their coverage: docs/numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import torch
from torch import Tensor

from ncollapse.collect.statistics.decisions import Decisions
from ncollapse.collect.statistics.residuals import Residuals
from ncollapse.metrics import ray_noise
from ncollapse.metrics.catalog import METRICS
from ncollapse.metrics.evidence import Evidence
from ncollapse.metrics.influence import standard_error
from ncollapse.metrics.metric import Metric
from ncollapse.metrics.population.sample import CannotTellError, Sample
from ncollapse.pairs.means import Progress

# Two-sided 95 % points: normal, and Student's t with nine degrees of freedom for ten blocks.
NORMAL, STUDENT_9 = 1.959964, 2.262157
# A standard error of the log above this is a factor of 4 either way: no interval.
WIDEST = 0.7
NOT_TOLD = "too few samples: it is not told from 0"
TOO_FEW = "too few samples: the interval would span more than a factor of 4 either way"


@dataclass(frozen=True)
class Estimate:
    """A population value with its interval, and the floor that sampling sets: what a value whose
    population is exactly ideal reads. why: said where a part is missing."""

    value: float | None = None
    interval: tuple[float, float] | None = None
    floor: float | None = None
    why: str = ""


def estimates(
    keys: Iterable[str],
    evidence: Evidence,
    definition: str = "macro",
    progress: Progress | None = None,
) -> dict[str, Estimate]:
    """Of the rows that have them. Published variants other than macro and micro are read as
    published, without."""
    found: dict[str, Estimate] = {}
    rows = []
    for key in keys:
        row = METRICS[key]
        if row.interval == "shares":
            if evidence.decisions is not None:
                found[key] = _share(row, evidence.decisions)
        elif "rays" in row.needs:
            found[key] = _of_rays(row, evidence)
        elif (
            row.interval in ("samples", "influences")
            and row.resolve(definition)[0] in row.estimated
        ):
            rows.append(row)
    if rows and evidence.geometry is not None:
        found |= _of_samples(rows, evidence, definition, progress)
    return found


def _of_samples(
    rows: Sequence[Metric], evidence: Evidence, definition: str, progress: Progress | None
) -> dict[str, Estimate]:
    """The population value alone where neither blocks nor samples were kept."""
    statistics, geometry, blocks = evidence.statistics, evidence.geometry, evidence.blocks
    assert geometry is not None
    weighting = "micro" if definition == "micro" else "macro"
    if not geometry.pairs.exact:
        return {}
    whole = Sample.of(statistics, geometry, weighting)
    if whole.freedom < 1:
        why = "every sample is a class of its own, so the noise of class means is unknown"
        return {row.key: Estimate(why=why) for row in rows}
    found = {}
    for row in rows:
        if row.interval == "influences":
            found[row.key] = _by_influences(row, whole, evidence.residuals)
    rows = [row for row in rows if row.key not in found]
    full = {row.key: _read(row, whole) for row in rows}
    known = [row for row in rows if not isinstance(full[row.key], str)]
    parts: list[dict[str, Tensor | str]] = []
    number = 0 if blocks is None else blocks.number
    for left_out in range(number):
        if progress is not None:
            progress("intervals", left_out + 1, number)
        part = _part(evidence, left_out, whole, weighting)
        parts.append({row.key: _read(row, part) for row in known})
    for row in rows:
        found[row.key] = _estimate(row, full[row.key], [p.get(row.key, "") for p in parts])
    return found


def _part(evidence: Evidence, left_out: int, whole: Sample, weighting: str) -> Sample:
    assert evidence.blocks is not None
    statistics, means = evidence.blocks.without(left_out)
    part = Sample.of(statistics, means, weighting)
    return replace(part, head=whole.head, reads=whole.reads, whole=whole)


def _by_influences(row: Metric, sample: Sample, residuals: Residuals | None) -> Estimate:
    if residuals is None:
        return _estimate(row, _read(row, sample), [])
    try:
        value, error = standard_error(row, sample, residuals)
    except CannotTellError as failure:
        return Estimate(why=str(failure))
    return _about(row, float(value), error)


def _of_rays(row: Metric, evidence: Evidence) -> Estimate:
    assert evidence.rays is not None
    found = ray_noise.population(row.key, evidence.rays)
    if evidence.residuals is None or evidence.geometry is None:
        known = row.within(found, found)[0] if math.isfinite(found) else None
        return Estimate(known, why="no samples were kept")
    error = ray_noise.error(row.key, evidence)
    return _about(row, found, error / found if found > 0 else error)


def _about(row: Metric, found: float, error: float) -> Estimate:
    """A value with its standard error, which is that of its logarithm for a row of that scale."""
    if not math.isfinite(found):
        return Estimate(why=row.undefined)
    if row.scale == "log":
        if found == 0:
            return Estimate(0.0, (0.0, 0.0))
        if found < 0:
            return Estimate(why=NOT_TOLD)
        if not error <= WIDEST:
            return Estimate(why=TOO_FEW)
        low, high = (found * math.exp(sign * NORMAL * error) for sign in (-1, 1))
    else:
        low, high = found - NORMAL * error, found + NORMAL * error
    return Estimate(row.within(found, found)[0], row.within(low, high))


def _read(row: Metric, sample: Sample) -> Tensor | str:
    """The population value, or why there is none."""
    try:
        found = row.population(sample)
    except CannotTellError as error:
        return str(error)
    return found if bool(found.isfinite().all()) else row.undefined


# ---- one rule -----------------------------------------------------------------------------------
def _estimate(row: Metric, full: Tensor | str, parts: Sequence[Tensor | str]) -> Estimate:
    if isinstance(full, str):
        return Estimate(why=full)
    known = [part for part in parts if not isinstance(part, str)]
    if len(known) < len(parts):
        missing = next(part for part in parts if isinstance(part, str))
        return Estimate(why=f"without a tenth of the samples {missing}")
    if not known:
        return Estimate(float(row.shown(full)), why="the blocks of the jackknife were not kept")
    if row.scale == "least":
        return _least(full, torch.stack(known))
    if row.scale == "greatest":
        least = _least(-full.abs(), -torch.stack(known).abs())
        assert least.value is not None and least.interval is not None
        return Estimate(-least.value, row.within(-least.interval[1], -least.interval[0]))
    if row.scale == "largest":
        least = _least(-full, -torch.stack(known))
        assert least.value is not None and least.interval is not None
        high, low = (-end for end in least.interval)
        return Estimate(-least.value, row.within(low, high))
    if row.scale == "folded":
        return _folded(row, full, torch.stack(known))
    if row.scale == "log":
        return _log(row, full, torch.stack(known))
    centre, error = _jackknife(full, torch.stack(known))
    width = STUDENT_9 * error
    if row.scale == "square":
        low, high = _root(centre - width), _root(centre + width)
        return Estimate(_root(centre), row.within(low, high), _root(float(full) - centre))
    low, high = row.within(centre - width, centre + width)
    top = math.inf if row.upper is None else row.upper
    return Estimate(min(centre, top), (low, high))


def _jackknife(full: Tensor, parts: Tensor) -> tuple[float, float]:
    """(bias-corrected centre, standard error): g θ - (g-1) θ̄, se² = (g-1)/g Σ (θ_b - θ̄)²."""
    number = len(parts)
    mean = parts.mean(0)
    error = ((number - 1) / number * ((parts - mean) ** 2).sum(0)).sqrt()
    return float(number * full - (number - 1) * mean), float(error)


def _root(square: float) -> float:
    return math.sqrt(max(square, 0.0))


def _log(row: Metric, full: Tensor, parts: Tensor) -> Estimate:
    """Of positive numbers; exactly 0, which collapse may read, has no spread."""
    if float(full) == 0 and float(parts.abs().max()) == 0:
        return Estimate(0.0, (0.0, 0.0))
    if float(full) <= 0 or float(parts.min()) <= 0:
        return Estimate(why=NOT_TOLD)
    centre, error = _jackknife(full.log(), parts.log())
    if error > WIDEST:
        return Estimate(why=TOO_FEW)
    low, high = (math.exp(centre + sign * STUDENT_9 * error) for sign in (-1, 1))
    low, high = row.within(low, high)
    return Estimate(row.within(math.exp(centre), math.exp(centre))[0], (low, high))


def _folded(row: Metric, full: Tensor, parts: Tensor) -> Estimate:
    """θ = mean |a| of signed numbers a. Noise in a moves |a| up where a is near 0, so θ is shrunk
    by the share of the mean square that is real; exact for normal a and at 0, at worst 17 % low
    [approximation]. The interval is on the scale of squares."""
    theta = parts[:, 0] ** 2
    _, error = _jackknife(full[0] ** 2, theta)
    square, found = float(full[1]), float(full[0]) ** 2
    real, _ = _jackknife(full[1], parts[:, 1])
    centre = found * max(real, 0.0) / square if square > 0 else 0.0
    width = STUDENT_9 * error
    low, high = row.within(_root(centre - width), _root(centre + width))
    floor = math.sqrt(2 / math.pi) * _root(square - real)
    return Estimate(_root(centre), (low, high), floor)


def _least(full: Tensor, parts: Tensor) -> Estimate:
    """The least of K shares, all held at once (Bonferroni): a minimum has no jackknife."""
    number = len(parts)
    error = ((number - 1) / number * ((parts - parts.mean(0)) ** 2).sum(0)).sqrt()
    error = torch.maximum(error, error.median())
    width = NormalDist().inv_cdf(1 - 0.025 / len(full)) * error
    low, high = float((full - width).min()), float((full + width).min())
    return Estimate(min(float(full.min()), 1.0), (low, min(high, 1.0)))


# ---- shares of samples --------------------------------------------------------------------------
def wilson(share: float, number: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of `number` samples."""
    z2 = NORMAL**2
    middle = (share + z2 / (2 * number)) / (1 + z2 / number)
    width = NORMAL / (1 + z2 / number)
    width *= math.sqrt(share * (1 - share) / number + z2 / (4 * number**2))
    return max(0.0, min(share, middle - width)), min(1.0, max(share, middle + width))


def _share(row: Metric, decisions: Decisions) -> Estimate:
    """A share is its own estimate."""
    value = float(row.evaluate(decisions=decisions))
    if not math.isfinite(value):
        return Estimate()
    return Estimate(value, wilson(value, decisions.num_samples))
