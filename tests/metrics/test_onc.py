"""ONC: formulas against plain loops, what changes nothing, ideal values, comparators of its rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ncollapse as nc
from ncollapse.collect.statistics.classes import ClassMoments
from ncollapse.metrics.catalog import METRICS, of_task
from ncollapse.metrics.metric import Without
from ncollapse.metrics.onc import Latent

COUNTS = (30, 50, 20, 40)
B = np.array([-6.0, -2.0, 0.0, 3.0, 6.0])


def sample(seed: int = 0, spread: float = 0.4):
    """Features near a line, with a head, some of it off the line."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(4), COUNTS)
    w = rng.normal(size=7)
    along = np.array([-4.1, -0.8, 1.4, 4.7])[labels]
    features = along[:, None] * w / (w @ w) + spread * rng.normal(size=(140, 7))
    return features + 0.1 * rng.normal(size=(4, 7))[labels], labels, w


def values(features, labels, w, thresholds=B, bias=0.0, link="logit", definition="macro"):
    moments = ClassMoments(4, features.shape[1])
    moments.update(torch.from_numpy(features), torch.from_numpy(labels))
    latent = Latent(torch.from_numpy(w), torch.from_numpy(thresholds), bias, link)
    parts = {
        "statistics": moments.statistics(), "geometry": moments.geometry(), "latent": latent,
        "definition": definition,
    }  # fmt: skip
    return {key: float(row.evaluate(**parts)) for key, row in of_task("ordinal").items()}


def naive(features, labels, w):
    """Sample by sample, as the formulas stand."""
    means = np.stack([features[labels == q].mean(0) for q in range(4)])
    n = np.bincount(labels)
    within = ((features - means[labels]) ** 2).sum() / len(labels)
    between = (n[:, None] * (means - features.mean(0)) ** 2).sum() / len(labels)
    sigma = np.linalg.svd(means - means.mean(0), compute_uv=False) ** 2
    unit = w / np.linalg.norm(w)
    z = np.stack([(features[labels == q] @ w).mean() for q in range(4)])
    return {
        "onc1": within / between,
        "onc2_rank": 1 - sigma[0] / sigma.sum(),
        "onc2_alignment": 1 - ((features @ unit) ** 2).sum() / (features**2).sum(),
        "onc3": np.abs(z - (B[1:] + B[:-1]) / 2).mean() / np.diff(B).mean(),
        "onc3_order": (np.diff(z) > 0).mean(),
    }


def test_every_row_is_its_formula() -> None:
    case = sample()
    assert values(*case, definition="micro") == pytest.approx(naive(*case), rel=1e-9)
    # One pass in batches is the same as all at once.
    f, y, w = case
    order = np.random.default_rng(1).permutation(len(y))
    assert values(f[order], y[order], w) == pytest.approx(values(*case), rel=1e-9)


def test_what_changes_nothing() -> None:
    f, y, w = sample()
    base = values(f, y, w)
    turn, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(7, 7)))
    assert values(f @ turn, y, w @ turn) == pytest.approx(base, rel=1e-8)
    # Longer features under a shorter head make the same scores.
    assert values(3 * f, y, w / 3) == pytest.approx(base, rel=1e-8)
    wide = np.concatenate([f, np.zeros((len(f), 3))], 1)
    assert values(wide, y, np.concatenate([w, np.zeros(3)])) == pytest.approx(base, rel=1e-8)
    # The mirrored line, grades and thresholds turned round.
    assert values(f, 3 - y, -w, -B[::-1].copy()) == pytest.approx(base, rel=1e-8)
    # A shift of all scores and thresholds.
    assert values(f, y, w, B + 2.0, 2.0) == pytest.approx(base, rel=1e-8)


@pytest.mark.parametrize("link", ["logit", "probit", "cloglog", "loglog"])
def test_a_predicted_geometry_is_ideal(link: str) -> None:
    p = nc.predict(
        COUNTS, task="ordinal", link=link, thresholds=tuple(B), weight_decay=1e-8,
        feature_decay=1e-8, num_features=7,
    )  # fmt: skip
    labels = np.repeat(np.arange(4), COUNTS)
    w = np.eye(7)[0] * p.weight_norm
    found = values(p.geometry.means.numpy()[labels], labels, w, link=link)
    for key, row in of_task("ordinal").items():
        assert found[key] == pytest.approx(row.ideal, abs=1e-6), key


def test_values_stay_in_their_range_and_noise_is_far_from_ideal() -> None:
    rng = np.random.default_rng(5)
    for _ in range(4):
        labels = np.repeat(np.arange(4), COUNTS)
        found = values(rng.normal(size=(140, 7)), labels, rng.normal(size=7))
        for key, row in of_task("ordinal").items():
            assert row.lower is None or found[key] >= row.lower
            assert row.upper is None or found[key] <= row.upper
        assert found["onc1"] > 5 and found["onc2_alignment"] > 0.3 and found["onc2_rank"] > 0.1


def test_they_are_differentiable() -> None:
    f, y, w = sample()
    weight = torch.from_numpy(w).requires_grad_()
    moments = ClassMoments(4, 7)
    moments.update(torch.from_numpy(f), torch.from_numpy(y))
    latent = Latent(weight, torch.from_numpy(B))
    for key in ("onc2_alignment", "onc3"):
        value = METRICS[key].evaluate(
            statistics=moments.statistics(), geometry=moments.geometry(), latent=latent
        )
        (slope,) = torch.autograd.grad(value, weight)
        assert bool(slope.isfinite().all()) and bool((slope != 0).any())


def test_comparators_are_there_or_the_row_says_why_not() -> None:
    f, y, w = sample()
    m = nc.measure_features(f, y, weight=w[None], thresholds=B)
    found = m.results["train"]["head"]
    assert list(found) == list(of_task("ordinal"))
    for key, reading in found.items():
        row = METRICS[key]
        assert reading.value is not None and reading.ideal == row.ideal
        for have, promised in (
            (reading.null, row.null), (reading.floor, row.floor), (reading.interval, row.interval),
        ):  # fmt: skip
            assert (have is None) == isinstance(promised, Without), key
    one, rank = found["onc1"], found["onc2_rank"]
    assert one.interval[0] < one.value < one.interval[1] < one.null.low
    assert rank.value < rank.null.low
    assert "this library" in METRICS["onc3"].source


def test_bad_heads_are_said() -> None:
    f, y, w = sample()
    m = nc.measure_features(f, y, weight=0 * w[None], thresholds=B, null=False, intervals=False)
    assert m.results["train"]["head"]["onc2_alignment"].value is None
    assert any("the head's weight is 0" in said for said in m.document.warnings)
