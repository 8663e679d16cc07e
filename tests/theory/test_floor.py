"""The least loss that norms allow: below every point, reached at the optimum, convex and falling."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from ncollapse.losses import CrossEntropy, Focal, MeanSquaredError
from ncollapse.theory import LPM, UFM, solve
from ncollapse.theory.subjects.floor import LossFloor

COUNTS = (30, 30, 12, 5)
LOSSES = [
    CrossEntropy(),
    CrossEntropy(0.1),
    CrossEntropy(weight=(1.0, 2.0, 1.0, 3.0)),
    MeanSquaredError(),
]


def norms(W: torch.Tensor, H: torch.Tensor) -> float:
    """T = ‖W‖_F √(Σ ‖h_i‖²/N)."""
    return float(W.norm() * H.norm() / math.sqrt(len(H)))


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
@pytest.mark.parametrize("bias", [True, False])
def test_no_point_has_less_loss_than_its_norms_allow(loss, bias: bool) -> None:
    floor = LossFloor(COUNTS, loss, bias=bias)
    y = torch.repeat_interleave(torch.arange(4), torch.tensor(COUNTS))
    generator = torch.Generator().manual_seed(0)
    sizes = []
    for trial in range(24):
        W = torch.randn(4, 6, generator=generator, dtype=torch.float64)
        # From noise to a head along its own means, at lengths from .01 to 30.
        H = (trial / 24) * W[y] + torch.randn(len(y), 6, generator=generator).double() / (1 + trial)
        W, H = W * 10 ** (-1 + trial / 12), H * 10 ** (-1 + trial / 24)
        b = torch.randn(4, generator=generator, dtype=torch.float64) if bias else 0.0
        value = float(loss(H @ W.T + b, y).mean())
        found = floor.at(norms(W, H))
        assert found.lower <= found.upper and found.lower <= value * (1 + 1e-12)
        sizes.append(norms(W, H))
    known = floor.solved
    values = [floor.at(size).lower for size in sorted(sizes)]
    assert floor.solved <= known + 2
    assert all(later <= before for before, later in pairwise(values))


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
@pytest.mark.parametrize("bias", ["free", "none"])
def test_the_optimum_of_any_decay_has_no_more_loss_than_its_norms_allow(loss, bias: str) -> None:
    problem = UFM(COUNTS, weight_decay=2e-3, feature_decay=1e-4, loss=loss, bias=bias)
    best = solve(problem, tolerance=1e-12)
    g = best.geometry
    root = torch.tensor(COUNTS).double().sqrt()
    size = float(g.weight.norm() * (g.means * root[:, None]).norm()) / math.sqrt(sum(COUNTS))
    value = best.objective - problem.tau * size
    found = LossFloor(COUNTS, loss, bias=bias == "free").at(size, 1e-6)
    assert found.lower == pytest.approx(value, rel=1e-5) and found.lower <= value * (1 + 1e-9)
    assert found.upper == pytest.approx(value, rel=1e-5)
    # Along the line of its own τ: the gap to weight decay is the gap of the loss.
    assert found.tau == pytest.approx(problem.tau, rel=0.1)


def test_balanced_classes_have_the_floor_of_the_peeled_model() -> None:
    for energy in (0.5, 2.0, 10.0):
        peeled = solve(LPM((20,) * 5, weight_energy=energy, feature_energy=1.0)).objective
        # ‖W‖² = 5 E_W and the mean of ‖h‖² is E_H.
        found = LossFloor((20,) * 5, CrossEntropy(), bias=False).at(math.sqrt(5 * energy))
        assert found.lower == pytest.approx(peeled, rel=2e-4)


def test_many_distinct_counts_have_bounds_too() -> None:
    counts = np.arange(20, 100)
    floor = LossFloor(counts.tolist(), CrossEntropy())
    for size in (3.0, 12.0):
        found = floor.at(size)
        assert found.lower <= found.upper <= 1.005 * found.lower


def test_what_has_no_floor_is_refused() -> None:
    with pytest.raises(ValueError, match="not convex"):
        LossFloor(COUNTS, Focal(2.0))
    with pytest.raises(ValueError, match="class 1 has no sample"):
        LossFloor((3, 0), CrossEntropy())
    with pytest.raises(ValueError, match="no number"):
        LossFloor(COUNTS, CrossEntropy()).at(-1.0)
    assert LossFloor((5,) * 4, CrossEntropy()).at(0.0).lower == pytest.approx(math.log(4))


def test_what_is_nothing_beside_a_loss_takes_no_solution() -> None:
    """The tolerance is of the loss that the floor is compared with; bounds hold as ever, and the
    fitted τ is that of the curve."""
    exact = LossFloor(COUNTS, CrossEntropy())
    size = 60.0
    whole = exact.at(size, 1e-8)
    loose = LossFloor(COUNTS, CrossEntropy())
    found = loose.at(size, 1e-4, beside=1.0)
    assert 0 < loose.solved < exact.solved
    assert found.lower <= whole.upper and whole.lower <= found.upper <= found.lower + 1e-4
    before = loose.solved
    loose.at(2 * size, 1e-4, beside=1.0)
    assert loose.solved == before
    # A loss that is below φ changes nothing.
    low = LossFloor(COUNTS, CrossEntropy()).at(2.0, 1e-6, beside=1e-9)
    assert low.upper - low.lower <= 1e-6 * low.upper
    assert exact.fitted(2.0) == pytest.approx(low.tau, rel=0.5)
    sizes = [0.5, 1.0, 2.0, 10.0, 30.0, size]
    taus = [exact.fitted(one) for one in sizes]
    assert all(a > b > 0 for a, b in pairwise(taus)) and exact.fitted(5 * size) == 0
