"""Grouped losses against the plain ones, by automatic differentiation, and their conjugates."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ncollapse.losses import (
    CrossEntropy,
    DotRegression,
    Focal,
    MeanSquaredError,
    RescaledSquaredError,
)
from ncollapse.theory.solvers.blocks import Groups
from ncollapse.theory.solvers.forms.focal import GroupedFocal
from ncollapse.theory.solvers.grouped import grouped, sole

COUNTS = (9, 4, 9, 4, 4, 2)
BY_COUNT = {9: 0.4, 4: 1.3, 2: 0.8}
LOSSES = [
    CrossEntropy(),
    CrossEntropy(smoothing=0.2),
    CrossEntropy(shift=tuple(BY_COUNT[n] for n in COUNTS)),
    CrossEntropy(smoothing=0.1, scale=tuple(BY_COUNT[n] for n in COUNTS)),
    CrossEntropy(
        scale=tuple(BY_COUNT[n] for n in COUNTS), shift=tuple(-BY_COUNT[n] for n in COUNTS)
    ),
    MeanSquaredError(),
    RescaledSquaredError(3.0, 2.0),
    Focal(0.0),
    Focal(1.0),
    Focal(3.0),
    DotRegression(2.0, 0.5),
]


def setting(loss, *, merge=True):
    groups = Groups.of(
        COUNTS, None, getattr(loss, "scale", None), getattr(loss, "shift", None), merge=merge
    )
    return groups, grouped(loss, groups)


def spread_out(groups, own, others, group):
    """A full row of logits for a sample of the group's first class, and that class."""
    own, others = torch.as_tensor(own), torch.as_tensor(others)
    me = int(groups.members(group)[0])
    row = others[torch.as_tensor(groups.index), group].clone()
    row[me] = own[group]
    return row, me


def logits(groups, rng, lift=0.0):
    own = rng.standard_normal(groups.number) + lift
    others = rng.standard_normal((groups.number, groups.number))
    alone = ~groups.several
    others[np.diag_indices(groups.number)] = np.where(alone, own, np.diag(others))
    return own, others


@pytest.mark.parametrize("loss", LOSSES, ids=lambda x: x.name)
def test_value_gradient_and_curvature_are_those_of_the_loss(loss, rng) -> None:
    groups, form = setting(loss)
    own, others = logits(groups, rng, lift=2.0)
    values, by_own, by_others = form.gradient(own, others)
    np.testing.assert_allclose(values, form.value(own, others), atol=1e-14)
    np.testing.assert_allclose(values, form.exact(own, others), atol=1e-14)
    direction = logits(groups, rng)
    moved = form.curvature(own, others).product(*direction)
    for group in range(groups.number):
        row, me = spread_out(groups, own, others, group)
        along, _ = spread_out(groups, *direction, group)

        def one(z, me=me):
            return loss(z[None], torch.tensor([me]))[0]

        assert float(one(row)) == pytest.approx(values[group], abs=1e-13)
        slope = torch.func.grad(one)(row).numpy()
        bend = (torch.func.hessian(one)(row) @ along).numpy()
        for mine, full in ((by_own, slope), (moved[0], bend)):
            assert full[me] == pytest.approx(mine[group], abs=1e-12)
        for mine, full in ((by_others, slope), (moved[1], bend)):
            rest = np.delete(full, me)
            sums = np.bincount(np.delete(groups.index, me), weights=rest, minlength=groups.number)
            np.testing.assert_allclose(mine[:, group], sums, atol=1e-12)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda x: x.name)
def test_bias_hessian_is_the_sum_over_classes(loss, rng) -> None:
    groups, form = setting(loss)
    own, others = logits(groups, rng, lift=2.0)
    mass = rng.uniform(0.5, 1.5, groups.number)
    index = torch.as_tensor(groups.index)

    def total(bias):
        value = 0.0
        for group in range(groups.number):
            row, me = spread_out(groups, own, others, group)
            value = value + mass[group] * loss((row + bias[index])[None], torch.tensor([me]))[0]
        return value

    expected = torch.func.hessian(total)(torch.zeros(groups.number, dtype=torch.float64))
    np.testing.assert_allclose(
        form.curvature(own, others).of_bias(mass), expected.numpy(), atol=1e-12
    )


