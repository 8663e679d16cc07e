"""Directional collapse: right at 1e-12, collected where asked for, with intervals that hold."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import ncollapse as nc
from ncollapse.collect.statistics.directions import Directions
from ncollapse.metrics.catalog import METRICS

KEYS = ["dir_spread", "norm_cv", "raw_cosine"]
K, D, EACH = 4, 30, 25
LABELS = torch.arange(K).repeat_interleave(EACH)


def rays(spread: float, cv: float, seed: int = 0, each: int = EACH) -> tuple[Tensor, Tensor]:
    """Features near one ray a class: angles of about `spread`, lengths with that CV."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    labels = torch.arange(K).repeat_interleave(each)
    axes = torch.eye(K, D, dtype=torch.float64) + 0.3
    length = 5 * (1 + cv * normal(len(labels), 1)).clamp_min(0.05)
    return length * (axes[labels] + spread * normal(len(labels), D)), labels


def readings(H: Tensor, y: Tensor, **options: object) -> dict[str, nc.Reading]:
    return nc.measure_features(H, y, keys=KEYS, **options).results["train"]["head"]


def exact(H: Tensor, y: Tensor) -> tuple[float, float]:
    """1 - R by pairs, without cancellation: R² = 1 - Σ_ij ‖u_i - u_j‖²/(2 n²)."""
    spreads, ratios = [], []
    for k in y.unique():
        rows = H[y == k].numpy().astype(np.longdouble)
        size = np.sqrt((rows**2).sum(1))
        unit = rows / size[:, None]
        gap = ((unit[:, None] - unit[None]) ** 2).sum() / (2 * len(unit) ** 2)
        spreads.append(gap / (1 + np.sqrt(1 - gap)))
        ratios.append(size.std() / size.mean())
    return float(np.mean(spreads)), float(np.mean(ratios))


@pytest.mark.parametrize("spread", [1.0, 1e-3, 1e-6, 1e-8])
@pytest.mark.parametrize("cv", [0.1, 1e-6])
def test_values_are_right_where_classes_are_rays(spread: float, cv: float) -> None:
    H, y = rays(spread, cv)
    known = exact(H, y)
    found = readings(H, y, null=False, intervals=False)
    # Unit vectors are rounded: 1e-16 of an angle.
    slack = 1e-12 + 4e-16 / spread
    assert found["dir_spread"].value == pytest.approx(known[0], rel=slack)
    if spread == 1e-6:
        assert 1e-13 < known[0] < 1e-10
    assert found["norm_cv"].value == pytest.approx(known[1], rel=1e-12 + 1e-15 / cv)


def test_they_are_collected_where_a_key_asks_for_them_only() -> None:
    H, y = rays(0.1, 0.1)
    default = nc.measure_features(H, y, null=False, intervals=False)
    assert "dir_spread" not in default.results["train"]["head"]
    assert default.value("raw_cosine") is not None
    more = nc.measure_features(H, y, null=False, intervals=False, directional=True)
    assert set(more.results["train"]["head"]) - set(default.results["train"]["head"]) == {
        "dir_spread",
        "norm_cv",
    }
    some = nc.measure_features(H, y, keys=(key for key in ["norm_cv"]))
    assert list(some.results["train"]["head"]) == ["norm_cv"]


def test_splits_and_samples_to_ignore_are_kept_apart() -> None:
    H, y = rays(0.1, 0.1)
    other, _ = rays(0.3, 0.4, seed=1)
    labels = torch.cat([y, y]).clone()
    labels[::7] = -100
    names = ["train"] * len(y) + ["test"] * len(y)
    m = nc.measure_features(torch.cat([H, other]), labels, keys=KEYS, split=names, null=False)
    for split, part, rows in (("train", labels[: len(y)], H), ("test", labels[len(y) :], other)):
        known = exact(rows[part >= 0], part[part >= 0])
        found = m.results[split]["head"]
        assert found["dir_spread"].value == pytest.approx(known[0], rel=1e-12)
        assert found["norm_cv"].value == pytest.approx(known[1], rel=1e-12)


def test_the_mean_cosine_of_two_samples_is_told_by_r() -> None:
    H, y = rays(0.5, 0.2)
    statistic = Directions(K, D)
    statistic.update(H, y)
    found = statistic.result()
    for k in range(K):
        unit = torch.nn.functional.normalize(H[y == k], dim=1)
        cosines = unit @ unit.T
        mean = (cosines.sum() - EACH) / (EACH * (EACH - 1))
        square = 1 - float(found.gaps[k])
        assert float(mean) == pytest.approx((EACH * square - 1) / (EACH - 1), rel=1e-10)


