"""Moments that forget: weighted sums in one pass, right near collapse, never negative."""

from __future__ import annotations

import math

import pytest
import torch

import ncollapse as nc
from ncollapse.collect.statistics.forgetting import FORGOTTEN, ForgettingMoments
from ncollapse.metrics.readings import applicable, read
from tests.data import CASES


def batches(features, labels, size=37):
    for start in range(0, len(labels), size):
        yield features[start : start + size], labels[start : start + size]


def filled(features, labels, size=37, **options) -> ForgettingMoments:
    moments = ForgettingMoments(int(labels.max()) + 1, features.shape[1], **options)
    for part in batches(features, labels, size):
        moments.update(*part)
    return moments


def weighted(features, labels, weights):
    """A naive two-pass twin in float64: means, traces and the micro scatter."""
    features, means, traces, scatter = features.double(), [], [], 0.0
    for label in labels.unique():
        mine = labels == label
        w = weights[mine][:, None]
        mean = (w * features[mine]).sum(0) / w.sum()
        gap = features[mine] - mean
        means.append(mean)
        traces.append((w * gap**2).sum() / w.sum())
        scatter = scatter + (w * gap).T @ gap
    return torch.stack(means), torch.stack(traces), scatter / weights.sum()


def close(a, b, tolerance=1e-10):
    assert torch.allclose(a, b, rtol=tolerance, atol=tolerance * float(b.abs().max())), (a, b)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_without_forgetting_it_is_class_moments(case) -> None:
    features, labels = torch.from_numpy(case.features), torch.from_numpy(case.labels)
    weight, bias = torch.from_numpy(case.weight), torch.from_numpy(case.bias)
    mine = filled(features, labels)
    whole = nc.ClassMoments(mine.num_classes, mine.num_features)
    whole.update(features.clone(), labels)
    # ClassMoments takes differences of float32 features in float32.
    close(mine.means, whole.means, 1e-6)
    close(mine.statistics().traces, whole.statistics().traces, 1e-5)
    keys = applicable(head=True)
    values = [
        read(
            keys,
            statistics=moments.statistics(),
            geometry=moments.geometry(weight, bias),
            definition="micro",
        )[0]
        for moments in (mine, whole)
    ]
    for key in keys:
        if values[1][key] is None:
            assert values[0][key] is None, key
            continue
        assert values[0][key] == pytest.approx(values[1][key], rel=2e-5, abs=1e-9), key


