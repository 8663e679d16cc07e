"""A dial in Lightning: the plain loop's parameters, accumulated, manual, scaled and resumed."""

from __future__ import annotations

import math
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import ncollapse as nc
from ncollapse.control import Thermostat
from ncollapse.sources.specs.optional import optional
from tests.tracking.test_dial import (
    FOUND,
    INPUTS,
    LABELS,
    Loop,
    digits,
    digits_net,
    held_within,
    made,
    same,
)

optional("torchvision")
pl = pytest.importorskip("lightning.pytorch")

from lightning.pytorch.plugins import MixedPrecision  # noqa: E402

from ncollapse.tracking.lightning import CollapseCallback  # noqa: E402
from tests.tracking.test_lightning import apart, trainer  # noqa: E402


class Module(pl.LightningModule):
    def __init__(self, net: nn.Module, manual: bool = False) -> None:
        super().__init__()
        self.net = net
        self.automatic_optimization = not manual

    def training_step(self, batch, index):
        loss = functional.cross_entropy(self.net(batch[0]), batch[1])
        if self.automatic_optimization:
            return loss
        self.optimizers().zero_grad()
        self.manual_backward(loss)
        self.optimizers().step()
        return None

    def validation_step(self, batch, index):
        self.net(batch[0])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


def loader() -> DataLoader:
    return DataLoader(TensorDataset(INPUTS, LABELS), batch_size=16)


def fit(folder, dial, epochs=2, path=None, manual=False, **options):
    """Two epochs of four batches each, as `Loop` takes them."""
    module = Module(made(), manual)
    callback = CollapseCallback(dial=dial, keys=("nc1_fisher",))
    with apart():
        running = trainer(folder, callback, epochs=epochs, **options)
        running.fit(module, loader(), loader(), ckpt_path=path)
    return module.net, running


def looped(dial: Thermostat, steps: int = 8, parts: int = 1) -> nn.Module:
    loop = Loop(made())
    tracker = nc.Tracker(loop.model, dial=dial)
    for _ in range(steps):
        loop.step(tracker.penalty, parts)
        tracker.step()
    return loop.model


@pytest.mark.parametrize("manual", [False, True])
def test_it_trains_as_the_plain_loop_does(tmp_path, manual) -> None:
    dial, twin = Thermostat(0.1), Thermostat(0.1)
    net, running = fit(tmp_path, dial, manual=manual)
    assert same(net, looped(twin))
    # Validation told it nothing.
    assert dial._batches == 8
    found = running.callback_metrics
    assert {key for key in found if "dial" in key} == {f"nc/dial/head/{key}" for key in FOUND}
    assert float(found["nc/dial/head/nc1_fisher"]) == pytest.approx(dial.reading)
    assert float(found["nc/dial/head/weight"]) == pytest.approx(dial.weight)
    assert not any(module._forward_hooks for module in net.modules())


def test_accumulated_batches_count_by_their_share(tmp_path) -> None:
    net, _ = fit(tmp_path, Thermostat(0.1), accumulate_grad_batches=2)
    assert same(net, looped(Thermostat(0.1), steps=4, parts=2))


def test_a_scaled_loss_has_a_scaled_penalty(tmp_path) -> None:
    class Scaled(MixedPrecision):
        """The scaler of 16-mixed, without its half precision."""

        def forward_context(self):
            return nullcontext()

    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    net, _ = fit(tmp_path, Thermostat(0.1), plugins=[Scaled("16-mixed", "cpu", scaler)])
    expected = looped(Thermostat(0.1))
    for a, b in zip(net.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)


def test_a_resumed_run_goes_on_identically(tmp_path) -> None:
    whole, _ = fit(tmp_path, Thermostat(0.1), epochs=3)
    _, cut = fit(tmp_path, Thermostat(0.1), epochs=2)
    with apart():
        cut.save_checkpoint(tmp_path / "cut.ckpt")
    dial = Thermostat(0.1)
    again, _ = fit(tmp_path, dial, epochs=3, path=tmp_path / "cut.ckpt")
    assert same(whole, again)
    assert dial._batches == 12


def test_what_cannot_be_held_is_said(tmp_path) -> None:
    class Aside(Module):
        def __init__(self, manual: bool) -> None:
            super().__init__(made(), manual)
            self.large = nn.Linear(500, 500)

    callback = CollapseCallback(dial=Thermostat(0.1), model="large", online=False)
    with apart(), pytest.raises(ValueError, match="no forward pass of the model was heard"):
        trainer(tmp_path, callback, epochs=1).fit(Aside(False), loader())
    callback = CollapseCallback(dial=Thermostat(0.1), model="large", online=False)
    with pytest.warns(nc.NCollapseWarning, match="without the dial's penalty"), apart():
        trainer(tmp_path, callback, epochs=1).fit(Aside(True), loader())
    callback = CollapseCallback(dial=Thermostat(0.1), model="net.3", online=False)
    with apart(), pytest.raises(ValueError, match="no linear layer was found in ReLU"):
        trainer(tmp_path, callback, epochs=1).fit(Module(made()), loader())


def test_it_holds_digits_at_the_target(tmp_path) -> None:
    module, dial = Module(digits_net()), Thermostat(0.2)
    generator = torch.Generator().manual_seed(0)
    data = DataLoader(TensorDataset(*digits()), batch_size=None, sampler=Batches(generator))
    with apart():
        callback = CollapseCallback(dial=dial, online=False, validation=False)
        trainer(tmp_path, callback, epochs=20).fit(module, data)
    assert 0.65 < held_within(dial, module.net) < 1.35
    assert math.isfinite(dial.reading)


class Batches(torch.utils.data.Sampler):
    """Whole batches of rows in a new order each epoch."""

    def __init__(self, generator: torch.Generator, samples: int = 1797, size: int = 128) -> None:
        self.generator, self.samples, self.size = generator, samples, size

    def __iter__(self):
        return iter(torch.randperm(self.samples, generator=self.generator).split(self.size))

    def __len__(self) -> int:
        return -(-self.samples // self.size)
