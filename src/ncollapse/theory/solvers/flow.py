"""Gradient flow of cross-entropy without decay: where ULPM goes, and how slowly.

Nothing has a minimiser here: the loss falls for ever, norms grow like √log t, and the direction
tends to a KKT point of

    min ½‖W‖² + ½‖H‖²   with   (w_y - w_j)ᵀ h_i ≥ 1 for every sample i of class y and every j ≠ y,

whose global minimum is the simplex when every class has n samples, with the normalised margin
1/(√n (K - 1)). Other KKT points exist; `kkt_point` builds some and `kkt` measures a direction that
improves on each.
Source: Ji et al. 2022; margins and homogeneity after Lyu and Li 2020.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ncollapse.geometry import Geometry
from ncollapse.theory.problems.objective import Objective
from ncollapse.theory.problems.point import (
    Point,
    class_labels,
    class_means,
    within_class_share,
)
from ncollapse.theory.problems.problem import Problem
from ncollapse.theory.problems.ulpm import ULPM

Array = NDArray[np.float64]
# |∇f|² falls like 1/t² and has to stay above the smallest float64.
LATEST = 1e150
SHAPES = ("simplex", "polygon", "cross-polytope", "product")


@dataclass(frozen=True, eq=False)
class FlowPath:
    """Gradient flow sampled at times t, each field an array over them unless said otherwise.

    loss: mean cross-entropy. weight_norm, feature_norm: Frobenius norms. normalised_margin:
    2 min (w_y - w_j)ᵀh / (‖W‖² + ‖H‖²); `largest_margin` is its maximum 1/(√n (K - 1)), None for
    unequal counts. nc1: tr Σ_W / tr Σ_B. nc2: ‖G/‖G‖_F - E‖_F of centred class means, E the simplex
    of norm 1. nc3: ‖W/‖W‖_F - M/‖M‖_F‖_F, M the centred means. law: loss · 2 t log t / (√n (K-1)),
    which tends to 1 as the direction does to the simplex (equal counts, t > 1 only, else nan).
    kkt_stationarity: sine of the angle between the point and -∇f, 0 at a KKT direction.
    kkt_complementarity: mean excess of the margins over the smallest, weighed by the softmax
    multipliers; nan until all samples are separated.
    balance_drift: largest change of an entry of WᵀW - HᵀH, which the exact flow conserves.
    point: the last point. evaluations: of the gradient.
    """

    problem: ULPM
    t: Array
    loss: Array
    weight_norm: Array
    feature_norm: Array
    normalised_margin: Array
    nc1: Array
    nc2: Array
    nc3: Array
    law: Array
    kkt_stationarity: Array
    kkt_complementarity: Array
    balance_drift: Array
    largest_margin: float | None
    point: Point
    evaluations: int

    @property
    def nc1_log_t(self) -> Array:
        """NC1 · log t, nearly constant late in the flow; nan for t ≤ 1."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self.t > 1, self.nc1 * np.log(self.t), np.nan)

    @property
    def geometry(self) -> Geometry:
        return self.point.geometry(self.problem.counts)


def flow(
    problem: Problem,
    *,
    seed: int = 0,
    until: float = 1e10,
    points: int = 61,
    width: int | None = None,
    scale: float = 0.3,
    start: Point | None = None,
    tolerance: float = 1e-11,
) -> FlowPath:
    """Follow Ẇ = -∇_W f, Ḣ = -∇_H f for f = (1/N) Σ cross-entropy from t = 0 to `until`.

    Integrated in s = log(1 + t) by an explicit Runge-Kutta method of order 8: curvature falls like
    1/t, so in s the flow is not stiff and 10¹⁰⁰ units of time take a second. Softmax residuals are
    sums of the other classes' probabilities, so nothing cancels when they are 10⁻¹⁰⁰.

    seed, scale: random start of normal entries (or `start`, a point). width: d, default the
    problem's or K. points: samples of the path, t = 0 and then evenly spaced in s. tolerance:
    relative and absolute, of a step; a second run with another one tells the error of integration.
    Raises ValueError for until ≤ 0 or beyond 1e150, fewer than 2 points, scale or tolerance ≤ 0,
    and another problem than ULPM.
    """
    from scipy.integrate import solve_ivp

    if not isinstance(problem, ULPM):
        raise ValueError(f"{type(problem).__name__} has a minimiser; flow follows ULPM only")
    for name, value, least in (
        ("until", until, 0),
        ("points", points, 1),
        ("scale", scale, 0),
        ("tolerance", tolerance, 0),
    ):
        if not (value > least and math.isfinite(value)):
            raise ValueError(f"{name}={value}; a finite number above {least} is needed")
    if until > LATEST:
        raise ValueError(f"until={until:g}; squares of the gradient vanish after t = {LATEST:g}")
    if start is not None and width is None:
        width = start.weight.shape[1]
    objective = Objective(problem, width)
    first = objective.start(seed, scale) if start is None else objective.pack(start)
    field = _Field(problem, objective.width)
    clock = np.linspace(0, math.log1p(until), points)
    done = solve_ivp(
        lambda s, x: math.exp(s) * field(x)[0],
        (0, clock[-1]),
        first.numpy(),
        method="DOP853",
        t_eval=clock,
        rtol=tolerance,
        atol=tolerance,
    )
    if not done.success:
        raise RuntimeError(f"the flow could not be followed to t = {until:g}: {done.message}")
    rows = [_reading(field, t, x) for t, x in zip(np.expm1(clock), done.y.T, strict=True)]
    table = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    W, H = field.split(first.numpy())
    balance = W.T @ W - H.T @ H
    drift = []
    for x in done.y.T:
        W, H = field.split(x)
        drift.append(np.abs(W.T @ W - H.T @ H - balance).max())
    return FlowPath(
        problem=problem,
        largest_margin=field.largest,
        point=objective.unpack(torch.from_numpy(np.array(done.y[:, -1]))),
        evaluations=int(done.nfev),
        balance_drift=np.array(drift),
        **table,
    )


