"""What losses say of themselves to theory, against their own values and derivatives."""

from __future__ import annotations

import math

import pytest
import torch

from ncollapse.losses import (
    CrossEntropy,
    DotRegression,
    Focal,
    LogitLoss,
    MeanSquaredError,
    RescaledSquaredError,
    SupervisedContrastive,
)
from ncollapse.theory.problems.counted import check_loss

K = 4
LOSSES = [
    CrossEntropy(),
    CrossEntropy(smoothing=0.2),
    CrossEntropy(shift=(0.3, 0.3, 0.0, 0.7)),
    MeanSquaredError(),
    RescaledSquaredError(3.0, 2.0),
    RescaledSquaredError(1.0, 2.0),
    Focal(0.0),
    Focal(2.0),
    DotRegression(2.0, 1.5),
]
every = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)


@pytest.fixture
def logits(rng):
    return torch.from_numpy(rng.standard_normal((50, K)))


@pytest.fixture
def labels():
    return torch.arange(50) % K


@every
def test_the_pull_is_the_derivative_between_equal_logits(loss, logits) -> None:
    """∂ℓ/∂z_1 - ∂ℓ/∂z_0 at z_0 = z_1 for a sample of class 0."""
    for z in logits[:10]:
        z[1] = z[0]
        slope = torch.func.grad(lambda z: loss(z[None], torch.tensor([0]))[0])(z)
        shown = z if loss.shift is None else z + torch.tensor(loss.shift)
        found = loss.pull(confidence=float(shown.softmax(0)[0]), logit=float(z[0]))
        if found is None:
            assert not loss.sees_others
        else:
            assert found == pytest.approx(float(slope[1] - slope[0]), abs=1e-12)


def test_a_pull_that_depends_on_logits_is_none_without_them() -> None:
    assert Focal(2.0).pull() is None and Focal(2.0).pull(logit=0.0) is None
    assert RescaledSquaredError(3.0, 2.0).pull() is None
    assert RescaledSquaredError(3.0, 2.0).pull(logit=0.0) == 6.0
    assert RescaledSquaredError(1.0, 2.0).pull() == 2.0
    assert CrossEntropy(smoothing=0.25).pull() == 0.75
    assert MeanSquaredError().pull() == 1.0


@every
def test_softmax_means_blind_to_a_common_shift(loss, logits, labels) -> None:
    same = torch.allclose(loss(logits, labels), loss(logits + 1.5, labels), rtol=0, atol=1e-12)
    assert same is loss.softmax


@every
def test_sees_others_means_that_other_logits_count(loss, logits, labels) -> None:
    moved = logits.clone()
    moved[torch.arange(50), (labels + 1) % K] += 0.5
    same = torch.equal(loss(logits, labels), loss(moved, labels))
    assert same is not loss.sees_others


@every
def test_convex_means_below_its_chords(loss, rng, labels) -> None:
    one, two = torch.from_numpy(6 * rng.standard_normal((2, 50, K)))
    chord = (loss(one, labels) + loss(two, labels)) / 2
    below = loss((one + two) / 2, labels) <= chord + 1e-12
    assert bool(below.all()) is (loss.convex or loss == Focal(0.0))


@every
def test_the_convex_loss_of_the_same_order_sorts_alike(loss, logits) -> None:
    twin, labels = loss.same_order, torch.zeros(50, dtype=torch.int64)
    assert twin.convex
    assert torch.equal(loss(logits, labels).argsort(), twin(logits, labels).argsort())


def test_entries_must_match_the_classes_and_unknown_losses_are_refused() -> None:
    class Own:
        name, weight = "own", None

        def __call__(self, logits, labels):
            return logits.sum(1)

    assert check_loss(Focal(), 3) == Focal()
    assert isinstance(check_loss(DotRegression(), 3, fixed=True), LogitLoss)
    for loss, said in (
        (CrossEntropy(weight=(1.0, 2.0)), "weight has 2 entries and there are 3 classes"),
        (CrossEntropy(scale=(1.0, 2.0)), "scale has 2 entries"),
        (CrossEntropy(shift=(1.0,) * 4), "shift has 4 entries"),
        (DotRegression(), "sees own logits only"),
        (SupervisedContrastive(), "reads features"),
        (Own(), "does not predict for own"),
    ):
        with pytest.raises(ValueError, match=said):
            check_loss(loss, 3)


def test_what_it_says_are_no_fields() -> None:
    """Equality, repr and the document of a loss hold its parameters alone."""
    assert repr(Focal(1.0)) == "Focal(gamma=1.0, weight=None)"
    assert CrossEntropy() != Focal(0.0)
    assert math.isclose(DotRegression(4.0, 9.0).target, 6.0)
