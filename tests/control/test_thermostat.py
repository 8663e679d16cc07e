"""The thermostat holds a set point, says when it cannot, and resumes."""

from __future__ import annotations

import copy
import math
import re
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import ncollapse as nc
from ncollapse.collect.statistics.forgetting import ForgettingMoments
from ncollapse.control import Thermostat
from ncollapse.control.reader import LATEST
from ncollapse.errors import NCollapseWarning
from ncollapse.metrics.catalog import METRICS
from tests.models import built

K, INPUTS, WIDTH = 4, 16, 32


def data(samples: int = 400):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(samples) % K
    centres = torch.randn(K, INPUTS, generator=generator)
    return centres[labels] + 0.5 * torch.randn(samples, INPUTS, generator=generator), labels


class Training:
    """A small network under cross-entropy, with a dial in its loop."""

    def __init__(self, dial: Thermostat | None) -> None:
        self.dial = dial
        self.body, self.head = built(
            lambda: (
                nn.Sequential(
                    nn.Linear(INPUTS, 64), nn.BatchNorm1d(64), nn.ReLU(),
                    nn.Linear(64, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU(),
                ),
                nn.Linear(WIDTH, K),
            )
        )  # fmt: skip
        parameters = [*self.body.parameters(), *self.head.parameters()]
        self.optimizer = torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=5e-3)
        self.generator = torch.Generator().manual_seed(1)
        self.inputs, self.labels = data()

    def run(self, steps: int) -> list[float]:
        """NC1 of the whole training set, in training mode, at every tenth step."""
        found = []
        for step in range(steps):
            part = torch.randperm(400, generator=self.generator)[:100]
            features = self.body(self.inputs[part])
            loss = functional.cross_entropy(self.head(features), self.labels[part])
            if self.dial is not None:
                self.dial.observe(features, self.labels[part])
                loss = loss + self.dial.penalty()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            if step % 10 == 0:
                found.append(self.nc1())
        return found

    @torch.no_grad()
    def nc1(self) -> float:
        moments = nc.ClassMoments(K, WIDTH)
        moments.update(copy.deepcopy(self.body)(self.inputs), self.labels)
        return float(
            METRICS["nc1_fisher"].evaluate(
                statistics=moments.statistics(), geometry=moments.geometry()
            )
        )