def aligned_margin(
    t: float | Array, *, num_classes: int, per_class: int, initial: float = 1.0
) -> Array:
    """a(t) of the aligned flow Z = a (I - 11ᵀ/K): Ei(a) + (K-1) log a = 2t/√n + constant.

    The balanced flow that starts as a simplex with WᵀW = HᵀH and a(0) = initial stays one, with
    ȧ = 2a / (√n (e^a + K - 1)); its loss tends to √n (K - 1)/(2 t log t). Shape of t, a > 0.
    Raises ValueError for t < 0, initial ≤ 0, fewer than 2 classes or no samples.
    """
    from scipy.optimize import brentq
    from scipy.special import expi

    times = np.asarray(t, dtype=np.float64)
    if num_classes < 2 or per_class < 1 or not initial > 0 or bool((times < 0).any()):
        raise ValueError(
            f"num_classes={num_classes}, per_class={per_class}, initial={initial}, smallest t="
            f"{times.min()}; at least 2 classes, 1 sample, initial > 0 and t ≥ 0 are needed"
        )

    def clock(a: float) -> float:
        grown = float(expi(a) - expi(initial)) + (num_classes - 1) * math.log(a / initial)
        return grown * math.sqrt(per_class) / 2

    found = np.empty(times.shape)
    for index, time in np.ndenumerate(times):
        high = 2 * initial
        while clock(high) < time:
            high *= 1.5
        found[index] = (
            brentq(lambda a, time=time: clock(a) - time, initial, high, xtol=1e-14, rtol=1e-14)
            if time > 0
            else initial
        )
    return found


@dataclass(frozen=True, eq=False)
class KKT:
    """A point of the margin problem, scaled to smallest margin 1, held against its conditions.

    multipliers: α (N, K) ≥ 0 on active constraints. stationarity: ‖x - Σ α ∇margin‖ / ‖x‖, 0 at a
    KKT point. energy: ½‖W‖² + ½‖H‖². excess: ‖M‖₂ - 1 with M = Σ α (e_y - e_j) e_iᵀ; a KKT point
    with excess 0 is the global minimum at any width, by ½‖W‖² + ½‖H‖² ≥ ‖WHᵀ‖_* ≥ ⟨M, WHᵀ⟩ ≥ Σ α.
    direction: a step into columns that are zero so far; rate: the second-order change of
    energy / margin along it, relative to the energy, negative = descent. Both None without one.
    """

    multipliers: Array
    stationarity: float
    energy: float
    excess: float
    direction: Point | None = None
    rate: float | None = None


