"""Networks that generalise late: their data, their start, and readings as `measure` gives them."""

from __future__ import annotations

import pytest
import torch

import ncollapse as nc
from ncollapse.lab.grokking import LARGE, addition, follow, large_digits
from ncollapse.lab.models import mlp, penultimate


def test_addition_has_every_pair_once() -> None:
    model, data = addition(7, 16, seed=3)
    inputs = torch.cat([data.train_x, data.test_x])
    labels = torch.cat([data.train_y, data.test_y])
    pairs = inputs.view(-1, 2, 7).argmax(2)
    assert len(pairs.unique(dim=0)) == 49 and float(inputs.sum()) == 98
    assert torch.equal(pairs.sum(1) % 7, labels)
    assert abs(len(data.train_y) - len(data.test_y)) <= 1
    other = addition(7, 16, seed=3)[0]
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True)
    )


def test_digits_begin_large() -> None:
    model, data = large_digits(3, 8, seed=1)
    usual = mlp(64, (8, 8), 10, batch_norm=False, seed=1)
    for large, plain in zip(model.parameters(), usual.parameters(), strict=True):
        assert torch.allclose(large, LARGE * plain)
    assert torch.bincount(data.train_y).tolist() == [3] * 10


def test_what_is_followed_is_what_measure_reads() -> None:
    model, data = large_digits(3, 8, seed=1)
    found = follow(model, data, 1.0, steps=12, learning_rate=1e-2)
    steps, _ = found.curve("train", "accuracy")
    assert steps == sorted(set(steps)) and steps[0] == 0 and steps[-1] == 12
    keys = ("class_share", "nc1_ratio", "nc2_etf_means")
    for split in ("train", "test"):
        inputs, labels = data.loader(split)
        features = penultimate(model, inputs)
        seen = nc.measure_features(features, labels, null=False, intervals=False, keys=keys)
        for key in keys:
            wanted = seen.results["train"]["head"][key].value
            assert found.last(split, key) == pytest.approx(wanted, rel=1e-6), key
    state = torch.random.get_rng_state()
    addition(5, 4, 0)
    assert torch.equal(state, torch.random.get_rng_state())
    with pytest.raises(ValueError, match="at least 1"):
        follow(model, data, 1.0, steps=0, learning_rate=1e-2)
