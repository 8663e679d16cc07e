"""Many classes: sampled pairs agree with all pairs, and the state stays small."""

from __future__ import annotations

import math

import pytest
import torch

import ncollapse as nc
from ncollapse.collect.statistics.classes import ClassMoments
from ncollapse.metrics.catalog import METRICS, of_task
from ncollapse.metrics.drawn import drawn_pairs
from ncollapse.metrics.evidence import Evidence
from ncollapse.metrics.metric import Without
from ncollapse.metrics.readings import applicable, read

K, D, N = 300, 24, 3000


def data() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.cat([torch.arange(K), torch.randint(0, K, (N - K,), generator=generator)])
    means = torch.randn(K, D, generator=generator) + 2
    features = means[labels] + 0.3 * torch.randn(N, D, generator=generator)
    weight = means - means.mean(0) + 0.2 * torch.randn(K, D, generator=generator)
    return features, labels, weight, torch.zeros(K)


SAMPLED = (
    "nc1_cdnv",
    "nc2_maxangle_means",
    "nc2_maxangle_weights",
    "nc2_gof_means",
    "nc2_gof_weights",
    "nc2_angle_ratio",
    "gnc_uniformity_means",
    "gnc_uniformity_weights",
)


def sampled(statistics, geometry, keys, definition="macro"):
    """Values and intervals over drawn pairs."""
    values, _ = read(keys, statistics=statistics, geometry=geometry, definition=definition)
    evidence = Evidence(statistics, geometry, None, None, 1e-7)
    return values, drawn_pairs(values, evidence, definition)


def test_the_catalog_knows_which_metrics_draw_pairs() -> None:
    assert {key for key, row in of_task().items() if row.pairs == "sampled"} == set(SAMPLED)


@pytest.mark.parametrize("definition", ["macro", "micro", "papyan2020", "zhu2021", "zhou2022"])
def test_every_reading_is_that_of_all_pairs(definition: str) -> None:
    features, labels, weight, bias = data()
    moments = ClassMoments(K, D, mode="trace")
    moments.update(features, labels)
    statistics, geometry = moments.statistics(), moments.geometry(weight, bias)
    keys = applicable(head=True)
    wanted, _ = read(keys, statistics=statistics, geometry=geometry, definition=definition)
    drawn = moments.take_geometry(weight, bias).sampled(20_000)
    found, spans = sampled(statistics, drawn, keys, definition)
    for key, value in wanted.items():
        if isinstance(METRICS[key].large, Without):
            assert found[key] is None
        elif key in SAMPLED:
            low, high = spans[key]
            # 95 % intervals, widened to what one in 10,000 leaves.
            assert abs(value - found[key]) < 2 * (high - low), key
            assert low < found[key] < high
        else:
            assert found[key] == pytest.approx(value, rel=1e-9), key


def test_intervals_cover_at_the_stated_rate() -> None:
    features, labels, weight, bias = data()
    moments = ClassMoments(K, D, mode="trace")
    moments.update(features, labels)
    statistics, geometry = moments.statistics(), moments.geometry(weight, bias)
    truth, _ = read(["nc2_gof_weights"], statistics=statistics, geometry=geometry)
    hits = 0
    for seed in range(60):
        _, spans = sampled(statistics, geometry.sampled(500, seed=seed), ["nc2_gof_weights"])
        low, high = spans["nc2_gof_weights"]
        hits += low <= truth["nc2_gof_weights"] <= high
    assert 50 <= hits <= 60


def test_past_the_pair_budget_a_measurement_says_what_it_left_out() -> None:
    features, labels, weight, bias = data()
    whole = nc.measure_features(features, labels, weight=weight, bias=bias, mode="trace")
    few = nc.measure_features(features, labels, weight=weight, bias=bias, pair_budget=20_000)
    mine, theirs = few.results["train"]["head"], whole.results["train"]["head"]
    assert mine.keys() == theirs.keys()
    assert mine["nc1_fisher"].value is None
    assert mine["accuracy"].value == theirs["accuracy"].value
    for key in ("nc1_ratio", "nc2_etf_means", "nc3_duality", "class_share"):
        assert mine[key].value == pytest.approx(theirs[key].value, rel=1e-9)
    for key in SAMPLED:
        low, high = mine[key].interval
        assert abs(theirs[key].value - mine[key].value) < 2 * (high - low)
    # The spectrum of the features is unknown without second moments.
    assert mine["nc1_ratio"].null is None and mine["class_share"].null is not None
    assert few.classes == ()
    said = " ".join(few.document.warnings)
    assert "more than the pair budget" in said
    assert "mode trace" in said
    assert few.geometry.num_classes == K
    assert "nc1_ratio" in few.document.to_json()


def test_means_are_formed_in_place_of_the_sums() -> None:
    features, labels, weight, _ = data()
    moments = ClassMoments(K + 1, D, mode="trace")
    moments.update(features, labels)
    wanted = moments.geometry()
    where = moments._sums.data_ptr()
    full = ClassMoments(K, D, mode="trace")
    full.update(features, labels)
    place = full._sums.data_ptr()
    assert full.take_geometry(weight).means.data_ptr() == place != where
    # An absent class is left out.
    found = moments.take_geometry()
    torch.testing.assert_close(found.means, wanted.means, rtol=1e-14, atol=1e-14)
    assert found.num_classes == K


def test_features_too_wide_for_second_moments_are_read_by_traces(monkeypatch) -> None:
    monkeypatch.setattr("ncollapse.measuring.layers.SMALL_MATRIX", 0)
    features, labels, _, _ = data()
    found = nc.measure_features(features, labels, memory_budget=8 * 23**2, null=False)
    assert found.document.config["mode"] == "trace"
    assert any("do not fit into the memory budget" in w for w in found.document.warnings)
    assert math.isfinite(found.results["train"]["head"]["nc1_ratio"].value)


def test_rare_classes_are_left_out_and_counted() -> None:
    features, labels, weight, bias = data()
    found = nc.measure_features(features, labels, weight=weight, bias=bias, min_count=8, null=False)
    counts = torch.bincount(labels)
    kept = int((counts >= 8).sum())
    assert len(found.classes) == kept
    assert found.document.num_samples == int(counts[counts >= 8].sum())
    assert any(
        f"{K - kept} classes with fewer than 8 samples" in w for w in found.document.warnings
    )
    with pytest.raises(ValueError, match="at least 1 sample a class"):
        nc.measure_features(features, labels, min_count=0)
