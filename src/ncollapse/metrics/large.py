"""Readings of vocabularies: past a budget of pairs, pairs are sampled and rows read in blocks.

Statistics that are polynomial in the rows come from d × d matrices summed over blocks of rows,
exactly and without a second copy of the means; the others are means over pairs drawn at random
(with replacement, by an own generator), with a 95 % interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ncollapse.collect.statistics.classes import ClassMoments
from ncollapse.collect.statistics.summary import ClassStatistics
from ncollapse.geometry import Geometry
from ncollapse.linalg import row_norms
from ncollapse.metrics.catalog import METRICS
from ncollapse.metrics.nc2 import orthogonal_floor, simplex_floor
from ncollapse.metrics.null import shuffled_labels
from ncollapse.record.readings import Null

# Up to so many pairs all are read: 60,000 classes, minutes of one core at 1,000 features.
PAIR_BUDGET = 2e9
SAMPLED = 1_000_000
BLOCK = 8192
NULL_CLASSES = 2048
NORMAL = 1.959964
Progress = Callable[[str, int, int], None]


def pairs_of(num_classes: int) -> float:
    """K(K - 1)/2."""
    return num_classes * (num_classes - 1) / 2


def take_geometry(
    moments: ClassMoments, weight: Tensor | None = None, bias: Tensor | None = None
) -> Geometry:
    """The geometry of present classes, means formed in place of the sums: the moments end here.

    Counts stay readable; updating or merging the moments afterwards raises. Holds K d float64
    numbers for the means and as many for a weight.
    """
    counts = moments.counts.cpu()
    present = (counts > 0).nonzero().flatten()
    sums, pilots = moments._sums, moments._pilots
    assert pilots is not None
    number = moments._counts.to(sums.dtype).clamp_min(1)
    for start in range(0, sums.shape[0], BLOCK):
        part = slice(start, start + BLOCK)
        sums[part] /= number[part, None]
        sums[part] += pilots[part].to(sums.dtype)
    moments._sums = torch.zeros(0, dtype=sums.dtype)
    moments._pilots = None
    means = sums.to("cpu", torch.float64)
    whole = present.numel() == counts.numel()
    means = means if whole else means[present]
    kept = None
    if weight is not None:
        rows = weight.detach().cpu()
        kept = (rows if whole else rows[present]).to(torch.float64)
    shift = None if bias is None else bias.detach().cpu().to(torch.float64)[present]
    return Geometry(means, kept, shift, counts[present])


@dataclass
class LargeReader:
    """Reads metrics of a geometry of many classes. `values` and `intervals` after `read`."""

    statistics: ClassStatistics
    geometry: Geometry
    pairs: int = SAMPLED
    seed: int = 0
    progress: Progress | None = None
    values: dict[str, float | None] = field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)

    def read(self, keys: Iterable[str], definition: str = "macro") -> dict[str, float | None]:
        """Values by key; what needs Σ_W is None, for above the budget only traces are kept."""
        self._sum()
        self._sample()
        for key in keys:
            row = METRICS[key]
            _, arguments = row.resolve(definition)
            found = self._value(key, arguments)
            self.values[key] = found if found is not None and math.isfinite(found) else None
        return self.values

    # ---- sums over blocks of rows -------------------------------------------------------------
    def _sum(self) -> None:
        means, weight = self.geometry.means, self.geometry.weight
        assert means is not None
        K, d = means.shape
        self.centre = means.mean(0)
        square = torch.zeros(d, d, dtype=torch.float64)
        self.grams = {name: square.clone() for name in ("M", "U")}
        self.norms = {"M": torch.empty(K, dtype=torch.float64), "R": row_norms(means)}
        self.unit_sum = {"M": torch.zeros(d, dtype=torch.float64)}
        if weight is not None:
            self.grams |= {name: square.clone() for name in ("W", "UW")}
            self.norms["W"] = row_norms(weight)
            self.unit_sum["W"] = torch.zeros(d, dtype=torch.float64)
            self.weight_centre = weight.mean(0)
            self.dots = torch.empty(K, dtype=torch.float64)
        for start in range(0, K, BLOCK):
            part = slice(start, min(start + BLOCK, K))
            if self.progress is not None:
                self.progress("class means", start, K)
            rows = means[part] - self.centre
            self.grams["M"] += rows.T @ rows
            self.norms["M"][part] = row_norms(rows)
            unit = rows / _positive(self.norms["M"][part])[:, None]
            self.grams["U"] += unit.T @ unit
            self.unit_sum["M"] += unit.sum(0)
            if weight is not None:
                head = weight[part]
                self.grams["W"] += head.T @ head
                self.dots[part] = (head * rows).sum(1)
                unit = head / _positive(self.norms["W"][part])[:, None]
                self.grams["UW"] += unit.T @ unit
                self.unit_sum["W"] += unit.sum(0)

    # ---- sampled pairs ------------------------------------------------------------------------
    def _sample(self) -> None:
        K = self.geometry.num_classes
        generator = torch.Generator().manual_seed(self.seed + 3)
        first = torch.randint(0, K, (self.pairs,), generator=generator)
        # A shift by 1..K-1 gives every other class the same chance.
        second = (first + torch.randint(1, K, (self.pairs,), generator=generator)) % K
        means, weight = self.geometry.means, self.geometry.weight
        assert means is not None
        kinds = ["shifted", "raw", "inverse", "quartic"]
        kinds += [] if weight is None else ["head", "head shifted"]
        found = {kind: torch.empty(self.pairs, dtype=torch.float64) for kind in kinds}
        size = max(1, min(BLOCK, (1 << 23) // means.shape[1]))
        traces = self.statistics.traces
        for start in range(0, self.pairs, size):
            part = slice(start, min(start + size, self.pairs))
            if self.progress is not None:
                self.progress("pairs of classes", start, self.pairs)
            i, j = first[part], second[part]
            left, right = means[i], means[j]
            norms = _positive(self.norms["R"][i] * self.norms["R"][j])
            found["raw"][part] = ((left * right).sum(1) / norms).abs()
            gap = ((left - right) ** 2).sum(1)
            spread = (traces[i] + traces[j]) / 2
            # A class without spread adds nothing, even where its mean coincides with another's.
            found["inverse"][part] = torch.where(spread > 0, spread / gap, 0.0)
            found["quartic"][part] = torch.where(spread > 0, spread / gap**2, 0.0)
            left, right = left - self.centre, right - self.centre
            norms = _positive(self.norms["M"][i] * self.norms["M"][j])
            found["shifted"][part] = ((left * right).sum(1) / norms + 1 / (K - 1)).abs()
            if weight is not None:
                norms = _positive(self.norms["W"][i] * self.norms["W"][j])
                cosine = (weight[i] * weight[j]).sum(1) / norms
                found["head"][part] = cosine.abs()
                found["head shifted"][part] = (cosine + 1 / (K - 1)).abs()
        self.sampled = found

    def _mean(self, key: str, kind: str, scale: float = 1.0) -> float:
        sample = self.sampled[kind]
        value = float(sample.mean()) * scale
        width = NORMAL * float(sample.std()) / math.sqrt(sample.numel()) * scale
        self.intervals[key] = (max(0.0, value - width), value + width)
        return value

    # ---- metrics ------------------------------------------------------------------------------
    def _value(self, key: str, arguments: dict[str, Any]) -> float | None:
        side = "W" if key.endswith("_weights") else "M"
        name = key.removesuffix("_weights").removesuffix("_means")
        reader = getattr(self, f"_{name}", None)
        if reader is None or "full" in METRICS[key].needs:
            return None
        return float(reader(key, side, **arguments))

    def _between(self, between: str, centre: str) -> float:
        """tr Σ_B."""
        means = self.geometry.means
        assert means is not None
        weights = self.statistics.class_weights(between)
        middle = self.statistics.class_weights(centre) @ means
        total = 0.0
        for start in range(0, means.shape[0], BLOCK):
            part = slice(start, start + BLOCK)
            total += float((((means[part] - middle) ** 2).sum(1) * weights[part]).sum())
        return total

    def _class_share(self, key: str, side: str) -> float:
        within = float((self.statistics.counts.double() * self.statistics.traces).sum())
        samples, count = self.statistics.num_samples, self.statistics.num_classes
        if samples == count:
            return math.nan
        between = samples * self._between("micro", "micro")
        return 1 - (samples - 1) / (samples - count) * within / (within + between)

    def _nc1_ratio(self, key: str, side: str, weighting: str = "macro") -> float:
        between = self._between(weighting, weighting)
        return float(self.statistics.within_trace(weighting)) / between if between else math.nan

    def _fisher_ratio(self, key: str, side: str, weighting: str = "macro") -> float:
        ratio = self._nc1_ratio(key, side, weighting)
        return 1 / ratio if ratio else math.nan

    def _nc1_cdnv(self, key: str, side: str, exponent: int = 1) -> float:
        return self._mean(key, "inverse" if exponent == 1 else "quartic")

    def _nc2_equinorm(self, key: str, side: str, which: str = "", ddof: int = 1) -> Tensor:
        norms = self.norms[side]
        return norms.std(correction=ddof) / norms.mean()

    def _nc2_equiangular(self, key: str, side: str, which: str = "") -> float:
        K = self.geometry.num_classes
        gram = self.grams["U" if side == "M" else "UW"]
        pairs = K * (K - 1)
        mean = (float((self.unit_sum[side] ** 2).sum()) - float(gram.trace())) / pairs
        fourth = float((self.norms[side] > 0).sum())
        return math.sqrt(max(0.0, (float((gram**2).sum()) - fourth) / pairs - mean**2))

    def _nc2_maxangle(self, key: str, side: str, which: str = "") -> float:
        return self._mean(key, "shifted" if side == "M" else "head shifted")

    def _nc2_angle_ratio(self, key: str, side: str) -> float:
        scale = 1 / math.sqrt(2 / (math.pi * self.geometry.num_features))
        return self._mean(key, "shifted", scale)

    def _nc2_gof(self, key: str, side: str, which: str = "") -> float:
        return self._mean(key, "raw" if side == "M" else "head")

    def _nc2_etf(self, key: str, side: str, which: str = "", centred: bool = True) -> float:
        K = self.geometry.num_classes
        gram = self.grams[side]
        inner = gram.trace()
        if side == "W" and centred:
            gram = gram - K * torch.outer(self.weight_centre, self.weight_centre)
            inner = gram.trace()
        elif side == "W":
            inner = inner - K * (self.weight_centre**2).sum()
        return _gap(float(inner) / math.sqrt(K - 1), float((gram**2).sum()))

    def _nc2_orthogonal(self, key: str, side: str, which: str = "") -> float:
        K = self.geometry.num_classes
        gram = self.grams[side]
        if side == "M":
            gram = gram + K * torch.outer(self.centre, self.centre)
        return _gap(float(gram.trace()) / math.sqrt(K), float((gram**2).sum()))

    def _nc3_duality(
        self, key: str, side: str, means: str = "centred", squared: bool = False
    ) -> float:
        rows, weight = self.geometry.means, self.geometry.weight
        assert rows is not None and weight is not None
        middle = self.centre if means == "centred" else torch.zeros_like(self.centre)
        length = float((self.norms["M" if means == "centred" else "R"] ** 2).sum()) ** 0.5
        head = float((self.norms["W"] ** 2).sum()) ** 0.5
        total = 0.0
        for start in range(0, rows.shape[0], BLOCK):
            part = slice(start, start + BLOCK)
            total += float(((weight[part] / head - (rows[part] - middle) / length) ** 2).sum())
        return total if squared else math.sqrt(total)

    def _nc3_duality_raw(
        self, key: str, side: str, means: str = "raw", squared: bool = False
    ) -> float:
        return self._nc3_duality(key, side, "raw", squared)

    def _nc3_alignment(self, key: str, side: str) -> Tensor:
        return (self.dots / _positive(self.norms["W"] * self.norms["M"])).mean()

    def _nc3_product(self, key: str, side: str, centred: bool = False) -> float:
        K = self.geometry.num_classes
        gram = self.grams["W"]
        if centred:
            gram = gram - K * torch.outer(self.weight_centre, self.weight_centre)
        # The centred means sum to zero, so ⟨Σw, Σm⟩ adds nothing.
        return _gap(
            float(self.dots.sum()) / math.sqrt(K - 1), float((gram * self.grams["M"]).sum())
        )


def large_nulls(
    statistics: ClassStatistics, geometry: Geometry, *, definition: str, seed: int
) -> dict[str, Null]:
    """Nulls of NC1 and class share from a random subset of classes: shuffled labels."""
    generator = torch.Generator().manual_seed(seed + 4)
    chosen = torch.randperm(geometry.num_classes, generator=generator)[:NULL_CLASSES]
    part = statistics.select(chosen)
    return shuffled_labels(part, geometry.select(chosen), definition=definition, seed=seed)


def large_floors(geometry: Geometry) -> dict[str, float]:
    """Smallest frame distances that geometry itself allows for K > d + 1."""
    found = {}
    for side in ("means", "weights"):
        size = geometry.num_classes, geometry.num_features
        found[f"nc2_etf_{side}"] = simplex_floor(*size)
        found[f"nc2_orthogonal_{side}"] = orthogonal_floor(*size)
    return found


def _gap(inner: float, square: float) -> float:
    """‖G/‖G‖ - T‖ for a unit target T with ⟨G, T⟩ = inner and ‖G‖² = square."""
    if square <= 0:
        return math.nan
    return math.sqrt(max(0.0, 2 - 2 * inner / math.sqrt(square)))


def _positive(values: Tensor) -> Tensor:
    return values.clamp_min(torch.finfo(torch.float64).tiny)
