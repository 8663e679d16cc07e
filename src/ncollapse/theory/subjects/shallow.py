"""Can a shallow ReLU network collapse exactly on these inputs? A linear program a class.

Without biases and with feature regularisation the two-layer risk is

    f = (1/2N) ‖W₂ s(W₁ X) - Y‖² + λ_W/2 ‖W₂‖² + λ_H/2 ‖s(W₁ X)‖²,   s = ReLU.

Freed of X, its least value is Σ_k c_k - N c_k²/(2 n_k), c_k = √(λ_W λ_H n_k), for N c_k < n_k
(singular values of Y shrunk by N √(λ_W λ_H); balanced: K (c - K c²/2)), and non-negative features
a_k e_k reach it. The network reaches it iff for every class k the program

    (LP_k)   ⟨w, x_i⟩ = 1 for i in class k,   ⟨w, x_j⟩ ≤ 0 for all other j

has a solution; K units are enough. Source: derived here; the question is Hong & Ling 2024 (abstract
read, their signal-to-noise inequality not).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

FEASIBLE, INFEASIBLE, UNDECIDED = "feasible", "infeasible", "undecided"
# Of the left sides of LP_k, whose right sides are 1 and 0; the solver's own is 1e-7.
TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class Feasible:
    """Whether a shallow ReLU network can collapse exactly; as a bool, whether it can.

    status: of each class "feasible", "infeasible", or "undecided" (the solver stopped, or rounding
    leaves it open). weights: (K, d), row k solves LP_k on what enters the trained hidden layer;
    None unless all classes are feasible. reason: one sentence. slack: per class the smallest t with
    ⟨w, x_j⟩ ≤ t for all other j (never sought below -1): feasible for t ≤ 0, inf where class k
    alone has no solution. rank, num_samples, dim: of what enters the trained hidden layer.
    counts: n_k. layers: 2 or 3.
    """

    feasible: bool
    status: tuple[str, ...]
    reason: str
    weights: Float[Tensor, "classes dim"] | None
    slack: tuple[float, ...]
    rank: int
    num_samples: int
    dim: int
    counts: tuple[int, ...]
    layers: int = 2

    def __bool__(self) -> bool:
        return self.feasible

    def network(
        self, weight_decay: float, feature_decay: float
    ) -> tuple[Float[Tensor, "classes dim"], Float[Tensor, "classes classes"]]:
        """(W₁, W₂) of K hidden units that reach `shallow_bound`: features of class k are a_k e_k.

        Raises ValueError where not all classes are feasible, and for decays that are not positive.
        """
        if self.weights is None:
            raise ValueError(f"there is no such network: {self.reason}")
        both = _positive(weight_decay, feature_decay)
        number = torch.tensor(self.counts, dtype=torch.float64)
        shrink = math.sqrt(both) * number.sum() / number.sqrt()
        product = (1 - shrink).clamp_min(0)
        # At given a b both decays cost least where λ_W b² = λ_H n a².
        ratio = (weight_decay / (feature_decay * number)).sqrt()
        lengths = (product * ratio).sqrt()
        return lengths[:, None] * self.weights, torch.diag((product / ratio).sqrt())


def shallow_bound(
    counts: Sequence[int] | Int[Tensor, " classes"], weight_decay: float, feature_decay: float
) -> float:
    """Least value of f over free features: Σ_k c_k - N c_k²/(2 n_k), c_k = √(λ_W λ_H n_k), and
    n_k/(2N) for a class with N c_k ≥ n_k, which vanishes. For K classes of n: K (c - K c²/2).

    Raises ValueError for fewer than two classes, counts below 1 and decays that are not positive.
    """
    number = torch.as_tensor(counts).to(torch.float64)
    if number.dim() != 1 or number.numel() < 2 or float(number.min()) < 1:
        raise ValueError(f"counts {list(counts)}; at least two, each at least 1, are needed")
    c = (_positive(weight_decay, feature_decay) * number).sqrt()
    total = number.sum()
    grown = c - total * c**2 / (2 * number)
    return float(torch.where(total * c < number, grown, number / (2 * total)).sum())


def nc_feasible(inputs: Any, labels: Any, *, first: Any = None, seed: int = 0) -> Feasible:
    """Whether a two-layer ReLU network can collapse exactly on inputs (N, d) with labels (N).

    first: A (width, d), or a width to draw Gaussian rows of variance 2/d for by `seed`: a first
    layer held fixed, so that the question is of three layers and asked of s(A x). Classes are the
    labels that occur, in order. N ≤ d inputs in general position are always feasible, fewer than
    one class's samples never, and width K is enough. One program a class in N rows and d + 1
    columns, solved by scipy's HiGHS; none where the rank is N.

    Raises ValueError for inputs that are not (N, d) of finite floats, labels that are not N
    integers, one class only, and an A that does not fit.
    """
    X, y = checked_data(inputs, labels)
    layers = 2
    if first is not None:
        X, layers = np.maximum(X @ _layer(first, X.shape[1], seed).T, 0), 3
    names, place = np.unique(y, return_inverse=True)
    counts = np.bincount(place)
    number, dim = X.shape
    scale = float(np.linalg.norm(X, axis=1).max()) or 1.0
    X = X / scale
    rank = int(np.linalg.matrix_rank(X))
    status, slack, rows = [], [], []
    for k in range(len(names)):
        w, t, said = _program(X, place == k, rank == number)
        status.append(said)
        slack.append(t)
        rows.append(w / scale)
    whole = all(said == FEASIBLE for said in status)
    return Feasible(
        whole,
        tuple(status),
        _reason(names, status, counts, rank, dim, layers),
        torch.from_numpy(np.stack(rows)) if whole else None,
        tuple(slack),
        rank,
        number,
        dim,
        tuple(int(n) for n in counts),
        layers,
    )


def _program(X: Any, own: Any, independent: bool) -> tuple[Any, float, str]:
    """(w, t, status): min t ≥ -1 over ⟨w, x⟩ = 1 on the class, ⟨w, x⟩ ≤ t elsewhere."""
    from scipy.optimize import linprog

    mine, others = X[own], X[~own]
    target = np.where(own, 1.0, -1.0)
    w = np.linalg.lstsq(X, target, rcond=None)[0]
    if independent and np.abs(X @ w - target).max() < TOLERANCE:
        return w, -1.0, FEASIBLE
    dim = X.shape[1]
    nothing = np.zeros(dim)
    found = linprog(
        np.append(nothing, 1.0),
        A_ub=np.hstack([others, -np.ones((len(others), 1))]),
        b_ub=np.zeros(len(others)),
        A_eq=np.hstack([mine, np.zeros((len(mine), 1))]),
        b_eq=np.ones(len(mine)),
        bounds=[(None, None)] * dim + [(-1.0, None)],
        method="highs",
    )
    if found.status == 2:
        return nothing, math.inf, INFEASIBLE
    if found.status != 0:
        return nothing, math.nan, UNDECIDED
    w, t = found.x[:-1], float(found.x[-1])
    if t > TOLERANCE:
        return w, t, INFEASIBLE
    off = max(float(np.abs(mine @ w - 1).max()), float((others @ w).max()))
    return w, t, FEASIBLE if off <= TOLERANCE else UNDECIDED


def _reason(
    names: Any, status: Sequence[str], counts: Any, rank: int, dim: int, layers: int
) -> str:
    what = "inputs" if layers == 2 else "features of the first layer"
    number = int(counts.sum())
    if all(said == FEASIBLE for said in status):
        why = (
            f"the {number} {what} are linearly independent"
            if rank == number
            else f"every class has a direction that is 1 on it and at most 0 on the others, though "
            f"the rank {rank} of the {what} is below N = {number}"
        )
        return f"exact collapse is possible: {why}"
    failed = [str(name) for name, said in zip(names, status, strict=True) if said == INFEASIBLE]
    if not failed:
        return "it cannot be told: the linear program ended within rounding of its bounds"
    listed = ", ".join(failed[:10]) + (" and more" if len(failed) > 10 else "")
    short = int(counts.max()) > rank
    why = (
        f"; the largest class has {int(counts.max())} samples in {rank} directions (d = {dim})"
        if short
        else ""
    )
    return (
        f"exact collapse is impossible: no direction is 1 on class {listed} and at most 0 on the "
        f"others{why}"
    )


def checked_data(inputs: Any, labels: Any) -> tuple[Any, Any]:
    X = np.asarray(torch.as_tensor(inputs).detach().cpu().to(torch.float64))
    given = torch.as_tensor(labels).detach().cpu()
    if X.ndim != 2 or 0 in X.shape:
        raise ValueError(f"inputs have shape {X.shape}; (samples, dim) is needed: flatten first")
    if given.shape != X.shape[:1]:
        raise ValueError(
            f"labels have shape {tuple(given.shape)} for {X.shape[0]} samples; one label a sample "
            "is needed"
        )
    if given.dtype.is_floating_point or given.dtype == torch.bool:
        raise ValueError(f"labels are {given.dtype}; integers are needed")
    if not np.isfinite(X).all():
        row = int(np.flatnonzero(~np.isfinite(X).all(1))[0])
        raise ValueError(f"inputs hold NaN or infinity, first in sample {row}; remove or repair it")
    y = np.asarray(given)
    if len(np.unique(y)) < 2:
        raise ValueError("labels name one class; at least two are needed")
    return X, y


def _layer(first: Any, dim: int, seed: int) -> Any:
    """A as given, or drawn."""
    if isinstance(first, int):
        if first < 1:
            raise ValueError(f"first={first}; a width of at least 1 is needed")
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randn(first, dim, generator=generator, dtype=torch.float64)
        return (drawn * math.sqrt(2 / dim)).numpy()
    A = np.asarray(torch.as_tensor(first).detach().cpu().to(torch.float64))
    if A.ndim != 2 or A.shape[1] != dim or not np.isfinite(A).all():
        raise ValueError(
            f"the first layer has shape {A.shape}; finite numbers (width, {dim}) are needed"
        )
    return A


def _positive(weight_decay: float, feature_decay: float) -> float:
    if not (weight_decay > 0 and feature_decay > 0):
        raise ValueError(
            f"weight_decay={weight_decay}, feature_decay={feature_decay}; both must be positive"
        )
    return weight_decay * feature_decay
