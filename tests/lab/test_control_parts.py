"""What the studies of control share: folds, held-out classes, few-shot accuracy, dials, memory."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from ncollapse.control import KoLeo, Thermostat, fix_head
from ncollapse.lab.control_networks import resnet18, resnet50, small_resnet
from ncollapse.lab.control_parts import Dial, Tap, penalised
from ncollapse.lab.held_out import everything, folds, transfer
from ncollapse.lab.models import mlp, penultimate
from ncollapse.lab.readings import (
    NC1,
    RATIO,
    along_means,
    few_shot,
    reading,
    reading_of,
    recalls,
)
from ncollapse.lab.statistics import slope
from ncollapse.lab.train import Settings, train
from ncollapse.lab.training_memory import kept_for_backward, peaks_of_training, training_bytes
from tests.models import built


def small(classes: int, seed: int = 0) -> nn.Sequential:
    return mlp(64, (16,), classes, seed=seed)


# ---- data -------------------------------------------------------------------------------------
def test_folds_test_every_digit_once() -> None:
    found = folds(3, seed=1)
    inputs, labels = everything()
    assert inputs.shape == (1797, 64)
    assert sum(data.count("test") for data in found) == 1797
    for data in found:
        assert data.count("train") + data.count("test") == 1797
        share = torch.bincount(data.test_y) / torch.bincount(labels)
        assert float((share - 1 / 3).abs().max()) < 0.02
    tested = torch.cat([data.test_x for data in found]).sum(0)
    assert torch.allclose(tested, inputs.sum(0), atol=0.1)
    assert torch.equal(found[1].test_x, folds(3, seed=1)[1].test_x)
    assert not torch.equal(found[1].test_y, folds(3, seed=2)[1].test_y)


def test_unseen_classes_are_never_trained_on() -> None:
    found = transfer(6, seed=3)
    unseen = set(range(10)) - set(found.classes)
    assert set(found.unseen_y.tolist()) == unseen and len(unseen) == 4
    assert found.seen.num_classes == 6
    assert set(found.seen.train_y.tolist()) == set(range(6)) == set(found.seen.test_y.tolist())
    parts = found.seen.count("train") + found.seen.count("test") + found.unseen_y.numel()
    assert parts == 1797
    assert found.classes != transfer(6, seed=4).classes


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: folds(1, 0), "count=1; cross-validation"),
        (lambda: transfer(9, 0), "count=9 of 10 classes"),
        (lambda: few_shot(torch.zeros(4, 2), torch.tensor([0, 0, 1, 1]), shots=2), "shots=2"),
        (lambda: Tap(small(3)).take(), "no training step"),
        (lambda: training_bytes(small(3), torch.zeros(3, 64), 8), "3 samples"),
    ],
)
def test_what_cannot_be_is_explained(call, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()


# ---- readings -----------------------------------------------------------------------------------
def test_few_shot_accuracy_of_known_features() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(200) % 4
    apart = 10 * torch.eye(4)[labels] + 0.1 * torch.randn(200, 4, generator=generator)
    assert few_shot(apart, labels + 5, draws=3) == 1.0
    noise = torch.randn(200, 4, generator=generator)
    assert few_shot(noise, labels, draws=50) == pytest.approx(0.25, abs=0.05)
    before = torch.get_rng_state()
    assert few_shot(noise, labels, draws=5, seed=1) == few_shot(noise, labels, draws=5, seed=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_spread_off_the_class_means_is_seen_by_the_ratio_alone() -> None:
    labels = torch.arange(40) % 2 + 7
    features = torch.zeros(40, 3, dtype=torch.float64)
    features[:, 0] = 2.0 * (labels - 7) - 1
    features[:, 2] = torch.tensor([1.0, 1.0, -1.0, -1.0]).repeat(10)
    assert reading_of(features, labels, NC1) == pytest.approx(0, abs=1e-12)
    assert reading_of(features, labels, RATIO) == pytest.approx(1)


def test_directions_of_the_means_add_up_to_fisher() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([0] * 20 + [1] * 30 + [4] * 50)
    features = torch.randn(100, 6, generator=generator) + 3 * torch.eye(6)[labels]
    ratios, share = along_means(features, labels)
    assert len(ratios) == 2 and ratios[0] >= ratios[1]
    assert sum(ratios) / 3 == pytest.approx(reading_of(features, labels, NC1), rel=1e-6)
    assert 0.1 < share < 0.6


def test_recall_and_slope() -> None:
    labels = torch.tensor([0, 0, 1, 1, 2])
    assert recalls(torch.tensor([0, 1, 1, 1, 0]), labels) == [0.5, 1.0, 0.0]
    assert slope([-1, 0, 1], [5.0, 3.0, 1.0]) == pytest.approx(-2)


# ---- losses that read features ------------------------------------------------------------------
def test_penalties_see_what_enters_the_head_with_its_graph() -> None:
    model = small(10)
    data = folds(2, 0)[0]
    seen = []

    def penalty(features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        seen.append((features.shape, labels.shape, features.requires_grad))
        return KoLeo(0.1)(features)

    settings = Settings(epochs=1, batch_size=300, loss=penalised(model, penalty))
    train(model, data, settings)
    assert len(seen) == 3  # evaluation in between leaves no trace
    assert seen[0] == ((300, 16), (300,), True)


def test_a_dial_keeps_both_readings_of_every_epoch() -> None:
    found = transfer(6, 0)
    model = small(6)
    dial = Dial(model, Thermostat(0.5))
    settings = Settings(epochs=3, batch_size=128, loss=dial.loss)
    train(model, found.seen, settings, [dial])
    assert len(dial.readings) == len(dial.online) == len(dial.weights) == 3
    assert dial.readings[-1] == reading(model, found.seen.loader("train"))
    assert all(math.isfinite(value) and value > 0 for value in dial.readings + dial.online)
    wide = Dial(small(6), Thermostat(0.5, RATIO))
    train(wide.model, found.seen, Settings(epochs=1, loss=wide.loss), [wide])
    assert wide.readings == [reading(wide.model, found.seen.loader("train"), RATIO)]
    plain = small(6)
    free = Dial(plain, None)
    train(plain, found.seen, Settings(epochs=3, batch_size=128, loss=free.loss), [free])
    twin = small(6)
    train(twin, found.seen, Settings(epochs=3, batch_size=128))
    assert torch.equal(penultimate(plain, found.unseen_x), penultimate(twin, found.unseen_x))
    assert not free.online


# ---- networks and memory ------------------------------------------------------------------------
def test_parameter_counts_are_those_of_torchvision() -> None:
    assert sum(p.numel() for p in resnet18(10).parameters()) == 11_181_642
    with torch.device("meta"):
        deep = resnet50(1000)
    assert sum(p.numel() for p in deep.parameters()) == 25_557_032


def test_a_small_resnet_is_narrowed_and_reads_flat_images() -> None:
    before = torch.get_rng_state()
    model = small_resnet(10, width=4)
    done = fix_head(model, bottleneck=True)
    assert done.bottleneck == "layer4.0"
    assert model(torch.zeros(3, 64)).shape == (3, 10)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_backward_keeps_is_counted_once() -> None:
    inputs = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    model = built(lambda: nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)))
    # Tanh keeps its output, which the second layer keeps too; inputs and weights are not counted.
    assert kept_for_backward(model, inputs) == 8 * 7 * 4
    activations, whole = training_bytes(model, inputs, batch=100)
    assert activations == 100 * 7 * 4
    parameters = 5 * 7 + 7 + 7 * 3 + 3
    assert whole == activations + 3 * 4 * parameters


def test_counting_leaves_the_model_as_it_was() -> None:
    model = small(10).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    kept_for_backward(model, torch.ones(4, 64))
    assert not model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_the_peak_of_training_is_measured() -> None:
    plain, narrow = peaks_of_training("small_resnet", 10, batch=64, side=8)
    model = small_resnet(10)
    held = sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))
    _, whole = training_bytes(model, torch.zeros(8, 64), 64)
    # Parameters and momentum stay through backward; all of it at once is more than was there.
    assert 2 * held < plain < 1.1 * whole
    assert narrow < plain
    twice, _ = peaks_of_training("small_resnet", 10, batch=128, side=8)
    assert twice > plain


def test_measuring_a_peak_refuses_in_words() -> None:
    with pytest.raises(ValueError, match="'vgg' is unknown"):
        peaks_of_training("vgg", 10, batch=2, side=8)
    with pytest.raises(RuntimeError, match="failed"):
        peaks_of_training("small_resnet", 0, batch=2, side=8)