def kkt(point: Point, problem: ULPM, *, tolerance: float = 1e-7) -> KKT:
    """Check the KKT conditions of min ½‖W‖² + ½‖H‖² with margins ≥ 1 at a separating point.

    tolerance: relative slack up to which a margin counts as active. The direction uses zero
    columns of the point (append them by `point.widened`): W + ε U, H + ε V with U, V the leading
    singular spaces of M, which raise every active margin by ε² and the norm by less. Raises
    ValueError where a sample is not separated.
    """
    W, H = point.weight.numpy(), point.features.numpy()
    labels = class_labels(problem.counts).numpy()
    margins = (H * W[labels]).sum(1)[:, None] - H @ W.T
    margins[np.arange(len(H)), labels] = np.inf
    if not margins.min() > 0:
        raise ValueError(
            f"the smallest margin is {margins.min():.3g}; a point that separates every sample is "
            "needed (follow the flow for longer)"
        )
    scale = 1 / math.sqrt(margins.min())
    W, H = scale * W, scale * H
    sample, rival = np.nonzero(margins <= margins.min() * (1 + tolerance))
    multipliers, rest = _multipliers(W, H, labels, sample, rival)
    K, N = W.shape[0], H.shape[0]
    matrix = np.zeros((K, N))
    np.add.at(matrix, (labels[sample], sample), multipliers)
    np.add.at(matrix, (rival, sample), -multipliers)
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    energy = float((W**2).sum() + (H**2).sum()) / 2
    table = np.zeros((N, K))
    table[sample, rival] = multipliers
    found: dict[str, Any] = {
        "multipliers": table,
        "stationarity": rest,
        "energy": energy,
        "excess": float(values[0] - 1),
    }
    free = np.nonzero((np.abs(W).max(0) == 0) & (np.abs(H).max(0) == 0))[0]
    many = int((values > values[0] * (1 - 1e-6)).sum())
    if values[0] <= 1 + 1e-6 or len(free) < many:
        return KKT(**found)
    U, V = np.zeros_like(W), np.zeros_like(H)
    U[:, free[:many]], V[:, free[:many]] = left[:, :many], right[:many].T
    gain = float((((U[labels[sample]] - U[rival]) * V[sample]).sum(1)).min())
    direction = Point(torch.from_numpy(U), torch.from_numpy(V))
    return KKT(direction=direction, rate=float(many) / energy - gain, **found)