def middle(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


@pytest.fixture(scope="module")
def left_alone() -> float:
    return middle(Training(None).run(400)[20:])


@pytest.mark.parametrize("target", [0.5, 0.1, 0.003])
def test_it_holds_more_and_less_collapse_than_training_ends_at(target: float, left_alone) -> None:
    assert 0.004 < left_alone < 0.05
    dial = Thermostat(target)
    held = middle(Training(dial).run(400)[20:])
    assert 0.65 * target < held < 1.5 * target
    assert dial.saturated is None


def test_the_target_can_be_moved() -> None:
    dial = Thermostat(0.3)
    training = Training(dial)
    training.run(200)
    dial.target = 0.03
    assert 0.6 < middle(training.run(250)[10:]) / 0.03 < 1.6


@pytest.mark.parametrize("push", ["coding_rate", "rate_reduction"])
def test_other_pushes_slow_collapse_down(push: str, left_alone) -> None:
    assert middle(Training(Thermostat(0.2, push=push)).run(200)[10:]) > 2 * left_alone


def test_an_unreachable_target_is_said_once_with_its_direction() -> None:
    dial = Thermostat(50.0, push="koleo", max_weight=0.1, gain=0.05, patience=30)
    with pytest.warns(NCollapseWarning, match=r"below its target 50.*push.*max_weight=0.1"):
        Training(dial).run(60)
    assert dial.saturated == "push"
    assert dial.weight == -0.1
    assert not dial.held
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Training(dial).run(20)
    low = Thermostat(1e-9, max_weight=1e-4, patience=30)
    with pytest.warns(NCollapseWarning, match="above its target 1e-09.*pull"):
        Training(low).run(60)
    assert low.saturated == "pull"


# ---- the controller alone -----------------------------------------------------------------------
def test_the_weight_does_not_wind_up() -> None:
    dial = Thermostat(0.1, gain=0.5, proportional=0.0, max_weight=1.0)
    for _ in range(100):
        dial._act(2.0)
    assert dial.weight == 1.0
    turns = 0
    while dial.weight > 0:
        dial._act(-2.0)
        turns += 1
    assert turns <= 2


def features(seed: int = 0, spread: float = 0.3):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(60) % K
    centres = torch.randn(K, 10, generator=torch.Generator().manual_seed(9))
    return centres[labels] + spread * torch.randn(60, 10, generator=generator), labels


@pytest.mark.parametrize("metric", ["nc1_fisher", "nc1_ratio", "nc1_cdnv", "nc1_vci"])
def test_one_batch_is_read_free_of_the_noise_of_its_means(metric: str) -> None:
    rows, labels = (
        tensor.double() if tensor.is_floating_point() else tensor for tensor in features()
    )
    n, N = 15, 60
    means = torch.stack([rows[labels == k].mean(0) for k in range(K)])
    rest = rows - means[labels]
    scatter = rest.T @ rest / (N - K)
    s = rest.square().sum(1).reshape(n, K).sum(0) / (n - 1)
    centred = means - means.mean(0)
    within, total = scatter.trace(), (rows - rows.mean(0)).square().sum() / (N - 1)
    i, j = torch.triu_indices(K, K, 1)
    clear = (means[i] - means[j]).square().sum(1) - (s[i] + s[j]) / n
    basis = torch.linalg.svd(centred).U[:, : K - 1]
    square = (scatter.square().sum() - within**2 / 56) / (1 + 1 / 56 - 2 / 56**2)
    noise = basis.T @ torch.diag(s / n) @ basis
    gram = torch.linalg.inv(basis.T @ centred @ centred.T @ basis - noise)
    seen = basis.T @ centred @ scatter @ centred.T @ basis - noise * square / within
    kappa = 56 / (56 - 10 - 1)
    apart = basis.T @ centred @ torch.linalg.inv(scatter) @ centred.T @ basis / kappa
    apart = (apart - 10 * noise / within) / K
    wanted = {
        "nc1_ratio": within / (total - within),
        "nc1_cdnv": ((s[i] + s[j]) / 2 / clear).mean(),
        "nc1_fisher": (gram @ seen @ gram).trace(),
        # Spreads that differ by chance move κ by less than a per cent.
        "nc1_vci": (1 / (1 + torch.linalg.eigvalsh(apart))).mean(),
    }[metric]
    dial = Thermostat(0.1, metric)
    close = 1e-2 if metric == "nc1_vci" else 1e-6
    assert dial.observe(rows, labels) == pytest.approx(float(wanted), rel=close)
    assert dial.refusal is None


# ---- populations that do not move ---------------------------------------------------------------
def population(metric: str, ratio: float, columns: int = 64, classes: int = 10):
    """A source of batches with tr Σ_B = 1 and isotropic spread, and what the metric is there."""
    rng = np.random.default_rng(3)
    means = rng.standard_normal((classes, columns))
    means -= means.mean(0)
    means /= np.sqrt((means**2).sum() / classes)
    gaps = ((means[:, None] - means) ** 2).sum(2)[np.triu_indices(classes, 1)]
    apart = np.linalg.svd(means, compute_uv=False)[: classes - 1] ** 2 * columns / classes / ratio
    truth = {
        "nc1_ratio": ratio,
        "nc1_cdnv": (ratio / gaps).mean(),
        "nc1_vci": (1 / (1 + apart)).mean(),
        "nc1_fisher": (1 / apart).sum() / classes,
    }[metric]

    def batch(size: int):
        labels = rng.integers(0, classes, size)
        rows = means[labels] + (ratio / columns) ** 0.5 * rng.standard_normal((size, columns))
        return torch.from_numpy(rows), torch.from_numpy(labels)

    return batch, truth


@pytest.mark.parametrize(
    ("metric", "ratio", "size"),
    [
        ("nc1_ratio", 9.6, 64),
        ("nc1_ratio", 9.6, 128),
        ("nc1_ratio", 0.3, 8),
        ("nc1_ratio", 0.3, 32),
        ("nc1_cdnv", 0.3, 16),
        ("nc1_cdnv", 9.6, 128),
        ("nc1_vci", 0.3, 64),
        ("nc1_vci", 0.3, 128),
        ("nc1_fisher", 0.3, 64),
        ("nc1_fisher", 0.3, 512),
    ],
)
def test_it_reads_the_population_and_not_the_batch(metric: str, ratio: float, size: int) -> None:
    batch, truth = population(metric, ratio)
    dial = Thermostat(0.5, metric, num_classes=10)
    read = [dial.observe(*batch(size)) for _ in range(30 if size < 512 else 6)]
    given = [value for value in read[len(read) // 3 :] if math.isfinite(value)]
    assert len(given) > len(read) / 4
    assert 1 / 1.25 < sorted(given)[len(given) // 2] / truth < 1.25


def test_a_reading_that_cannot_be_given_holds_the_weight_and_has_a_reason() -> None:
    batch, _ = population("nc1_fisher", 2.0)
    dial = Thermostat(0.1, num_classes=10, half_life=0.1)
    dial.observe(*batch(512))
    weight, integral = dial.weight, dial._integral
    assert weight != 0 and dial.refusal is None
    for _ in range(3):
        # Some four samples a class, and nothing before them counts.
        assert math.isnan(dial.observe(*batch(40)))
    assert math.isnan(dial.reading) and not dial.held
    assert (dial.weight, dial._integral) == (weight, integral)
    assert re.search(r"nc1_fisher cannot be read from.*needed?", dial.refusal)
    rows, labels = batch(40)
    dial.observe(rows.requires_grad_(), labels)
    assert float(dial.penalty()) != 0
    dial.observe(*batch(512))
    assert dial.reading > 0 and dial.refusal is None and dial.weight != weight


def test_a_batch_cannot_say_vci_and_says_so_once() -> None:
    batch, _ = population("nc1_vci", 0.3)
    dial = Thermostat(0.5, "nc1_vci", num_classes=10, half_life=0.1, patience=3)
    for _ in range(2):
        dial.observe(*batch(64))
    with pytest.warns(NCollapseWarning, match=r"held its weight for 3.*hold nc1_ratio"):
        dial.observe(*batch(64))
    assert "from 5" in dial.refusal and "so 256 are needed" in dial.refusal
    assert dial.weight == 0 and dial.saturated is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dial.observe(*batch(64))


def test_the_window_grows_while_it_cannot_say_and_shrinks_again() -> None:
    batch, truth = population("nc1_fisher", 2.0)
    dial = Thermostat(0.1, num_classes=10)
    read = [dial.observe(*batch(48)) for _ in range(40)]
    reader = dial._reader
    assert math.isnan(read[0]) and reader.first == LATEST and reader.half_life > 1
    assert 0.75 < [value for value in read if math.isfinite(value)][-1] / truth < 1.25
    given = Thermostat(0.1, num_classes=10, half_life=2.0)
    for _ in range(5):
        given.observe(*batch(48))
    assert given._reader.half_life == 2.0
    calm, _ = population("nc1_fisher", 0.01)
    for _ in range(30):
        dial.observe(*calm(48))
    assert reader.half_life < 16


def test_the_penalty_is_differentiable_and_signed() -> None:
    rows, labels = features()
    for target, sign in ((0.001, 1), (10.0, -1)):
        dial = Thermostat(target)
        leaf = rows.clone().requires_grad_()
        dial.observe(leaf, labels)
        assert sign * dial.weight > 0
        dial.penalty().backward()
        inward = leaf.detach() - 0.01 * leaf.grad / leaf.grad.norm()
        assert (
            sign * (Thermostat(1.0).observe(inward, labels) - Thermostat(1.0).observe(rows, labels))
            < 0
        )


def test_a_resumed_thermostat_goes_on_as_if_never_stopped() -> None:
    first = Thermostat(0.1)
    for seed in range(5):
        first.observe(*features(seed, 0.2))
    second = Thermostat(0.1)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert (second.weight, second.reading) == (first.weight, first.reading)
    for seed in range(5, 8):
        batch = features(seed, 0.2)
        assert first.observe(*batch) == second.observe(*batch)
        assert first.weight == second.weight
    with pytest.raises(ValueError, match="holds nc1_ratio"):
        Thermostat(0.1, "nc1_ratio").load_state_dict(first.state_dict())


def test_the_state_of_an_older_version_keeps_its_weight() -> None:
    old = {
        "target": 0.1, "metric": "nc1_fisher", "integral": 0.02, "weight": 0.05, "reading": 0.2,
        "batches": 7, "stuck": 3, "warned": False,
        "moments": ForgettingMoments(K, 10, half_life=0.1, unit="batches").state_dict(),
    }  # fmt: skip
    dial = Thermostat(0.1)
    dial.load_state_dict(old)
    assert (dial.weight, dial.reading) == (0.05, 0.2)
    assert dial.observe(*features()) > 0 and dial.weight != 0.05
    fresh = Thermostat(0.1)
    fresh.load_state_dict(Thermostat(0.1).state_dict())
    assert fresh.refusal is None and math.isnan(fresh.reading)


def test_classes_that_turn_up_later_are_taken_in() -> None:
    rows, labels = features()
    dial = Thermostat(0.1)
    dial.observe(rows[labels < 2], labels[labels < 2])
    dial.observe(rows, labels)
    assert dial.reading > 0
    single = Thermostat(0.1)
    single.observe(rows[labels == 1], labels[labels == 1])
    assert math.isnan(single.reading)
    assert float(single.penalty()) == 0


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Thermostat(0.0), "no reading that nc1_fisher can hold"),
        (lambda: Thermostat(1.5, "nc1_vci"), "below 1"),
        (lambda: Thermostat(0.1, "nc2_etf_means"), "one of nc1_ratio"),
        (lambda: Thermostat(0.1, push="nothing"), "one of nc1, koleo"),
        (lambda: Thermostat(0.1, gain=-1.0), "gain=-1"),
        (lambda: Thermostat(0.1, every=0), "every=0"),
        (lambda: Thermostat(0.1).penalty(), r"before observe"),
        (lambda: Thermostat(0.1, num_classes=2).observe(*features()), "outside 0..1"),
        (lambda: Thermostat(0.1).observe(features()[0] * math.nan, features()[1]), "NaN"),
    ],
)
def test_bad_arguments_are_explained(make, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()
