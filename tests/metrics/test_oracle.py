"""measure_features agrees with the plain oracle on every key."""

from __future__ import annotations

import numpy as np
import pytest

import ncollapse as nc
from ncollapse.metrics.catalog import of_task
from tests.data import CASES, Case, make
from tests.oracles import oracle, published

METRICS = of_task()


def close(found: float | None, wanted: float | None, relative: float) -> bool:
    if wanted is None:
        return found is None
    # Values at an exact zero (VCI with fewer samples than dimensions) meet the rounding of
    # float32 products instead.
    exact = abs(wanted) < 1e-15
    bound = 1e-9 if exact else relative * max(abs(wanted), 1e-7)
    return found is not None and abs(found - wanted) <= bound


def measured(case: Case, **options: object) -> dict[str, float | None]:
    m = nc.measure_features(
        case.features,
        case.labels,
        weight=case.weight,
        bias=case.bias,
        keys=METRICS,
        null=False,
        intervals=False,
        **options,
    )
    return {key: reading.value for key, reading in m.results["train"]["head"].items()}


@pytest.mark.parametrize("weighting", ["macro", "micro"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_key_agrees_with_the_oracle(case: Case, weighting: str) -> None:
    relative = 1e-9 if case.features.dtype == np.float64 else 1e-5
    wanted = oracle(case.features, case.labels, case.weight, case.bias, weighting)
    found = measured(case, weighting=weighting)
    assert set(found) == set(METRICS)
    wrong = {k: (found[k], wanted[k]) for k in wanted if not close(found[k], wanted[k], relative)}
    assert not wrong


@pytest.mark.parametrize("case", CASES[:3], ids=lambda case: case.name)
def test_weighted_scatter_agrees_where_class_scatters_do_not_fit(case: Case) -> None:
    wanted = oracle(case.features, case.labels, case.weight, case.bias)
    found = measured(case, memory_budget=0)
    for key in ("nc1_fisher", "nc1_vci", "nc1_ratio"):
        assert close(found[key], wanted[key], 1e-5), key


@pytest.mark.parametrize("case", [CASES[1], CASES[2], CASES[8]], ids=lambda case: case.name)
def test_published_definitions(case: Case) -> None:
    for (key, definition), wanted in published(case.features, case.labels, case.weight).items():
        found = measured(case, definition=definition)[key]
        assert close(found, wanted, 1e-5), (key, definition)


def test_traces_are_right_at_the_deepest_collapse() -> None:
    """NC1 = 1e-12 and below: float32 features whose spread is a few units in the last place."""
    case = make("deep", counts=[100] * 10, dim=256, spread=1.5e-6, offset=1.0)
    wanted = oracle(case.features, case.labels)
    assert wanted["nc1_ratio"] < 3e-12
    found = measured(case)
    for key in ("nc1_ratio", "nc1_cdnv", "nc1_fisher", "nc1_vci"):
        assert abs(found[key] / wanted[key] - 1) < 1e-6, key


def test_collapsed_to_a_point_reads_zero() -> None:
    case = make("points", counts=[7] * 4, dim=9, spread=0.0)
    found = measured(case)
    assert found["nc1_fisher"] == found["nc1_ratio"] == found["nc1_cdnv"] == 0
    assert found["nc1_vci"] == 0
    assert found["class_share"] == 1
    assert found["fisher_ratio"] is None


def test_absent_classes_are_left_out_and_named() -> None:
    case = make("gap", counts=[20, 30, 40], dim=6)
    labels = np.array([0, 2, 5])[case.labels]
    weight = np.random.default_rng(1).normal(size=(7, 6)).astype(np.float32)
    m = nc.measure_features(
        case.features, labels, weight=weight, null=False, intervals=False, keys=METRICS
    )
    wanted = oracle(case.features, labels, weight)
    for key, value in wanted.items():
        assert close(m.value(key), value, 1e-5), key
    assert "4 of 7 classes have no sample" in " ".join(m.warnings)


@pytest.mark.parametrize("rows", [1, 7, 64])
def test_the_size_of_batches_does_not_matter(rows: int) -> None:
    import torch

    case = CASES[1]
    whole = nc.ClassMoments(7, 24)
    whole.update(torch.from_numpy(case.features), torch.from_numpy(case.labels))
    parts = nc.ClassMoments(7, 24)
    for start in range(0, len(case.labels), rows):
        part = slice(start, start + rows)
        parts.update(torch.from_numpy(case.features[part]), torch.from_numpy(case.labels[part]))
    a, b = whole.statistics(), parts.statistics()
    torch.testing.assert_close(a.traces, b.traces, rtol=1e-6, atol=0)
    torch.testing.assert_close(a.macro, b.macro, rtol=1e-5, atol=1e-8)


def test_the_floor_of_the_frame_distance_holds_past_d_plus_one() -> None:
    case = CASES[2]
    m = nc.measure_features(case.features, case.labels, weight=case.weight)
    reading = m.results["train"]["head"]["nc2_etf_means"]
    assert reading.floor == pytest.approx(np.sqrt(2 - 2 * np.sqrt(12 / 39)))
    assert reading.value >= reading.floor