def kkt_point(shape: str, problem: ULPM, *, width: int | None = None) -> Point:
    """A KKT point with margins 1: the simplex, or one of fewer dimensions that is no simplex.

    shape: "simplex"; "polygon" (regular, 2 dimensions, K ≥ 4); "cross-polytope" (±e_k, K/2
    dimensions, even K ≥ 4); "product" (of two simplices, composite K). Only neighbours are active,
    so each is a KKT point of its own width and, with zero columns, of every larger one. w_k = √n
    h_k. width: d, default K. Raises ValueError for unequal counts, an unknown shape, a number of
    classes that does not fit it, and a width that is too small.
    """
    K, n = problem.num_classes, problem.counts[0]
    if not problem.balanced:
        raise ValueError(f"counts={problem.counts}; these points need equal counts")
    if shape not in SHAPES:
        raise ValueError(f"shape {shape!r}; one of {', '.join(SHAPES)} is needed")
    factor = next((f for f in range(math.isqrt(K), 1, -1) if K % f == 0), 0)
    fits = {
        "simplex": True,
        "polygon": K >= 4,
        "cross-polytope": K >= 4 and K % 2 == 0,
        "product": factor > 0,
    }
    if not fits[shape]:
        raise ValueError(f"no {shape} of {K} classes that is not a simplex; see kkt_point")
    if shape == "simplex":
        rows = _simplex(K)
    elif shape == "polygon":
        angle = 2 * np.pi * np.arange(K) / K
        rows = np.stack([np.cos(angle), np.sin(angle)], 1) / math.sqrt(1 - math.cos(2 * np.pi / K))
    elif shape == "cross-polytope":
        rows = np.concatenate([np.eye(K // 2), -np.eye(K // 2)])
    else:
        one, two = _simplex(factor), _simplex(K // factor)
        rows = np.hstack([np.repeat(one, len(two), 0), np.tile(two, (len(one), 1))])
    width = K if width is None else width
    if width < rows.shape[1]:
        raise ValueError(f"width {width}; the {shape} needs at least {rows.shape[1]}")
    rows = np.pad(rows, ((0, 0), (0, width - rows.shape[1])))
    weight = torch.from_numpy(n**0.25 * rows)
    return Point(weight, (weight / math.sqrt(n))[class_labels(problem.counts)])


class _Field:
    """The vector field -∇f in numpy, and margins, from a flat vector."""

    def __init__(self, problem: ULPM, width: int) -> None:
        self.counts = problem.counts
        self.labels = class_labels(problem.counts).numpy()
        self.cut = problem.num_classes * width
        self.width = width
        self.rows = np.arange(problem.num_samples)
        K, n = problem.num_classes, problem.counts[0]
        self.largest = 1 / (math.sqrt(n) * (K - 1)) if problem.balanced else None

    def split(self, x: Array) -> tuple[Array, Array]:
        return x[: self.cut].reshape(-1, self.width), x[self.cut :].reshape(-1, self.width)

    def __call__(self, x: Array) -> tuple[Array, Array]:
        """-∇f, and the gaps z_j - z_y (N, K) with -∞ at j = y."""
        W, H = self.split(x)
        logits = H @ W.T
        gaps = logits - logits[self.rows, self.labels][:, None]
        gaps[self.rows, self.labels] = -np.inf
        top = np.maximum(gaps.max(1), 0)
        weights = np.exp(gaps - top[:, None])
        residual = weights / (np.exp(-top) + weights.sum(1))[:, None]
        residual[self.rows, self.labels] = -residual.sum(1)
        residual /= len(H)
        return -np.concatenate([(residual.T @ H).ravel(), (residual @ W).ravel()]), gaps


def _reading(field: _Field, t: float, x: Array) -> dict[str, float]:
    velocity, gaps = field(x)
    W, H = field.split(x)
    top = np.maximum(gaps.max(1), 0)
    others = np.exp(gaps - top[:, None]).sum(1)
    # log(1 + Σ e^gap), through log1p where the sum is tiny.
    loss = float(np.where(top > 0, top + np.log(np.exp(-top) + others), np.log1p(others)).mean())
    margin = float(-gaps.max())
    square = float(x @ x)
    cosine = float(velocity @ x) / math.sqrt(square * float(velocity @ velocity))
    probability = np.exp(gaps - gaps.max())
    excess = np.where(np.isfinite(gaps), -gaps / margin - 1, 0.0) if margin > 0 else np.nan
    law = np.nan
    if field.largest is not None and t > 1:
        law = loss * 2 * t * math.log(t) * field.largest
        # largest = 1/(√n (K-1)), so this is loss over √n (K-1)/(2 t log t).
    features = torch.from_numpy(np.array(H))
    within = within_class_share(features, field.counts)
    nc2, nc3 = _frame_gaps(W, class_means(features, field.counts).numpy())
    return {
        "t": float(t),
        "loss": loss,
        "weight_norm": float(np.linalg.norm(W)),
        "feature_norm": float(np.linalg.norm(H)),
        "normalised_margin": 2 * margin / square,
        "nc1": np.nan if within is None else within,
        "nc2": nc2,
        "nc3": nc3,
        "law": law,
        "kkt_stationarity": math.sqrt(max(0.0, 1 - cosine**2)),
        "kkt_complementarity": float((probability * excess).sum() / probability.sum()),
    }


def _frame_gaps(W: Array, means: Array) -> tuple[float, float]:
    """‖G/‖G‖ - E‖ of centred means, and ‖W/‖W‖ - M/‖M‖‖."""
    M = means - means.mean(0)
    gram, size = M @ M.T, len(M)
    simplex = (np.eye(size) - 1 / size) / math.sqrt(size - 1)
    frame = np.linalg.norm(gram / np.linalg.norm(gram) - simplex)
    dual = np.linalg.norm(W / np.linalg.norm(W) - M / np.linalg.norm(M))
    return float(frame), float(dual)


def _multipliers(
    W: Array, H: Array, labels: NDArray[Any], sample: NDArray[Any], rival: NDArray[Any]
) -> tuple[Array, float]:
    """α ≥ 0 with Σ α ∇margin = (W, H) as nearly as can be, and the relative rest."""
    from scipy.optimize import nnls

    K, d = W.shape
    columns = np.zeros((len(sample), K + len(H), d))
    at = np.arange(len(sample))
    columns[at, labels[sample]] = H[sample]
    columns[at, rival] = -H[sample]
    columns[at, K + sample] = W[labels[sample]] - W[rival]
    matrix = columns.reshape(len(sample), -1).T
    target = np.concatenate([W, H]).ravel()
    # The shortest multipliers share the symmetry of the point; take them where they are allowed.
    found = np.linalg.lstsq(matrix, target, rcond=1e-12)[0]
    if found.min() < -1e-9:
        found = nnls(matrix, target)[0]
    found = np.maximum(found, 0)
    return found, float(np.linalg.norm(matrix @ found - target) / np.linalg.norm(target))


def _simplex(count: int) -> Array:
    """Simplex rows (K, K - 1) with (r_y - r_j)ᵀ r_y = 1: orthonormal columns across 1."""
    frame = Geometry.simplex_etf(count, count - 1).means
    assert frame is not None
    return frame.numpy() * math.sqrt((count - 1) / count)
