"""Information under noise: bounds around the truth, the order of bounds, laws, and bad input."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ncollapse.downstream.dependence import nhsic, renyi_information
from ncollapse.downstream.information import (
    gaussian_information,
    information,
    redundant_information,
    residual_gaussianity,
    unit_largest,
    unit_spread,
)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def clouds(spread: float, each: int = 12, classes: int = 4, dim: int = 5):
    labels = torch.arange(classes).repeat_interleave(each)
    centres = 4 * draw(classes, dim, seed=1)
    return centres[labels] + spread * draw(len(labels), dim, seed=2), labels


def by_integral(points: np.ndarray, s: float) -> float:
    """I(Z;X) of points on a line: the entropy of the mixture minus that of its noise."""
    z = np.linspace(points.min() - 10 * s, points.max() + 10 * s, 40001)
    density = np.exp(-((z[:, None] - points) ** 2) / (2 * s**2)).mean(1) / math.sqrt(2 * math.pi)
    density /= s
    entropy = -np.trapezoid(density * np.log(np.maximum(density, 1e-300)), z)
    return float(entropy - 0.5 * math.log(2 * math.pi * math.e * s**2))


@pytest.mark.parametrize("s", [0.05, 0.3, 1.0, 5.0])
def test_the_truth_lies_between_the_bounds(s: float) -> None:
    points, labels = np.array([0.0, 0.4, 1.1, 3.0, 3.2, 3.9]), torch.tensor([0, 0, 0, 1, 1, 1])
    features = torch.tensor(points)[:, None]
    found = information(features, labels, s)
    assert found.input.lower <= by_integral(points, s) + 1e-6
    assert by_integral(points, s) <= found.input.upper + 1e-6
    within = (by_integral(points[:3], s) + by_integral(points[3:], s)) / 2
    assert found.given_class.lower - 1e-6 <= within <= found.given_class.upper + 1e-6
    label = by_integral(points, s) - within
    assert found.label.lower - 1e-6 <= label <= found.label.upper + 1e-6
    redundant = redundant_information(features, labels, s)
    assert within <= redundant.gaussian + 1e-9
    assert by_integral(points, s) <= gaussian_information(features, s) + 1e-6


def test_bounds_on_redundancy_are_in_order_and_meet_where_they_should() -> None:
    features, labels = clouds(0.5)
    found = redundant_information(features, labels, 0.3)
    assert 0 < found.gaussian < found.isotropic < found.variance
    # One direction: trace and covariance are the same; little variance: so is V/(2 s²).
    line = redundant_information(features[:, :1], labels, 0.3)
    assert line.gaussian == pytest.approx(line.isotropic)
    weak = redundant_information(features, labels, 1e3)
    assert weak.gaussian == pytest.approx(weak.variance, rel=1e-5)
    wide = torch.cat([features, torch.zeros(len(labels), 7, dtype=torch.float64)], 1)
    assert redundant_information(wide, labels, 0.3).gaussian == pytest.approx(found.gaussian)


@pytest.mark.parametrize("simplex", [True, False])
def test_distinct_points_keep_the_entropy_of_the_class_and_no_more(simplex: bool) -> None:
    labels = torch.tensor([0] * 5 + [1] * 10 + [2] * 15)
    centres = torch.eye(3, dtype=torch.float64) if simplex else draw(3, 3, seed=5)
    closest = float(torch.pdist(centres).min())
    found = information(centres[labels] + 1e-5 * closest * draw(30, 3), labels, 0.1 * closest)
    for bound in (found.input, found.label):
        assert bound.lower == pytest.approx(found.entropy, abs=1e-4)
        assert bound.upper == pytest.approx(found.entropy, abs=1e-4)
    assert found.given_class.upper < 1e-4
    assert found.entropy == pytest.approx(-sum(p * math.log(p) for p in (1 / 6, 1 / 3, 1 / 2)))


def test_saturation_is_said_with_the_bound() -> None:
    features, labels = clouds(0.5)
    found = information(features, labels, 1e-3).input
    assert found.saturated
    assert found.lower == pytest.approx(math.log(48))
    assert "ceiling of 3.87" in str(found) and "at least" in str(found)
    loose = information(features, labels, 1.0).input
    assert not loose.saturated and "to" in str(loose)


def test_rotation_offset_order_and_joint_scale_change_nothing() -> None:
    features, labels = clouds(0.5)
    turn = torch.linalg.qr(draw(5, 5, seed=3)).Q
    order = torch.randperm(48, generator=torch.Generator().manual_seed(0))
    moved, names = (3 * features @ turn + 7)[order], labels[order]
    one, other = information(features, labels, 0.4), information(moved, names, 1.2)
    for name in ("input", "given_class", "label"):
        for end in ("lower", "upper"):
            assert getattr(getattr(one, name), end) == pytest.approx(
                getattr(getattr(other, name), end), abs=1e-9
            )
    assert gaussian_information(moved, 1.2) == pytest.approx(gaussian_information(features, 0.4))
    assert torch.allclose(torch.pdist(unit_spread(moved)[order.argsort()]),
                          torch.pdist(unit_spread(features)))  # fmt: skip
    assert float(unit_largest(moved).norm(dim=1).max()) == pytest.approx(1)


def test_gaussianity_of_residuals() -> None:
    labels = torch.arange(4).repeat_interleave(500)
    normal = draw(2000, 6)
    found = residual_gaussianity(draw(4, 6, seed=1)[labels] + normal, labels, 6)
    assert found.kurtosis == pytest.approx(1, abs=0.05) and abs(found.score) < 4
    heavy = normal * (0.3 + 2 * (labels == 0))[:, None]
    assert residual_gaussianity(heavy, labels, 6).score > 20
    mixed = normal @ (draw(6, 6, seed=4) + 3 * torch.eye(6, dtype=torch.float64))
    assert residual_gaussianity(mixed, labels, 6).kurtosis == pytest.approx(
        residual_gaussianity(normal, labels, 6).kurtosis
    )
    with pytest.raises(ValueError, match="nothing varies"):
        residual_gaussianity(draw(4, 6)[labels], labels)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"noise": 0.0}, "positive length"),
        ({"noise": math.nan}, "positive length"),
        ({"labels": torch.zeros(48, dtype=torch.int64)}, "two classes"),
        ({"labels": torch.arange(3)}, "one whole number a sample"),
        ({"features": torch.full((48, 5), math.nan)}, "NaN"),
    ],
)
def test_bad_input_is_refused(change: dict, match: str) -> None:
    features, labels = clouds(0.5)
    given = {"features": features, "labels": labels, "noise": 0.3} | change
    for function in (information, redundant_information):
        with pytest.raises(ValueError, match=match):
            function(**given)


# ---- kernels ------------------------------------------------------------------------------------
def naive(x: torch.Tensor, labels: torch.Tensor, sigma: float, epsilon: float) -> float:
    """As published: K times the centring matrix, one inverse each, no symmetry."""
    n = len(labels)
    rows = x - x.mean(0)
    rows = rows / (rows**2).mean().sqrt()
    gaps = ((rows[:, None] - rows[None]) ** 2).sum(2)
    one_hot = torch.nn.functional.one_hot(labels).double()
    centring = torch.eye(n, dtype=torch.float64) - 1 / n
    found = []
    for gram in ((-gaps / (2 * sigma**2 * x.shape[1])).exp(), one_hot @ one_hot.T):
        centred = gram @ centring
        lifted = centred + epsilon * n * torch.eye(n, dtype=torch.float64)
        found.append(centred @ torch.linalg.inv(lifted))
    return float((found[0] @ found[1]).trace())


def test_nhsic_is_the_published_formula_and_keeps_its_laws() -> None:
    features, labels = clouds(1.0)
    found = nhsic(features, labels)
    assert found.exact and found.error is None
    assert found.value == pytest.approx(naive(features, labels, 5.0, 1e-5), rel=1e-6)
    turn = torch.linalg.qr(draw(5, 5, seed=3)).Q
    order = torch.randperm(48, generator=torch.Generator().manual_seed(0))
    moved = nhsic((3 * features @ turn + 7)[order], labels[order] + 2)
    assert moved.value == pytest.approx(found.value, rel=1e-6)
    assert nhsic(labels, features).value == pytest.approx(found.value)
    apart = draw(500, 1, seed=8), draw(500, 1, seed=9)
    assert nhsic(*apart).value < 0.3 < nhsic(apart[0], apart[0]).value


def test_more_samples_are_read_in_blocks() -> None:
    features, labels = clouds(1.0, each=50)
    found = nhsic(features, labels, exact=60, seed=3)
    assert (found.blocks, found.size, found.exact) == (3, 60, False)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(3))
    spread = unit_spread(features) * math.sqrt(5)
    values = []
    for part in order[:180].split(60):
        # Scale is that of all samples, so a block is read as it stands there.
        rows = spread[part]
        values.append(naive_scaled(rows, labels[part]))
    assert found.value == pytest.approx(sum(values) / 3, rel=1e-6)
    assert found.error == pytest.approx(float(np.std(values, ddof=1)) / math.sqrt(3), rel=1e-5)
    assert found.value == nhsic(features, labels, exact=60, seed=3).value


def naive_scaled(rows: torch.Tensor, labels: torch.Tensor) -> float:
    size = float(((rows - rows.mean(0)) ** 2).mean().sqrt())
    return naive(rows, labels, 5.0 / size, 1e-5)


def test_renyi_of_labels_is_known() -> None:
    labels = torch.arange(5).repeat_interleave(6)
    assert renyi_information([labels, labels]) == pytest.approx(math.log(5))
    crossed = torch.cartesian_prod(torch.arange(4), torch.arange(5))
    assert renyi_information([crossed[:, 0], crossed[:, 1]]) == pytest.approx(0, abs=1e-9)
    assert renyi_information([labels, labels % 2, labels], alpha=2.0) == pytest.approx(math.log(5))


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: nhsic(draw(4, 2), draw(5, 2)), "4 samples of x and 5 of y"),
        (lambda: nhsic(draw(4, 2), draw(4, 2), epsilon=0.0), "positive numbers"),
        (lambda: nhsic(torch.ones(4, 2), torch.arange(4)), "coincide"),
        (lambda: nhsic(draw(4, 2) / 0, torch.arange(4)), "finite"),
        (lambda: renyi_information([draw(4, 2)]), "two or more"),
        (lambda: renyi_information([draw(4, 2), draw(4, 2)], alpha=1.0), "other than 1"),
    ],
)
def test_bad_input_to_kernels_is_refused(call, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        call()
