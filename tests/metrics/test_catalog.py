"""Every row of the catalog is complete: it has its comparators and its large form, or says why not."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest

import ncollapse as nc
from ncollapse.metrics.catalog import METRICS, USUAL, followed, of_task, shown
from ncollapse.metrics.metric import INTERVALS, NULLS, PAIRS, SCALES, UNITS, Metric, Without
from tests.data import make

CASE = make("catalog", counts=[40, 60, 50, 45], dim=7)
TARGETS = np.random.default_rng(0).normal(size=(len(CASE.labels), 3)) + CASE.features[:, :3]
TARGET_WEIGHT = np.random.default_rng(1).normal(size=(3, 7))
LARGE = make("large", counts=[6] * 40, dim=9)


@pytest.fixture(scope="module")
def measured() -> dict[str, nc.Reading]:
    m = nc.measure_features(
        CASE.features, CASE.labels, weight=CASE.weight, bias=CASE.bias, keys=of_task()
    )
    regression = nc.measure_features(CASE.features, TARGETS, weight=TARGET_WEIGHT)
    return m.results["train"]["head"] | regression.results["train"]["head"]


@pytest.fixture(scope="module")
def sampled() -> dict[str, nc.Reading]:
    m = nc.measure_features(
        LARGE.features,
        LARGE.labels,
        weight=LARGE.weight,
        bias=LARGE.bias,
        pair_budget=300,
        keys=METRICS,
    )
    return m.results["train"]["head"]


@pytest.fixture(params=METRICS.values(), ids=lambda row: row.key)
def row(request: pytest.FixtureRequest) -> Metric:
    return request.param


def test_words_are_known_and_paths_lead_somewhere(row: Metric) -> None:
    assert row.scale in SCALES
    assert row.pairs in PAIRS
    assert row.unit in UNITS
    assert isinstance(row.null, Without) or row.null in NULLS
    assert isinstance(row.interval, Without) or row.interval in INTERVALS
    paths = [row.function]
    if isinstance(row.estimate, str):
        paths.append(row.estimate)
    if isinstance(row.floor, str) and row.floor != "rounding":
        paths.append(row.floor)
    for path in paths:
        module, name = path.split(":")
        assert callable(getattr(import_module(module), name))
    for end in (row.null, row.floor, row.interval, row.large):
        if isinstance(end, Without):
            assert len(end.why.split()) > 3


def test_a_reading_has_what_its_row_promises(row: Metric, measured) -> None:
    if row.task not in (USUAL, "regression"):
        pytest.skip("rows of other tasks have tests of their own")
    reading = measured[row.key]
    assert reading.value is not None
    of_sampling = row.interval == "samples" and row.scale in ("square", "folded")
    for have, promised in (
        (reading.null, row.null),
        (reading.floor, "sampling" if of_sampling else row.floor),
        (reading.interval, row.interval),
        (reading.estimate, row.interval),
    ):
        assert (have is None) == isinstance(promised, Without)


def test_any_number_of_classes_is_read_or_the_row_says_why_not(row: Metric, sampled) -> None:
    if row.task != USUAL:
        pytest.skip("rows of other tasks have tests of their own")
    reading = sampled[row.key]
    assert (reading.value is None) == isinstance(row.large, Without)
    if row.pairs == "sampled":
        low, high = reading.interval
        assert low < reading.value < high


def test_places_are_ranked_and_have_titles() -> None:
    for task in {row.task for row in METRICS.values()}:
        for place in ("terminal", "strip", "curve", "layers", "along"):
            rows = shown(place, task)
            ranks = [at.rank for _, at in rows]
            assert ranks == sorted(set(ranks)), place
            assert all(at.title for _, at in rows)
    assert set(followed()) <= set(METRICS)


def test_no_file_but_the_catalog_lists_keys_by_prefix() -> None:
    """The families are told by their rows, not by how a key begins."""
    from pathlib import Path

    import ncollapse.metrics as room

    for path in Path(room.__file__).parent.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert 'startswith("nc' not in text, path
        assert 'startswith(("nc' not in text, path
