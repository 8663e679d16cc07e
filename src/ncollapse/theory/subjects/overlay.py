"""Theory laid over a measured geometry: side by side, how far, and what random would read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ncollapse.geometry import Distance, Geometry
from ncollapse.theory.assumptions import Assumption, Measured
from ncollapse.theory.prediction import Prediction, geometry_dict, premises_of

# Rows of a measured classifier count as merged when they differ by less than this share of the
# root mean square row norm: training leaves what theory makes equal only nearly so.
MERGED = 0.1


@dataclass(frozen=True)
class RandomDistance:
    """Distance of theory from random directions with the measured norms: mean, central 95 %."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Overlay:
    """A prediction over a measured geometry.

    distance: `Geometry.distance`, 0 = same shape, at most 2. null: the same for random directions.
    collapsed_classes: measured classes whose classifier row lies within a tenth of the typical row
    norm of another row. assumptions: ticked or crossed against the measurement. class_share: the
    measured share of variance between classes. fit: of τ, where it was fitted.
    """

    measured: Geometry
    prediction: Prediction
    distance: Distance
    null: RandomDistance
    collapsed_classes: tuple[int, ...]
    assumptions: tuple[Assumption, ...]
    class_share: float | None = None
    fit: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The prediction's document with assumptions ticked, and `against`: the measured
        geometry in the same form, the distance with its null, and the fit of τ."""
        document = self.prediction.with_assumptions(self.assumptions).to_dict()
        margins = logit_margins(self.measured)
        document["against"] = {
            "distance": self.distance.value,
            "blocks": dict(self.distance.blocks),
            "left_out": list(self.distance.left_out),
            "null": {"mean": self.null.mean, "low": self.null.low, "high": self.null.high},
            "geometry": geometry_dict(self.measured, self.prediction.problem.counts),
            "logit_margins": None if margins is None else margins.tolist(),
            "collapsed_classes": list(self.collapsed_classes),
            "fit": self.fit,
        }
        return document


def overlay(
    measured: Geometry,
    prediction: Prediction,
    *,
    class_share: float | None = None,
    fit: dict[str, Any] | None = None,
    seed: int = 0,
) -> Overlay:
    """Lay a prediction over a measured geometry of the same classes in the same order.

    class_share: the measured share of feature variance between classes, if known. fit: what
    `Fit.to_dict` says. seed: of the random directions, drawn by an own generator.
    Raises ValueError when the numbers of classes differ or no block is shared.
    """
    distance = measured.distance(prediction.geometry)
    return Overlay(
        measured,
        prediction,
        distance,
        random_distance(measured, prediction.geometry, seed),
        merged_rows(measured),
        _judged(prediction, Measured(measured, distance, class_share)),
        class_share,
        fit,
    )


def random_distance(measured: Geometry, theory: Geometry, seed: int = 0) -> RandomDistance:
    """Distance of `theory` from independent random directions with the measured norms."""
    size = measured.num_classes
    draws = 20 if size <= 256 else 6 if size <= 2048 else 2
    generator = torch.Generator().manual_seed(seed)

    def directions(norms: Tensor) -> Tensor:
        rows = torch.randn(size, measured.num_features, generator=generator, dtype=torch.float64)
        return rows / rows.norm(dim=1, keepdim=True) * norms.cpu()[:, None]

    values = []
    for _ in range(draws):
        means = None if measured.means is None else directions(measured.mean_norms)
        weight = None if measured.weight is None else directions(measured.weight_norms)
        values.append(Geometry(means, weight).distance(theory).value)
    found = torch.tensor(values, dtype=torch.float64)
    mean, spread = float(found.mean()), float(found.std()) if draws > 1 else 0.0
    return RandomDistance(mean, max(mean - 1.96 * spread, 0.0), min(mean + 1.96 * spread, 2.0))


def merged_rows(geometry: Geometry, cut: float = MERGED) -> tuple[int, ...]:
    """Classes whose classifier row lies within `cut` root-mean-square norms of another row."""
    if geometry.weight is None:
        return ()
    weight = geometry.weight
    limit = cut * float(weight.square().sum(1).mean().sqrt())
    found: set[int] = set()
    for begin in range(0, len(weight), 1024):
        gaps = torch.cdist(weight[begin : begin + 1024], weight)
        rows = torch.arange(len(gaps), device=gaps.device)
        gaps[rows, rows + begin] = torch.inf
        close = (gaps.min(1).values <= limit).nonzero().flatten() + begin
        found |= set(close.tolist())
    return tuple(sorted(found))


def logit_margins(geometry: Geometry) -> Tensor | None:
    """Per class y: Z_yy - max_{j≠y} Z_jy of the class-mean logits, None without weight or means."""
    if geometry.weight is None or geometry.means is None:
        return None
    found = torch.empty(geometry.num_classes, dtype=torch.float64)
    for begin in range(0, geometry.num_classes, 1024):
        logits = geometry.means[begin : begin + 1024] @ geometry.weight.T
        if geometry.bias is not None:
            logits = logits + geometry.bias
        rows = torch.arange(len(logits), device=logits.device)
        own = logits[rows, rows + begin].clone()
        logits[rows, rows + begin] = -torch.inf
        found[begin : begin + len(logits)] = (own - logits.max(1).values).cpu()
    return found


def _judged(prediction: Prediction, found: Measured) -> tuple[Assumption, ...]:
    """Assumptions, those that a measurement can settle ticked or crossed."""
    held = {p.text: p.judged(found) for p in premises_of(prediction.solution)}
    judged = [
        a if held.get(a.text) is None else Assumption(a.text, held[a.text])
        for a in prediction.assumptions
    ]
    counts = found.geometry.counts
    if counts is not None:
        same = [int(count) for count in counts.tolist()] == list(prediction.problem.counts)
        judged.append(Assumption("class counts are those measured", same))
    return tuple(judged)
