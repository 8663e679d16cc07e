"""Along the layers of one network: how separation decays, whether a number falls from layer to
layer, and from where on the network is finished. No torch here: documents are read anywhere."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ncollapse.metrics.catalog import METRICS
from ncollapse.record.readings import HEAD, Reading, Results, reference_of

# Differences below this share of the larger value are rounding, not a rise.
SLACK = 1e-9
# The share of samples on which a layer may decide otherwise than the model and count as finished.
TOLERANCE = 0.01
# Whether these fall (or rise, where more is better) from layer to layer is said of each.
FOLLOWED = ("nc1_fisher", "nc1_ratio", "nc2_etf_means", "ncc_accuracy", "nc4_mismatch")
# Effective rank of the class means, of K - 1, below which the means of a layer that has collapsed
# are of lower rank than a simplex.
FULL_RANK, COLLAPSED = 0.75, 0.1


@dataclass(frozen=True)
class SeparationLaw:
    """log D_l = log D_0 + l log ρ, fitted by least squares over layers l = 0..L.

    rate: ρ, in (0, 1) where separation grows with depth. low, high: its 95 % interval, from the
    scatter of the layers about the line (Student's t, L - 1 degrees of freedom); None for two
    layers. correlation: Pearson's r of log D and l, near -1 where the law holds: ρ alone says
    nothing. half_life: ln 2 / ln(1/ρ), the layers that halve D; None where D does not fall.
    """

    rate: float
    correlation: float
    half_life: float | None
    low: float | None
    high: float | None
    layers: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def separation_law(fuzziness: Sequence[float]) -> SeparationLaw:
    """The law of data separation, fitted: D_l ≈ ρ^l D_0 with D = tr(Σ_W Σ_B⁺), micro weights.

    fuzziness: D of each layer, input first, positive; `nc1_fisher` with definition he2023.
    Raises ValueError for fewer than two layers or a D that is not positive and finite, whose
    logarithm does not exist. Source: He & Su 2023 (definition read, the law's abstract only).
    """
    D = np.asarray(fuzziness, dtype=np.float64)
    if D.size < 2:
        raise ValueError(f"{D.size} layers; a rate along depth needs at least two")
    if not (np.isfinite(D).all() and (D > 0).all()):
        raise ValueError(
            f"separation fuzziness {D.tolist()}; every layer needs a positive finite one"
        )
    x, y = np.arange(D.size, dtype=np.float64), np.log(D)
    deviation = x - x.mean()
    spread = float(deviation @ deviation)
    slope = float(deviation @ (y - y.mean())) / spread
    left = y - y.mean() - slope * deviation
    total = float(((y - y.mean()) ** 2).sum())
    correlation = 0.0 if total == 0 else slope * math.sqrt(spread / total)
    low = high = None
    if D.size > 2:
        from scipy.stats import t

        error = math.sqrt(float(left @ left) / (D.size - 2) / spread)
        width = float(t.ppf(0.975, D.size - 2)) * error
        low, high = math.exp(slope - width), math.exp(slope + width)
    half_life = math.log(2) / -slope if slope < 0 else None
    return SeparationLaw(math.exp(slope), correlation, half_life, low, high, int(D.size))


def monotone(values: Sequence[float | None]) -> bool | None:
    """Whether no value lies above the one before it, rounding aside; None where one is missing."""
    found = [value for value in values if value is not None]
    if len(found) < max(len(values), 2):
        return None
    return all(
        after <= before + SLACK * max(abs(before), abs(after))
        for before, after in itertools.pairwise(found)
    )


def finished(mismatches: Sequence[float | None], tolerance: float) -> int | None:
    """The first layer from which on no share of mismatches is above `tolerance`; None where the
    last one is, or was not read."""
    place: int | None = None
    for number in range(len(mismatches) - 1, -1, -1):
        value = mismatches[number]
        if value is None or value > tolerance:
            break
        place = number
    return place


@dataclass(frozen=True)
class EffectiveDepth:
    """From which layer on nearest class centres decide as the model does.

    layer: the first from which on `nc4_mismatch` stays at or below `tolerance`, None where not even
    the last one does; number: its place among `total` layers, from 1. mismatch: its reading.
    earliest, latest: the layer where the ends of the 95 % intervals put it.
    """

    layer: str | None
    number: int | None
    total: int
    tolerance: float
    mismatch: float | None = None
    earliest: str | None = None
    latest: str | None = None

    def __str__(self) -> str:
        allowed = f"on all but {100 * self.tolerance:g} % of samples"
        if self.layer is None:
            return f"no layer's nearest centres decide as the model does {allowed}"
        sure = (
            ""
            if self.earliest == self.latest == self.layer
            else (f"; by the 95 % intervals between {self.earliest} and {self.latest or 'none'}")
        )
        return (
            f"finished at {self.layer} ({self.number} of {self.total}): from there on nearest "
            f"centres decide as the model does {allowed}{sure}"
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Depth:
    """What the layers of one split say together, input first.

    law: how separation fuzziness decays, None with `why`. monotone: by key whether it improves from
    layer to layer, None where a layer lacks it. effective: see `EffectiveDepth`. ranks: effective
    rank of the class means over K - 1. pooling: how each layer became a vector. low_rank: layers
    that have collapsed on means of lower rank than a simplex has.
    """

    split: str
    layers: tuple[str, ...]
    effective: EffectiveDepth
    law: SeparationLaw | None
    why: str
    monotone: dict[str, bool | None]
    ranks: dict[str, float | None]
    pooling: dict[str, str]
    low_rank: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"{self.effective}."]
        lines[0] = lines[0][0].upper() + lines[0][1:]
        if self.law is None:
            lines.append(f"Law of data separation: {self.why}.")
        else:
            ends = "" if self.law.low is None else f" [{self.law.low:.3f}, {self.law.high:.3f}]"
            lines.append(
                f"Separation fuzziness times {self.law.rate:.3f}{ends} a layer, correlation of its "
                f"logarithm with depth {self.law.correlation:.3f}."
            )
        named = {True: "yes", False: "no", None: "not read"}
        steady = ", ".join(f"{key} {named[found]}" for key, found in self.monotone.items())
        lines.append(f"Better from layer to layer: {steady}.")
        if self.low_rank:
            lines.append(
                f"Lower rank than a simplex, though collapsed: {', '.join(self.low_rank)}."
            )
        return "\n".join(lines)


def depth_of(
    results: Results,
    *,
    split: str | None = None,
    tolerance: float = TOLERANCE,
    layers: Mapping[str, Mapping[str, Any]] | None = None,
) -> Depth:
    """What the layers of a split (the reference split unless named) say together.

    layers: how each was pooled, the `layers` of a document's config. Layers that read the same
    fuzziness as the one before them (a pooling of the same vector) count once in the law. Raises
    ValueError for a split that was not measured and for a tolerance outside [0, 1).
    """
    if not 0 <= tolerance < 1:
        raise ValueError(f"tolerance={tolerance}; a share of samples in [0, 1) is needed")
    if not results:
        raise ValueError("nothing was measured, so there is no layer to look at")
    split = reference_of(results, None) if split is None else split
    if split not in results:
        raise ValueError(f"split {split!r} was not measured; there are {', '.join(results)}")
    found = results[split]
    names = [name for name in found if name != HEAD] + [HEAD] * (HEAD in found)
    readings = {name: found[name] for name in names}
    ranks = {name: _value(readings[name].get("nc2_rank_means")) for name in names}
    law, why = _law([_value(readings[name].get("nc1_fisher")) for name in names])
    told = layers or {}
    return Depth(
        split,
        tuple(names),
        effective_depth(readings, tolerance),
        law,
        why,
        {key: _improves(readings, key) for key in FOLLOWED},
        ranks,
        {name: str(told.get(name, {}).get("pooling", "none")) for name in names},
        tuple(name for name in names if _low_rank(readings[name])),
    )


def effective_depth(
    layers: Mapping[str, Mapping[str, Reading]], tolerance: float = TOLERANCE
) -> EffectiveDepth:
    """From readings by layer, input first."""
    names = list(layers)
    read = [layers[name].get("nc4_mismatch") for name in names]
    place = finished([_value(one) for one in read], tolerance)
    ends = []
    for end in (0, 1):
        bounds = [
            one.interval[end] if one is not None and one.interval is not None else _value(one)
            for one in read
        ]
        at = finished(bounds, tolerance)
        ends.append(None if at is None else names[at])
    if place is None:
        return EffectiveDepth(None, None, len(names), tolerance, None, *ends)
    value = _value(read[place])
    return EffectiveDepth(names[place], place + 1, len(names), tolerance, value, *ends)


def _value(reading: Reading | None) -> float | None:
    return None if reading is None else reading.value


def _law(fuzziness: Sequence[float | None]) -> tuple[SeparationLaw | None, str]:
    if any(value is None for value in fuzziness):
        return None, "nc1_fisher was not read at every layer"
    distinct = [value for value in fuzziness[:1] if value is not None]
    for value in fuzziness[1:]:
        assert value is not None
        if abs(value - distinct[-1]) > 1e-6 * abs(distinct[-1]):
            distinct.append(value)
    try:
        return separation_law(distinct), ""
    except ValueError as error:
        return None, str(error)


def _improves(layers: Mapping[str, Mapping[str, Reading]], key: str) -> bool | None:
    sign = -1 if METRICS[key].direction == "up" else 1
    values = [_value(readings.get(key)) for readings in layers.values()]
    return monotone([None if value is None else sign * value for value in values])


def _low_rank(readings: Mapping[str, Reading]) -> bool:
    rank, spread = _value(readings.get("nc2_rank_means")), readings.get("nc1_ratio")
    value = _value(spread)
    return rank is not None and value is not None and rank < FULL_RANK and value < COLLAPSED
