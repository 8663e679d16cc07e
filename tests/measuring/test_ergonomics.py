"""What a reader types at a prompt: short reprs, indexing, tables, plain data, metrics by name."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

import ncollapse as nc
from ncollapse.losses import CrossEntropy, named
from ncollapse.record.trace import Trace
from tests.data import make

CASE = make("ergonomics", counts=[9] * 4, dim=6, spread=0.3)
with torch.random.fork_rng(devices=[]):
    MODEL = torch.nn.Linear(6, 4)
HOSTILE = "<script>x</script>"


@pytest.fixture(scope="module")
def measured() -> nc.Measurement:
    split = np.where(np.arange(len(CASE.labels)) % 3 == 0, "test", "train")
    return nc.measure_features(
        CASE.features, CASE.labels, weight=CASE.weight, bias=CASE.bias, split=split,
        class_names=[HOSTILE, "b", "c", "d"],
    )  # fmt: skip


def test_reprs_are_one_short_line(measured: nc.Measurement) -> None:
    predicted = nc.predict([30, 30, 10], weight_decay=1e-3, feature_decay=1e-3)
    trace = Trace()
    trace.append(3, {"nc1_ratio": 0.5, "accuracy": None}, split="train")
    tracker = nc.Tracker(MODEL, online=True)
    tracker.close()
    for thing in (measured, measured.geometry, measured.document, predicted, trace, tracker):
        said = repr(thing)
        assert "\n" not in said and len(said) <= 160, said
    assert "4 classes" in repr(measured) and "steps 3 to 3" in repr(trace)
    target = nc.predict(task="regression", target_covariance=np.eye(2))
    assert len(repr(target)) <= 160 and "2 targets" in repr(target)


def test_notebooks_get_a_few_kilobytes_of_escaped_text(measured: nc.Measurement) -> None:
    trace = Trace()
    for step in range(400):
        trace.append(step, {"nc1_ratio": 0.5, HOSTILE: 1.0}, split="train")
    predicted = nc.predict([30] * 100 + [5] * 100, weight_decay=1e-3, feature_decay=1e-3)
    for thing in (measured, measured.geometry, predicted, trace):
        page = thing._repr_html_()
        assert len(page.encode()) <= 8_000
        assert "<script" not in page and "<t" in page


def test_readings_are_found_by_index(measured: nc.Measurement) -> None:
    reading = measured["train"]["head"]["nc1_fisher"]
    assert reading is measured.results["train"]["head"]["nc1_fisher"]
    assert float(reading) == reading.value and math.isnan(float(nc.Reading(None)))
    assert list(measured) == list(measured.keys()) == ["train", "test"]
    assert "train" in measured and "nc1_fisher" in measured["test"]["head"]
    assert dict(measured["train"]["head"]) == measured.results["train"]["head"]
    for wrong, near in (
        (lambda: measured["tran"], "did you mean 'train'"),
        (lambda: measured["train"]["haed"], "layer 'haed' in split 'train'.*'head'"),
        (lambda: measured["train"]["head"]["nc1_fischer"], "'nc1_fisher'"),
    ):
        with pytest.raises(KeyError, match=near):
            wrong()
    with pytest.raises(TypeError):
        measured["train"]["head"]["nc1_fisher"] = reading  # type: ignore[index]


def test_tables_are_pandas(measured: nc.Measurement) -> None:
    assert len(measured.to_frame("classes")) == len(measured.classes)
    wide = measured.to_frame("layers")
    assert wide.set_index("split").loc["train", "nc1_fisher"] == measured.value("nc1_fisher")
    with pytest.raises(ValueError, match="one of readings, classes, layers"):
        measured.to_frame("tables")
    predicted = nc.predict([30, 30, 2], weight_decay=0.05, feature_decay=0.05)
    frame = predicted.to_frame()
    assert frame["count"].tolist() == [30, 30, 2]
    assert frame["collapsed"].sum() == len(predicted.collapsed_classes)
    target = nc.predict(task="regression", target_covariance=np.eye(2))
    np.testing.assert_allclose(target.to_frame()["error"], target.errors)


def test_plain_data_goes_there_and_back(measured: nc.Measurement) -> None:
    assert json.loads(measured.to_json()) == json.loads(measured.document.to_json())
    geometry = measured.geometry
    again = nc.Geometry.from_dict(json.loads(geometry.to_json()))
    assert again.distance(geometry).value < 1e-7
    assert again.counts is not None and torch.equal(again.counts, geometry.counts)
    trace = Trace()
    trace.append(3, {"nc1_ratio": 0.5, "accuracy": None}, split="train", epoch=1.0)
    assert Trace.from_dict(json.loads(trace.to_json())).rows == trace.rows


def test_metrics_chooses_rows_and_names_near_misses() -> None:
    found = nc.measure_features(CASE.features, CASE.labels, metrics=["nc1_ratio", "class_share"])
    (readings,) = next(iter(found.results.values())).values()
    assert set(readings) == {"nc1_ratio", "class_share"}
    with pytest.raises(ValueError, match="did you mean nc1_ratio"):
        nc.measure_features(CASE.features, CASE.labels, metrics="nc1_ratios")
    with pytest.raises(ValueError, match="pass one of them"):
        nc.measure_features(CASE.features, CASE.labels, metrics=["nc0"], keys=["nc0"])
    with pytest.raises(ValueError, match="did you mean nc1_ratio"):
        nc.measure(MODEL, (CASE.features, CASE.labels), metrics=["nc1_ratios"])


def test_the_catalog_is_a_table() -> None:
    from ncollapse.metrics.catalog import METRICS

    frame = nc.list_metrics()
    assert frame["key"].tolist() == list(METRICS)
    assert {"key", "meaning", "ideal", "source"} <= set(frame.columns)
    assert set(nc.list_metrics("regression")["task"]) == {"regression"}
    with pytest.raises(ValueError, match="classification"):
        nc.list_metrics("classes")


def test_torch_names_of_the_loss_are_taken() -> None:
    said = {"weight_decay": 1e-3, "feature_decay": 1e-3}
    ours = nc.predict([30, 30, 10], loss="ls", smoothing=0.1, **said)
    theirs = nc.predict([30, 30, 10], label_smoothing=0.1, **said)
    assert theirs.objective == pytest.approx(ours.objective, rel=1e-9)
    assert named("ce", weight=[1, 2, 3], label_smoothing=0.2) == CrossEntropy(0.2, (1.0, 2.0, 3.0))
    with pytest.raises(ValueError, match="one setting"):
        named("ls", smoothing=0.1, label_smoothing=0.1)
    with pytest.raises(ValueError, match="'label_smoothing' was passed"):
        named("focal", label_smoothing=0.1)


def test_true_becomes_bars_and_a_function_is_called(capsys: pytest.CaptureFixture[str]) -> None:
    from ncollapse.measuring.bars import barred

    @barred
    def worker(*, progress: object = None) -> object:
        if callable(progress):
            progress("stage", 1, 2)
        return progress

    told: list[tuple[object, ...]] = []
    tell = lambda *said: told.append(said)  # noqa: E731
    assert worker(progress=tell) is tell and told == [("stage", 1, 2)]
    assert callable(worker(progress=True)) and worker(progress=False) is False
    assert worker() is None and capsys.readouterr().out == ""
