"""Generalised collapse: bounds at known codes, exact margins, and where its rows are read."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

import ncollapse as nc
from ncollapse.answers.questions import identified, verdict_on
from ncollapse.geometry import Geometry
from ncollapse.metrics import gnc
from ncollapse.pairs.bounds import cosine_bound, margin_bound, uniformity_bound
from ncollapse.theory.solvers.codes import softmax_code


def weights(rows: np.ndarray) -> Geometry:
    return Geometry(weight=torch.from_numpy(np.asarray(rows, dtype=np.float64)))


def icosahedron() -> np.ndarray:
    golden = (1 + 5**0.5) / 2
    signs = [(a, b * golden) for a in (-1, 1) for b in (-1, 1)]
    return np.array([np.roll([0, a, b], turn) for turn in range(3) for a, b in signs])


@pytest.mark.parametrize(
    ("count", "dim", "cosine"),
    [
        (4, 3, -1 / 3),
        (5, 3, 0.0),
        (6, 3, 0.0),
        (12, 3, 5**-0.5),
        (7, 2, math.cos(2 * math.pi / 7)),
        (27, 6, 0.25),
        (56, 7, 1 / 3),
        (240, 8, 0.5),
        (196560, 24, 0.5),
        (3, 1, 1.0),
    ],
)
def test_the_bound_of_the_largest_cosine_at_codes_that_reach_it(
    count: int, dim: int, cosine: float
) -> None:
    assert cosine_bound(count, dim)[0] == pytest.approx(cosine, abs=1e-12)


def test_bounds_grow_with_classes_and_no_rows_pass_them() -> None:
    found = [cosine_bound(count, 5)[0] for count in range(2, 200)]
    assert all(a <= b + 1e-12 for a, b in pairwise(found))
    rng = np.random.default_rng(0)
    for count, dim in ((9, 4), (20, 4), (30, 7)):
        geometry = weights(rng.normal(size=(count, dim)))
        assert float(gnc.gnc_cosine(geometry, "weight")) > cosine_bound(count, dim)[0]
        assert float(gnc.gnc_margin(geometry, "weight")) < margin_bound(count, dim)[0]
        assert float(gnc.gnc_uniformity(geometry, "weight")) > uniformity_bound(count, dim)
        assert float(gnc.gnc_frame(geometry, "weight")) > 0


@pytest.mark.parametrize(
    "rows",
    [
        np.concatenate([np.eye(4), -np.eye(4)]),
        Geometry.simplex_etf(5, 4).means.numpy(),
        icosahedron(),
    ],
    ids=["cross-polytope", "simplex", "icosahedron"],
)
def test_regular_codes_reach_their_bounds(rows: np.ndarray) -> None:
    geometry = weights(rows)
    count, dim = rows.shape
    assert gnc.occupied(geometry, "weight") == dim
    assert float(gnc.gnc_cosine(geometry, "weight")) == pytest.approx(
        cosine_bound(count, dim)[0], abs=1e-12
    )
    assert float(gnc.gnc_frame(geometry, "weight")) == pytest.approx(0, abs=1e-12)
    if count <= 2 * dim:
        uniform = float(gnc.gnc_uniformity(geometry, "weight"))
        assert uniform == pytest.approx(uniformity_bound(count, dim), abs=1e-9)
        margin = float(gnc.gnc_margin(geometry, "weight"))
        assert margin == pytest.approx(margin_bound(count, dim)[0], abs=1e-9)


@pytest.mark.parametrize(("count", "dim"), [(30, 4), (60, 12), (9, 20)])
def test_the_margin_is_that_of_all_classes_solved_whole(count: int, dim: int) -> None:
    rows = np.random.default_rng(count).normal(size=(count, dim))
    geometry = Geometry(torch.from_numpy(rows))
    whole = float(geometry.one_vs_rest_margin("means").min())
    assert float(gnc.gnc_margin(geometry)) == pytest.approx(whole, rel=1e-8)
    # By the largest cosine c it lies between 1 - c and √(2 - 2c).
    cosine = float(gnc.gnc_cosine(geometry))
    assert 1 - cosine <= whole + 1e-12 and whole <= math.sqrt(2 - 2 * cosine) + 1e-12


def test_past_its_cost_the_margin_is_bounded_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gnc, "MARGIN_COST", 100)
    geometry = Geometry(torch.from_numpy(np.random.default_rng(0).normal(size=(30, 4))))
    with pytest.raises(ValueError, match="by the largest cosine it lies between 0"):
        gnc.gnc_margin(geometry)


def test_columns_that_hold_nothing_change_nothing() -> None:
    rows = np.random.default_rng(3).normal(size=(12, 5))
    wide = np.pad(rows, ((0, 0), (0, 30)))
    narrow, padded = Geometry(torch.from_numpy(rows)), Geometry(torch.from_numpy(wide))
    assert gnc.occupied(narrow) == gnc.occupied(padded) == 5
    assert gnc.crowded(narrow) and gnc.crowded(padded)
    for read in (gnc.gnc_cosine, gnc.gnc_margin, gnc.gnc_uniformity, gnc.gnc_frame):
        assert float(read(narrow)) == pytest.approx(float(read(padded)), abs=1e-12)


def test_zero_sums_of_an_orthoplex_regime_code() -> None:
    """R^6 into a simplex of 3 in the plane, one of 4 in three dimensions, and one of 2."""
    rows = np.zeros((9, 6))
    rows[:3, :2] = Geometry.simplex_etf(3, 2).means.numpy()
    rows[3:7, 2:5] = Geometry.simplex_etf(4, 3).means.numpy()
    rows[7:, 5] = 1, -1
    found = gnc.zero_sums(weights(rows), "weight")
    assert found.expected == 3
    assert found.groups == ((0, 1, 2), (3, 4, 5, 6), (7, 8))
    assert max(found.residuals) < 1e-12
    random = gnc.zero_sums(weights(np.random.default_rng(0).normal(size=(9, 6))), "weight")
    assert len(random.groups) < 3
    with pytest.raises(ValueError, match="4 classes in 3 directions"):
        gnc.zero_sums(weights(Geometry.simplex_etf(4, 3).means.numpy()), "weight")


def data(rows: np.ndarray, spread: float = 0.02) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(len(rows)), 30)
    return rows[labels] + spread * rng.normal(size=(len(labels), rows.shape[1])), labels


def test_where_no_simplex_fits_they_headline() -> None:
    code = softmax_code(10, 5).geometry.weight.numpy()
    measured = nc.measure_features(*data(code))
    found = measured.results["train"]["head"]
    assert found["gnc_cosine_means"].floor == 0
    low, high = found["gnc_cosine_means"].interval
    assert low <= found["gnc_cosine_means"].estimate <= high < 0.2
    assert found["gnc_cosine_means"].null.mean > 0.5
    assert found["gnc_margin_means"].floor == 1
    assert verdict_on(measured.document, "code").answer == "yes"
    table = str(measured).splitlines()
    assert table[4].startswith(" GNC one-vs-rest margin") and "≤ 1.00" in table[4]
    assert len(table) <= 24 and max(map(len, table)) <= 80
    assert not any("NC2 angles / random" in line for line in table)
    random = nc.measure_features(
        *data(np.random.default_rng(0).normal(size=(20, 5))),
        keys=["class_share", "gnc_cosine_means"],
    )
    assert verdict_on(random.document, "code").answer == "no"


def test_where_a_simplex_fits_they_are_read_when_named() -> None:
    features, labels = data(Geometry.simplex_etf(5, 9).means.numpy())
    plain = nc.measure_features(features, labels)
    assert not any(key.startswith("gnc") for key in plain.results["train"]["head"])
    assert "code" not in [identified(verdict) for verdict in plain.verdicts]
    named = nc.measure_features(features, labels, keys=["gnc_cosine_means"])
    reading = named.results["train"]["head"]["gnc_cosine_means"]
    assert reading.floor is None or reading.floor == pytest.approx(-0.25)
    assert reading.value == pytest.approx(-0.25, abs=0.02)


@pytest.mark.parametrize("sizes", [(1, 3), (3, 0)])
def test_bad_sizes(sizes: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="at least 2 and 1 are needed"):
        cosine_bound(*sizes)
