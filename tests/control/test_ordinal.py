"""Cumulative links against many digits, the ordinal head and loss, and what they refuse."""

from __future__ import annotations

import copy
import pickle

import mpmath
import pytest
import torch
from torch import nn

import ncollapse as nc
from ncollapse.control import OrdinalHead, OrdinalLoss
from ncollapse.links import (
    LINKS,
    SYMMETRIC,
    CumulativeLink,
    check_thresholds,
    derivatives,
    limits,
    log_interval,
    log_probabilities,
    spaced,
)

B = (-6.0, -2.0, 0.0, 3.0, 6.0)
mpmath.mp.dps = 250
DISTRIBUTION = {
    "logit": lambda x: 1 / (1 + mpmath.exp(-x)),
    "probit": lambda x: mpmath.erfc(-x / mpmath.sqrt(2)) / 2,
    "cloglog": lambda x: 1 - mpmath.exp(-mpmath.exp(x)),
    "loglog": lambda x: mpmath.exp(-mpmath.exp(-x)),
}


def double(*values: float):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("width", [1e-9, 0.01, 4.0, 12.0])
def test_intervals_keep_their_digits_in_both_tails(link: str, width: float) -> None:
    g = DISTRIBUTION[link]
    # At e^6 the double exponential of the other links leaves any number of digits.
    reach = (-30.0, -5.0, -0.3, 0.0, 0.7, 5.0, 30.0) if link in SYMMETRIC else (-5.0, 0.0, 5.0)
    for low in reach:
        exact = mpmath.log(g(mpmath.mpf(low) + mpmath.mpf(width)) - g(mpmath.mpf(low)))
        found = float(log_interval(link, double(low), double(width)))
        assert found == pytest.approx(float(exact), rel=1e-9), low


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_losses_and_gradients_are_finite_far_out(link: str, dtype: torch.dtype) -> None:
    z = torch.tensor([-300.0, -80.0, 0.0, 80.0, 300.0], dtype=dtype, requires_grad=True)
    for grade in range(4):
        loss = CumulativeLink(B, link)(z, torch.full((5,), grade))
        assert bool(loss.isfinite().all()) and bool((loss >= 0).all())
        (slope,) = torch.autograd.grad(loss.sum(), z)
        assert bool(slope.isfinite().all())
        # Convex, and its least value lies inside: slopes rise from below 0 to above it.
        assert bool((slope.diff() >= 0).all()) and slope[0] < 0 < slope[-1]


@pytest.mark.parametrize("link", LINKS)
def test_chances_are_those_of_the_intervals(link: str) -> None:
    z = double(-3.0, 0.4, 5.0)
    found = log_probabilities(link, torch.tensor(B, dtype=torch.float64), z).exp()
    assert found.shape == (3, 4)
    for row, score in zip(found.tolist(), z.tolist(), strict=True):
        ends = [DISTRIBUTION[link](mpmath.mpf(b - score)) for b in B]
        for q in range(4):
            assert row[q] == pytest.approx(float(ends[q + 1] - ends[q]), rel=1e-12)
        # What is missing of 1 lies beyond the ends.
        assert sum(row) == pytest.approx(float(ends[-1] - ends[0]), rel=1e-12)


@pytest.mark.parametrize("link", LINKS)
def test_slopes_and_curvatures_are_those_of_autograd(link: str) -> None:
    ends = torch.tensor(B, dtype=torch.float64)
    z = double(-5.0, -0.4, 1.0, 3.0).requires_grad_()
    value, slope, bend = derivatives(link, ends, z)
    loss = CumulativeLink(B, link)(z, torch.arange(4))
    (first,) = torch.autograd.grad(loss.sum(), z, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), z)
    torch.testing.assert_close(value, loss)
    torch.testing.assert_close(slope, first)
    torch.testing.assert_close(bend, second)
    assert bool((bend > 0).all())


@pytest.mark.parametrize("link", LINKS)
def test_limits_are_where_the_loss_is_least(link: str) -> None:
    ends = torch.tensor((-6.0, -5.999, 0.0, 3.0, 40.0), dtype=torch.float64)
    place = limits(link, ends)
    _, slope, bend = derivatives(link, ends, place)
    # The root, to rounding of the slope on the scale of the curvature.
    assert bool((slope.abs() <= 1e-9 * bend.sqrt().clamp_min(1)).all())
    if link in SYMMETRIC:
        torch.testing.assert_close(place, (ends[1:] + ends[:-1]) / 2)
    mirror = {"cloglog": "loglog", "loglog": "cloglog"}.get(link, link)
    torch.testing.assert_close(limits(mirror, -ends.flip(0)), -place.flip(0))


