"""What studies of transfer read of a network, apart from what they find."""

from __future__ import annotations

import pytest
import torch

from ncollapse.downstream.probes import few_shot_accuracy
from ncollapse.lab.held_out import source_network, transfer
from ncollapse.lab.models import penultimate
from ncollapse.lab.onward import (
    INPUT,
    grouped_labels,
    layers_of,
    onward,
    out_of_distribution,
    remedied,
    whitened,
)
from ncollapse.studies import find

DIGITS = transfer(6, 0)
MODEL = source_network(DIGITS, 0)


def test_layers_end_at_what_enters_the_head() -> None:
    found = layers_of(MODEL, DIGITS.unseen_x)
    assert list(found) == [INPUT, "relu0", "relu1", "relu2"]
    assert torch.equal(found["relu2"], penultimate(MODEL, DIGITS.unseen_x))
    assert torch.equal(found[INPUT], DIGITS.unseen_x)


def test_super_classes_are_dealt_evenly_and_by_seed() -> None:
    digits = torch.arange(10)
    for groups in (2, 5):
        found = grouped_labels(digits, groups, 3)
        assert torch.bincount(found).tolist() == [10 // groups] * groups
        assert torch.equal(found, grouped_labels(digits, groups, 3))
    assert not torch.equal(grouped_labels(digits, 2, 0), grouped_labels(digits, 2, 1))


def test_whitening_makes_large_directions_alike_and_leaves_noise_small() -> None:
    scale = torch.tensor([10.0, 1.0, 1e-6])
    rows = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)) * scale
    spread = whitened(rows)(rows).var(0).sort().values
    assert float(spread[0]) < 1e-6
    # Variances 1 and 100, shrunk by a hundredth of their mean.
    assert spread[1:].tolist() == pytest.approx([1 / 1.336, 1.0], rel=0.05)


def test_scores_of_foreign_inputs_and_remedies_are_shares() -> None:
    assert all(0 <= value <= 1 for value in out_of_distribution(MODEL, DIGITS))
    found = remedied(MODEL, DIGITS, share=0.95, draws=2, seed=0)
    assert set(found) == {"none", "pca", "whitening"}
    plain = few_shot_accuracy(penultimate(MODEL, DIGITS.unseen_x), DIGITS.unseen_y, draws=2)
    assert found["none"] == plain.accuracy


def test_a_network_reads_within_its_bounds() -> None:
    row = onward(MODEL, DIGITS, draws=3, seed=0, around=60)
    assert 1 - row["unseen"] <= row["sharp"] <= row["published"]
    assert row["unseen"] == row["accuracy"]["relu2"]


def test_claims_are_judged_on_five_splits() -> None:
    for name in ("transfer", "coarse-to-fine"):
        assert find(name).settings["quick"]["seeds"] == 5
