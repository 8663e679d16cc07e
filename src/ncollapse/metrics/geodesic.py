"""Progressive feedforward collapse: layers against the straight line from the first to the last.

A sample i walks h_0,i … h_L,i through layers of one width. Displacement interpolation
h_t = (1-t) h_0 + t h_L predicts what lies between; layer l is compared with its own time

    t_l = ⟨h_l - h_0, h_L - h_0⟩/‖h_L - h_0‖²,   residual_l = ‖h_l - h_{t_l}‖²/‖h_L - h_0‖²

(inner products over samples and features). Class means and residuals interpolate alike, so
PFC1 to PFC3 of h_t follow from those two alone. Source of the metrics: Wang, Gai, Zhang 2024
(abstract read; their normalisation remembered, not read); interpolation and times are derived.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from torch import Tensor

from ncollapse.metrics.depth import monotone as never_rises
from ncollapse.metrics.interpolation import METRICS, Series, Split, checked, double
from ncollapse.metrics.transport import EXACT, assigned, draw, pairing, straightness

Transported = tuple[float | None, float | None, float | None, str]


@dataclass(frozen=True)
class Geodesic:
    """What `geodesic` found; series have one number a layer, first and last included.

    times: t_l, 0 at the first layer and 1 at the last. residuals: see above, ≥ 0, ideal 0.
    measured, predicted: by metric ("pfc1": tr(Σ_W Σ_B⁺)/K, "pfc2": ‖G/‖G‖_F - E‖_F of the centred
    means, "pfc3": share of samples nearest to another class's mean, "ratio": tr Σ_W/tr Σ_B; classes
    weighed alike, all ideal 0), of the layer and of h_{t_l}; nan where class means coincide.
    straightness: Σ W2(l, l+1)/W2(0, L) ≥ 1, 1 on a geodesic. optimality: (1/N) Σ ‖h_L - h_0‖²/W2²
    ≥ 1, 1 where the pairing i → i is optimal. matched: share of samples that the optimal plan from
    first to last leaves with themselves. These three are None with transport=False. route: how
    the transport was found. num_samples: how many samples the series are of.
    """

    times: Series
    residuals: Series
    measured: dict[str, Series]
    predicted: dict[str, Series]
    straightness: float | None
    optimality: float | None
    matched: float | None
    route: str
    num_samples: int

    @property
    def monotone(self) -> dict[str, bool]:
        """Whether each measured metric never rises from one layer to the next, rounding aside
        (nan: it does)."""
        return {name: bool(never_rises(values)) for name, values in self.measured.items()}

    @property
    def log_ratio(self) -> dict[str, Series]:
        """log(measured/predicted) by metric and layer, 0 where the prediction is right; nan where
        either is 0."""
        return {
            name: tuple(
                math.log(found / wanted) if found > 0 and wanted > 0 else math.nan
                for found, wanted in zip(values, self.predicted[name], strict=True)
            )
            for name, values in self.measured.items()
        }

    def to_dict(self) -> dict[str, Any]:
        """All fields and `monotone`, ready for JSON: what is not finite becomes None."""
        return _jsonable({**asdict(self), "monotone": self.monotone})


def geodesic(
    path: Sequence[Tensor],
    labels: Tensor,
    *,
    exact: int = EXACT,
    seed: int = 0,
    transport: bool = True,
) -> Geodesic:
    """Layers `path` (each (N, d), the same samples in one order) against the line between the
    first and the last.

    labels: N class numbers ≥ 0, of two classes at least. Above `exact` samples W2 is that of
    `exact` samples drawn by `seed`, the same in every layer; `transport=False` leaves it out. The
    series are always of all samples. Raises ValueError for fewer than three layers, widths or
    sample counts that differ, first and last layer that coincide, labels that do not fit, and NaN
    or infinite features (naming the layer by its place).
    """
    if len(path) < 3:
        raise ValueError(f"{len(path)} layers given; a path needs at least 3, ends included")
    classes = checked(path, labels)
    first, last = Split.of(path[0], classes), Split.of(path[-1], classes)
    whole = _difference(path[0], path[-1])
    length = float((whole**2).sum())
    if not length > 0:
        raise ValueError(
            "first and last layer coincide, so no geodesic leads from one to the other; give "
            "layers between which the samples move"
        )
    times, residuals, measured, predicted = [], [], [], []
    for number, layer in enumerate(path):
        moved = _difference(path[0], layer)
        # The ends lie on the line by definition; rounding need not move them off it.
        ends = {0: 0.0, len(path) - 1: 1.0}
        time = ends.get(number, float((moved * whole).sum()) / length)
        times.append(time)
        residuals.append(float(((moved - time * whole) ** 2).sum()) / length)
        measured.append(Split.of(layer, classes).readings())
        predicted.append(first.between(last, time).readings())
    found: Transported = (None, None, None, "no transport asked for")
    if transport:
        found = _transported(path, exact, seed)
    return Geodesic(
        tuple(times),
        tuple(residuals),
        _by_metric(measured),
        _by_metric(predicted),
        *found,
        len(labels),
    )


def _transported(path: Sequence[Tensor], exact: int, seed: int) -> Transported:
    """Straightness, optimality and share matched of the same samples in every layer."""
    count = len(path[0])
    rows = draw(count, exact, seed)
    clouds = [double(layer[rows.to(layer.device)]) for layer in path]
    steps = [math.sqrt(assigned(a, b)[0]) for a, b in pairwise(clouds)]
    pairs = pairing(clouds[0], clouds[-1])
    route = f"exact assignment of all {count} samples"
    if count > exact:
        route = f"exact assignment of {exact} of {count} samples, drawn by seed {seed}"
    bent = straightness(steps, math.sqrt(pairs.squared))
    return bent, pairs.optimality, pairs.matched, route


def _difference(first: Tensor, second: Tensor) -> Tensor:
    return double(second) - double(first)


def _by_metric(rows: list[dict[str, float]]) -> dict[str, Series]:
    return {name: tuple(row[name] for row in rows) for name in METRICS}


def _jsonable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _jsonable(part) for key, part in value.items()}
    if isinstance(value, (tuple, list)):
        return [_jsonable(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
