"""Bounds and estimate of few-shot error: formulas by hand, pinned values, and never violated."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import ncollapse as nc
from ncollapse.collect.statistics.classes import ClassMoments
from ncollapse.collect.statistics.fourth import FourthMoments, HigherMoments, higher_moments
from ncollapse.downstream.fewshot import (
    bound_cdnv,
    bound_published,
    bound_sharp,
    cdnv,
    directional_cdnv,
    estimate_normal,
    few_shot_bounds,
    margin,
    shots_needed,
)

KINDS = ("gauss", "laplace", "skewed", "jumps", "t5", "mixture")


def moments(pools, mode: str = "full") -> HigherMoments:
    features = torch.from_numpy(np.concatenate(pools))
    labels = torch.repeat_interleave(torch.arange(len(pools)), torch.tensor([*map(len, pools)]))
    return higher_moments(features, labels, mode=mode)


def noise(kind: str, shape: tuple[int, int], rng) -> np.ndarray:
    if kind == "gauss":
        return rng.normal(size=shape)
    if kind == "laplace":
        return rng.laplace(size=shape) / math.sqrt(2)
    if kind == "skewed":
        return rng.exponential(size=shape) - 1
    if kind == "jumps":
        return np.where(rng.random(shape) < 0.05, 4.36, -0.2294)
    if kind == "t5":
        return rng.standard_t(5, size=shape) / math.sqrt(5 / 3)
    return rng.normal(size=shape) * np.exp(rng.normal(size=(shape[0], 1)) / 2)


def setting(kind: str, rng) -> list[np.ndarray]:
    C, d = int(rng.integers(2, 6)), int(rng.choice([2, 5, 20]))
    spread = 10 ** rng.uniform(-0.5, 1.2) / math.sqrt(d)
    return [
        rng.normal(size=d) * spread
        + noise(kind, (300, d), rng)
        * 10 ** rng.uniform(-1, 0, size=d)
        * 10 ** rng.uniform(-0.3, 0.3)
        for _ in range(C)
    ]


def simulated(pools, m: int, draws: int, rng) -> tuple[float, float]:
    """Error of nearest centres with shots and test samples drawn with replacement, and its error."""
    errors = []
    for _ in range(draws):
        centres = np.stack([x[rng.integers(len(x), size=m)].mean(0) for x in pools])
        wrong = []
        for i, x in enumerate(pools):
            near = x @ centres.T - (centres**2).sum(1) / 2
            wrong.append((near.argmax(1) != i).mean())
        errors.append(np.mean(wrong))
    return float(np.mean(errors)), float(np.std(errors) / math.sqrt(draws))


def test_pinned_two_classes_on_a_line() -> None:
    found = moments([np.array([[-1.0], [1.0]]), np.array([[9.0], [11.0]])])
    assert bound_published(found, 10) == pytest.approx(0.0488205, abs=5e-8)
    assert bound_sharp(found, 10) == pytest.approx(0.0422218, abs=5e-6)
    assert cdnv(found) == pytest.approx(0.01)
    assert directional_cdnv(found) == pytest.approx(0.01)
    assert bound_cdnv(found, 10) == pytest.approx(16 * 1.1 * 0.01)


@pytest.mark.parametrize("m", [1, 3])
def test_margin_moments_are_those_of_simulated_margins(m: int) -> None:
    rng = np.random.default_rng(1)
    pools = [rng.exponential(size=(60, 3)) * [1, 2, 0.5], rng.exponential(size=(60, 3)) + 1.5]
    mean, variance = margin(moments(pools), m)
    n = 100_000
    centres = [x[rng.integers(60, size=(n, m))].mean(1) for x in pools]
    for i, j in ((0, 1), (1, 0)):
        x = pools[i][rng.integers(60, size=n)]
        g = ((x - centres[j]) ** 2).sum(1) - ((x - centres[i]) ** 2).sum(1)
        assert abs(float(mean[i, j]) - g.mean()) < 5 * g.std() / math.sqrt(n)
        assert float(variance[i, j]) == pytest.approx(g.var(), rel=0.06)


@pytest.mark.parametrize("settings", [60, pytest.param(300, marks=pytest.mark.slow)])
def test_no_bound_is_violated(settings: int) -> None:
    """Six laws, unequal covariances, 2 to 5 classes; and the sharp bound lies below the published
    one wherever that says anything."""
    rng, below, published = np.random.default_rng(0), 0, 0
    for trial in range(settings):
        pools = setting(KINDS[trial % 6], rng)
        m = [10, 20, 50, 100, 1, 2, 30][trial % 7]
        found = few_shot_bounds(moments(pools), m)
        error, uncertain = simulated(pools, m, 4, rng)
        assert found.sharp is not None
        slack = 5 * uncertain + 1e-3
        assert error <= min(1, found.published) + slack
        assert error <= min(1, found.sharp) + slack
        assert found.sharp <= found.published * (1 + 1e-9) or found.published > 1
        below += found.sharp < 1
        published += found.published < 1
    assert below > 1.5 * published > 0


def test_nothing_depends_on_rotation_scale_place_or_order_of_classes() -> None:
    rng = np.random.default_rng(2)
    pools = [noise("skewed", (50, 4), rng) + 2 * k for k in range(3)]
    turn = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    changed = [3 * x @ turn + 100 for x in reversed(pools)]
    one, other = few_shot_bounds(moments(pools), 4), few_shot_bounds(moments(changed), 4)
    for name in ("published", "sharp", "normal", "cdnv"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-8)


def test_cdnv_is_that_of_the_catalog_and_directional_at_most_twice_it() -> None:
    rng = np.random.default_rng(3)
    pools = [noise("gauss", (80, 5), rng) * rng.uniform(0.5, 2, 5) + 3 * k for k in range(4)]
    features, labels = np.concatenate(pools), np.repeat(np.arange(4), 80)
    m = nc.measure_features(features, labels, null=False, intervals=False, keys=("nc1_cdnv",))
    found = moments(pools)
    assert cdnv(found) == pytest.approx(m.value("nc1_cdnv"))
    assert directional_cdnv(found) <= 2 * cdnv(found)


def test_second_moments_may_be_left_out() -> None:
    rng = np.random.default_rng(4)
    pools = [noise("gauss", (30, 6), rng) + k for k in range(3)]
    full, lean = moments(pools), moments(pools, "trace")
    torch.testing.assert_close(lean.along, full.along)
    assert bound_published(lean, 5) == pytest.approx(bound_published(full, 5))
    assert bound_sharp(lean, 5) is None and estimate_normal(lean, 5) is None
    with pytest.raises(ValueError, match="mode 'full'"):
        shots_needed(lean, 0.1)


def test_fewer_samples_than_features_read_the_same_in_their_span() -> None:
    rng = np.random.default_rng(5)
    pools = [noise("skewed", (9, 40), rng) + k for k in range(2)]
    features = torch.from_numpy(np.concatenate(pools))
    labels = torch.repeat_interleave(torch.arange(2), 9)
    total = ClassMoments(2, 40, mode="trace")
    total.update(features, labels)
    whole = FourthMoments(total)
    whole.update(features, labels)
    one, other = few_shot_bounds(whole.result(), 3), few_shot_bounds(moments(pools), 3)
    assert one.sharp == pytest.approx(other.sharp, rel=1e-9)


def test_the_number_of_shots_is_where_bound_and_estimate_cross() -> None:
    rng = np.random.default_rng(6)
    pools = [noise("gauss", (200, 10), rng) + 6 * np.eye(10)[k] for k in range(3)]
    found = moments(pools)
    needed = shots_needed(found, 0.2)
    assert needed.guaranteed is not None and needed.likely is not None
    assert needed.likely <= needed.guaranteed
    assert bound_sharp(found, needed.guaranteed) <= 0.2 < bound_sharp(found, needed.guaranteed - 1)
    far = shots_needed(found, needed.floor / 2)
    assert far.guaranteed is None and "no number of shots" in str(far)


def test_classes_with_one_mean_bound_nothing() -> None:
    rng = np.random.default_rng(7)
    x = noise("gauss", (20, 3), rng)
    found = few_shot_bounds(moments([x, x]), 5)
    assert found.sharp == pytest.approx(1.0) and found.published >= 1


def test_bad_input_is_said() -> None:
    rng = np.random.default_rng(8)
    with pytest.raises(ValueError, match="holds 1 class"):
        few_shot_bounds(moments([noise("gauss", (9, 2), rng)]), 5)
    found = moments([noise("gauss", (9, 2), rng) + k for k in range(2)])
    with pytest.raises(ValueError, match="shots=0"):
        bound_sharp(found, 0)
    with pytest.raises(ValueError, match="between 0 and 1"):
        shots_needed(found, 1.0)
    total = ClassMoments(2, 2)
    with pytest.raises(ValueError, match="full or trace"):
        FourthMoments(total, "all")
