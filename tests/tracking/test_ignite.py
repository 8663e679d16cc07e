"""CollapseHandler under real Ignite engines: keys, values, a dial, resuming."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import ncollapse as nc
from tests.models import blobs, net

engines = pytest.importorskip("ignite.engine")

from ncollapse.tracking.ignite import CollapseHandler  # noqa: E402

INPUTS, LABELS = blobs(64)
TEST = blobs(32, seed=1)
KEYS = ("nc1_ratio", "nc3_duality")
TRAIN_LOADER = DataLoader(TensorDataset(INPUTS, LABELS), 16)
TEST_LOADER = DataLoader(TensorDataset(*TEST), 16)


@pytest.fixture(autouse=True)
def apart() -> Iterator[None]:
    """Ignite's loaders draw from the global generators."""
    numpy, plain = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=[]):
        yield
    np.random.set_state(numpy)
    random.setstate(plain)


class Dial:
    """Asks for small features, whatever it has seen."""

    def __init__(self) -> None:
        self.seen = 0

    def observe(self, features, target) -> None:
        self.features, self.seen = features, self.seen + len(target)

    def penalty(self):
        return 0.1 * self.features.square().mean()


def test_readings_are_metrics_of_the_engines_and_equal_measure() -> None:
    model = net().eval()  # Batch norm stands still: one pass is like the other.
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)

    def update(engine, batch):
        model.train()
        model.stack[1].eval()
        model.drop.eval()
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(batch[0]), batch[1]).backward()
        optimizer.step()

    trainer = engines.Engine(update)
    evaluator = engines.create_supervised_evaluator(model)
    CollapseHandler(model, half_life=math.inf).attach(trainer, val=evaluator)
    trainer.run(TRAIN_LOADER, max_epochs=1)
    evaluator.run(TEST_LOADER)
    m = nc.measure(model, TEST_LOADER, null=False, intervals=False)
    online = nc.measure(model, TRAIN_LOADER, weighting="micro", null=False, intervals=False)
    found = evaluator.state.metrics
    assert found["nc/val/head/nc1_fisher"] == pytest.approx(m.value("nc1_fisher"), rel=1e-4)
    assert found["nc_headline"] == found["nc/val/head/class_share"]
    assert "nc_headline" not in trainer.state.metrics
    seen = trainer.state.metrics["nc/online/head/nc3_duality"]
    assert seen == pytest.approx(online.value("nc3_duality"), rel=1e-4)
    # Nothing stays on the model.
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())


def test_a_dial_acts_and_its_state_is_kept() -> None:
    model, dial = net(), Dial()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    handler = CollapseHandler(model, dial=dial, keys=("class_share", *KEYS))
    penalties = []

    def update(engine, batch):
        model.train()
        loss = nn.functional.cross_entropy(model(batch[0]), batch[1])
        penalties.append(handler.penalty(batch[1]))
        optimizer.zero_grad()
        (loss + penalties[-1]).backward()
        optimizer.step()

    trainer = engines.Engine(update)
    assert float(handler.penalty(LABELS)) == 0
    assert handler.attach(trainer) is handler
    trainer.run(TRAIN_LOADER, max_epochs=3)
    assert all(float(one.detach()) > 0 for one in penalties)
    assert dial.seen == 3 * len(LABELS)
    found = trainer.state.metrics
    assert found["nc_headline"] == found["nc/online/head/class_share"]
    again = CollapseHandler(net(), keys=KEYS)
    again.load_state_dict(handler.state_dict())
    assert again.state_dict()["online"].keys() == handler.state_dict()["online"].keys()


def test_what_cannot_be_read_is_said() -> None:
    with pytest.raises(ValueError, match="no engine"):
        CollapseHandler(net()).attach()
    trainer = engines.Engine(lambda engine, batch: None)
    CollapseHandler(nn.BatchNorm2d(3)).attach(trainer)
    with pytest.warns(nc.NCollapseWarning, match="nothing is followed"):
        trainer.run(TRAIN_LOADER, max_epochs=1)
    trainer = engines.Engine(lambda engine, batch: None)
    CollapseHandler(net(), head="nowhere").attach(trainer)
    with pytest.raises(ValueError, match="nowhere"):
        trainer.run(TRAIN_LOADER, max_epochs=1)
