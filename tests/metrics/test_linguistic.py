"""Linguistic collapse: formulas against plain loops, what changes nothing, near means, drawn pairs."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch

from ncollapse.collect.statistics.classes import ClassMoments
from ncollapse.collect.statistics.decisions import Decisions
from ncollapse.collect.statistics.summary import ClassStatistics
from ncollapse.geometry import Geometry
from ncollapse.metrics.catalog import METRICS, of_task
from ncollapse.metrics.compared import compared
from ncollapse.metrics.drawn import drawn_pairs
from ncollapse.metrics.evidence import Evidence
from ncollapse.metrics.linguistic import kept, log_floor, rbf_floor
from ncollapse.metrics.metric import Without
from ncollapse.pairs.kernels import kernel_sums
from ncollapse.pairs.rows import Rows

ROWS = of_task("language")
# Shares of variance and their floor have tests of their own.
READ = {key: row for key, row in ROWS.items() if row.family != "shares"}
K, D = 12, 5
COUNTS = np.array([40, 25, 17, 12, 9, 7, 6, 5, 4, 3, 2, 2])


def sample(seed: int = 0, dim: int = D):
    """Zipf-like counts, more classes than directions, features with an offset, and a head."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(K), COUNTS)
    means = rng.normal(size=(K, dim)) + 3.0
    features = means[labels] + 0.4 * rng.normal(size=(len(labels), dim))
    return features, labels, means + 0.5 * rng.normal(size=(K, dim))


def parts(features, labels, weight):
    moments = ClassMoments(K, features.shape[1], mode="trace")
    moments.update(torch.from_numpy(features), torch.from_numpy(labels))
    head = torch.from_numpy(weight)
    present = (moments.counts > 0).nonzero().flatten()
    decided = Decisions(moments.means[present], present, K, head, torch.zeros(K))
    decided.update(torch.from_numpy(features), torch.from_numpy(labels))
    return {
        "statistics": moments.statistics(),
        "geometry": moments.geometry(head),
        "decisions": decided,
    }


def values(features, labels, weight, definition="macro"):
    held = parts(features, labels, weight)
    return {k: float(row.evaluate(**held, definition=definition)) for k, row in READ.items()}


def naive(features, labels, W):
    """Pair by pair and sample by sample, as the formulas stand."""
    mu = np.stack([features[labels == c].mean(0) for c in range(K)])
    v = np.array([((features[labels == c] - mu[c]) ** 2).sum(1).mean() for c in range(K)])
    m = mu - mu.mean(0)
    n = np.linalg.norm(m, axis=1)
    u, pairs = m / n[:, None], list(combinations(range(K), 2))
    d2 = np.array([((mu[i] - mu[j]) ** 2).sum() for i, j in pairs])
    vv = np.array([(v[i] + v[j]) / 2 for i, j in pairs])
    dist = np.array([np.linalg.norm(u[i] - u[j]) for i, j in pairs])
    inner = np.array([m[i] @ m[j] for i, j in pairs])
    cos = np.array([u[i] @ u[j] for i, j in pairs])
    E = (np.eye(K) - 1 / K) / np.sqrt(K - 1)
    G, P = m @ m.T, W @ m.T
    dual = (W * m).sum(1) / np.linalg.norm(W, axis=1) / n
    s = m.shape[1] - 2
    log, riesz, rbf = -np.log(dist), dist ** (-s), np.exp(-2 * dist**2)
    head = (features @ W.T).argmax(1)
    near = ((features[:, None] - mu) ** 2).sum(2).argmin(1)
    length = (n**2).mean()
    return {
        "lm_cdnv_1": (vv / d2).mean(),
        "lm_cdnv_1_log": np.log(vv / d2).mean(),
        "lm_cdnv_2": (vv / d2**2).mean(),
        "lm_cdnv_2_log": np.log(vv / d2**2).mean(),
        "lm_cdnv_free": (vv / d2**2).mean() * length,
        "lm_cdnv_free_log": np.log(vv / d2**2 * length).mean(),
        "lm_equinorm": n.std(ddof=1) / n.mean(),
        "lm_equinorm_log": np.log(n).std(ddof=1) / abs(np.log(n).mean()),
        "lm_equinorm_log_spread": np.log(n).std(ddof=1),
        "lm_equiangular": cos.std(),
        "lm_interference": inner.mean(),
        "lm_interference_spread": inner.std() / length,
        "lm_etf": np.linalg.norm(G / np.linalg.norm(G) - E),
        "lm_gnc2_log": log.mean(),
        "lm_gnc2_log_variation": log.std() / abs(log.mean()),
        "lm_gnc2_riesz": np.log(riesz.mean()) / s,
        "lm_gnc2_riesz_variation": riesz.std() / riesz.mean(),
        "lm_gnc2_rbf": rbf.mean(),
        "lm_gnc2_rbf_variation": rbf.std() / rbf.mean(),
        "lm_nc3": dual.mean(),
        "lm_unc3": dual.std(ddof=1) / abs(dual.mean()),
        "lm_duality": np.linalg.norm(P / np.linalg.norm(P) - E),
        "lm_nc4": (head == near).mean(),
        "lm_accuracy": (head == labels).mean(),
    }


