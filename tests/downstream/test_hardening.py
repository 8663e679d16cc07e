"""Training against attacks: what a step returns, its loss, and that a tracker reads what it used."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

import ncollapse as nc
from ncollapse.collect.statistics.forgetting import ForgettingMoments
from ncollapse.downstream.attacks import PGD
from ncollapse.downstream.hardening import adversarial_step, trades_step
from ncollapse.tracking.chance import unbiased_nc1
from tests.downstream.small import K, batch, small
from tests.models import built, seeded

ATTACK = PGD(0.2, steps=5, clip=(0.0, 1.0))


def normed() -> nn.Sequential:
    def make() -> nn.Sequential:
        return nn.Sequential(nn.Linear(5, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, K))

    return seeded(built(make))


def test_the_loss_of_adversarial_training_is_that_of_the_perturbed_batch() -> None:
    model, (inputs, labels) = small(), batch()
    step = adversarial_step(model, inputs, labels, ATTACK)
    wanted = functional.cross_entropy(model(step.inputs), labels)
    assert torch.allclose(step.loss, wanted)
    assert float(step.loss.detach()) > float(
        functional.cross_entropy(model(inputs), labels).detach()
    )
    step.loss.backward()
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in model.parameters())


def test_the_loss_of_trades_is_its_formula() -> None:
    model, (inputs, labels) = small(), batch()
    step = trades_step(model, inputs, labels, ATTACK, beta=3.0)
    clean, far = model(inputs).softmax(1), model(step.inputs).softmax(1)
    divergence = (clean * (clean / far).log()).sum(1)
    wanted = functional.cross_entropy(model(inputs), labels) + 3 * divergence.mean()
    assert torch.allclose(step.loss, wanted, atol=1e-5)
    assert float((step.inputs - inputs).abs().max()) <= 0.2 + 1e-6
    start = trades_step(model, inputs, labels, PGD(0.2, steps=1, step_size=1e-9))
    near = (clean * (clean / model(start.inputs).softmax(1)).log()).sum(1)
    assert float(divergence.mean().detach()) > 10 * float(near.mean().detach())


@pytest.mark.parametrize("step", [adversarial_step, trades_step])
def test_the_attack_leaves_the_running_statistics_alone(step) -> None:
    """Only the training passes move them: one of adversarial training, two of TRADES."""
    model, (inputs, labels) = normed().train(), batch()
    short = PGD(0.2, steps=1, step_size=0.01)
    made = step(model, inputs, labels, short)
    assert model.training
    passes = 1 if step is adversarial_step else 2
    assert int(model[1].num_batches_tracked) == passes
    again = step(model, inputs, labels, short, generator=torch.Generator().manual_seed(1))
    assert not torch.equal(made.inputs, again.inputs)


@pytest.mark.parametrize("step", [adversarial_step, trades_step])
def test_a_tracker_reads_collapse_on_the_perturbed_batches(step) -> None:
    model = normed().train()
    tracker = nc.Tracker(model, online=True, every=1, keys=("nc1_ratio",))
    moments = ForgettingMoments(K, 16, half_life=100.0 * K, unit="samples")
    generator = torch.Generator().manual_seed(0)
    for number in range(3):
        drawn, labels = batch(60, seed=number)
        inputs = (0.4 * drawn + 0.6 * functional.one_hot(labels, 5)).clamp(0, 1)
        made = step(model, inputs, labels, ATTACK, generator=generator)
        made.loss.backward()
        with torch.no_grad():  # Batch statistics, as in the training pass.
            norm = nn.BatchNorm1d(16).train()
            norm.load_state_dict(model[1].state_dict())
            moments.update(functional.relu(norm(model[0](made.inputs))), labels)
        tracker.step(labels)
    _, values = tracker.trace.series("online", "head", "nc1_ratio")
    statistics, geometry = moments.statistics(), moments.geometry()
    wanted, _ = unbiased_nc1(["nc1_ratio"], statistics, geometry)
    assert wanted["nc1_ratio"] is not None
    assert values[-1] == pytest.approx(wanted["nc1_ratio"], rel=1e-4)


def test_training_against_attacks_makes_a_network_robust() -> None:
    inputs, labels = batch(300)
    labels = (inputs[:, 0] + inputs[:, 1] > 1).long() + (inputs[:, 2] > 0.8).long()
    attack = PGD(0.15, steps=5, clip=(0.0, 1.0))
    withstood = {}

    def plain() -> nn.Sequential:
        return nn.Sequential(nn.Linear(5, 32), nn.ReLU(), nn.Linear(32, K))

    for name in ("plain", "hard"):
        model = seeded(built(plain))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
        for _ in range(120):
            loss = functional.cross_entropy(model(inputs), labels)
            if name == "hard":
                loss = adversarial_step(model, inputs, labels, attack).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        hostile = PGD(0.15, steps=10, clip=(0.0, 1.0))(model, inputs, labels)
        withstood[name] = float((model(hostile).argmax(1) == labels).double().mean())
    assert withstood["hard"] > withstood["plain"] + 0.03


def test_bad_input_is_said_in_a_sentence() -> None:
    model, (inputs, labels) = small(), batch()
    with pytest.raises(ValueError, match="beta=0"):
        trades_step(model, inputs, labels, ATTACK, beta=0.0)
    with pytest.raises(ValueError, match="targeted=False"):
        trades_step(model, inputs, labels, PGD(0.1, targeted=True))
    with pytest.raises(ValueError, match="same shape"):
        adversarial_step(model, inputs, labels, lambda m, x, y: x[:3])
    with pytest.raises(ValueError, match="outside clip"):
        trades_step(model, inputs - 3, labels, ATTACK)
