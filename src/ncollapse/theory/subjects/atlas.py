"""An atlas of critical points: where training of free features can stop, and the way out of each.

For a convex loss the second derivatives of f at a critical point are at least those of the matrix
[[λ_W, -‖G‖₂], [-‖G‖₂, λ_H]], G = ∇_Z of the mean loss (K, N): what the loss adds is not negative,
and 2⟨G, ΔW ΔH⟩ ≥ -2 ‖G‖₂ ‖ΔW‖ ‖ΔH‖. Where a feature direction is free its lower eigenvalue

    (λ_W + λ_H)/2 - √(((λ_W - λ_H)/2)² + ‖G‖₂²)

is attained along the leading singular pair of G (derived, after Zhu et al. 2021): it is the
smallest eigenvalue of the Hessian, negative exactly where ‖G‖₂ > √(λ_W λ_H).
"""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.geometry import Geometry
from ncollapse.theory.prediction import Prediction
from ncollapse.theory.problems.objective import Objective
from ncollapse.theory.problems.point import Point
from ncollapse.theory.problems.problem import Problem
from ncollapse.theory.problems.ufm import UFM
from ncollapse.theory.subjects import critical_points as candidates
from ncollapse.theory.subjects.row_shapes import Blocks, listed, shape_of

OPTIMUM, SADDLE = "global optimum", "strict saddle"
# Largest entry of the gradient, over √(λ_W λ_H), of what is kept.
CRITICAL = 1e-7
# Relative slack in ‖G‖₂ ≤ √(λ_W λ_H).
SLACK = 1e-6
# Escape directions, K × K numbers twice, stand in documents up to so many classes.
SHOWN = 16
# Points of one rank whose objectives agree to this share are one, up to names of classes.
EQUAL = 1e-8
MOST_CLASSES = 128
MOST = 48
FOUND = {
    "optimum": "the certified solver",
    "origin": "symmetry",
    "shared": "symmetry",
    "frames": "symmetry",
    "rank": "descent at that width",
    "search": "numerical search",
}


@dataclass(frozen=True, eq=False)
class CriticalPoint:
    """A point where the gradient vanishes.

    kind: "global optimum" or "strict saddle". rank: of W. objective: f there; excess: above the
    optimum's. curvature: smallest eigenvalue of the Hessian in W, H and b, negative at a saddle;
    escape_weight ΔW and escape_means ΔH (K, d), of unit length ‖ΔW‖² + Σ n_k ‖Δh_k‖² = 1, is the
    direction with it (None at the optimum). gradient: largest entry of ∇f in balanced variables,
    over √(λ_W λ_H). blocks: classes whose classifier rows point one way (cosine ≥ .999), in blocks
    of several. zero: classes whose row is zero. frames: classes whose rows are a simplex of their
    own, orthogonal to all others, where all rows are so or zero. found: what it was found by, a key
    of `FOUND`. copies: how many such points there are up to rotation, by names of interchangeable
    classes; None if not counted.
    """

    kind: str
    rank: int
    objective: float
    excess: float
    curvature: float
    gradient: float
    blocks: Blocks
    zero: tuple[int, ...]
    frames: Blocks
    found: str
    geometry: Geometry
    escape_weight: Float[Tensor, "classes dim"] | None = None
    escape_means: Float[Tensor, "classes dim"] | None = None
    escape_classes: tuple[int, ...] = ()
    copies: float | None = None

    @property
    def name(self) -> str:
        """What it is, in a few words."""
        if self.kind == OPTIMUM:
            return "the global optimum"
        if self.rank == 0:
            return "the origin, where nothing is learnt"
        return f"a rank-{self.rank} saddle"

    @property
    def text(self) -> str:
        """Which classes share a row, or have none."""
        said = [f"classes {listed(block)} share one direction" for block in self.blocks]
        if self.frames:
            several = " and ".join(listed(frame) for frame in self.frames)
            noun = "a simplex" if len(self.frames) == 1 else "orthogonal simplexes"
            said.append(f"classes {several} are {noun}")
        if self.zero and self.rank:
            verb = "is" if len(self.zero) == 1 else "are"
            noun = "class" if len(self.zero) == 1 else "classes"
            said.append(f"{noun} {listed(self.zero)} {verb} at zero")
        return "; ".join(said)

    def to_dict(self) -> dict[str, Any]:
        small = self.escape_weight is not None and len(self.escape_weight) <= SHOWN
        return {
            "kind": self.kind,
            "rank": self.rank,
            "objective": self.objective,
            "excess": self.excess,
            "curvature": self.curvature,
            "gradient": self.gradient,
            "blocks": [list(block) for block in self.blocks],
            "zero": list(self.zero),
            "frames": [list(frame) for frame in self.frames],
            "found": FOUND[self.found],
            "copies": self.copies,
            "escape_classes": list(self.escape_classes),
            "escape_weight": _plain(self.escape_weight) if small else None,
            "escape_means": _plain(self.escape_means) if small else None,
            "text": f"{self.name}: {self.text}" if self.text else self.name,
        }