@pytest.mark.parametrize("each", [8, 60])
def test_intervals_hold_what_endless_data_read(each: int) -> None:
    H, y = rays(0.2, 0.15, seed=999, each=4000)
    m = readings(H, y, null=False, intervals=False)
    population = {key: m[key].value for key in ("dir_spread", "norm_cv")}
    hits = dict.fromkeys(population, 0)
    means = dict.fromkeys(population, 0.0)
    draws = 60
    for seed in range(draws):
        found = readings(*rays(0.2, 0.15, seed=seed, each=each), null=False)
        for key, known in population.items():
            low, high = found[key].interval
            hits[key] += low <= known <= high
            means[key] += found[key].estimate / draws
    for key, known in population.items():
        assert hits[key] >= 0.85 * draws, (key, hits)
        assert means[key] == pytest.approx(known, rel=0.05), key


def test_nulls_are_what_shuffled_labels_read_also_from_some_of_the_samples(monkeypatch) -> None:
    """Where 300 of 1,600 samples are kept, and where all are."""
    from ncollapse.collect.statistics import residuals

    H, y = rays(0.3, 0.2, each=400)
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(30):
        m = readings(H, torch.from_numpy(rng.permutation(y.numpy())), null=False, intervals=False)
        drawn.append([m["dir_spread"].value, m["norm_cv"].value])
    middle, width = np.mean(drawn, 0), np.std(drawn, 0)
    for rows in (8192, 300):
        monkeypatch.setattr(residuals.Residuals.__init__, "__defaults__", (rows, 0))
        found = readings(H, y, intervals=False)
        for place, key in enumerate(("dir_spread", "norm_cv")):
            null = found[key].null
            slack = 4 * width[place] + 0.02 * middle[place]
            if rows == 300:
                # The spread of all samples is known from 300 of them.
                slack += 0.15 * middle[place]
            assert abs(null.mean - middle[place]) < slack, (rows, key)
            assert null.low < null.mean < null.high


def test_samples_of_length_zero_have_no_direction() -> None:
    H, y = rays(0.2, 0.1)
    known = exact(H, y)[0]
    more = torch.cat([H, torch.zeros(3, D)])
    labels = torch.cat([y, torch.zeros(3, dtype=torch.int64)])
    m = nc.measure_features(more, labels, keys=KEYS)
    assert m.value("dir_spread") == pytest.approx(known, rel=1e-12)
    assert any("3 samples have length zero" in said for said in m.warnings)
    lengths = more.norm(dim=1)
    plain = [float(lengths[labels == k].std(correction=0) / lengths[labels == k].mean())
             for k in range(K)]  # fmt: skip
    assert m.value("norm_cv") == pytest.approx(np.mean(plain), rel=1e-12)
    empty = torch.where((y == 2)[:, None], 0.0, H)
    dead = nc.measure_features(empty, y, keys=KEYS)
    assert dead.value("dir_spread") is None and dead.value("norm_cv") is None
    assert any("dir_spread is null: a class has only samples" in said for said in dead.warnings)


def test_the_largest_cosine_is_that_of_the_worst_pair() -> None:
    H, y = rays(0.5, 0.1)
    means = torch.stack([H[y == k].mean(0) for k in range(K)])
    unit = torch.nn.functional.normalize(means, dim=1)
    known = float((unit @ unit.T).abs().fill_diagonal_(0).max())
    found = readings(H, y)["raw_cosine"]
    assert found.value == pytest.approx(known, rel=1e-12)
    assert found.interval[0] < found.estimate < found.interval[1] <= 1
    assert found.null.low < found.null.mean < found.null.high
    frame = nc.Geometry.orthogonal([1.0, 2.0, 3.0], 5)
    assert float(METRICS["raw_cosine"].evaluate(geometry=frame)) < 1e-15


def test_many_classes_are_read_past_the_pair_budget() -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(60).repeat_interleave(5)
    H = torch.randn(60, D, generator=generator)[y] + 0.1 * torch.randn(300, D, generator=generator)
    m = nc.measure_features(H, y, keys=KEYS, pair_budget=100)
    known = exact(H.double(), y)
    assert m.value("dir_spread") == pytest.approx(known[0], rel=1e-9)
    assert m.value("norm_cv") == pytest.approx(known[1], rel=1e-9)
    assert m.value("raw_cosine") is None
