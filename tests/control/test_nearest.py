"""The nearest simplex: best of many, right derivatives, and a head that follows its features."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from ncollapse.control import NearestFrameHead, nearest_simplex, simplex_frame
from ncollapse.control.frames import polar_factor, rotation
from ncollapse.linalg import unit_gap


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("K", "d"), [(4, 3), (5, 5), (5, 12)])
def test_it_is_a_simplex_and_the_best_of_many(K: int, d: int) -> None:
    rows = drawn(K, d)
    frame, basis = nearest_simplex(rows)
    wanted = (K * torch.eye(K, dtype=torch.float64) - 1) / (K - 1)
    torch.testing.assert_close(frame @ frame.T, wanted, rtol=0, atol=1e-13)
    torch.testing.assert_close(basis.T @ basis, torch.eye(K - 1, dtype=torch.float64))

    def distance(candidate: torch.Tensor) -> float:
        return float(((rows - candidate) ** 2).sum())

    start = simplex_frame(K, K - 1)
    others = [distance(start @ rotation(K - 1, d, seed)) for seed in range(500)]
    # Near ones too: small turns of the answer.
    for seed in range(200):
        turned = polar_factor(basis + 0.05 * drawn(d, K - 1, seed=seed))
        others.append(distance(frame @ basis @ turned.T))
    assert distance(frame) < min(others)


def test_the_proximal_term_is_part_of_the_minimum() -> None:
    K, d, delta = 4, 6, 0.7
    rows, before = drawn(K, d), rotation(K - 1, d, 3).T
    _, best = nearest_simplex(rows, before, delta)
    scale = (K - 1) ** -0.5
    lift = simplex_frame(K, K - 1) * (K / (K - 1)) ** -0.5
    # Bases of the complement of ones differ by a rotation, which the proximal term sees.
    frame, basis = nearest_simplex(rows)
    lift = (frame @ basis) * ((K - 1) / K) ** 0.5

    def cost(Q: torch.Tensor) -> float:
        first = ((rows - scale * lift @ Q.T) ** 2).sum()
        return float(first + delta / 2 * ((Q - before) ** 2).sum())

    assert all(cost(best) <= cost(rotation(K - 1, d, seed).T) for seed in range(300))
    near = (polar_factor(best + 0.02 * drawn(d, K - 1, seed=s)) for s in range(100))
    assert all(cost(best) <= cost(Q) + 1e-12 for Q in near)


def test_derivatives_are_those_of_finite_differences() -> None:
    before = rotation(4, 7, 1).T
    assert torch.autograd.gradcheck(polar_factor, drawn(7, 4).requires_grad_())
    assert torch.autograd.gradcheck(
        lambda rows: nearest_simplex(rows, before, 0.1)[0], drawn(5, 7).requires_grad_()
    )


def test_equal_singular_values_are_harmless() -> None:
    """At a simplex all singular values agree, where the derivative of an SVD is infinite."""
    rows = simplex_frame(5, 8).requires_grad_()
    frame, _ = nearest_simplex(rows)
    torch.testing.assert_close(frame, rows, rtol=0, atol=1e-13)
    (frame * drawn(5, 8)).sum().backward()
    assert bool(rows.grad.isfinite().all())
    assert torch.autograd.gradcheck(
        lambda rows: nearest_simplex(rows)[0], simplex_frame(5, 8).requires_grad_()
    )


def test_means_without_full_rank_give_a_frame_and_finite_derivatives() -> None:
    rows = drawn(5, 8)
    rows[3] = rows[2]
    rows.requires_grad_()
    frame, _ = nearest_simplex(rows)
    frame[0].sum().backward()
    assert bool(rows.grad.isfinite().all())


# ---- the head ---------------------------------------------------------------------------------
def batch(K: int = 4, d: int = 8, samples: int = 80, seed: int = 0):
    labels = torch.arange(samples) % K
    centres = 2 * drawn(K, d, seed=seed).float()
    return centres[labels] + 0.2 * drawn(samples, d, seed=seed + 1).float(), labels


def test_the_head_turns_to_the_class_means() -> None:
    features, labels = batch()
    head = NearestFrameHead(8, 4, momentum=1.0, delta=0.0)
    before = head(features).argmax(1)
    logits = head(features, labels)
    means = torch.stack([features[labels == k].mean(0) for k in range(4)]).double()
    centred = means - means.mean(0)
    wanted, _ = nearest_simplex(centred)
    assert float(unit_gap(head.weight.double(), wanted)) < 1e-5
    assert float((logits.argmax(1) == labels).float().mean()) == 1.0
    assert float((before == labels).float().mean()) < 1.0
    torch.testing.assert_close(head.eval()(features), logits)


def test_the_gradient_reaches_the_frame_only_where_it_is_attached() -> None:
    features, labels = batch()
    found = []
    for attached in (True, False):
        leaf = features.clone().requires_grad_()
        head = NearestFrameHead(8, 4, attached=attached)
        functional.cross_entropy(head(leaf, labels), labels).backward()
        found.append(leaf.grad)
    assert not torch.allclose(*found)


def test_a_class_that_was_not_seen_waits() -> None:
    features, labels = batch()
    head = NearestFrameHead(8, 4)
    part = labels < 3
    head(features[part], labels[part])
    assert head.seen.tolist() == [True, True, True, False]
    assert bool(head.weight.isfinite().all())
    head.follow(features, labels)
    assert bool(head.seen.all())


def test_logits_made_before_a_turn_can_still_be_differentiated() -> None:
    features, labels = batch()
    head = NearestFrameHead(8, 4, learn_scale=True)
    logits = head(features)
    head.follow(features, labels)
    functional.cross_entropy(logits, labels).backward()
    assert head.linear.log_scale.grad is not None


def test_it_trains_in_half_precision() -> None:
    features, labels = batch()
    layer = nn.utils.skip_init(nn.Linear, 8, 8)
    with torch.no_grad():
        layer.weight.copy_(drawn(8, 8))
        layer.bias.zero_()
    head = NearestFrameHead(8, 4, scale=5.0, normalize=True)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    losses = []
    for _ in range(30):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = functional.cross_entropy(head(layer(features), labels), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


def test_bad_batches_are_explained() -> None:
    features, labels = batch()
    head = NearestFrameHead(8, 4)
    with pytest.raises(ValueError, match="from 0 to 3 are needed"):
        head(features, labels + 1)
    broken = features.clone()
    broken[3, 2] = torch.nan
    with pytest.raises(ValueError, match="NaN or infinity"):
        head(broken, labels)
    assert bool(head.weight.isfinite().all())
    with pytest.raises(ValueError, match="one label"):
        head(features, labels[:5])