@dataclass(frozen=True, eq=False)
class Nearest:
    """The critical point nearest to a geometry.

    distance: `Geometry.distance`, 0 = same shape, at most 2. random: what random directions of the
    same norms read on average. optimum: distance to the global optimum.
    """

    point: CriticalPoint
    distance: float
    random: float
    optimum: float

    @property
    def sentence(self) -> str:
        """Where the network sits, in one sentence."""
        what = self.point.name + (f": {self.point.text}" if self.point.text else "")
        beside = f"distance {self.distance:.2g}; random directions {self.random:.2g}"
        if self.point.kind != OPTIMUM:
            beside += f"; the global optimum {self.optimum:.2g}"
        return f"your network sits nearest {what} ({beside})"

    def to_dict(self) -> dict[str, Any]:
        return {
            "point": self.point.to_dict(),
            "distance": self.distance,
            "random": self.random,
            "optimum": self.optimum,
            "sentence": self.sentence,
        }


@dataclass(frozen=True, eq=False)
class Atlas:
    """Critical points of a problem, lowest objective first; `points[0]` is the global optimum.

    No list is complete: symmetry gives one point of every kind that it knows (`copies` says how
    many there are by names), descent and search what they happen on. prediction: of the problem,
    certified.
    """

    prediction: Prediction
    points: tuple[CriticalPoint, ...]

    @property
    def problem(self) -> UFM:
        found = self.prediction.problem
        assert isinstance(found, UFM)
        return found

    @property
    def optimum(self) -> CriticalPoint:
        return self.points[0]

    def nearest(self, geometry: Geometry) -> Nearest:
        """The critical point nearest to a geometry with classifier and means of the same classes.

        Beside the points of the atlas as they are: blocks of interchangeable classes that lie
        closest together, and simplexes of those with the longest rows, with the names that the
        geometry gives them; and, up to 32 classes, the minimiser at every rank that descent reaches
        from its leading directions. Raises ValueError without means or weight, and for other
        numbers of classes.
        """
        from ncollapse.theory.subjects.nearest import nearest

        return nearest(self, geometry)

    def to_dict(self) -> dict[str, Any]:
        problem = self.problem
        return {
            "unit": math.sqrt(problem.weight_decay * problem.feature_decay),
            "points": [point.to_dict() for point in self.points],
        }

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)

    def __str__(self) -> str:
        return render(self)


