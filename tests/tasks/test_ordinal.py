"""Ordered grades measured: found by their thresholds, read, answered, drawn, refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import ncollapse as nc
from ncollapse.control import OrdinalHead
from ncollapse.metrics.catalog import of_task
from ncollapse.report.html import write_report
from ncollapse.tasks import tasks
from tests.metrics.test_onc import B, sample

QUICK = {"null": False, "intervals": False}


def test_thresholds_make_the_task_and_it_can_be_asked_for() -> None:
    f, y, w = sample()
    found = nc.measure_features(f, y, weight=w[None], thresholds=B, **QUICK)
    assert found.document.config["task"] == {
        "name": "ordinal",
        "why": "the head is one latent score that thresholds cut into grades",
        "counted": "grades",
    }
    assert found.document.num_classes == 4
    asked = nc.measure_features(f, y, weight=w[None], thresholds=B, task="ordinal", **QUICK)
    assert asked.results == found.results
    # Without a head there are no scores, and what is left is read.
    bare = nc.measure_features(f, y, task="ordinal", **QUICK)
    assert list(bare.results["train"]["head"]) == ["onc1", "onc2_rank"]
    assert any("no weight (1, dim)" in said for said in bare.document.warnings)
    # The same labels are class numbers otherwise.
    assert nc.measure_features(f, y, **QUICK).document.config["task"]["name"] == "classification"
    assert list(tasks()) == sorted(tasks())


def test_the_line_is_kept_and_answered() -> None:
    f, y, w = sample(spread=0.05)
    half = np.where(np.arange(len(y)) % 2, "train", "test")
    m = nc.measure_features(f, y, weight=w[None], thresholds=B, split=half, reference="train")
    line = m.document.config["details"]["train"]
    z = [float((f[(y == q) & (half == "train")] @ w).mean()) for q in range(4)]
    assert line["positions"] == pytest.approx(z)
    assert line["limits"] == [-4.0, -1.0, 1.5, 4.5] and line["thresholds"] == B.tolist()
    mean = np.array(z)[y[half == "train"]]
    assert line["spread"] == pytest.approx(float(np.std(f[half == "train"] @ w - mean)), rel=1e-6)
    said = {verdict.id: verdict for verdict in m.verdicts}
    assert list(said) == [
        "ordinal_spread:train", "ordinal_spread:test", "ordinal_line", "ordinal_order",
        "ordinal_places",
    ]  # fmt: skip
    assert said["ordinal_order"].answer == "yes"
    assert said["ordinal_spread:train"].answer in ("yes", "partly")
    assert said["ordinal_places"].answer in ("yes", "partly")
    assert "ONC1" in str(m) and len(str(m).splitlines()) <= 24
    swapped = np.array([0, 2, 1, 3])[y]
    other = nc.measure_features(f, swapped, weight=w[None], thresholds=B, **QUICK)
    answers = {verdict.id: verdict.answer for verdict in other.verdicts}
    assert answers["ordinal_order"] == "partly" and answers["ordinal_places"] != "yes"


def test_noise_never_gets_a_yes() -> None:
    rng = np.random.default_rng(3)
    for _ in range(10):
        m = nc.measure_features(
            rng.normal(size=(120, 9)), np.arange(120) % 4, weight=rng.normal(size=(1, 9)),
            thresholds=B,
        )  # fmt: skip
        answers = [verdict.answer for verdict in m.verdicts[:1]] + [m.verdicts[2].answer]
        assert set(answers) <= {"cannot tell", "no"}, m.verdicts


def test_a_model_with_an_ordinal_head_is_found_by_itself() -> None:
    f, y, w = sample()
    model = nn.Sequential(nn.Flatten(), OrdinalHead(7, 4, thresholds=B.tolist(), link="probit"))
    with torch.no_grad():
        model[1].linear.weight.copy_(torch.from_numpy(w)[None])
    data = [(torch.from_numpy(f).float(), torch.from_numpy(y))]
    m = nc.measure(model, data, class_names=["low", "some", "more", "most"], **QUICK)
    assert [row.name for row in m.classes] == ["low", "some", "more", "most"]
    with pytest.raises(ValueError, match="5 classes and the head '1.linear' is 4 wide"):
        nc.measure(model, data, class_names="abcde", **QUICK)
    with pytest.raises(ValueError, match="label 4 of sample 0 .* tells 4 grades"):
        nc.measure(model, [(data[0][0], data[0][1] + 4)], **QUICK)
    plain = nc.measure_features(
        f.astype(np.float32), y, weight=w[None].astype(np.float32), thresholds=B, link="probit",
        **QUICK,
    )  # fmt: skip
    assert m.document.config["task"]["name"] == "ordinal"
    assert m.document.config["details"]["train"]["link"] == "probit"
    for key in of_task("ordinal"):
        mine, theirs = (one.results["train"]["head"][key].value for one in (m, plain))
        assert mine == pytest.approx(theirs, rel=1e-5), key


def test_few_samples_in_many_dimensions_read_the_same() -> None:
    """There the features are read in their own span."""
    f, y, w = sample()
    rows = np.concatenate([np.flatnonzero(y == q)[:3] for q in range(4)])
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(60, 60)))[0][:7]
    narrow = nc.measure_features(f[rows], y[rows], weight=w[None], thresholds=B, **QUICK)
    wide = nc.measure_features(
        f[rows] @ turn, y[rows], weight=(w @ turn)[None], thresholds=B, **QUICK
    )
    for key, reading in narrow.results["train"]["head"].items():
        assert wide.results["train"]["head"][key].value == pytest.approx(reading.value, rel=1e-6)
    assert wide.geometry.means.shape == (4, 60)


def test_a_file_holds_thresholds_and_a_report_draws_the_line(tmp_path: Path) -> None:
    f, y, w = sample(spread=0.05)
    np.savez(tmp_path / "a.npz", features=f, labels=y, weight=w[None], thresholds=B)
    m = nc.measure_source(nc.open_source(tmp_path / "a.npz"), **QUICK)
    m.save(tmp_path / "run")
    page = write_report(tmp_path / "run").read_text("utf-8")
    assert "Latent line" in page and "latent score z" in page
    assert "The class means lie on one line" in page or "The class means lie near one line" in page
    saved = json.loads((tmp_path / "run" / "results.json").read_text("utf-8"))
    assert saved["config"]["details"]["train"]["grades"] == [0, 1, 2, 3]
    again = nc.Measurement.load(tmp_path / "run")
    assert again.results == m.results


def test_a_grade_without_samples_is_left_out_and_said() -> None:
    f, y, w = sample()
    kept = y != 1
    m = nc.measure_features(f[kept], y[kept], weight=w[None], thresholds=B, **QUICK)
    assert m.document.config["details"]["train"]["grades"] == [0, 2, 3]
    assert m.document.config["details"]["train"]["limits"] == [-4.0, 1.5, 4.5]
    assert any("1 of 4 grades have no sample: 1" in said for said in m.document.warnings)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"thresholds": [-1.0, 0.0, 0.0, 2.0, 3.0]}, "must increase"),
        ({"thresholds": [-np.inf, -2.0, 0.0, 3.0, np.inf]}, "runs off along the latent line"),
        ({"thresholds": [-2.0, 0.0, 2.0]}, "label 2 of sample 80 lies outside the 2 grades"),
        ({"num_classes": 7}, "num_classes=7 but 5 thresholds cut the line into 4 grades"),
        ({"link": "cauchit"}, "not log-concave"),
        ({"weight": np.ones((4, 7))}, r"the head has 4 rows, .* a weight \(1, dim\)"),
    ],
    ids=str,
)
def test_bad_input_is_one_sentence(given, said: str) -> None:
    f, y, w = sample()
    with pytest.raises(ValueError, match=said):
        nc.measure_features(f, y, **{"weight": w[None], "thresholds": B, **QUICK, **given})


def test_labels_below_the_grades_are_refused_and_ignored_ones_are_not() -> None:
    f, y, w = sample()
    y = y.copy()
    y[5] = -1
    with pytest.raises(ValueError, match="label -1 of sample 5"):
        nc.measure_features(f, y, weight=w[None], thresholds=B, **QUICK)
    y[5] = -100
    nc.measure_features(f, y, weight=w[None], thresholds=B, **QUICK)
