"""Walks through networks: which layers are read, and the laws between what is read of them."""

from __future__ import annotations

import pytest
import torch

from ncollapse.collect.statistics.classes import ClassMoments
from ncollapse.lab.models import mlp
from ncollapse.lab.walked import some_digits, walk
from ncollapse.metrics.catalog import METRICS
from ncollapse.studies.models import residual

FEW = {"steps": 2, "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def data():
    return some_digits(5, 0)


def test_digits_are_balanced(data) -> None:
    assert torch.bincount(data.train_y).tolist() == [5] * 10


def test_a_residual_network_is_read_from_its_entry_to_its_last_block(data) -> None:
    model = residual(64, 64, 10, 4, seed=1)
    before = [p.clone() for p in model.parameters()]
    found = walk(model, data, FEW, None)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert len(found.path.times) == 5
    assert found.law.layers == 5
    first = ClassMoments(10, 64)
    first.update(data.train_x, data.train_y)
    D = METRICS["nc1_fisher"].evaluate(statistics=first.statistics(), geometry=first.geometry())
    assert found.path.measured["pfc1"][0] == pytest.approx(float(D), rel=1e-9)
    walk(model, data, FEW, 1e-3)
    assert not all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_a_plain_network_is_read_behind_its_activations(data) -> None:
    found = walk(mlp(64, (64,) * 3, 10, batch_norm=False), data, FEW, None)
    assert len(found.path.times) == 3
    pfc1 = found.path.measured["pfc1"]
    assert found.ratios("pfc1") == [pfc1[1] / pfc1[0], pfc1[2] / pfc1[1]]
    assert found.steps("pfc1") == [pfc1[1] - pfc1[0], pfc1[2] - pfc1[1]]
    assert found.kept("pfc1") == pfc1[2] / pfc1[0]
    assert set(found.to_dict()) == {"path", "law"}