def test_every_row_is_its_formula() -> None:
    case = sample()
    expected = naive(*case)
    found = values(*case, definition="wu2024")
    assert found == pytest.approx(expected, rel=1e-10)
    # As they stand without a name, distances of decisions are without the noise of means.
    fair = values(*case)
    assert {k for k in fair if fair[k] != pytest.approx(found[k], rel=1e-12)} <= {"lm_nc4"}


def test_turning_scaling_and_other_names_change_nothing() -> None:
    f, y, w = sample()
    base = values(f, y, w)
    turn, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(D, D)))
    assert values(f @ turn, y, w @ turn) == pytest.approx(base, rel=1e-8)
    wide = values(np.c_[f, np.zeros((len(f), 3))], y, np.c_[w, np.zeros((K, 3))])
    # s = d - 2 of the Riesz kernel is of the columns given.
    of_width = {key for key in base if "riesz" in key}
    assert {k for k in base if wide[k] != pytest.approx(base[k], rel=1e-8)} == of_width
    names = np.random.default_rng(3).permutation(K)
    renamed = np.empty_like(w)
    renamed[names] = w
    assert values(f, names[y], renamed) == pytest.approx(base, rel=1e-8)
    # What has a unit of length, and how: the published NC1 falls when features grow.
    grown = values(2 * f, y, w)
    moved = {k for k in base if grown[k] != pytest.approx(base[k], rel=1e-8)}
    assert moved == {"lm_cdnv_2", "lm_cdnv_2_log", "lm_equinorm_log", "lm_interference"}
    assert grown["lm_cdnv_2"] == pytest.approx(base["lm_cdnv_2"] / 4)


def test_a_dual_simplex_is_ideal() -> None:
    frame = Geometry.simplex_etf(K, K + 2)
    labels = np.repeat(np.arange(K), COUNTS)
    found = values(frame.means.numpy()[labels], labels, frame.weight.numpy())
    for key, row in READ.items():
        # Lengths of 1 have logarithms of 0, and rounding over it; no spread has no logarithm.
        if key == "lm_equinorm_log" or (key.endswith("_log") and "cdnv" in key):
            continue
        if row.ideal is not None:
            assert found[key] == pytest.approx(row.ideal, abs=1e-7), key
    assert found["lm_gnc2_log"] == pytest.approx(log_floor(K, K + 2), rel=1e-12)
    assert found["lm_gnc2_riesz"] == pytest.approx(log_floor(K, K + 2), rel=1e-12)
    assert found["lm_gnc2_rbf"] == pytest.approx(rbf_floor(K, K + 2), rel=1e-12)
    assert values(*sample())["lm_gnc2_log"] > log_floor(K, D)
    # Twice as long, logarithms of lengths have a mean, and no spread.
    twice = Geometry(2 * frame.means, frame.weight)
    assert float(METRICS["lm_equinorm_log"].evaluate(geometry=twice)) < 1e-12


def test_values_stay_in_their_range() -> None:
    for seed in range(4):
        found = values(*sample(seed))
        for key, row in READ.items():
            assert row.lower is None or found[key] >= row.lower, key
            assert row.upper is None or found[key] <= row.upper, key