def atlas(prediction: Prediction, *, most: int = MOST, starts: int = 16, seed: int = 0) -> Atlas:
    """Critical points of a prediction's problem, by symmetry, by rank and by search.

    most: kinds of blocks that symmetry lists, two points each. starts, seed: of the numerical
    search, which is made up to five classes and without decay of the bias. Points whose gradient
    does not vanish to 1e-7 √(λ_W λ_H) after Newton's steps are dropped.

    Raises ValueError for problems other than `UFM` with a convex loss, features after a ReLU, more
    than 128 classes, and widths below K - 1, where a feature direction need not be free.
    """
    problem = _checked(prediction.problem)
    geometry = prediction.geometry
    best = _widened(geometry, problem)
    made: list[tuple[Point, str, float | None]] = [
        (best, "optimum", None), (candidates.origin(problem), "origin", 1.0),
    ]  # fmt: skip
    for blocks, copies in candidates.symmetric_blocks(problem, most):
        for source, build in (("shared", candidates.shared), ("frames", candidates.frames)):
            point = build(problem, blocks)
            if point is not None:
                made.append((point, source, copies))
    top = int(torch.linalg.matrix_rank(best.weight, rtol=1e-6))
    for rank in range(1, top):
        made.append((candidates.of_rank(problem, best, rank), "rank", None))
    made += [(point, "search", None) for point in candidates.searched(problem, starts, seed)]
    found = judged(problem, made, prediction.objective)
    return Atlas(prediction, tuple(found))


def judged(
    problem: UFM, made: Iterable[tuple[Point, str, float | None]], lowest: float
) -> list[CriticalPoint]:
    """The different critical points among candidates, polished, lowest objective first. lowest:
    objective of the optimum."""
    objective = _objective(problem)
    kept: list[CriticalPoint] = []
    for point, source, copies in made:
        found = classified(objective, point, source, lowest, copies)
        if found is not None and not any(_same(found, other) for other in kept):
            kept.append(found)
    return sorted(kept, key=lambda point: (point.kind != OPTIMUM, point.objective))


def classified(
    objective: Objective, point: Point, source: str, lowest: float, copies: float | None = None
) -> CriticalPoint | None:
    """A candidate after Newton's steps on its gradient; None where that does not vanish."""
    problem = objective.problem
    assert isinstance(problem, UFM)
    unit = math.sqrt(problem.weight_decay * problem.feature_decay)
    flat = objective.polish(objective.pack(point), steps=6, goal=1e-13 * min(problem.tau, 1.0))
    gradient = objective.stationarity(flat) / problem.tau
    if gradient > CRITICAL:
        return None
    point = objective.unpack(flat)
    roots = torch.tensor(problem.counts, dtype=torch.float64).sqrt()
    left, values, right = torch.linalg.svd(objective.loss_gradient(point) / roots)
    norm = float(values[0])
    weight_decay, feature_decay = problem.weight_decay, problem.feature_decay
    half = (weight_decay - feature_decay) / 2
    curvature = (weight_decay + feature_decay) / 2 - math.hypot(half, norm)
    value = objective.value(flat)
    geometry = replace(
        point.geometry(objective.rows), counts=torch.tensor(problem.counts, dtype=torch.int64)
    )
    longest = float(point.weight.norm(dim=1).max())
    spectrum = torch.linalg.svdvals(point.weight)
    learnt = longest > 1e-6
    nothing = {"blocks": (), "frames": (), "zero": tuple(range(problem.num_classes))}
    common: dict[str, Any] = {
        "rank": int((spectrum > 1e-5 * spectrum[0]).sum()) if learnt else 0,
        "objective": value,
        "excess": 0.0 if norm <= unit * (1 + SLACK) else max(value - lowest, 0.0),
        "gradient": gradient,
        **(shape_of(point.weight) if learnt else nothing),
        "found": source,
        "geometry": geometry,
        "copies": copies,
    }
    if norm <= unit * (1 + SLACK):
        return CriticalPoint(kind=OPTIMUM, curvature=max(curvature, 0.0), **common)
    free = torch.linalg.svd(torch.cat([point.weight, point.features]))[2][-1]
    # Of the lower eigenvalue of [[λ_W, -‖G‖₂], [-‖G‖₂, λ_H]].
    along = torch.tensor([norm, weight_decay - curvature], dtype=torch.float64)
    along = along / along.norm()
    share = left[:, 0].square()
    order = share.argsort(descending=True)
    enough = int((share[order].cumsum(0) < 0.9).sum()) + 1
    return CriticalPoint(
        kind=SADDLE,
        curvature=curvature,
        escape_weight=along[0] * torch.outer(left[:, 0], free),
        escape_means=-along[1] * torch.outer(right[0] / roots, free),
        escape_classes=tuple(sorted(order[:enough].tolist())),
        **common,
    )


