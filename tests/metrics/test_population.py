"""Estimates, intervals and nulls: what a statistician asks of them, law by law."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import ncollapse as nc
from ncollapse.collect.statistics.residuals import Residuals
from ncollapse.metrics.catalog import METRICS
from ncollapse.record.readings import Reading

K, D, N = 6, 12, 40
RNG = np.random.default_rng(3)
LABELS = np.repeat(np.arange(K), N)
MEANS = RNG.standard_normal((K, D))
FEATURES = MEANS[LABELS] + 0.3 * RNG.standard_normal((K * N, D)) * np.linspace(0.5, 1.5, D)
WEIGHT = MEANS - MEANS.mean(0) + 0.2 * RNG.standard_normal((K, D))
ROTATION = np.linalg.qr(RNG.standard_normal((40, 40)))[0][:D]
LIFTS = {
    "zero columns": np.eye(D, 40),
    "rotated": np.linalg.qr(RNG.standard_normal((D, D)))[0],
    "rotated into more": ROTATION,
    "columns twice": np.hstack([np.eye(D), np.eye(D)]) / math.sqrt(2),
}


def read(features, labels, weight=None, **options) -> tuple[dict[str, Reading], nc.Measurement]:
    found = nc.measure_features(features, labels, weight=weight, **options)
    return found.results["train"][found.document.layer], found


def same(mine: float | None, theirs: float | None, relative: float) -> bool:
    if mine is None or theirs is None:
        return mine is theirs
    return theirs == pytest.approx(mine, rel=relative, abs=1e-9)


@pytest.fixture(scope="module")
def plain() -> tuple[dict[str, Reading], nc.Measurement]:
    return read(FEATURES, LABELS, WEIGHT)


# ---- the columns that features lie in do not matter -------------------------------------------------
@pytest.mark.parametrize("lift", LIFTS)
def test_no_number_and_no_answer_depends_on_the_columns(lift: str, plain) -> None:
    readings, whole = plain
    others, lifted = read(FEATURES @ LIFTS[lift], LABELS, WEIGHT @ LIFTS[lift])
    for key, reading in readings.items():
        other = others[key]
        for name in ("value", "estimate", "floor"):
            mine, theirs = getattr(reading, name), getattr(other, name)
            if name == "floor" and METRICS[key].floor == "rounding":
                continue  # rounding is of the numbers that are stored
            assert same(mine, theirs, 1e-6), (key, name)
        assert (other.interval is None) == (reading.interval is None), key
        for mine, theirs in zip(reading.interval or (), other.interval or (), strict=True):
            assert same(mine, theirs, 1e-5), key
        if reading.null is not None:
            assert other.null is not None
            mine = (reading.null.mean, reading.null.low, reading.null.high)
            theirs = (other.null.mean, other.null.low, other.null.high)
            assert theirs == pytest.approx(mine, rel=1e-5, abs=1e-9), key
    assert [v.answer for v in lifted.verdicts] == [v.answer for v in whole.verdicts]


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_the_scale_does_not_matter(factor: float, plain) -> None:
    readings, whole = plain
    others, scaled = read(FEATURES * factor, LABELS, WEIGHT)
    for key in ("nc1_fisher", "nc1_vci", "worst_share", "nc2_etf_means", "nc3_alignment"):
        assert others[key].estimate == pytest.approx(readings[key].estimate, rel=1e-6)
    assert [v.answer for v in scaled.verdicts] == [v.answer for v in whole.verdicts]


# ---- estimates are of the population -----------------------------------------------------------------
def test_estimates_are_free_of_the_bias_that_values_have() -> None:
    """Means over draws: nc1_ratio 4 with 12 samples a class in 60 dimensions."""
    rng = np.random.default_rng(0)
    labels, means = np.repeat(np.arange(5), 12), rng.standard_normal((5, 60))
    means -= means.mean(0)
    means /= math.sqrt((means**2).sum() / 5)
    values, estimates = [], []
    for _ in range(30):
        features = means[labels] + math.sqrt(4 / 60) * rng.standard_normal((60, 60))
        reading = read(features, labels, null=False, decisions=False)[0]["class_share"]
        values.append(reading.value)
        estimates.append(reading.estimate)
    assert np.mean(estimates) == pytest.approx(0.2, abs=0.01)
    plugin = read(features, labels, null=False, decisions=False)[0]["nc1_ratio"]
    assert plugin.value < 3.6 and plugin.estimate is not None and plugin.value < plugin.estimate


def test_many_samples_leave_nothing_to_correct() -> None:
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(4), 5000)
    features = 3 * np.eye(4, 6)[labels] + 0.1 * rng.standard_normal((20000, 6))
    for key, reading in read(features, labels, null=False)[0].items():
        if reading.estimate is not None and METRICS[key].scale in ("plain", "log"):
            assert reading.estimate == pytest.approx(reading.value, rel=2e-3), key


def test_an_exact_simplex_reaches_zero_and_shows_its_floor() -> None:
    rng = np.random.default_rng(2)
    means = nc.Geometry.simplex_etf(8, 20).means.numpy()
    labels = np.repeat(np.arange(8), 100)
    features = means[labels] + 0.02 * rng.standard_normal((800, 20))
    readings, found = read(features, labels)
    for key in ("nc2_equiangular_means", "nc2_maxangle_means", "nc2_etf_means"):
        reading = readings[key]
        assert reading.value > 0 and reading.interval[0] == 0, key
        assert reading.floor > 0 and reading.value < 4 * reading.floor, key
    assert found.verdicts[1].id == "collapsed:test" or found.verdicts[1].id == "frame"
    assert {v.id: v.answer for v in found.verdicts}["frame"] == "yes"


def test_weights_are_known_exactly(plain) -> None:
    for key, reading in plain[0].items():
        if key.endswith("_weights"):
            assert reading.interval is None and reading.estimate is None


def test_published_variants_are_read_as_published() -> None:
    reading = read(FEATURES, LABELS, definition="papyan2020")[0]["nc1_fisher"]
    assert reading.value is not None and reading.estimate is None and reading.interval is None


def test_micro_and_macro_agree_where_counts_do(plain) -> None:
    micro = read(FEATURES, LABELS, WEIGHT, weighting="micro")[0]
    for key in ("nc1_fisher", "nc1_ratio", "nc1_vci"):
        assert micro[key].estimate == pytest.approx(plain[0][key].estimate, rel=1e-9)


# ---- nulls ask about these features ------------------------------------------------------------------
def test_shuffled_labels_read_as_the_null_says() -> None:
    """Every row of NC1, and the angles, of really shuffled labels lie about the null's mean."""
    rng = np.random.default_rng(4)
    labels = np.repeat(np.arange(5), 30)
    features = rng.standard_normal((5, 20))[labels] + rng.standard_normal((150, 20))
    readings = read(features, labels, decisions=False, intervals=False)[0]
    keys = [key for key in readings if METRICS[key].null == "shuffled"]
    found = {key: [] for key in (*keys, "nc2_maxangle_means")}
    for _ in range(60):
        other = read(
            features, rng.permutation(labels), null=False, intervals=False, decisions=False
        )[0]
        for key in found:
            found[key].append(other[key].value)
    for key, values in found.items():
        null, spread = readings[key].null, np.std(values)
        allowed = 5 * spread * math.sqrt(1 / 60 + 1 / 200) + 0.03 * abs(np.mean(values))
        assert abs(null.mean - np.mean(values)) < allowed, key
        assert np.mean([null.low <= v <= null.high for v in values]) > 0.8, key