def test_every_reading_of_means_is_differentiable() -> None:
    rows = [row for row in READ.values() if "decisions" not in row.needs]
    generator = torch.Generator().manual_seed(2)
    means, weight = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    counts = torch.arange(2, 7)
    start = [means, torch.rand(5, generator=generator, dtype=torch.float64) + 0.5]

    def evaluate(means: torch.Tensor, traces: torch.Tensor) -> torch.Tensor:
        held = {"statistics": ClassStatistics(counts, traces), "geometry": Geometry(means, weight)}
        return torch.stack([row.evaluate(**held) for row in rows])

    inputs = [tensor.requires_grad_() for tensor in start]
    assert torch.autograd.gradcheck(evaluate, inputs, eps=1e-6, atol=1e-5, rtol=1e-4)


def test_many_classes_run_in_float32_and_read_as_few_do() -> None:
    """Tiles in float32, with their near pairs, give what float64 gives."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(1100, 9, generator=generator, dtype=torch.float64) + 1e3
    # Near pairs: relative distances from 1e-2 down to 1e-9, and one direction of two lengths.
    for place, gap in enumerate((1e-2, 1e-4, 1e-6, 1e-9)):
        step = torch.randn(9, generator=generator, dtype=torch.float64)
        rows[500 + place] = rows[place] + gap * step
    held = Rows(rows, rows.mean(0))
    exact, narrow = (kernel_sums(held, single=single) for single in (False, True))
    for name in exact.means:
        assert float(narrow.means[name]) == pytest.approx(float(exact.means[name]), rel=1e-6)
        assert float(narrow.variations[name]) == pytest.approx(
            float(exact.variations[name]), rel=1e-3 if name == "riesz" else 1e-5
        )
    torch.testing.assert_close(narrow.log_distance, exact.log_distance, rtol=1e-7, atol=0)
    for name in ("inverse", "inverse_square"):
        torch.testing.assert_close(getattr(narrow, name), getattr(exact, name), rtol=2e-6, atol=0)
    gaps = ((rows[:, None] - rows[None]) ** 2).sum(2).fill_diagonal_(torch.inf)
    torch.testing.assert_close(exact.inverse, gaps.reciprocal().sum(1), rtol=1e-6, atol=0)
    torch.testing.assert_close(narrow.inverse_square, (gaps**-2).sum(1), rtol=2e-6, atol=0)


def test_coinciding_means_are_infinite_and_said() -> None:
    f, y, w = sample()
    f[y == 3] = f[y == 5][0]
    f[y == 5] = f[y == 5][0]
    held = parts(f, y, w)
    geometry = held["geometry"]
    assert not bool(geometry.kernel_pairs.means["log"].isfinite())
    evidence = Evidence(held["statistics"], geometry, None, None, 1e-16, task="language")
    readings, notes = compared(evidence)
    # Two classes without spread that coincide add nothing, but their logarithm is none.
    for key in ("lm_cdnv_1_log", "lm_gnc2_log", "lm_gnc2_riesz", "lm_gnc2_log_variation"):
        assert readings[key].value is None, key
    assert any("lm_cdnv_1_log is null: two class means coincide" in note for note in notes)
    assert readings["lm_gnc2_rbf"].value is not None


def test_singletons_have_no_spread_unless_one_is_lent() -> None:
    f, y, w = sample()
    first = np.r_[np.flatnonzero(y < 8), np.flatnonzero(y >= 8)[[0, 4, 7, 9]]]
    f, y = f[first], y[first]
    assert (np.bincount(y) == 1).sum() == 4
    held = parts(f, y, w)
    readings, notes = compared(
        Evidence(held["statistics"], held["geometry"], None, None, 1e-16, task="language")
    )
    assert readings["lm_cdnv_1_log"].value is None
    assert any("raise min_count" in note for note in notes)
    lent = values(f, y, w, definition="unbiased")
    assert np.isfinite(lent["lm_cdnv_1_log"]) and lent["lm_cdnv_1"] > values(f, y, w)["lm_cdnv_1"]
    statistics, geometry, said = kept(held["statistics"], held["geometry"], 2)
    assert geometry.num_classes == statistics.num_classes == 8
    assert said is not None and "4 of 12 classes have fewer than 2 samples (4 in all)" in said
    assert kept(statistics, geometry, 2)[2] is None
    assert statistics.present is not None and int(statistics.present.max()) == 7
    with pytest.raises(ValueError, match="0 of 12 classes have 1000 samples"):
        kept(held["statistics"], held["geometry"], 1000)
    with pytest.raises(ValueError, match="min_count=0"):
        kept(held["statistics"], held["geometry"], 0)


def test_tokens_without_a_mean_are_no_candidates_of_nc4() -> None:
    """A token that training text lacks would, with a mean of 0, be nearest to small features."""
    f, y, w = sample()
    f = f - f.mean(0)
    moments = ClassMoments(K, D, mode="trace")
    seen = y != 2
    moments.update(torch.from_numpy(f[seen]), torch.from_numpy(y[seen]))
    present = (moments.counts > 0).nonzero().flatten()
    decided = Decisions(moments.means[present], present, K, torch.from_numpy(w), torch.zeros(K))
    decided.update(torch.from_numpy(0.01 * f), torch.from_numpy(y))
    mu = np.stack([f[y == c].mean(0) if c != 2 else np.full(D, np.inf) for c in range(K)])
    near = ((0.01 * f[:, None] - mu) ** 2).sum(2).argmin(1)
    share = ((0.01 * f @ w.T).argmax(1) == near).mean()
    row = METRICS["lm_nc4"]
    assert float(row.evaluate(decisions=decided, definition="wu2024")) == pytest.approx(share)


def test_drawn_pairs_are_all_pairs_within_their_intervals() -> None:
    generator = torch.Generator().manual_seed(1)
    number, width = 700, 12
    means = torch.randn(number, width, generator=generator, dtype=torch.float64)
    traces = torch.rand(number, generator=generator, dtype=torch.float64) + 0.5
    statistics = ClassStatistics(torch.full((number,), 20), traces)
    exact = Geometry(means, means + 0.3)
    drawn = exact.sampled(40_000, seed=3)
    keys = [key for key, row in READ.items() if row.pairs == "sampled"]
    assert len(keys) == 10
    whole = {k: float(READ[k].evaluate(statistics=statistics, geometry=exact)) for k in keys}
    some = {k: float(READ[k].evaluate(statistics=statistics, geometry=drawn)) for k in keys}
    ends = drawn_pairs(some, Evidence(statistics, drawn, None, None, 1e-16, task="language"))
    assert set(ends) == set(keys)
    unread, _ = compared(Evidence(statistics, drawn, None, None, 1e-16, task="language"))
    assert unread["lm_gnc2_riesz"].value is None and unread["lm_gnc2_log"].value is not None
    for key, (low, high) in ends.items():
        width = (high - low) / 2
        assert abs(some[key] - whole[key]) < 1.6 * width, key
        assert 0 < width < 0.2 * max(abs(some[key]), 0.5), key


def test_comparators_are_there_or_the_row_says_why_not() -> None:
    # Draws of nulls are fewer for many classes.
    generator = torch.Generator().manual_seed(3)
    means = torch.randn(320, 6, generator=generator, dtype=torch.float64)
    y = torch.arange(320).repeat_interleave(4)
    f = means[y] + 0.3 * torch.randn(len(y), 6, generator=generator, dtype=torch.float64)
    full = ClassMoments(320, 6)
    full.update(f, y)
    decided = Decisions(full.means, torch.arange(320), 320, means, torch.zeros(320))
    decided.update(f, y)
    evidence = Evidence(
        full.statistics(), full.geometry(means), decided, None, 1e-7, task="language"
    )
    readings, _ = compared(evidence)
    assert list(readings) == list(READ)
    for key, reading in readings.items():
        row = READ[key]
        assert reading.value is not None, key
        for have, promised in (
            (reading.null, row.null), (reading.floor, row.floor), (reading.interval, row.interval),
        ):  # fmt: skip
            assert (have is None) == isinstance(promised, Without), key
        if reading.floor is not None and row.direction == "down":
            assert reading.floor <= reading.value, key
    assert readings["lm_cdnv_1"].value < readings["lm_cdnv_1"].null.low
    assert readings["lm_nc3"].value > readings["lm_nc3"].null.high
