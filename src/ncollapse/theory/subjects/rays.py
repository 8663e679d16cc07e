"""Where gradient flow from small weights leaves a two-layer ReLU network on separable data: rays.

On orthogonally separable data (inner products positive within classes, negative across) class k
ends on one direction φ_k with features h_i = s_k ⟨u_k, x_i⟩ φ_k, u_k the max-margin direction of
class k alone:

    γ_k = max over ‖u‖ = 1 of min over i in class k of ⟨u, x_i⟩.

So directions collapse and lengths do not: what is left of NC1 is the spread of ⟨u_k, x_i⟩.
Source: Min, Zhu, Vidal 2025 (text read; the displayed formulas were lost in the copy).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.theory.subjects.shallow import checked_data

# A hull's distance to the origin below this share of its longest sample is rounding.
NOTHING = 1e-9


@dataclass(frozen=True, eq=False)
class NormLaw:
    """Lengths of features against ⟨u_k, x_i⟩, class by class.

    directions: u_k (K, d), unit. margins: γ_k. projections: ⟨u_y, x_i⟩ of every sample (N).
    correlation: per class corr(‖h_i‖, ⟨u_k, x_i⟩), NaN where either is constant. predicted_cv,
    measured_cv: std/mean (ddof = 0) of ⟨u_k, x_i⟩ and of ‖h_i‖.
    """

    directions: Float[Tensor, "classes dim"]
    margins: Float[Tensor, " classes"]
    projections: Float[Tensor, " samples"]
    correlation: Float[Tensor, " classes"]
    predicted_cv: Float[Tensor, " classes"]
    measured_cv: Float[Tensor, " classes"]


def class_margin(inputs: Any) -> tuple[Float[Tensor, " dim"], float]:
    """(u, γ) of one class's inputs (n, d): γ = max_{‖u‖=1} min_i ⟨u, x_i⟩ > 0.

    u points to the point of the convex hull that is nearest to the origin, found by non-negative
    least squares: min_{a≥0} ‖Σ a_i x_i‖² + (Σ a_i - 1)² is reached at a multiple of it. Raises
    ValueError where the hull holds the origin: no direction has a positive margin then.
    """
    from scipy.optimize import nnls

    X = np.asarray(torch.as_tensor(inputs).detach().cpu().to(torch.float64))
    size = float(np.linalg.norm(X, axis=1).max()) or 1.0
    rows = X / size
    share, _ = nnls(
        np.vstack([rows.T, np.ones(len(rows))]), np.append(np.zeros(rows.shape[1]), 1.0)
    )
    point = share @ rows / max(share.sum(), np.finfo(float).tiny)
    length = float(np.linalg.norm(point))
    if length < NOTHING:
        raise ValueError(
            "the convex hull of the inputs holds the origin, so no direction has a positive "
            "margin; inputs on one side of a plane are needed"
        )
    u = point / length
    return torch.from_numpy(u), float((X @ u).min())


def norm_law(inputs: Any, features: Any, labels: Any) -> NormLaw:
    """How far lengths of features (N, m) follow ⟨u_k, x_i⟩ of their inputs (N, d).

    Classes are the labels that occur, in order. Raises ValueError for shapes that disagree, NaN,
    one class, and a class whose inputs are not on one side of a plane through the origin.
    """
    X, y = checked_data(inputs, labels)
    H, _ = checked_data(features, labels)
    norms = np.linalg.norm(H, axis=1)
    names = np.unique(y)
    seen, along = [], np.zeros(len(y))
    for name in names:
        mine = y == name
        try:
            u, margin = class_margin(X[mine])
        except ValueError as error:
            raise ValueError(f"class {name}: {error}") from None
        along[mine] = X[mine] @ u.numpy()
        pair = along[mine], norms[mine]
        seen.append((u, margin, _correlation(*pair), *(float(v.std() / v.mean()) for v in pair)))
    directions, *columns = zip(*seen, strict=True)
    numbers = [torch.tensor(column, dtype=torch.float64) for column in columns]
    margins, correlation, predicted, measured = numbers
    return NormLaw(
        torch.stack(directions),
        margins,
        torch.from_numpy(along),
        correlation,
        predicted,
        measured,
    )


def _correlation(a: Any, b: Any) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size > 0 else float("nan")