def render(found: Atlas) -> str:
    """At most 24 lines of 100 columns: the lowest point of every rank."""
    problem = found.problem
    unit = math.sqrt(problem.weight_decay * problem.feature_decay)
    ranks: dict[int, list[CriticalPoint]] = {}
    for point in found.points:
        ranks.setdefault(point.rank, []).append(point)
    saddles = sum(point.kind == SADDLE for point in found.points)
    lines = [
        f"{len(found.points)} critical points found, {saddles} of them strict saddles",
        f" {'rank':>4}{'points':>8}{'above optimum':>15}{'curvature':>11}   the lowest of them",
    ]
    shown = sorted(ranks, reverse=True)
    for rank in [*shown[:8], None, *shown[-8:]] if len(shown) > 17 else shown:
        if rank is None:
            lines.append(f" … {len(shown) - 16} more ranks")
            continue
        point = min(ranks[rank], key=lambda p: p.objective)
        special = point.rank == 0 or point.kind == OPTIMUM
        text = point.name if special else point.text or "no two rows point one way"
        bent = point.curvature / unit
        numbers = f"{point.excess:>15.3g}{bent if abs(bent) > 1e-9 else 0:>11.3g}"
        start = f" {rank:>4}{len(ranks[rank]):>8}{numbers}   "
        lines.append(start + textwrap.shorten(text, 100 - len(start), placeholder=" …"))
    lines.append(
        " curvature: smallest eigenvalue of the Hessian over √(λ_W λ_H); negative = a way out"
    )
    return "\n".join(lines)


def _objective(problem: UFM) -> Objective:
    return Objective(replace(problem, num_features=problem.num_classes), per_class=True)


def _widened(geometry: Geometry, problem: UFM) -> Point:
    """A geometry as a point of width K."""
    assert geometry.weight is not None and geometry.means is not None
    point = Point(geometry.weight, geometry.means, geometry.bias)
    return point.widened(problem.num_classes)


def _same(one: CriticalPoint, other: CriticalPoint) -> bool:
    """Up to names of classes and rotation: rank, objective and curvature agree."""
    close = abs(one.objective - other.objective) <= EQUAL * abs(other.objective)
    alike = abs(one.curvature - other.curvature) <= 1e-5 * abs(other.curvature) + 1e-12
    return one.rank == other.rank and one.kind == other.kind and close and alike


def _plain(values: Tensor | None) -> Any:
    return None if values is None else values.tolist()


def _checked(problem: Problem) -> UFM:
    if not isinstance(problem, UFM) or problem.nonnegative or not problem.logit_loss.convex:
        kind = type(problem).__name__
        if isinstance(problem, UFM):
            kind = "features after a ReLU" if problem.nonnegative else f"the {problem.loss.name}"
        raise ValueError(
            f"no landscape is drawn for {kind}; model ufm with a convex loss and features of "
            "either sign is needed"
        )
    K, width = problem.num_classes, problem.num_features
    if K > MOST_CLASSES:
        raise ValueError(
            f"{K} classes; a landscape is drawn for up to {MOST_CLASSES}: give fewer of each kind"
        )
    if width is not None and width < K - 1:
        raise ValueError(
            f"num_features={width} is too narrow for a landscape of {K} classes; at least {K - 1} "
            "is needed"
        )
    return problem
