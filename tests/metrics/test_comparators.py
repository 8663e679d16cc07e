"""Nulls are what noise reads, intervals cover, floors are what rounding leaves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ncollapse as nc
from ncollapse.metrics.catalog import of_task
from ncollapse.metrics.estimates import wilson
from tests.data import make

METRICS = of_task()

SHUFFLED = [key for key, row in METRICS.items() if row.null == "shuffled"]


def shuffled_readings(case: object, repeats: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    rows = []
    for _ in range(repeats):
        labels = rng.permutation(case.labels)
        m = nc.measure_features(
            case.features, labels, null=False, intervals=False, decisions=False, keys=SHUFFLED
        )
        rows.append([m.value(key) for key in SHUFFLED])
    return dict(zip(SHUFFLED, np.array(rows).T, strict=True))


@pytest.mark.parametrize(
    "case",
    [
        make("even", counts=[40] * 8, dim=12, spread=1.0),
        make("uneven", counts=[120, 60, 30, 15, 8], dim=10, spread=1.0),
        make("collapsed", counts=[50] * 5, dim=16, spread=0.01, offset=3.0),
    ],
    ids=lambda case: case.name,
)
def test_null_is_what_shuffled_labels_really_read(case: object) -> None:
    m = nc.measure_features(case.features, case.labels, intervals=False, keys=SHUFFLED)
    real = shuffled_readings(case, 60)
    for key in SHUFFLED:
        null = m.results["train"]["head"][key].null
        middle, error = real[key].mean(), real[key].std(ddof=1)
        # The simulation has its own noise of 200 draws; heavy-tailed quotients get a tenth.
        slack = 4 * error * np.sqrt(1 / 60 + 1 / 200) + 0.1 * abs(middle)
        assert abs(null.mean - middle) < slack, (key, null.mean, middle)


def test_noise_reads_its_null_and_gets_no_verdict() -> None:
    rng = np.random.default_rng(2)
    features, labels = rng.normal(size=(400, 32)), rng.integers(0, 8, size=400)
    m = nc.measure_features(features, labels, weight=rng.normal(size=(8, 32)))
    answers = {v.question: v.answer for v in m.verdicts}
    assert answers["Collapsed on train?"] == "cannot tell"
    assert answers["Do the class means form a simplex?"] == "cannot tell"
    assert answers["Is the head dual to the class means?"] == "cannot tell"


def test_random_directions_read_their_null() -> None:
    """Random means in the directions that the features fill."""
    rng = np.random.default_rng(3)
    means = rng.normal(size=(20, 12))
    labels = np.repeat(np.arange(20), 30)
    features = means[labels] + 1e-3 * rng.normal(size=(600, 12))
    m = nc.measure_features(features, labels, weight=rng.normal(size=(20, 12)))
    for key, reading in m.results["train"]["head"].items():
        if key.startswith(("nc2_", "nc3_")):
            spread = max(reading.null.high - reading.null.low, 1e-3)
            assert abs(reading.value - reading.null.mean) < 1.5 * spread, key


def test_same_seed_same_null_and_other_seed_another() -> None:
    case = make("s", counts=[20] * 5, dim=8)
    nulls = [
        nc.measure_features(case.features, case.labels, seed=seed)
        .results["train"]["head"]["nc1_fisher"]
        .null
        for seed in (0, 0, 1)
    ]
    assert nulls[0] == nulls[1] != nulls[2]


def test_intervals_cover_the_truth() -> None:
    """Block jackknife on 80 draws of one population: about 95 % of intervals hold the truth."""
    rng = np.random.default_rng(4)
    means = rng.normal(size=(5, 8))
    labels = np.repeat(np.arange(5), 80)
    keys = ("nc1_ratio", "class_share", "nc1_fisher")
    big = np.repeat(np.arange(5), 40000)
    truth = nc.measure_features(
        means[big] + 0.5 * rng.normal(size=(len(big), 8)),
        big,
        null=False,
        intervals=False,
        decisions=False,
    )
    hits = dict.fromkeys(keys, 0)
    for _ in range(80):
        features = means[labels] + 0.5 * rng.normal(size=(400, 8))
        m = nc.measure_features(features, labels, null=False)
        for key in keys:
            low, high = m.results["train"]["head"][key].interval
            hits[key] += low <= truth.value(key) <= high
    assert all(count >= 68 for count in hits.values()), hits


def test_without_room_for_blocks_there_is_an_estimate_and_no_interval() -> None:
    """An interval over the choice of classes would be of something else."""
    case = make("k", counts=[4] * 300, dim=10)
    m = nc.measure_features(case.features, case.labels, memory_budget=5e5)
    reading = m.results["train"]["head"]["nc1_cdnv"]
    assert reading.interval is None and reading.estimate > reading.value
    assert any("blocks of the jackknife were not kept" in said for said in m.warnings)


def test_wilson_interval() -> None:
    assert wilson(0.0, 100) == pytest.approx((0.0, 0.0370), abs=1e-3)
    assert wilson(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=1e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_the_floor_is_what_rounding_leaves(dtype: torch.dtype) -> None:
    """Features whose spread is dithered just enough to round at random read near the floor."""
    rng = np.random.default_rng(5)
    eps = torch.finfo(dtype).eps
    means = rng.uniform(1.0, 2.0, size=(6, 40))
    labels = np.repeat(np.arange(6), 200)
    exact = means[labels] + eps * rng.uniform(-0.5, 0.5, size=(1200, 40))
    features = torch.from_numpy(exact).to(dtype)
    m = nc.measure_features(features, labels, null=False, intervals=False)
    for key in ("nc1_ratio", "nc1_fisher", "nc1_cdnv"):
        reading = m.results["train"]["head"][key]
        # Uniform dither of one spacing adds as much again as rounding itself.
        assert reading.floor < reading.value < 4 * reading.floor, key


def test_features_that_all_but_lie_in_fewer_dimensions_than_classes_have_a_null() -> None:
    """Eight directions for ten classes, and rounding in the others: no matrix is inverted blindly."""
    rng = np.random.default_rng(0)
    labels = np.arange(600) % 10
    inside = rng.normal(size=(10, 8))[labels] + rng.normal(size=(600, 8))
    for noise in (1e-7, 1e-8, 1e-9):
        features = inside @ rng.normal(size=(8, 32)) + noise * rng.normal(size=(600, 32))
        found = nc.measure_features(features, labels, intervals=False).results["train"]["head"]
        null = found["nc1_fisher"].null
        assert null is not None and np.isfinite([null.mean, null.low, null.high]).all()


def test_the_null_of_the_classifier_does_not_know_where_features_lie(
    rng: np.random.Generator,
) -> None:
    labels = np.repeat(np.arange(6), 30)
    features = rng.normal(size=(6, 24))[labels] + 0.5 * rng.normal(size=(180, 24))
    weight = rng.normal(size=(6, 24))
    here, away = (
        nc.measure_features(features + shift, labels, weight=weight, intervals=False)
        for shift in (0.0, 10.0)
    )
    keys = [key for key in here["train"]["head"] if key.endswith("_weights")]
    nulls = [(here["train"]["head"][key].null, away["train"]["head"][key].null) for key in keys]
    assert len([old for old, _ in nulls if old is not None]) >= 7
    for key, (old, new) in zip(keys, nulls, strict=True):
        if old is not None:
            assert new is not None
            assert old.mean == pytest.approx(new.mean, rel=1e-6), key