@pytest.mark.parametrize("loss", LOSSES, ids=lambda x: x.name)
def test_fenchel_young(loss, rng) -> None:
    """ℓ(z) + ℓ*(q) ≥ q·z with equality at q = ∇ℓ(z): at the same point and against others."""
    groups, form = setting(loss)
    for _ in range(20):
        own, others = logits(groups, rng, lift=1.0)
        value, by_own, by_others = form.gradient(own, others)
        dual = form.conjugate(by_own, by_others)
        equal = by_own * own + (by_others * others).sum(0)
        np.testing.assert_allclose(value + dual, equal, atol=1e-11)
        other_own, other_others = logits(groups, rng)
        product = by_own * other_own + (by_others * other_others).sum(0)
        assert (form.value(other_own, other_others) + dual >= product - 1e-11).all()


@pytest.mark.parametrize("loss", LOSSES, ids=lambda x: x.name)
def test_sample_gradients_are_those_of_the_loss(loss, rng) -> None:
    form = sole(loss, len(COUNTS))
    labels = np.array([0, 3, 5, 5])
    rows = rng.standard_normal((4, len(COUNTS)))
    # Where p_y is large the focal loss is its envelope.
    rows[np.arange(4), labels] += 4.0
    leaf = torch.tensor(rows, requires_grad=True)
    (wanted,) = torch.autograd.grad(loss(leaf, torch.tensor(labels)).sum(), leaf)
    np.testing.assert_allclose(form.sample_gradients(rows, labels), wanted, atol=1e-12)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda x: x.name)
def test_a_loss_lies_above_what_the_order_promises(loss, rng) -> None:
    """With v the convex function that ℓ increases with, ℓ(x) ≥ ℓ where v(z) + ∇v·(x - z) lies."""
    form = sole(loss, len(COUNTS))
    for _ in range(20):
        z, x = rng.standard_normal((2, len(COUNTS), len(COUNTS)))
        by_own, by_others = form.order_gradient(np.diagonal(z), z)
        full = np.array(by_others)
        np.fill_diagonal(full, by_own)
        below = form.lowered(np.diagonal(z), z, -(full * (x - z)).sum(0))
        assert (form.exact(np.diagonal(x), x) >= below - 1e-12).all()


def test_focal_envelope_is_below_the_loss_and_convex(rng) -> None:
    """p₀ = 0.118, 0.163, 0.167, 0.152 for γ = 1, 2, 3, 5."""
    groups = Groups.of(COUNTS)
    for gamma, smallest in ((1, 0.118), (2, 0.163), (3, 0.167), (5, 0.152)):
        form = GroupedFocal(float(gamma), groups)
        assert form.smallest_probability == pytest.approx(smallest, abs=5e-4)
        others = np.zeros((groups.number, groups.number))
        line = np.linspace(-8, 12, 1001)
        values = np.array([form.value(np.full(groups.number, -s), others)[0] for s in line])
        exact = np.array([form.exact(np.full(groups.number, -s), others)[0] for s in line])
        assert (values <= exact + 1e-13).all()
        assert (np.diff(values, 2) >= -1e-12).all()
        inside = line + np.log(len(COUNTS) - 1) <= form.end
        np.testing.assert_allclose(values[inside], exact[inside], atol=1e-13)


@pytest.mark.parametrize("gamma", [1.0, 2.0])
def test_focal_conjugate_is_infinite_beyond_slope_one(gamma) -> None:
    groups = Groups.of((3, 2))
    form = GroupedFocal(gamma, groups)
    others = np.array([[0.0, 1.1], [1.1, 0.0]])
    assert np.isinf(form.conjugate(np.array([-1.1, -1.1]), others)).all()


def test_an_unknown_loss_is_refused() -> None:
    class Other:
        name, weight = "other", None

        def __call__(self, logits, labels):
            return logits.sum(1)

    with pytest.raises(ValueError, match="grouped form"):
        grouped(Other(), Groups.of((3, 2)))
