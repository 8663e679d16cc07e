"""One loss that keeps a dial informed: in a plain loop, in Lightning and in Hugging Face."""

from __future__ import annotations

import copy
import math
import pickle
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import ncollapse as nc
from ncollapse.control import HeldLoss, Thermostat
from ncollapse.sources.specs.optional import optional
from tests.models import built

K, INPUTS, WIDTH = 4, 16, 32


class Recorder:
    """A dial that remembers what it was told, with a penalty whose gradient is known."""

    def __init__(self) -> None:
        self.seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def observe(self, features: torch.Tensor, target: torch.Tensor) -> None:
        self.seen.append((features, target))

    def penalty(self) -> torch.Tensor:
        return 0.5 * (self.seen[-1][0] ** 2).sum()


def batch(samples: int = 24):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(samples, INPUTS, generator=generator), torch.arange(samples) % K


def network() -> nn.Module:
    def make() -> nn.Module:
        body = nn.Sequential(nn.Linear(INPUTS, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU())
        return nn.Sequential(body, nn.Linear(WIDTH, K))

    return built(make)


def test_the_penalty_and_its_gradient_are_those_of_the_features() -> None:
    model, dial = network(), Recorder()
    inputs, labels = batch()
    HeldLoss(dial, model)(model(inputs), labels).backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    features = model[0](inputs)
    loss = functional.cross_entropy(model[1](features), labels) + 0.5 * (features**2).sum()
    loss.backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad)
    assert torch.equal(dial.seen[0][1], labels)


def test_evaluation_is_the_loss_alone_and_tells_the_dial_nothing() -> None:
    model, dial = network(), Recorder()
    held = HeldLoss(dial, model)
    inputs, labels = batch()
    model.eval()
    assert torch.equal(held(model(inputs), labels), functional.cross_entropy(model(inputs), labels))
    assert dial.seen == []
    held.close()
    assert not any(module._forward_hooks for module in model.modules())


def test_parts_of_an_accumulated_step_count_by_their_share() -> None:
    model, dial = network().train(), Recorder()
    held = HeldLoss(dial, model)
    inputs, labels = batch()
    whole = held(model(inputs), labels)
    assert torch.allclose(held(model(inputs), labels, num_items_in_batch=48), whole / 2)
    labels[:6] = -100
    held(model(inputs), labels)
    assert dial.seen[-1][0].shape == (18, WIDTH)


def test_copies_of_the_model_tell_nobody() -> None:
    model, dial = network().train(), Recorder()
    held = HeldLoss(dial, model)
    inputs, labels = batch()
    copied, pickled = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
    logits = model(inputs)
    features = model[0](inputs)
    copied(inputs[:5])
    pickled(inputs[:5])
    held(logits, labels)
    torch.testing.assert_close(dial.seen[0][0], features)
    with pytest.raises(ValueError, match="no forward pass of the model was heard"):
        held(copied(inputs), labels)


def test_a_model_that_is_called_by_its_parts_is_held_too() -> None:
    model, dial = network().train(), Recorder()
    held = HeldLoss(dial, model)
    inputs, labels = batch()
    features = model[0](inputs)
    held(model[1](features), labels).backward()
    assert dial.seen[0][0].requires_grad
    torch.testing.assert_close(dial.seen[0][0], features)


def test_only_the_head_is_watched_once_it_is_known() -> None:
    model, dial = network().train(), Recorder()
    held = HeldLoss(dial, model)
    inputs, labels = batch()
    assert model[0][0]._forward_hooks
    held(model(inputs), labels)
    assert held.head == "1"
    assert model[1]._forward_hooks and not model[0][0]._forward_hooks


def test_a_batch_without_labels_adds_nothing() -> None:
    model = network().train()
    # 24 samples of noise say neither nc1_fisher nor whether their labels mean anything.
    tracker = nc.Tracker(model, dial=(dial := Thermostat(0.1, "nc1_ratio")))
    inputs, labels = batch()
    inputs = inputs + 3 * torch.eye(K, INPUTS)[labels]
    for part in (labels, torch.full_like(labels, -100)):
        model(inputs)
        penalty = tracker.penalty(part)
    assert float(penalty.detach()) == 0 and math.isfinite(dial.reading)


def test_mistakes_are_explained() -> None:
    model, dial = network(), Recorder()
    inputs, labels = batch()
    with pytest.raises(ValueError, match="no linear layer was found in ReLU"):
        HeldLoss(dial, nn.ReLU())
    with pytest.raises(ValueError, match="linear layers are: "):
        HeldLoss(dial, model, head="nothing")
    held = HeldLoss(dial, model)
    with pytest.raises(ValueError, match="no forward pass of the model was heard"):
        held(torch.zeros(24, K, requires_grad=True), labels)
    with pytest.raises(ValueError, match="without logits"):
        held("text", labels)
    model(inputs)
    with pytest.raises(ValueError, match="no linear layer reproduces the logits"):
        held(torch.ones(24, K), labels)


def centres():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(200) % K
    points = torch.randn(K, INPUTS, generator=generator)[labels]
    return points + 0.5 * torch.randn(200, INPUTS, generator=generator), labels


@pytest.fixture
def shielded():
    """The global generators that trainers draw from, put back."""
    plain, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        yield
    random.setstate(plain)
    np.random.set_state(numpy_state)


def test_lightning_holds_a_reading(shielded, tmp_path) -> None:
    pl = optional("lightning.pytorch")
    target = 0.3

    class Module(pl.LightningModule):
        def __init__(self, dial) -> None:
            super().__init__()
            self.net = network()
            self.held = None if dial is None else HeldLoss(dial, self.net)

        def training_step(self, batch, index):
            inputs, labels = batch
            logits = self.net(inputs)
            loss = functional.cross_entropy if self.held is None else self.held
            return loss(logits, labels)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)

    def trained(dial) -> float:
        module = Module(dial)
        data = torch.utils.data.TensorDataset(*centres())
        loader = torch.utils.data.DataLoader(data, 100, shuffle=True)
        trainer = pl.Trainer(
            max_epochs=100, accelerator="cpu", logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
        )  # fmt: skip
        trainer.fit(module, loader)
        found = nc.measure(module.net, centres(), null=False, intervals=False).value("nc1_fisher")
        assert found is not None
        return found

    alone, held = trained(None), trained(Thermostat(target))
    assert abs(math.log(held / target)) < abs(math.log(alone / target))
    assert abs(math.log(held / target)) < math.log(2)


def test_hugging_face_reads_every_batch(shielded, tmp_path) -> None:
    transformers = optional("transformers")
    config = transformers.BertConfig(
        vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, num_labels=K,
    )  # fmt: skip
    model = built(transformers.BertForSequenceClassification, config)
    generator = torch.Generator().manual_seed(0)
    rows = [
        {"input_ids": torch.randint(1, 30, (6,), generator=generator), "labels": i % K}
        for i in range(32)
    ]
    dial = Recorder()
    held = HeldLoss(dial, model)
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), max_steps=2, per_device_train_batch_size=8,
        gradient_accumulation_steps=2, report_to=[], use_cpu=True, save_strategy="no",
        disable_tqdm=True,
    )  # fmt: skip
    trainer = transformers.Trainer(
        model, arguments, train_dataset=rows, eval_dataset=rows[:8], compute_loss_func=held
    )
    trainer.train()
    assert held.head == "classifier"
    assert len(dial.seen) == 4
    assert all(features.shape == (8, 16) for features, _ in dial.seen)
    before = len(dial.seen)
    assert "eval_loss" in trainer.evaluate()
    assert len(dial.seen) == before