# ---- head and loss ------------------------------------------------------------------------------
@pytest.mark.parametrize("learn", [False, True])
def test_a_head_is_a_module_whose_loss_is_that_of_its_thresholds(learn: bool) -> None:
    head = OrdinalHead(6, 4, thresholds=B, learn_thresholds=learn).double()
    h, y = (
        torch.randn(9, 6, generator=torch.Generator().manual_seed(1)).double(),
        torch.arange(9) % 4,
    )
    z = head(h)
    assert z.shape == (9, 1) and head.weight.shape == (1, 6)
    # The increments were float32 once.
    exact = torch.tensor(B, dtype=torch.float64)
    torch.testing.assert_close(head.thresholds, exact, atol=1e-6, rtol=0)
    loss = OrdinalLoss(head)
    torch.testing.assert_close(loss(z, y), OrdinalLoss(B)(z, y), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(loss(z[:, 0], y), loss(z, y))
    torch.testing.assert_close(loss(z, y), -head.log_probabilities(z)[range(9), y].mean())
    assert float(loss(z[:0], y[:0]).detach()) == 0
    assert len(list(head.parameters())) == 1 + learn and not list(loss.parameters())
    again = pickle.loads(pickle.dumps(head))
    torch.testing.assert_close(again.thresholds, head.thresholds)
    other = OrdinalHead(6, 4, learn_thresholds=learn).double()
    other.load_state_dict(head.state_dict())
    torch.testing.assert_close(other.thresholds, head.thresholds)
    assert set(head.decide(torch.tensor([-5.0, -1.0, 1.0, 5.0])).tolist()) == {0, 1, 2, 3}


def test_learned_thresholds_keep_their_ends_and_their_order() -> None:
    head = OrdinalHead(3, 5, learn_thresholds=True)
    assert head.increments is not None
    with torch.no_grad():
        head.increments.copy_(torch.tensor([-200.0, 3.0, -90.0, 50.0, 0.0]))
    b = head.thresholds
    assert (float(b[0].detach()), float(b[-1].detach())) == (-10.0, 10.0)
    assert bool((b.diff() > 0).all())
    loss = OrdinalLoss(head)(head(torch.ones(4, 3)), torch.tensor([0, 1, 2, 4]))
    loss.backward()
    assert bool(loss.isfinite()) and bool(head.increments.grad.isfinite().all())
    copied = copy.deepcopy(head)
    torch.testing.assert_close(copied.thresholds, b)


def test_it_trains_to_the_middles_of_its_intervals() -> None:
    y = torch.arange(3).repeat(20)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 8), OrdinalHead(8, 3))
    x = nn.functional.one_hot(y, 3).float()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    loss = OrdinalLoss(model[1])
    for _ in range(300):
        optimizer.zero_grad()
        loss(model(x), y).backward()
        optimizer.step()
    z = model(x)[:3, 0].detach()
    torch.testing.assert_close(z, model[1].limits, atol=0.02, rtol=0)
    assert model[1].decide(model(x)).equal(y)


def test_half_precision_scores_lose_nothing_in_the_loss() -> None:
    z, y = torch.tensor([-40.0, 0.5, 33.0], dtype=torch.bfloat16), torch.tensor([3, 1, 0])
    found = OrdinalLoss(B)(z, y)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, OrdinalLoss(B)(z.double(), y).float())


# ---- bad input ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((-1.0, 1.0, 1.0, 2.0), r"must increase, and 1 \(number 2\) follows 1"),
        ((-1.0, 2.0, 1.0), "must increase"),
        ((float("-inf"), 0.0, float("inf")), "runs off along the latent line"),
        ((-1.0, float("nan"), 1.0), "NaN"),
        ((-1.0, 1.0), "2 grades lie between 3"),
    ],
)
def test_thresholds_that_do_not_serve_are_one_sentence(values, said: str) -> None:
    for refuse in (check_thresholds, OrdinalLoss, CumulativeLink):
        with pytest.raises(ValueError, match=said):
            refuse(values)


def test_other_bad_input_is_one_sentence() -> None:
    with pytest.raises(ValueError, match="5 thresholds were given; 3 grades lie between 4"):
        OrdinalHead(4, 3, thresholds=B)
    with pytest.raises(ValueError, match="at least 2"):
        OrdinalHead(4, 1)
    with pytest.raises(ValueError, match="width=0"):
        spaced(3, 0)
    with pytest.raises(ValueError, match="not log-concave"):
        OrdinalHead(4, 3, link="cauchit")
    with pytest.raises(ValueError, match="link='probits' is unknown; one of logit"):
        OrdinalLoss(B, "probits")
    head = OrdinalHead(4, 4)
    with pytest.raises(ValueError, match="beside a head"):
        OrdinalLoss(head, "probit")
    loss = OrdinalLoss(head)
    z = torch.zeros(3, 1)
    for labels, said in (
        (torch.tensor([0, 4, 1]), r"label 4 of sample 1 lies outside the 4 grades 0\.\.3"),
        (torch.tensor([0, 1, -1]), "label -1 of sample 2"),
        (torch.tensor([0, 1]), "2 labels for 3 samples"),
    ):
        with pytest.raises(ValueError, match=said):
            loss(z, labels)
        if labels.numel() == 3:
            with pytest.raises(ValueError, match=said):
                OrdinalLoss(B)(z, labels)
    with pytest.raises(ValueError, match="one latent score a sample"):
        loss(torch.zeros(3, 2), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="grades are integers"):
        CumulativeLink(B)(torch.zeros(3), torch.zeros(3))


def test_they_are_public() -> None:
    assert nc.control.OrdinalHead is OrdinalHead and nc.control.OrdinalLoss is OrdinalLoss