@pytest.mark.parametrize("unit", ["samples", "batches"])
def test_weights_halve_every_half_life(unit) -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(200, 6, generator=generator, dtype=torch.float64) + 5
    labels = torch.randint(0, 3, (200,), generator=generator)
    half_life = 55.0 if unit == "samples" else 2.5
    mine = filled(features, labels, size=20, half_life=half_life, unit=unit)
    age = (9 - torch.arange(200) // 20).double()
    weights = 2 ** (-(20 * age if unit == "samples" else age) / half_life)
    means, traces, scatter = weighted(features, labels, weights)
    found = mine.statistics()
    close(mine.means, means)
    close(found.traces, traces)
    close(found.micro, scatter)
    shares = torch.stack([weights[labels == k].sum() for k in range(3)])
    close(mine.weights, shares)
    # Kish: the effective sample sizes add up to (Σw)²/Σw².
    close(found.counts.sum(), weights.sum() ** 2 / (weights**2).sum())


@pytest.mark.parametrize("spread", [1e-2, 1e-4, 1e-6])
def test_spread_is_right_near_collapse_while_means_drift(spread) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(600) % 3
    centres = 10 * torch.randn(3, 16, generator=generator)
    exact = centres[labels] + spread * torch.randn(600, 16, generator=generator)
    drift = torch.linspace(0, 30 * spread, 600)[:, None]
    features = (exact + drift).float()
    mine = filled(features, labels, size=60, half_life=120.0)
    weights = 2 ** (-60 * (9 - torch.arange(600) // 60).double() / 120)
    means, traces, scatter = weighted(features, labels, weights)
    found = mine.statistics()
    assert (found.traces > 0).all()
    close(found.traces, traces, 1e-7)
    close(found.micro, scatter, 1e-5)
    close(mine.means, means, 1e-12)


def test_a_class_that_stays_away_is_forgotten_and_begins_anew() -> None:
    moments = ForgettingMoments(3, 4, half_life=10)
    old, two = torch.full((5, 4), 100.0), torch.eye(2, 4)
    moments.update(old, torch.full((5,), 2))
    for _ in range(100):
        moments.update(two, torch.tensor([0, 1]))
    assert float(moments.weights[2]) < FORGOTTEN
    assert moments.means[2].isnan().all()
    assert moments.statistics().present.tolist() == [0, 1]
    moments.update(torch.zeros(3, 4), torch.full((3,), 2))
    assert torch.equal(moments.means[2], torch.zeros(4, dtype=torch.float64))
    assert float(moments.statistics().traces[2]) == 0


def test_bad_samples_weigh_nothing_and_are_counted() -> None:
    features, labels = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)), None
    labels = torch.arange(40) % 2
    clean = filled(features, labels, size=8, half_life=16)
    dirty = ForgettingMoments(2, 3, half_life=16)
    for part, own in batches(features, labels, 8):
        extra = torch.tensor([[math.nan] * 3, [math.inf] * 3, [1.0] * 3, [2.0] * 3])
        dirty.update(torch.cat([part, extra]), torch.cat([own, torch.tensor([0, 1, 7, -100])]))
    close(dirty.statistics().traces, clean.statistics().traces)
    close(dirty.means, clean.means)
    assert dirty.rejected() == (5, 10)
    assert dirty.rejected() == (0, 0)


def test_state_is_saved_and_reset_forgets() -> None:
    generator = torch.Generator().manual_seed(0)
    features, labels = torch.randn(90, 5, generator=generator), torch.arange(90) % 3
    moments = filled(features, labels, half_life=30)
    copy = ForgettingMoments(3, 5, half_life=30)
    assert copy.state_bytes == moments.state_bytes
    copy.load_state_dict(moments.state_dict())
    for one in (moments, copy):
        one.update(features[:20], labels[:20])
    assert torch.equal(copy.statistics().micro, moments.statistics().micro)
    moments.reset()
    fresh = ForgettingMoments(3, 5, half_life=30)
    for one in (moments, fresh):
        one.update(features, labels)
    assert torch.equal(moments.means, fresh.means)
    assert moments.described == "half-life 30 samples"
    with pytest.raises(ValueError, match="the state is of moments"):
        ForgettingMoments(3, 5, half_life=31).load_state_dict(copy.state_dict())


def test_gradients_and_autocast_stay_out() -> None:
    features = torch.randn(12, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    labels = torch.arange(12) % 2
    moments = ForgettingMoments(2, 4, mode="trace")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        moments.update(features, labels)
    found = moments.statistics()
    assert not moments.means.requires_grad
    assert found.micro is None
    close(found.traces, weighted(features.detach(), labels, torch.ones(12))[1], 1e-12)
    moments.update(features[:0], labels[:0])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"half_life": 0}, "half_life=0"),
        ({"half_life": math.nan}, "half_life=nan"),
        ({"unit": "epochs"}, "unit 'epochs'"),
        ({"mode": "sketch"}, "mode 'sketch'"),
    ],
)
def test_bad_arguments_are_explained(options, said) -> None:
    with pytest.raises(ValueError, match=said):
        ForgettingMoments(3, 4, **options)


def test_bad_batches_are_explained() -> None:
    with pytest.raises(ValueError, match="num_classes=1"):
        ForgettingMoments(1, 4)
    with pytest.raises(ValueError, match="num_features=0"):
        ForgettingMoments(2, 0)
    with pytest.raises(ValueError, match="pool over space"):
        ForgettingMoments(2, 4).update(torch.zeros(3, 5), torch.zeros(3, dtype=torch.long))
    with pytest.raises(ValueError, match="one label"):
        ForgettingMoments(2, 4).update(torch.zeros(3, 4), torch.zeros(2, dtype=torch.long))
