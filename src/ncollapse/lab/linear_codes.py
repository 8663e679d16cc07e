"""Deep linear features under cross-entropy: which code, of what rank, a random start ends at.

Objective, one sample a class: (1/K) Σ_k CE(Z e_k, k) + λ/2 (Σ_m ‖W_m‖² + ‖H‖²), Z = W_M ⋯ W_1 H.
The least decay of a given Z is λ (M+1)/2 Σ σ_i(Z)^{2/(M+1)}: the nuclear norm for one matrix, which
the simplex minimises, and nearer to counting ranks the more matrices there are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from scipy.optimize import minimize
from torch import Tensor
from torch.nn import functional

from ncollapse.lab.study import Plan

# Ranks count singular values above this share of the largest.
ROOT = 1e-2


def decay_for(classes: int, matrices: int, fit: float) -> tuple[float, float]:
    """(λ, g): the decay under which the best simplex has the cross-entropy `fit`, and its gap g
    between own and other logits: (K-1) e^{-g} = e^fit - 1, λ = e^{-g-fit} g^{1-2/(M+1)}."""
    gap = math.log((classes - 1) / math.expm1(fit))
    return math.exp(-gap - fit) * gap ** (1 - 2 / (matrices + 1)), gap


def simplex_value(classes: int, matrices: int, fit: float) -> float:
    """The objective of that simplex."""
    decay, gap = decay_for(classes, matrices, fit)
    power = 2 / (matrices + 1)
    return fit + decay / power * (classes - 1) * gap**power


def descended(
    classes: int, matrices: int, width: int, fit: float, seed: int, *, steps: int
) -> dict[str, Any]:
    """Where L-BFGS ends from factors of normal entries of variance 1/width: `ratio` of the
    objective to the simplex's, `fit`, `rank` and `participation` (Σσ)²/Σσ² of the class means of
    what enters the last matrix, about their mean; 9 of ten classes for the simplex."""
    shapes = [(width, classes), *[(width, width)] * (matrices - 1), (classes, width)]
    sizes = [rows * columns for rows, columns in shapes]
    decay, _ = decay_for(classes, matrices, fit)
    labels = torch.arange(classes)

    def factors(flat: Tensor) -> list[Tensor]:
        parts = flat.split(sizes)
        return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]

    def product(parts: list[Tensor]) -> Tensor:
        found = parts[0]
        for part in parts[1:]:
            found = part @ found
        return found

    def objective(values: Any) -> tuple[float, Any]:
        flat = torch.tensor(values, requires_grad=True)
        loss = functional.cross_entropy(product(factors(flat)).T, labels)
        loss = loss + decay / 2 * flat.square().sum()
        loss.backward()
        assert flat.grad is not None
        return loss.item(), flat.grad.numpy()

    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(sum(sizes), generator=generator, dtype=torch.float64) / width**0.5
    options = {"maxiter": steps, "maxfun": 2 * steps, "ftol": 1e-14, "gtol": 1e-9}
    found = minimize(objective, start.numpy(), jac=True, method="L-BFGS-B", options=options)
    parts = factors(torch.tensor(found.x))
    means = product(parts[:-1]).T
    values = torch.linalg.svdvals(means - means.mean(0))
    return {
        "matrices": matrices,
        "width": width,
        "ratio": float(found.fun) / simplex_value(classes, matrices, fit),
        "fit": float(functional.cross_entropy(product(parts).T, labels)),
        "rank": int((values > ROOT * values[0]).sum()),
        "participation": float(values.sum() ** 2 / values.square().sum()),
        "steps": int(found.nit),
    }


def descents(plan: Plan, classes: int, fit: float, seed: int) -> list[dict[str, Any]]:
    """`descended` for each number of matrices, widths K, 2K and 8K, and start."""
    return [
        descended(classes, matrices, times * classes, fit, 1000 * seed + start, steps=3000)
        for matrices in plan["matrices"]
        for times in (1, 2, 8)
        for start in range(plan["starts"])
    ]


def across(rows: Sequence[Mapping[str, Any]], classes: int, fit: float) -> dict[str, float]:
    """The numbers of the contradictions study by claim, of many `descended`."""
    one = [row["ratio"] for row in rows if row["matrices"] == 1]
    more = [max(row["ratio"], row["fit"] / fit) for row in rows if row["matrices"] > 1]
    four = [row["participation"] for row in rows if row["matrices"] >= 4]
    wide, narrow = (
        [r["participation"] for r in rows if r["matrices"] >= 3 and r["width"] == times * classes]
        for times in (8, 1)
    )
    return {
        "contradictions-depth-one": max(one, key=lambda ratio: abs(ratio - 1)),
        "contradictions-depth-more": max(more),
        "contradictions-depth-rank": max(four),
        "contradictions-depth-width": sum(wide) / len(wide) / (sum(narrow) / len(narrow)),
    }
