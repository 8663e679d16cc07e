"""measure_features and measure_source: splits, resume, comparison, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import ncollapse as nc
from ncollapse.sources.features.arrays import ArraySource
from tests.data import make
from tests.oracles import class_parts, decisions, oracle

CASE = make("m", counts=[60, 50, 70], dim=7)


def test_splits_are_read_apart_with_the_training_means() -> None:
    split = np.where(np.arange(180) % 3 == 0, "test", "train")
    m = nc.measure_features(CASE.features, CASE.labels, weight=CASE.weight, split=split)
    assert list(m.results) == ["train", "test"]
    for name in ("train", "test"):
        mine = split == name
        wanted = oracle(CASE.features[mine], CASE.labels[mine], CASE.weight)
        assert m.value("nc1_fisher", name) == pytest.approx(wanted["nc1_fisher"], rel=1e-5)
    train = split == "train"
    parts = class_parts(CASE.features[train], CASE.labels[train])
    test = split == "test"
    wanted = decisions(CASE.features[test], CASE.labels[test], parts, CASE.weight, None, mine=False)
    for key, value in wanted.items():
        assert m.value(key, "test") == pytest.approx(value, rel=1e-5), key


def test_frame_has_the_promised_columns_and_no_files_are_written(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    m = nc.measure_features(CASE.features, CASE.labels, weight=CASE.weight)
    columns = [
        "split",
        "layer",
        "key",
        "value",
        "null_mean",
        "floor",
        "low",
        "high",
        "ideal",
        "n",
        "definition",
    ]
    assert list(m.to_frame().columns) == columns
    assert len(m.to_frame()) == len(m.results["train"]["head"])
    assert "NC1 class share" in str(m)
    assert "<script" not in m._repr_html_()
    assert not list(tmp_path.iterdir())


def test_tensors_arrays_and_lists_are_the_same() -> None:
    one = nc.measure_features(CASE.features, CASE.labels)
    two = nc.measure_features(torch.from_numpy(CASE.features), torch.from_numpy(CASE.labels))
    three = nc.measure_features(CASE.features, CASE.labels.tolist())
    assert one.value("nc1_fisher") == two.value("nc1_fisher") == three.value("nc1_fisher")


def test_comparing_measurements_and_geometries() -> None:
    m = nc.measure_features(CASE.features, CASE.labels, weight=CASE.weight)
    other = nc.measure_features(2 * CASE.features, CASE.labels, weight=CASE.weight)
    compared = m.compare(other)
    assert compared.distance.value < 1e-6
    frame = compared.to_frame().set_index("key")
    assert frame.loc["nc1_ratio", "difference"] == pytest.approx(0, abs=1e-6)
    assert "geometry distance" in str(compared)
    simplex = m.compare(nc.Geometry.simplex_etf(3, 2))
    assert 0 < simplex.distance.value < 2
    means_only = nc.Geometry.from_means(m.geometry.means)
    assert set(m.geometry.distance(means_only).left_out) == {"weights", "weights-means"}
    with pytest.raises(ValueError, match="3 classes against 4"):
        m.compare(nc.Geometry.simplex_etf(4, 3))


def test_the_conditioning_of_the_means_is_reported() -> None:
    features = CASE.features.copy()
    labels = np.concatenate([CASE.labels, np.full(70, 3)])
    features = np.concatenate([features, features[CASE.labels == 2]])
    m = nc.measure_features(features, labels)
    found = m.document.config["between_scatter"]["train"]
    assert (found["rank"], found["rank_by_construction"]) == (2, 3)
    assert any("span 2 of 3 possible directions" in warning for warning in m.warnings)
    assert m.value("nc1_cdnv") is None  # two classes with one mean: no finite value
    assert any("nc1_cdnv is null" in warning for warning in m.warnings)


class Stops(ArraySource):
    """A source that is interrupted after so many chunks, as Ctrl-C would."""

    left = 10**9

    def rows(self, start: int, size: int):
        for block in super().rows(start, size):
            if Stops.left == 0:
                import os
                import signal

                os.kill(os.getpid(), signal.SIGINT)
            Stops.left -= 1
            yield block


@pytest.mark.parametrize("after", [2, 9, 14])
@pytest.mark.parametrize("mode", ["full", "trace"])
def test_an_interrupted_run_resumes_to_the_same_result(mode, after, tmp_path: Path) -> None:
    case = make("long", counts=[30000, 25000, 20000], dim=4)
    # Two splits, so that the blocks of each are never full at the border of a chunk.
    split = np.where(np.arange(75000) % 7 == 0, "test", "train")
    arguments = (case.features, case.labels, case.weight, case.bias, split)
    options = {"mode": mode, "null": False, "snapshot": tmp_path / "s.safetensors"}
    whole = nc.measure_source(ArraySource(*arguments), mode=mode, null=False)
    source = Stops(*arguments)
    source.fingerprint  # noqa: B018  reads rows: before counting starts
    Stops.left = after
    with pytest.raises(KeyboardInterrupt):
        nc.measure_source(source, **options)
    assert (tmp_path / "s.safetensors").exists()
    Stops.left = 10**9
    resumed = nc.measure_source(Stops(*arguments), resume=True, **options)
    for key, reading in whole.results["train"]["head"].items():
        found = resumed.results["train"]["head"][key]
        assert (found.value, found.interval) == (reading.value, reading.interval), key


def test_resuming_with_other_data_is_refused(tmp_path: Path) -> None:
    test_options = {"snapshot": tmp_path / "s.safetensors", "snapshot_every": 0.0}
    nc.measure_features(CASE.features, CASE.labels, **test_options)
    with pytest.raises(ValueError, match="made with another source"):
        nc.measure_features(CASE.features, CASE.labels[::-1].copy(), resume=True, **test_options)
    with pytest.raises(ValueError, match="made with another mode"):
        nc.measure_features(CASE.features, CASE.labels, resume=True, mode="trace", **test_options)


def test_many_classes_without_counts_never_become_micro_silently() -> None:
    case = make("pool", counts=[30, 10, 20], dim=6)
    moments = nc.ClassMoments(3, 6, memory_budget=0)
    moments.update(torch.from_numpy(case.features), torch.from_numpy(case.labels))
    from ncollapse.metrics.readings import read

    values, warnings = read(
        ["nc1_fisher", "nc1_ratio"], statistics=moments.statistics(), geometry=moments.geometry()
    )
    assert values["nc1_fisher"] is None
    assert values["nc1_ratio"] is not None
    assert "in macro weighting was not kept" in warnings[0]


LABELS = CASE.labels
BAD = {
    "negative label": ({"labels": np.where(LABELS == 1, -1, LABELS)}, "label -1 of sample"),
    "label past K": ({"labels": LABELS + 1, "weight": CASE.weight}, "label 3 of sample"),
    "past num_classes": ({"num_classes": 2}, "label 2 of sample"),
    "one class": ({"labels": LABELS * 0, "num_classes": 3}, "only class [0] is present"),
    "K = 1": ({"labels": LABELS * 0}, "K = 1 class"),
    "all ignored": ({"labels": LABELS * 0 - 100}, "all 180 labels equal ignore_index"),
    "two Ks": ({"weight": CASE.weight, "num_classes": 9}, "the weight has 3 rows"),
    "definition": ({"definition": "mine2021"}, "definition 'mine2021' is unknown"),
    "mode": ({"mode": "fast"}, "mode 'fast' is unknown"),
    "float labels": ({"labels": 7.0 * LABELS}, "labels are torch.float64"),
    "shapes": ({"labels": LABELS[:3]}, "180 rows of features but 3 labels"),
    "weight": ({"weight": np.ones((3, 9))}, "features have 7 columns"),
    "NaN": (
        {"features": np.where(np.arange(180)[:, None] == 11, np.nan, CASE.features)},
        "first in sample 11",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence(case: str) -> None:
    changes, said = BAD[case]
    arguments = {"features": CASE.features, "labels": LABELS, **changes}
    with pytest.raises(ValueError) as caught:
        nc.measure_features(**arguments)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nan_in_a_split_names_the_row_of_the_file() -> None:
    features = CASE.features.copy()
    features[151] = np.nan
    split = np.where(np.arange(180) < 100, "train", "test")
    with pytest.raises(ValueError, match="first in sample 151"):
        nc.measure_features(features, LABELS, split=split)


def test_progress_reaches_its_total() -> None:
    seen: dict[str, tuple[int, int]] = {}
    nc.measure_features(
        CASE.features,
        LABELS,
        progress=lambda stage, done, total: seen.update({stage: (done, total)}),
    )
    assert set(seen) == {"statistics", "decisions", "nulls", "intervals", "metrics"}
    assert all(done == total for done, total in seen.values())


def test_a_head_of_zeros_has_no_direction_and_breaks_nothing(rng, tmp_path) -> None:
    labels = np.arange(60) % 4
    features = rng.normal(size=(60, 8)) + 4 * rng.normal(size=(4, 8))[labels]
    m = nc.measure_features(features, labels, weight=np.zeros((4, 8)))
    assert {row.cosine for row in m.classes} == {None}
    assert m.value("nc2_equinorm_weights") is None
    m.save(tmp_path)
    assert "nan" not in (tmp_path / "classes.csv").read_text("utf-8")
    assert "<svg" in m.save_html(tmp_path / "page.html").read_text("utf-8")


@pytest.mark.parametrize("power", [-200, 200, -260, 260, 500])
@pytest.mark.parametrize("scaled", ["features", "weight"])
def test_readings_without_a_unit_do_not_know_the_scale_or_are_refused(
    scaled: str, power: int
) -> None:
    given = {"features": CASE.features.astype(np.float64), "weight": CASE.weight.astype(np.float64)}
    plain = nc.measure_features(
        given["features"], CASE.labels, weight=CASE.weight, null=False, intervals=False
    )
    given[scaled] = given[scaled] * 2.0**power

    def measured() -> nc.Measurement:
        return nc.measure_features(
            given["features"], CASE.labels, weight=given["weight"], null=False, intervals=False
        )

    if abs(power) >= 260:
        with pytest.raises(ValueError, match="cannot hold"):
            measured()
        return
    found = measured()
    for key, reading in plain.results["train"]["head"].items():
        if not key.startswith("margin"):
            other = found.results["train"]["head"][key]
            assert other.value == pytest.approx(reading.value, rel=1e-9, abs=1e-12), key
            assert (other.floor is None) == (reading.floor is None), key
            if reading.floor is not None:
                assert other.floor == pytest.approx(reading.floor, rel=1e-9, abs=1e-12), key
    assert [v.answer for v in found.verdicts] == [v.answer for v in plain.verdicts]
