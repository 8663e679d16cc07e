"""Points of deep ReLU features that are made by hand: zero, deep neural collapse, low rank.

A ReLU network is positively homogeneous in every matrix, so that of any point only a scale t of its
logits is left to choose: by the inequality of the means all decays together cost no less than
((M+1)/2) (λ_H Σ n_k ‖h_k‖² Π λ_l ‖W_l‖²)^{1/(M+1)} t^{2/(M+1)}, reached where all of them are equal
(derived). `scaled` solves for t.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from ncollapse.theory.problems.deep_relu import DeepReluUFM, ReluPoint
from ncollapse.theory.problems.objective import Objective
from ncollapse.theory.solution import RANK_CUT
from ncollapse.theory.solvers.deep_linear import best_frame, shrunk

Array = np.ndarray


def zero_point(problem: DeepReluUFM, width: int) -> ReluPoint:
    """Everything zero: f = ½."""
    return _placed([np.zeros((1, 1))] * problem.depth, np.zeros((1, 1)), problem, width)


def dnc_point(problem: DeepReluUFM, width: int | None = None) -> ReluPoint:
    """Deep neural collapse: one direction a class in every layer, lengths by class as in the
    orthogonal frame of deep linear features (there every ReLU meets entries ≥ 0 alone).

    width: default the problem's, else K.
    """
    frame, K = best_frame(problem), problem.num_classes
    counts = np.array(problem.counts)
    chosen = np.flatnonzero(frame.alive)
    energy = frame.energies[chosen]
    inner = [np.diag(np.sqrt(energy / decay)) for decay in problem.weight_decays[:-1]]
    last, features = np.zeros((2, K, len(chosen)))
    place = np.arange(len(chosen))
    last[chosen, place] = np.sqrt(energy / problem.weight_decays[-1])
    features[chosen, place] = np.sqrt(energy / problem.feature_decay / counts[chosen])
    return _placed([*inner, last], features, problem, width or problem.num_features or K)


def edges(num_classes: int) -> list[tuple[int, int]]:
    """K edges on as few vertices r as have them, K ≤ r(r-1)/2; the complete graph where they are
    equal. (0,1), (0,2), (1,2), (0,3), …"""
    r = math.ceil((1 + math.sqrt(1 + 8 * num_classes)) / 2)
    pairs = sorted(combinations(range(r), 2), key=lambda pair: (pair[1], pair[0]))
    return pairs[:num_classes]


def srg_point(problem: DeepReluUFM, width: int | None = None) -> ReluPoint | None:
    """The low-rank construction: classes are edges of a graph on r vertices, r(r-1)/2 ≥ K.

    With the incidence matrix B (r, K), BᵀB - 11ᵀ is 1 on the diagonal, 0 for edges that meet and
    -1 for those that do not, so that a ReLU makes it the identity: W_1 H = B, W_{M-1} = Bᵀ - ½11ᵀ,
    identities between, and W_M; for M = 2 W_1 H = BᵀB - 11ᵀ. The factors of the first product have
    equal energies, and `scaled` does the rest. Ranks are r up to the last ReLU, K behind it. None
    for two classes and for widths below K. Source: Súkeník et al. 2024 for strongly regular graphs
    (abstract read); this form and its values are derived.
    """
    K, depth = problem.num_classes, problem.depth
    width = width or problem.num_features or K
    if K < 3 or width < K:
        return None
    pairs = edges(K)
    B = np.zeros((max(max(pair) for pair in pairs) + 1, K))
    for k, pair in enumerate(pairs):
        B[list(pair), k] = 1.0
    decide = B.T - 0.5
    product = decide @ B if depth == 2 else B
    root = np.sqrt(np.array(problem.counts))
    U, values, V = np.linalg.svd(product * root, full_matrices=False)
    kept = values > 1e-10 * values[0]
    half = np.sqrt(values[kept])
    first, features = U[:, kept] * half, (half[:, None] * V[kept]).T / root[:, None]
    middle = [np.eye(len(B))] * (depth - 3)
    inner = [first] if depth == 2 else [first, *middle, decide]
    return scaled(problem, _placed([*inner, np.eye(K)], features, problem, width))


def scaled(problem: DeepReluUFM, point: ReluPoint) -> ReluPoint:
    """The same point with every tensor scaled as is best; zero where that is better.

    point: one feature a class.
    """
    counts = torch.tensor(problem.counts, dtype=torch.float64)
    logits, share = point.logits, counts / problem.num_samples
    bend = float(share @ logits.square().sum(1))
    pull = float(share @ logits.diagonal())
    parts = [point.features, *point.inner, point.weight]
    decays = [problem.feature_decay, *problem.weight_decays]
    costs = [
        decay * float((part.square() * (counts[:, None] if at == 0 else 1.0)).sum())
        for at, (decay, part) in enumerate(zip(decays, parts, strict=True))
    ]
    if not (pull > 0 and min(costs) > 0):
        return _times(point, [0.0] * len(parts))
    order = len(parts)
    power = 2 / order
    mean = math.prod(cost ** (1 / order) for cost in costs)
    # ½ bend t² - pull t + ½ + (order/2) mean t^power, in x = √bend t.
    x = shrunk(pull / math.sqrt(bend), power, order / 2 * mean * bend ** (-power / 2))
    energy = mean * (x / math.sqrt(bend)) ** power
    return _times(point, [math.sqrt(energy / cost) for cost in costs])


def _times(point: ReluPoint, by: Sequence[float]) -> ReluPoint:
    inner = tuple(scale * part for scale, part in zip(by[1:-1], point.inner, strict=True))
    return ReluPoint(by[-1] * point.weight, by[0] * point.features, None, inner)


def _placed(
    factors: Sequence[Array], features: Array, problem: DeepReluUFM, width: int
) -> ReluPoint:
    """Zero rows and columns appended up to (K, width), (width, width) … and (K, width)."""

    def padded(part: Array, rows: int) -> Tensor:
        whole = torch.zeros(rows, width, dtype=torch.float64)
        whole[: part.shape[0], : part.shape[1]] = torch.from_numpy(np.ascontiguousarray(part))
        return whole

    *inner, last = factors
    K = problem.num_classes
    return ReluPoint(
        padded(last, K), padded(features, K), None, tuple(padded(part, width) for part in inner)
    )


def value_at(problem: DeepReluUFM, point: ReluPoint) -> float:
    """f at a point with one feature a class."""
    return float(Objective(problem, point.weight.shape[1], per_class=True).at(point))


def ranks(point: ReluPoint) -> list[tuple[int, int]]:
    """Ranks of what every inner matrix puts out, before and after its ReLU."""
    return [(rank_of(before), rank_of(after)) for before, after in point.layers]


def rank_of(rows: Tensor) -> int:
    """Singular values above 1e-6 of the largest, 0 for zeros."""
    values = torch.linalg.svdvals(rows)
    largest = float(values[0]) if len(values) else 0.0
    return int((values > RANK_CUT * largest).sum()) if largest > 1e-12 else 0
