"""Critical points by search: Levenberg-Marquardt on ∇f = 0, all starts of a problem at once.

Descent ends at minimisers only; going down the norm of the gradient instead ends at saddles too.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.theory.problems.objective import Objective
from ncollapse.theory.problems.ufm import UFM

# A point is critical when no entry of its gradient exceeds this.
CRITICAL = 1e-9
# Damping beyond which no step helps any more.
LARGEST = 1e12
# One start in this many is meant for a descent of f itself.
DESCENDS = 4


def starts(
    objective: Objective, count: int, scales: Sequence[float], seed: int
) -> Float[Tensor, "starts variables"]:
    """Random starts of every rank 1 … d and every scale in turn: columns beyond the rank are zero,
    and stay so; the bias of a start is as large as the rest. Those that will descend have full
    rank."""
    generator = torch.Generator().manual_seed(seed)
    flats = torch.randn(count, objective.size, generator=generator, dtype=torch.float64)
    width = objective.width
    rows = objective.problem.num_classes + sum(objective.rows)
    for number in range(count):
        both = flats[number, : rows * width].view(rows, width)
        if number % DESCENDS:
            both[:, 1 + number % width :] = 0
        flats[number] *= scales[(number // DESCENDS) % len(scales)]
    return flats


def values(
    objective: Objective, flats: Float[Tensor, "starts variables"]
) -> Float[Tensor, " starts"]:
    """f at every row: what `objective.value` gives, of a UFM whose bias is free or none; with one
    feature a class too."""
    problem, many = objective.problem, len(flats)
    assert isinstance(problem, UFM)
    K, rows, width = problem.num_classes, sum(objective.rows), objective.width
    weight = flats[:, : K * width].reshape(many, K, width)
    features = flats[:, K * width : (K + rows) * width].reshape(many, rows, width)
    copies = torch.ones(rows, dtype=flats.dtype) if objective.copies is None else objective.copies
    if objective.copies is not None:
        of_weight, of_features = problem.units(objective.copies)
        weight, features = of_weight * weight, of_features * features
    logits = features @ weight.mT
    if objective.has_bias:
        logits = logits + flats[:, None, (K + rows) * width :]
    losses = problem.losses(logits.reshape(many * rows, K), objective.labels.repeat(many))
    energies = problem.weight_decay * weight.square().sum((1, 2))
    energies = energies + problem.feature_decay * (features.square().sum(2) @ copies)
    return losses.reshape(many, rows) @ copies / problem.num_samples + energies / 2


def derivatives(
    objective: Objective, flats: Float[Tensor, "starts variables"], second: bool = True
) -> tuple[Float[Tensor, "starts variables"], Float[Tensor, "starts variables variables"] | None]:
    """∇f at every row, and ∇²f or None: rows do not meet, so one pass serves all of them."""
    leaf = flats.detach().clone().requires_grad_(True)
    (first,) = torch.autograd.grad(values(objective, leaf).sum(), leaf, create_graph=second)
    if not second:
        return first, None
    columns = [
        torch.autograd.grad(first[:, place].sum(), leaf, retain_graph=True)[0]
        for place in range(objective.size)
    ]
    return first.detach(), torch.stack(columns, 2)


def settle(
    objective: Objective, flats: Float[Tensor, "starts variables"], steps: int
) -> Float[Tensor, "starts variables"]:
    """Levenberg-Marquardt on ∇f = 0 from every row: x - (∇²f² + μ)⁻¹ ∇²f ∇f, with μ in proportion
    to ‖∇f‖² (fast also where rotations leave f alone), a step kept only if ‖∇f‖ falls."""
    flats = flats.clone()
    damping = torch.ones(len(flats), dtype=torch.float64)
    gradients, _ = derivatives(objective, flats, second=False)
    for _ in range(steps):
        running = (gradients.abs().amax(1) > CRITICAL / 100) & (damping < LARGEST)
        at = running.nonzero().flatten()
        if not at.numel():
            break
        sizes = gradients[at].norm(dim=1)
        _, curvature = derivatives(objective, flats[at])
        assert curvature is not None
        spectrum, vectors = torch.linalg.eigh(curvature)
        inside = (vectors.mT @ gradients[at, :, None])[:, :, 0]
        scaled = spectrum / (spectrum.square() + (damping[at] * sizes.square())[:, None])
        moved = flats[at] - (vectors @ (scaled * inside)[:, :, None])[:, :, 0]
        there, _ = derivatives(objective, moved, second=False)
        better = there.norm(dim=1) < sizes
        flats[at[better]], gradients[at[better]] = moved[better], there[better]
        damping[at] = torch.where(better, damping[at] / 3, damping[at] * 4).clamp_min(1e-6)
    return flats
