"""Attacks: PGD against an independent library, its laws, and what any attack may not do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ncollapse.downstream.attacks import PGD, Noise, attacked
from tests.downstream.small import K, batch, small
from tests.models import built

RECORDED = json.loads(Path(__file__).with_name("art_1_20_1.json").read_text("utf-8"))
SIZES = {"linf": 0.2, "l2": 0.5}


def ours(norm: str, targeted: bool, model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    eps = SIZES[norm]
    attack = PGD(
        eps,
        norm,
        steps=12,
        step_size=eps / 4,
        targeted=targeted,
        random_start=False,
        clip=(0.0, 1.0),
    )
    return attack(model, inputs, (labels + 1) % K if targeted else labels)


@pytest.mark.parametrize("targeted", [False, True], ids=["away", "targeted"])
@pytest.mark.parametrize("norm", SIZES)
def test_pgd_is_that_of_the_toolbox_as_recorded(norm: str, targeted: bool) -> None:
    """adversarial-robustness-toolbox 1.20.1, the same start: its answers stand in a file beside
    this one, because the library need not be installed."""
    wanted = torch.tensor(RECORDED[f"{norm}-{'targeted' if targeted else 'away'}"])
    found = ours(norm, targeted, small(), *batch())
    assert torch.allclose(found, wanted, atol=2e-5)
    assert not torch.allclose(wanted, batch()[0], atol=0.01)


@pytest.mark.parametrize("targeted", [False, True], ids=["away", "targeted"])
@pytest.mark.parametrize("norm", SIZES)
def test_pgd_is_that_of_the_toolbox_where_it_is_installed(norm: str, targeted: bool) -> None:
    evasion = pytest.importorskip("art.attacks.evasion")
    estimators = pytest.importorskip("art.estimators.classification")
    model, (inputs, labels) = small(), batch(20, seed=5)
    ends = {"clip_values": (0.0, 1.0), "device_type": "cpu"}
    seen = estimators.PyTorchClassifier(model, nn.CrossEntropyLoss(), (inputs.shape[1],), K, **ends)
    theirs = evasion.ProjectedGradientDescentPyTorch(
        seen,
        norm=np.inf if norm == "linf" else 2,
        eps=SIZES[norm],
        eps_step=SIZES[norm] / 4,
        max_iter=12,
        targeted=targeted,
        verbose=False,
    )
    goal = (labels + 1) % K if targeted else labels
    wanted = torch.from_numpy(built(theirs.generate, inputs.numpy(), y=goal.numpy()))
    assert torch.allclose(ours(norm, targeted, model, inputs, labels), wanted, atol=2e-5)


@pytest.mark.parametrize("make", [PGD, Noise], ids=["pgd", "noise"])
@pytest.mark.parametrize("norm", SIZES)
def test_results_lie_in_the_ball_and_in_the_bounds(make, norm: str) -> None:
    inputs, labels = batch(30)
    found = make(SIZES[norm], norm, clip=(0.0, 1.0))(small(), inputs, labels)
    moved = (found - inputs).flatten(1)
    size = moved.norm(dim=1) if norm == "l2" else moved.abs().max(1).values
    assert float(size.max()) <= SIZES[norm] * (1 + 1e-5)
    assert float(found.min()) >= 0 and float(found.max()) <= 1


def test_noise_without_bounds_has_exactly_the_size() -> None:
    inputs, labels = batch()
    linf = Noise(0.1)(small(), inputs, labels) - inputs
    assert torch.allclose(linf.abs(), torch.full_like(linf, 0.1), atol=1e-6)
    l2 = Noise(0.1, "l2")(small(), inputs, labels) - inputs
    assert torch.allclose(l2.norm(dim=1), torch.full((len(l2),), 0.1), atol=1e-6)


@pytest.mark.parametrize("loss", ["ce", "margin"])
def test_an_attack_raises_the_loss_and_a_targeted_one_reaches_its_target(loss: str) -> None:
    model, (inputs, labels) = small(), batch(60)
    labels = model(inputs).argmax(1)
    goal = (labels + 1) % K
    away = PGD(0.4, loss=loss)(model, inputs, labels)
    to = PGD(0.4, targeted=True, loss=loss)(model, inputs, goal)
    kept = (model(away).argmax(1) == labels).double().mean()
    there = (model(to).argmax(1) == goal).double().mean()
    noisy = (model(Noise(0.4)(model, inputs, labels)).argmax(1) == labels).double().mean()
    assert float(kept) < float(noisy)
    assert float(there) > float((model(inputs).argmax(1) == goal).double().mean()) + 0.3


def test_the_margin_finds_what_a_saturated_softmax_hides() -> None:
    """Logits a million times as large: the slope of cross-entropy underflows, decisions are alike."""
    model, (inputs, _) = small(), batch(40)
    labels = model(inputs).argmax(1)
    with torch.no_grad():
        model[-1].weight.mul_(1e6)
        model[-1].bias.mul_(1e6)
    kept = {
        loss: float((model(PGD(0.3, loss=loss, random_start=False)(model, inputs, labels)).argmax(1)
                     == labels).double().mean())
        for loss in ("ce", "margin")
    }  # fmt: skip
    assert kept["margin"] < kept["ce"]


def test_starts_are_drawn_by_the_seed_and_nothing_global_moves() -> None:
    model, (inputs, labels) = small(), batch()
    before = torch.random.get_rng_state()
    first, again, other = (
        PGD(0.1, steps=1, step_size=1e-9, seed=seed)(model, inputs, labels) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(before, torch.random.get_rng_state())


def test_starts_of_a_euclidean_ball_fill_it_evenly() -> None:
    """P(‖δ‖ ≤ r eps) = r^d: the median radius of d = 5 is .5^(1/5)."""
    inputs = torch.zeros(4000, 5)
    labels = torch.zeros(4000, dtype=torch.int64)
    found = PGD(1.0, "l2", steps=1, step_size=1e-9)(small(), inputs, labels)
    assert float(found.norm(dim=1).median()) == pytest.approx(0.5**0.2, abs=0.02)


def test_one_logit_is_two_classes() -> None:
    """(-z/2, z/2) has the softmax of (0, z)."""
    model = built(lambda: nn.Sequential(nn.Linear(5, 1)))
    pair = built(lambda: nn.Sequential(nn.Linear(5, 2)))
    with torch.no_grad():
        pair[0].weight.copy_(torch.cat([0 * model[0].weight, model[0].weight]))
        pair[0].bias.copy_(torch.cat([0 * model[0].bias, model[0].bias]))
    inputs, labels = batch()
    attack = PGD(0.1, "l2", random_start=False)
    assert torch.allclose(
        attack(model, inputs, labels % 2), attack(pair, inputs, labels % 2), atol=1e-6
    )


def unsettled() -> nn.Module:
    """In training mode, one layer frozen, gradients waiting for their step."""

    def make() -> nn.Sequential:
        model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, K))
        model[0].requires_grad_(False)
        model.train()
        model[1].eval()
        model(torch.rand(6, 5)).sum().backward()
        return model

    return built(make)


@pytest.mark.parametrize("rude", [False, True], ids=["pgd", "one that spoils all"])
def test_the_model_is_put_back(rude: bool) -> None:
    model = unsettled()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    grads = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    modes = [module.training for module in model.modules()]
    needs = [p.requires_grad for p in model.parameters()]
    random = torch.random.get_rng_state()

    def spoil(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        model.train()
        at = inputs.requires_grad_()
        nn.functional.cross_entropy(model(at), labels).backward()
        assert at.grad is not None
        return (at + 0.1 * at.grad.sign() * torch.rand(1)).detach()

    inputs, labels = batch()
    kept = inputs.clone()
    found = attacked(model, spoil if rude else PGD(0.1), inputs, labels, batch_size=5)
    assert found.shape == inputs.shape and not found.requires_grad
    assert torch.equal(inputs, kept)
    assert [module.training for module in model.modules()] == modes
    assert [p.requires_grad for p in model.parameters()] == needs
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    for p, grad in zip(model.parameters(), grads, strict=True):
        assert (p.grad is None) == (grad is None)
        assert grad is None or torch.equal(p.grad, grad)
    assert torch.equal(random, torch.random.get_rng_state())


def test_batches_are_attacked_as_the_whole_is() -> None:
    model, (inputs, labels) = small(), batch(17)
    attack = PGD(0.1, random_start=False)
    whole = attack(model, inputs, labels)
    assert torch.allclose(attacked(model, attack, inputs, labels, batch_size=4), whole, atol=1e-6)


GOOD = batch()
BAD = {
    "no size": (lambda: PGD(0.0), "eps=0.0"),
    "endless size": (lambda: Noise(float("inf")), "eps=inf"),
    "norm": (lambda: PGD(0.1, "l1"), "norm 'l1'"),
    "loss": (lambda: PGD(0.1, loss="mse"), "loss 'mse'"),
    "steps": (lambda: PGD(0.1, steps=0), "steps=0"),
    "step size": (lambda: PGD(0.1, step_size=-1.0), "step_size=-1"),
    "bounds": (lambda: PGD(0.1, clip=(1.0, 0.0)), "low below high"),
    "range": (lambda: PGD(0.1, clip=(0, 0.5))(small(), *GOOD), r"outside clip=\(0, 0.5\)"),
    "whole numbers": (lambda: PGD(0.1)(small(), GOOD[0].long(), GOOD[1]), "real numbers"),
    "labels": (lambda: PGD(0.1)(small(), GOOD[0], GOOD[1][:-1]), "one class number a sample"),
    "class": (lambda: PGD(0.1)(small(), GOOD[0], GOOD[1] + 1), "label 3 has no logit among 3"),
    "no logits": (lambda: PGD(0.1)(nn.Unflatten(1, (1, 5)), *GOOD), "logits"),
    "shape": (lambda: attacked(small(), lambda m, x, y: x[:, :2], *GOOD), "same shape"),
    "nothing": (lambda: attacked(small(), lambda m, x, y: None, *GOOD), "returned None for inputs"),
    "not finite": (lambda: attacked(small(), lambda m, x, y: x / 0, *GOOD), "NaN or infinite"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_said_in_a_sentence(name: str) -> None:
    make, words = BAD[name]
    with pytest.raises(ValueError, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)
