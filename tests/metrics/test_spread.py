"""Where the spread within classes lives: head share, ranks, balance."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ncollapse as nc
from ncollapse.collect.statistics.classes import ClassMoments
from ncollapse.collect.statistics.summary import ClassStatistics
from ncollapse.metrics.head_share import chance, head_share
from ncollapse.metrics.nc2 import nc2_etf, nc2_participation, nc2_rank, nc2_stable_rank
from ncollapse.metrics.nc3 import nc3_balance, nc3_duality
from ncollapse.record.readings import Reading
from tests.data import make

CASE = make("spread", counts=[40, 60, 50, 45], dim=12, dtype=np.float64)


def share(features, weight, **options) -> Reading:
    found = nc.measure_features(
        features, CASE.labels, weight=weight, keys=["head_share"], decisions=False, **options
    )
    return found.results["train"]["head"]["head_share"]


def parts(features, weight) -> tuple[ClassStatistics, nc.Geometry]:
    moments = ClassMoments(4, features.shape[1])
    moments.update(torch.from_numpy(features), torch.from_numpy(CASE.labels))
    return moments.statistics(), moments.geometry(torch.from_numpy(weight))


def numbers(reading: Reading) -> list[float]:
    return [
        reading.value, reading.estimate, *reading.interval,
        reading.null.mean, reading.null.low, reading.null.high,
    ]  # fmt: skip


# ---- head share -----------------------------------------------------------------------------------
def test_what_a_weight_does_where_no_feature_varies_is_never_asked() -> None:
    """Constant columns, the weight in them large: no number moves, turned or not."""
    rng = np.random.default_rng(1)
    plain = numbers(share(CASE.features, CASE.weight))
    still = np.hstack([CASE.features, np.full((len(CASE.labels), 3), 5.0)])
    weight = np.hstack([CASE.weight, 4 * rng.normal(size=(4, 3))])
    turn = np.linalg.qr(rng.normal(size=(15, 15)))[0]
    assert numbers(share(still, weight)) == pytest.approx(plain, rel=1e-8)
    assert numbers(share(still @ turn, weight @ turn)) == pytest.approx(plain, rel=1e-6)


def test_spread_that_softmax_cannot_see_has_no_share_and_the_rest_has_all() -> None:
    weight = CASE.weight.astype(float)
    rows = weight - weight.mean(0)
    _, _, axes = np.linalg.svd(rows)
    means = np.stack([CASE.features[CASE.labels == k].mean(0) for k in range(4)])[CASE.labels]
    spread = CASE.features - means
    for seen, wanted in ((axes[:3], 1.0), (axes[3:], 0.0)):
        left = means + spread @ seen.T @ seen
        logits = (left - means) @ weight.T
        moved = logits - logits.mean(1, keepdims=True)
        assert (np.abs(moved).max() > 1e-9) == bool(wanted)
        found = share(left, weight, null=False, intervals=False)
        assert found.value == pytest.approx(wanted, abs=1e-12)


def test_deep_collapse_changes_no_share() -> None:
    means = np.stack([CASE.features[CASE.labels == k].mean(0) for k in range(4)])[CASE.labels]
    deep = means + 1e-6 * (CASE.features - means)
    found = nc.measure_features(
        deep, CASE.labels, weight=CASE.weight, keys=["head_share", "nc1_ratio"], null=False
    ).results["train"]["head"]
    assert found["nc1_ratio"].value < 1e-12
    plain = share(CASE.features, CASE.weight, null=False)
    assert found["head_share"].value == pytest.approx(plain.value, rel=1e-8)
    assert found["head_share"].interval == pytest.approx(plain.interval, rel=1e-5)


@pytest.mark.parametrize("uneven", [0.0, 1.0, 4.0])
def test_rows_at_random_read_their_null(uneven: float) -> None:
    """Mean and spread over 200 heads, exactly those of the null; about 95 % within its ends."""
    rng = np.random.default_rng(2)
    scales = np.arange(1.0, 13.0) ** -uneven
    features = rng.normal(size=(len(CASE.labels), 12)) * scales
    features += np.eye(4, 12)[CASE.labels]
    statistics, geometry = parts(features, CASE.weight)
    null = chance(statistics, geometry)
    found = []
    for _ in range(200):
        drawn = torch.from_numpy(rng.normal(size=(4, 12)))
        found.append(float(head_share(statistics, nc.Geometry(geometry.means, drawn))))
    error = np.std(found) / 200**0.5
    assert null.mean == 3 / 12
    assert abs(np.mean(found) - null.mean) < 4 * error
    inside = np.mean([null.low <= value <= null.high for value in found])
    assert 0.90 < inside < 0.99


def test_a_head_that_sees_everything_is_said() -> None:
    found = nc.measure_features(
        CASE.features[:, :3], CASE.labels, weight=CASE.weight[:, :3], keys=["head_share"]
    )
    assert found.value("head_share") is None
    assert "span all 3 directions that features occupy" in " ".join(found.warnings)


@pytest.mark.parametrize(
    ("mode", "says"), [("sketch", "a sketch of Σ_W does not resolve"), ("trace", "was not kept")]
)
def test_without_the_scatter_it_is_said(mode: str, says: str) -> None:
    found = nc.measure_features(
        CASE.features, CASE.labels, weight=CASE.weight, keys=["head_share"], mode=mode
    )
    assert found.value("head_share") is None and says in " ".join(found.warnings)


# ---- ranks ----------------------------------------------------------------------------------------
def test_ranks_of_known_rows() -> None:
    """±4, ±2, ±1 on three axes: eigenvalues 32, 8, 2; a simplex has all of its directions."""
    rows = torch.diag(torch.tensor([4.0, 2.0, 1.0], dtype=torch.float64))
    found = nc.Geometry(torch.cat([rows, -rows]))
    assert 5 * float(nc2_participation(found)) == pytest.approx(441 / 273)
    assert 5 * float(nc2_rank(found)) == pytest.approx(1.9503, abs=1e-4)
    assert 5 * float(nc2_rank(found, singular=True)) == pytest.approx(2.6004, abs=1e-4)
    assert 5 * float(nc2_stable_rank(found)) == pytest.approx(21 / 16)
    simplex = nc.Geometry.simplex_etf(7, 9)
    for rank in (nc2_participation, nc2_rank, nc2_stable_rank):
        assert float(rank(simplex)) == pytest.approx(1, abs=1e-12)
        assert float(rank(simplex, "weight")) == pytest.approx(1, abs=1e-12)


def test_participation_is_the_distance_to_the_simplex_in_directions() -> None:
    for seed, size in ((0, 5), (1, 20)):
        rng = np.random.default_rng(seed)
        found = nc.Geometry(torch.from_numpy(rng.normal(size=(size, 8))))
        wanted = (1 - float(nc2_etf(found)) ** 2 / 2) ** 2
        assert float(nc2_participation(found)) == pytest.approx(wanted, rel=1e-12)


# ---- balance --------------------------------------------------------------------------------------
@pytest.mark.parametrize("dim", [9, 60])
def test_balance_asks_for_no_match_of_rows_with_classes(dim: int) -> None:
    rng = np.random.default_rng(3)
    means = torch.from_numpy(rng.normal(size=(5, dim)))
    centred = means - means.mean(0)
    # An orthogonal turn of classes that keeps their mean zero.
    unit = np.linalg.qr(np.hstack([np.ones((5, 1)), rng.normal(size=(5, 4))]))[0][:, 1:]
    turn = torch.from_numpy(unit @ np.linalg.qr(rng.normal(size=(4, 4)))[0] @ unit.T)
    turned = nc.Geometry(means, 3 * turn @ centred + 7)
    assert float(nc3_balance(turned)) < 1e-13
    assert float(nc3_duality(turned)) > 0.5
    off = centred + 1e-9 * torch.from_numpy(rng.normal(size=(5, dim)))
    assert 0 < float(nc3_balance(nc.Geometry(means, off))) < 1e-8