@pytest.mark.parametrize(("classes", "dim", "each"), [(10, 64, 12), (6, 80, 12), (20, 10, 15)])
def test_the_null_of_vci_is_exact(classes: int, dim: int, each: int) -> None:
    """1 - min(q, N-1)(K-1)/((N-1) min(q, K-1)); 0 where samples are fewer than directions."""
    rng = np.random.default_rng(5)
    number = classes * each
    features = rng.standard_normal((number, dim)) * np.exp(rng.normal(size=dim))
    labels = np.repeat(np.arange(classes), each)
    null = read(features, labels, keys=["nc1_vci"], intervals=False)[0]["nc1_vci"].null
    exact = 1 - min(dim, number - 1) * (classes - 1) / ((number - 1) * min(dim, classes - 1))
    assert null.mean == pytest.approx(exact, abs=0.006)


def test_a_null_needs_no_second_moments_of_the_features() -> None:
    """The samples themselves say what shuffled labels and random directions read."""
    whole = read(FEATURES, LABELS, WEIGHT)[0]
    for key, reading in read(FEATURES, LABELS, WEIGHT, mode="trace")[0].items():
        if "full" not in METRICS[key].needs:
            assert reading.null == whole[key].null, key


@pytest.mark.parametrize("mode", ["full", "trace"])
def test_nulls_of_all_samples_and_of_some_or_of_their_spectrum_agree(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read(FEATURES, LABELS, WEIGHT, mode=mode)[0]
    monkeypatch.setattr("ncollapse.collect.statistics.residuals.ROWS", 150)
    monkeypatch.setattr(Residuals.__init__, "__defaults__", (150, 0))
    some = read(FEATURES, LABELS, WEIGHT, mode=mode)[0]
    for key, reading in whole.items():
        if reading.null is None or METRICS[key].null == "guesses":
            continue
        other, wide = some[key].null, reading.null.high - reading.null.low
        assert other is not None
        assert other.mean == pytest.approx(reading.null.mean, abs=0.15 * wide), key
        assert other.high - other.low == pytest.approx(wide, rel=0.5), key


# ---- what cannot be told is not told -----------------------------------------------------------------
def test_two_classes_have_no_frame() -> None:
    rng = np.random.default_rng(6)
    labels = np.repeat([0, 1], 50)
    features = rng.standard_normal((100, 8)) + 3 * labels[:, None]
    readings, found = read(features, labels)
    for key in ("nc2_equinorm_means", "nc2_maxangle_means", "nc2_etf_means", "nc2_angle_ratio"):
        assert readings[key].value is None and readings[key].interval is None
    frame = {v.id: v for v in found.verdicts}["frame"]
    assert frame.answer == "cannot tell" and "Two class means" in frame.sentence
    assert any("always form a simplex" in said for said in found.warnings)


def test_vci_is_not_read_of_too_few_samples() -> None:
    rng = np.random.default_rng(7)
    labels = np.repeat(np.arange(4), 10)
    features = rng.standard_normal((4, 64))[labels] + rng.standard_normal((40, 64))
    readings, found = read(features, labels)
    assert readings["nc1_vci"].value is None
    assert any(said.startswith("train: nc1_vci is null: N - K") for said in found.warnings)
    # And with zero columns beside them as many samples are enough again.
    some = np.hstack([features[:, :5], np.zeros((40, 59))])
    assert read(some, labels)[0]["nc1_vci"].value is not None


def test_a_noisy_interval_is_not_given() -> None:
    rng = np.random.default_rng(8)
    labels = np.repeat(np.arange(10), 3)
    features = rng.standard_normal((30, 50))
    readings, found = read(features, labels, null=False)
    assert readings["nc1_ratio"].interval is None
    assert any("no interval of" in said for said in found.warnings)


def test_one_sample_a_class_has_no_interval() -> None:
    readings, found = read(np.eye(5, 8), np.arange(5))
    assert all(r.interval is None for k, r in readings.items() if k.startswith("nc1"))
    assert {v.id: v.answer for v in found.verdicts}["collapsed:train"] == "cannot tell"


def test_a_zero_vector_has_no_direction() -> None:
    labels = np.repeat(np.arange(4), 10)
    readings, found = read(np.zeros((40, 6)) + 0.0 * labels[:, None], labels)
    assert readings["nc2_maxangle_means"].value is None
    assert "yes" not in {v.answer for v in found.verdicts}


# ---- distances to centres are fair -------------------------------------------------------------------
def test_noise_is_not_nearest_to_its_own_centre() -> None:
    rng = np.random.default_rng(9)
    labels = np.repeat(np.arange(10), 5)
    features = rng.standard_normal((50, 256))
    fair = read(features, labels, null=False)[0]["ncc_accuracy"]
    assert fair.value < 0.3
    plain = read(features, labels, null=False, definition="papyan2020")[0]["ncc_accuracy"]
    assert plain.value == 1.0


def test_fair_distances_are_those_of_the_mean_without_the_sample() -> None:
    """Up to the noise of the means, which is taken away: leave-one-out by hand."""
    from ncollapse.collect.statistics.decisions import MeanNoise

    statistics = nc.ClassMoments(K, D)
    statistics.update(torch.from_numpy(FEATURES), torch.from_numpy(LABELS))
    noise = MeanNoise.of(statistics.statistics())
    row, label = FEATURES[7], LABELS[7]
    others = FEATURES[(label == LABELS) & (np.arange(len(LABELS)) != 7)].mean(0)
    own = ((row - FEATURES[label == LABELS].mean(0)) ** 2).sum()
    assert float(noise.gain[label]) * own == pytest.approx(((row - others) ** 2).sum())
    assert float(noise.noise[label]) == pytest.approx(
        FEATURES[label == LABELS].var(0, ddof=1).sum() / N
    )


def test_the_order_of_samples_does_not_matter(plain) -> None:
    readings, _ = plain
    order = np.random.default_rng(0).permutation(len(LABELS))
    others, _ = read(FEATURES[order], LABELS[order], WEIGHT)
    for key, reading in readings.items():
        assert same(reading.value, others[key].value, 1e-9), key
        if reading.null is not None:
            assert others[key].null.mean == pytest.approx(reading.null.mean, rel=1e-9, abs=1e-12)
