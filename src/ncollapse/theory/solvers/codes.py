"""Softmax codes: the geometry of many classes in few dimensions, d < K - 1.

K unit vectors in d dimensions that maximise the smallest one-vs-rest margin

    ρ = min_k dist(w_k, conv{w_j : j ≠ k}) = min_k max_{‖h‖=1} min_{j≠k} (w_k - w_j)ᵀ h,

what unit classifiers and unit features tend to as the softmax temperature goes to 0.
Source: Jiang et al. 2024.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ncollapse.geometry import Geometry
from ncollapse.pairs.bounds import margin_bound as margin_bound
from ncollapse.pairs.bounds import welch_bound as welch_bound

Array = NDArray[np.float64]
# Inverse temperatures of the continuation: from a landscape that is smooth to one that is sharp.
COOLING = (4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0)
# The polish solves dense quadratic programs: up to this many constraints.
LARGEST_POLISH = 600


@dataclass(frozen=True, eq=False)
class Code:
    """Unit classifiers and unit features, with what is known of their margin.

    geometry: weight (K, d) unit rows, means (K, d) the unit directions h_k that attain the margins.
    margin: smallest one-vs-rest margin ρ of the weight. bound: no code has a larger one. proven:
    whether the margin is the largest possible (within 1e-6). max_cosine: largest cosine of two
    classifiers. welch: lower bound of the largest |cosine| of any K unit vectors.
    statement: one sentence on why, or why not. restarts: how many were searched, 0 for a closed
    form.
    """

    geometry: Geometry
    margin: float
    bound: float
    proven: bool
    max_cosine: float
    welch: float
    statement: str
    restarts: int = 0


def softmax_code(
    num_classes: int,
    num_features: int,
    *,
    seed: int = 0,
    restarts: int = 12,
    closed_form: bool = True,
) -> Code:
    """The softmax code of K classes in d dimensions, by closed form where one is known.

    K ≤ d + 1: simplex, ρ = K/(K-1). d = 2: regular polygon, ρ = 1 - cos(2π/K). d + 1 < K ≤ 2d:
    vectors of a cross-polytope, ρ = 1. Beyond, or with closed_form=False, a search: L-BFGS on a
    smooth minimum over all (k, j), cooled in six stages from `restarts` random starts, the best
    polished by sequential quadratic programming. Searched codes are local optima.

    seed: of the starts, and of the rotation of a simplex. Raises ValueError for fewer than 2
    classes, no dimension, one dimension with more than 2 classes (two would coincide) and for
    restarts < 1.
    """
    K, d = num_classes, num_features
    if K < 2 or d < 1 or (d == 1 and K > 2):
        raise ValueError(
            f"num_classes={K}, num_features={d}; at least 2 classes and 2 dimensions are needed "
            "(one dimension holds 2 classes)"
        )
    if restarts < 1:
        raise ValueError(f"restarts={restarts}; at least 1 is needed")
    bound, why = margin_bound(K, d)
    rows = _closed_form(K, d, seed) if closed_form else None
    used = 0
    if rows is None:
        generator = np.random.default_rng(seed)
        found = [_search(K, d, generator) for _ in range(restarts)]
        rows, used = _polish(max(found, key=_smallest_margin)), restarts
    return _code(rows, bound, why, used)


def _closed_form(K: int, d: int, seed: int) -> Array | None:
    if d + 1 >= K:
        frame = Geometry.simplex_etf(K, d, seed=seed).means
        assert frame is not None
        return frame.numpy()
    if d == 2:
        angle = 2 * np.pi * np.arange(K) / K
        return np.stack([np.cos(angle), np.sin(angle)], 1)
    if 2 * d >= K:
        # All positive axes and as many negative ones as are left: the hull of the others holds 0,
        # and lies where the cosine with the one left out is at most 0.
        return np.concatenate([np.eye(d), -np.eye(d)[: K - d]])
    return None


def _code(rows: Array, bound: float, why: str, restarts: int) -> Code:
    K, d = rows.shape
    weight = torch.from_numpy(rows)
    margin = float(Geometry(weight=weight).one_vs_rest_margin("weight").min())
    cosines = rows @ rows.T
    np.fill_diagonal(cosines, -np.inf)
    proven = margin >= bound - 1e-6
    statement = (
        f"optimal: {why}"
        if proven
        else f"the best of {restarts} searches, not proven optimal; {why}"
    )
    return Code(
        geometry=Geometry(means=torch.from_numpy(_normals(rows)), weight=weight),
        margin=margin,
        bound=bound,
        proven=proven,
        max_cosine=float(cosines.max()),
        welch=welch_bound(K, d),
        statement=statement,
        restarts=restarts,
    )


def _normals(rows: Array) -> Array:
    """h_k: the unit vector from the nearest point of conv{w_j} to w_k."""
    from scipy.optimize import nnls

    found = np.empty_like(rows)
    target = np.zeros(rows.shape[1] + 1)
    target[-1] = 1
    for k in range(len(rows)):
        others = np.delete(rows, k, axis=0) - rows[k]
        share, _ = nnls(np.vstack([others.T, np.ones(len(others))]), target)
        away = -(others.T @ share)
        length = np.linalg.norm(away)
        # A class inside the hull of the others has no direction; its own vector stands in.
        found[k] = away / length if length > 1e-12 else rows[k]
    return found


def _smallest_margin(rows: Array) -> float:
    return float(Geometry(weight=torch.from_numpy(rows)).one_vs_rest_margin("weight").min())


def _unit(rows: Array) -> Array:
    found: Array = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return found


def _search(K: int, d: int, generator: np.random.Generator) -> Array:
    """W from a cooled minimisation of log Σ_{k, j≠k} exp(-β (w_k - w_j)ᵀ h_k) over unit W and H."""
    from scipy.optimize import minimize

    W = _unit(generator.standard_normal((K, d)))
    variables = np.concatenate([W, W]).ravel()

    def smooth(x: Array, heat: float) -> tuple[float, Array]:
        both = x.reshape(2 * K, d)
        sizes = np.linalg.norm(both, axis=1, keepdims=True)
        unit = both / sizes
        w, h = unit[:K], unit[K:]
        inner = h @ w.T
        gaps = heat * (inner - inner.diagonal()[:, None])
        np.fill_diagonal(gaps, -np.inf)
        top = gaps.max()
        share = np.exp(gaps - top)
        total = share.sum()
        share /= total
        # d value / d inner: positive off the diagonal, minus the row's sum on it.
        share -= np.diag(share.sum(1))
        pulled = np.concatenate([share.T @ h, share @ w])
        pulled -= (pulled * unit).sum(1, keepdims=True) * unit
        return float(top + math.log(total)) / heat, (pulled / sizes).ravel()

    for heat in COOLING:
        options = {"maxiter": 500, "ftol": 1e-15, "gtol": 1e-9}
        done = minimize(smooth, variables, (heat,), "L-BFGS-B", jac=True, options=options)
        variables = np.concatenate(
            [_unit(done.x.reshape(2 * K, d)[:K]), _unit(done.x.reshape(2 * K, d)[K:])]
        ).ravel()
    return variables.reshape(2 * K, d)[:K]


def _polish(rows: Array) -> Array:
    """max ρ with (w_k - w_j)ᵀ h_k ≥ ρ on the spheres, from a cooled code; the better of the two."""
    from scipy.optimize import minimize

    K, d = rows.shape
    if K * (K - 1) + 2 * K > LARGEST_POLISH:
        return rows
    owner, rival = np.nonzero(~np.eye(K, dtype=bool))
    many = np.arange(len(owner))

    def split(x: Array) -> tuple[Array, Array]:
        both = x[:-1].reshape(2 * K, d)
        return both[:K], both[K:]

    def slack(x: Array) -> Array:
        w, h = split(x)
        found: Array = ((w[owner] - w[rival]) * h[owner]).sum(1) - x[-1]
        return found

    def slack_slope(x: Array) -> Array:
        w, h = split(x)
        found = np.zeros((len(owner), 2 * K, d))
        found[many, owner] += h[owner]
        found[many, rival] -= h[owner]
        found[many, K + owner] += w[owner] - w[rival]
        return np.hstack([found.reshape(len(owner), -1), -np.ones((len(owner), 1))])

    def norms(x: Array) -> Array:
        found: Array = (x[:-1].reshape(2 * K, d) ** 2).sum(1) - 1
        return found

    def norms_slope(x: Array) -> Array:
        both = x[:-1].reshape(2 * K, d)
        found = np.zeros((2 * K, 2 * K, d))
        found[np.arange(2 * K), np.arange(2 * K)] = 2 * both
        return np.hstack([found.reshape(2 * K, -1), np.zeros((2 * K, 1))])

    slope = np.zeros(2 * K * d + 1)
    slope[-1] = -1
    constraints: list[dict[str, Any]] = [
        {"type": "ineq", "fun": slack, "jac": slack_slope},
        {"type": "eq", "fun": norms, "jac": norms_slope},
    ]
    start = np.concatenate([rows.ravel(), _normals(rows).ravel(), [_smallest_margin(rows)]])
    done = minimize(
        lambda x: -x[-1],
        start,
        jac=lambda x: slope,
        method="SLSQP",
        constraints=constraints,
        options={"maxiter": 200, "ftol": 1e-14},
    )
    if not np.isfinite(done.x).all():
        return rows
    moved = _unit(split(done.x)[0])
    return max((rows, moved), key=_smallest_margin)
