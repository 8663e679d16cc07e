"""NC1 without the noise of class means."""

from __future__ import annotations

import math

import pytest
import torch

from ncollapse.lab.debiased import debiased_ratio, nc1_debiased
from ncollapse.lab.networks import read, train_network

COUNTS = torch.tensor([3, 6, 12, 24])
LABELS = torch.repeat_interleave(torch.arange(4), COUNTS)


def drawn(noise: float, seed: int, dim: int = 20) -> torch.Tensor:
    """Samples around the corners of a simplex, whose tr Σ_B is 3/4."""
    generator = torch.Generator().manual_seed(seed)
    means = torch.eye(4, dim, dtype=torch.float64)
    rest = torch.randn(len(LABELS), dim, generator=generator, dtype=torch.float64)
    return means[LABELS] + noise * rest / math.sqrt(dim)


def test_it_is_the_written_formula() -> None:
    features = drawn(0.7, seed=3)
    blocks = [features[k == LABELS] for k in range(4)]
    spread = torch.stack([block.var(0, correction=1).sum() for block in blocks])
    means = torch.stack([block.mean(0) for block in blocks])
    between = means.var(0, correction=0).sum()
    wanted = spread.mean() / (between - 3 / 16 * (spread / COUNTS).sum())
    assert debiased_ratio(features, LABELS) == pytest.approx(float(wanted), rel=1e-12)


def test_the_plug_in_is_biased_and_this_is_not() -> None:
    # Noise of total variance 2 around a between-class trace of 3/4.
    wanted, found, plug = 2 / 0.75, [], []
    for seed in range(200):
        features = drawn(math.sqrt(2), seed)
        found.append(debiased_ratio(features, LABELS))
        blocks = [features[k == LABELS] for k in range(4)]
        within = torch.stack([block.var(0, correction=0).sum() for block in blocks]).mean()
        between = torch.stack([block.mean(0) for block in blocks]).var(0, correction=0).sum()
        plug.append(float(within / between))
    # The median: a ratio of unbiased parts is not itself unbiased.
    middle = float(torch.tensor(found).nanmedian())
    assert middle == pytest.approx(wanted, rel=0.1)
    assert float(torch.tensor(plug).median()) < 0.8 * wanted


def test_it_does_not_change_with_place_rotation_or_scale() -> None:
    features = drawn(0.5, seed=1)
    turn = torch.linalg.qr(torch.randn(20, 20, generator=torch.Generator().manual_seed(2)).double())
    moved = 3 * features @ turn.Q + 1e3
    assert debiased_ratio(moved, LABELS) == pytest.approx(debiased_ratio(features, LABELS))
    order = torch.randperm(len(LABELS), generator=torch.Generator().manual_seed(5))
    assert debiased_ratio(features[order], LABELS[order] + 7) == pytest.approx(
        debiased_ratio(features, LABELS)
    )


def test_collapse_keeps_its_digits_and_noise_alone_has_no_value() -> None:
    assert debiased_ratio(drawn(0.0, seed=0), LABELS) == 0.0
    near = debiased_ratio(drawn(1e-6, seed=0), LABELS)
    assert near == pytest.approx(1e-12 * debiased_ratio(drawn(1e-3, 0), LABELS) / 1e-6, rel=0.02)
    generator = torch.Generator().manual_seed(0)
    values = [
        debiased_ratio(torch.randn(45, 20, generator=generator).double(), LABELS) for _ in range(40)
    ]
    assert 5 < sum(map(math.isnan, values)) < 35


def test_a_class_of_one_borrows_and_too_few_samples_are_named() -> None:
    labels = torch.tensor([0, 0, 1])
    features = torch.tensor([[0.0], [2.0], [11.0]])
    # s = (2, 2), means 1 and 11: 2 / (25 - 1/4 (1 + 2)).
    assert debiased_ratio(features, labels) == pytest.approx(2 / 24.25)
    with pytest.raises(ValueError, match="at least 2 classes"):
        debiased_ratio(features, torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="one of 2 samples"):
        debiased_ratio(features, torch.arange(3))


def test_of_a_network_it_lies_above_the_plug_in() -> None:
    network = train_network((12,) * 10, 5e-3, epochs=2)
    assert nc1_debiased(network) > read(network.model, network.data)[1] > 0
