"""Layers against their geodesic: closed forms, published-style values, laws and bad input."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from ncollapse.collect.statistics.classes import ClassMoments
from ncollapse.metrics.geodesic import geodesic
from ncollapse.metrics.interpolation import METRICS, Split, aligned_simplex, toward_collapse
from ncollapse.metrics.nc1 import nc1_fisher, nc1_ratio
from ncollapse.metrics.nc2 import nc2_etf

TIMES = (0.0, 0.2, 0.4, 0.6, 0.8, 0.95)


def layers(rng: np.random.Generator, count: int = 4, dim: int = 6, classes: int = 4):
    labels = torch.from_numpy(np.repeat(np.arange(classes), [9, 5, 12, 4][:classes]))
    centres = rng.normal(size=(count, classes, dim))
    noise = rng.normal(size=(count, len(labels), dim))
    path = [
        torch.from_numpy(c[labels.numpy()] + 0.4 * z) for c, z in zip(centres, noise, strict=True)
    ]
    return path, labels


@pytest.fixture(scope="module")
def some_digits():
    """400 digits, 40 a class, drawn as for the reference values below."""
    inputs, labels = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    rows = np.concatenate(
        [rng.choice(np.flatnonzero(labels == k), 40, replace=False) for k in range(10)]
    )
    return torch.from_numpy(inputs[rows] / 16), torch.from_numpy(labels[rows])


def test_readings_are_those_of_the_catalog(rng) -> None:
    path, labels = layers(rng)
    moments = ClassMoments(4, 6)
    moments.update(path[0], labels)
    statistics, geometry = moments.statistics(), moments.geometry()
    found = Split.of(path[0], labels).readings()
    assert found["pfc1"] == pytest.approx(float(nc1_fisher(statistics, geometry)), rel=1e-10)
    assert found["ratio"] == pytest.approx(float(nc1_ratio(statistics, geometry)), rel=1e-10)
    assert found["pfc2"] == pytest.approx(float(nc2_etf(geometry)), rel=1e-10)
    means = geometry.means
    nearest = torch.cdist(path[0], means).argmin(1)
    assert found["pfc3"] == float((nearest != labels).to(torch.float64).mean())


def test_readings_hold_deep_in_the_collapse(rng) -> None:
    _, labels = layers(rng)
    noise = torch.from_numpy(rng.normal(size=(len(labels), 6)))
    means = torch.from_numpy(rng.normal(size=(4, 6)))
    unit = Split.of(noise, labels)

    def at(size: float) -> dict[str, float]:
        return Split.of(means[labels] + size * unit.rest + 100, labels).readings()

    assert at(1e-9)["pfc1"] == pytest.approx(1e-12 * at(1e-3)["pfc1"], rel=1e-4)
    assert at(1e-9)["pfc3"] == 0


def test_the_closed_form_is_what_is_measured_and_the_reference_values(some_digits) -> None:
    features, labels = some_digits
    start = Split.of(features, labels)
    ends = aligned_simplex(start.means, 3.0)
    formula = toward_collapse(features, labels, ends, TIMES)
    last = Split(ends, torch.zeros_like(start.rest), labels)
    direct = [start.between(last, time).readings() for time in TIMES]
    for name, values in formula.items():
        assert values == pytest.approx([row[name] for row in direct], rel=1e-9), name
    # tr(Σ_W Σ_B⁺), without 1/K.
    assert [10 * value for value in formula["pfc1"]] == pytest.approx(
        [8.862, 1.925, 0.5883, 0.1684, 0.02969, 0.00149], rel=5e-4, abs=5e-6
    )
    assert formula["pfc2"] == pytest.approx(
        [0.6623, 0.4378, 0.2665, 0.1462, 0.0615, 0.0137], abs=6e-5
    )
    assert [row["pfc3"] for row in direct] == [0.075, 0.005, 0, 0, 0, 0]


def test_toward_an_aligned_simplex_everything_falls(some_digits, rng) -> None:
    features, labels = some_digits
    times = list(np.linspace(0, 1, 21))
    ends = aligned_simplex(Split.of(features, labels).means, 0.7)
    for name, values in toward_collapse(features, labels, ends, times).items():
        assert all(np.diff(values) <= 1e-12), name
        assert values[-1] == pytest.approx(0, abs=1e-7), name
    # Means that must turn around on the way meet each other: ratio rises first.
    back = toward_collapse(features, labels, -ends, times)["ratio"]
    assert max(back) > 2 * back[0]


def test_the_closed_form_with_fewer_features_than_contrasts(rng) -> None:
    path, labels = layers(rng, dim=2)
    start = Split.of(path[0], labels)
    ends = torch.from_numpy(rng.normal(size=(4, 2)))
    last = Split(ends, torch.zeros_like(start.rest), labels)
    formula = toward_collapse(path[0], labels, ends, TIMES)
    for name, values in formula.items():
        direct = [start.between(last, time).readings()[name] for time in TIMES]
        assert values == pytest.approx(direct, rel=1e-8), name


def test_aligned_simplex_is_a_simplex_and_the_nearest_of_its_norm(rng) -> None:
    means = torch.from_numpy(rng.normal(size=(5, 7)))
    centred = means - means.mean(0)
    frame = aligned_simplex(means)
    gram = frame @ frame.T
    wanted = (torch.eye(5) - 0.2) * float((centred**2).sum()) / 4
    assert torch.allclose(gram, wanted.to(torch.float64), atol=1e-12)
    gap = float((frame - centred).norm())
    for _ in range(20):
        turn = torch.linalg.qr(torch.from_numpy(rng.normal(size=(7, 7)))).Q
        assert float((frame @ turn - centred).norm()) >= gap
    # A class whose mean is another's: still a simplex, and still centred.
    means[1] = means[0]
    assert float(aligned_simplex(means).sum(0).norm()) < 1e-12
    with pytest.raises(ValueError, match="at least 4"):
        aligned_simplex(means[:, :3])


def test_a_straight_path_is_its_own_prediction(rng) -> None:
    path, labels = layers(rng, count=2)
    first, last = path[0], 3 * path[0] + 1
    times = (0.0, 0.15, 0.5, 0.9, 1.0)
    found = geodesic([torch.lerp(first, last, time) for time in times], labels)
    assert found.times == pytest.approx(times, abs=1e-12)
    assert max(found.residuals) < 1e-24
    for name in METRICS:
        assert found.measured[name] == pytest.approx(found.predicted[name], rel=1e-9), name
    assert found.straightness == pytest.approx(1, abs=1e-10)
    assert found.optimality == pytest.approx(1, abs=1e-10)
    assert found.matched == 1
    assert found.num_samples == len(labels)
    assert max(abs(v) for v in found.log_ratio["pfc1"]) < 1e-8


def test_a_bent_path_has_residuals_by_hand(rng) -> None:
    path, labels = layers(rng)
    found = geodesic(path, labels)
    whole = path[-1] - path[0]
    moved = path[1] - path[0]
    time = float((moved * whole).sum() / (whole**2).sum())
    rest = float(((moved - time * whole) ** 2).sum() / (whole**2).sum())
    assert found.times[1] == pytest.approx(time, rel=1e-12)
    assert found.residuals[1] == pytest.approx(rest, rel=1e-12)
    predicted = Split.of(torch.lerp(path[0], path[-1], time), labels).readings()
    for name in METRICS:
        assert found.predicted[name][1] == pytest.approx(predicted[name], rel=1e-9), name
        assert found.predicted[name][0] == found.measured[name][0]
        assert found.predicted[name][-1] == pytest.approx(found.measured[name][-1], rel=1e-12)
    assert found.straightness > 1.05
    assert found.optimality >= 1 - 1e-12
    assert found.matched < 1


def test_rotation_order_and_names_of_classes_change_nothing(rng) -> None:
    path, labels = layers(rng)
    found = geodesic(path, labels)
    turn = torch.linalg.qr(torch.from_numpy(rng.normal(size=(6, 6)))).Q
    order = torch.from_numpy(rng.permutation(len(labels)))
    names = torch.tensor([70, 3, 11, 0])
    other = geodesic([4 * layer[order] @ turn for layer in path], names[labels][order])
    for name in METRICS:
        assert other.measured[name] == pytest.approx(found.measured[name], rel=1e-9)
        assert other.predicted[name] == pytest.approx(found.predicted[name], rel=1e-9)
    for name in ("times", "residuals", "straightness", "optimality", "matched"):
        assert getattr(other, name) == pytest.approx(getattr(found, name), rel=1e-9), name


def test_empty_columns_change_nothing_and_wide_layers_need_no_square(rng) -> None:
    path, labels = layers(rng)
    wide = [torch.nn.functional.pad(layer, (0, 3000)) for layer in path]
    found, padded = geodesic(path, labels), geodesic(wide, labels)
    for name in METRICS:
        assert padded.measured[name] == pytest.approx(found.measured[name], rel=1e-9)
    assert padded.straightness == pytest.approx(found.straightness, rel=1e-9)


def test_many_samples_are_drawn_for_the_transport_alone(rng) -> None:
    path, labels = layers(rng)
    whole, drawn = geodesic(path, labels), geodesic(path, labels, exact=12, seed=5)
    assert "all 30 samples" in whole.route
    assert drawn.route == "exact assignment of 12 of 30 samples, drawn by seed 5"
    assert drawn.measured == whole.measured
    assert drawn.straightness != whole.straightness
    assert drawn == geodesic(path, labels, exact=12, seed=5)
    without = geodesic(path, labels, transport=False)
    assert without.straightness is without.optimality is without.matched is None
    assert without.residuals == whole.residuals


def test_monotone_and_json(rng) -> None:
    path, labels = layers(rng)
    # A layer in which the means coincide has no pfc1; JSON says null.
    path[2] = torch.zeros_like(path[2])
    found = geodesic(path, labels)
    assert math.isnan(found.measured["pfc1"][2])
    data = found.to_dict()
    again = json.loads(json.dumps(data, allow_nan=False))
    assert again == data
    assert data["measured"]["pfc1"][2] is None
    assert data["monotone"]["pfc1"] is False
    assert set(data["monotone"]) == set(METRICS)
    centre = Split.of(path[0], labels)
    shrinking = [centre.means[labels] + size * centre.rest for size in (1.0, 0.5, 0.1)]
    assert geodesic(shrinking, labels).monotone["pfc1"]
    assert geodesic(shrinking, labels).monotone["ratio"]
    assert not geodesic(shrinking[::-1], labels).monotone["pfc1"]


def test_bad_input(rng) -> None:
    path, labels = layers(rng)
    with pytest.raises(ValueError, match="no geodesic between layers of 6 and 5 features"):
        geodesic([path[0], path[1][:, :5], path[2]], labels)
    with pytest.raises(ValueError, match="at least 3"):
        geodesic(path[:2], labels)
    with pytest.raises(ValueError, match="layer 1 has 29 samples and layer 0 has 30"):
        geodesic([path[0], path[1][:-1], path[2]], labels)
    with pytest.raises(ValueError, match="pool it first"):
        geodesic([layer[:, :, None] for layer in path], labels)
    with pytest.raises(ValueError, match="coincide"):
        geodesic([path[0], path[1], path[0]], labels)
    with pytest.raises(ValueError, match="layer 2 has NaN"):
        geodesic([path[0], path[1], path[2] * math.inf], labels)
    for wrong in (labels[:-1], labels.to(torch.float32)):
        with pytest.raises(ValueError, match="one whole number a sample"):
            geodesic(path, wrong)
    for wrong in (torch.zeros_like(labels), labels - 1):
        with pytest.raises(ValueError, match="at least two classes"):
            geodesic(path, wrong)
    with pytest.raises(ValueError, match="one mean for each class"):
        toward_collapse(path[0], labels, torch.zeros(3, 6), TIMES)
