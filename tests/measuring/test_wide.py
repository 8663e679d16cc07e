"""Features too wide for a d × d matrix: NC1 is read in the span of the class means, exactly."""

from __future__ import annotations

import numpy as np
import pytest

import ncollapse as nc
from tests.data import make

COUNTS = [90, 40, 60, 30]


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """A budget that a matrix of 120 features exceeds and the span of 4 means does not."""
    monkeypatch.setattr("ncollapse.measuring.layers.SMALL_MATRIX", 0)
    return {"memory_budget": 8.0 * 100**2}


@pytest.mark.parametrize("definition", ["macro", "micro", "papyan2020", "zhu2021", "he2023"])
@pytest.mark.parametrize("spread", [1.0, 1e-6])
def test_the_span_of_the_means_is_all_that_nc1_sees(
    spread: float, definition: str, narrow: dict[str, float]
) -> None:
    case = make("wide", counts=COUNTS, dim=120, spread=spread, dtype=np.float64)
    both = {"weight": case.weight, "bias": case.bias, "definition": definition, "null": False}
    full = nc.measure_features(case.features, case.labels, **both)
    wide = nc.measure_features(case.features, case.labels, **both, **narrow)
    assert wide.document.config["scatter"] == "span of means"
    assert wide.value("nc1_fisher") == pytest.approx(full.value("nc1_fisher"), rel=1e-10)
    for key in ("nc1_ratio", "nc2_etf_means", "nc4_mismatch", "ncc_accuracy", "span_alignment"):
        assert wide.value(key) == pytest.approx(full.value(key), rel=1e-10), key
    assert wide.value("nc1_vci") is None
    assert any("second look, exactly" in said for said in wide.warnings)


def test_every_split_is_read_about_its_own_means(narrow: dict[str, float]) -> None:
    case = make("wide", counts=COUNTS, dim=120, dtype=np.float64)
    split = np.where(np.arange(sum(COUNTS)) % 2 == 0, "train", "test")
    full = nc.measure_features(case.features, case.labels, split=split, null=False)
    wide = nc.measure_features(case.features, case.labels, split=split, null=False, **narrow)
    for name in ("train", "test"):
        found = wide.value("nc1_fisher", split=name)
        assert found == pytest.approx(full.value("nc1_fisher", split=name), rel=1e-10)


def test_nothing_is_spanned_by_means_that_coincide(narrow: dict[str, float]) -> None:
    rng = np.random.default_rng(0)
    half = rng.normal(size=(40, 120))
    features = np.concatenate([half, half])
    labels = np.repeat([0, 1], 40)
    found = nc.measure_features(features, labels, null=False, **narrow)
    assert found.value("nc1_fisher") is None
