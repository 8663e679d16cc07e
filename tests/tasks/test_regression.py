"""Regression: real-valued labels are found out, measured by arrays, files and models, and compared."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import ncollapse as nc
from ncollapse.cli import main
from ncollapse.sources.features.arrays import ArraySource
from ncollapse.sources.features.files import open_source

RNG = np.random.default_rng(0)
N, D, T = 120, 10, 3
TARGETS = RNG.normal(size=(N, T)) @ np.array([[1.0, 0.5, 0.0], [0.0, 1.0, 0.2], [0.0, 0.0, 0.7]])
PREDICTION = nc.predict(
    task="regression",
    target_covariance=np.cov(TARGETS.T, bias=True),
    weight_decay=0.1,
    feature_decay=0.2,
    num_features=D,
)
TURN = np.linalg.qr(RNG.normal(size=(D, D)))[0]
WEIGHT = PREDICTION.weight.numpy() @ TURN
FEATURES = PREDICTION.features(torch.from_numpy(TARGETS)).numpy() @ TURN
FEATURES = FEATURES + 0.01 * RNG.normal(size=(N, D))
SPLIT = np.where(np.arange(N) < 90, "train", "test")


def measured(**options) -> nc.Measurement:
    return nc.measure_features(FEATURES, TARGETS, weight=WEIGHT, bias=TARGETS.mean(0), **options)


# ---- found out ----------------------------------------------------------------------------------
def test_real_numbers_are_a_regression_and_that_is_said() -> None:
    found = measured(null=False, intervals=False)
    assert found.document.config["task"] == {
        "name": "regression",
        "why": "a label is 3 real numbers (float64)",
        "counted": "targets",
    }
    assert found.document.num_classes == T
    assert "3 targets" in str(found) and "K=" not in str(found)
    one = nc.measure_features(FEATURES, TARGETS[:, 0].astype(np.float32), null=False)
    assert one.document.config["task"]["why"] == "a label is a real number (float32)"


def test_whole_numbers_are_classes_unless_a_regression_is_asked_for() -> None:
    ages = RNG.integers(18, 90, size=N)
    assert nc.measure_features(FEATURES, ages % 3, null=False).document.task == "classification"
    with pytest.raises(ValueError, match="labels are torch.float64 and whole numbers"):
        nc.measure_features(FEATURES, ages.astype(float))
    for given in (ages, ages.astype(float), ages[:, None].astype(float)):
        found = nc.measure_features(FEATURES, given, task="regression", null=False)
        assert found.document.task == "regression"
        assert found.value("nrc_cka") == pytest.approx(
            nc.measure_features(FEATURES, ages + 0.5, null=False).value("nrc_cka"), rel=1e-9
        )
    with pytest.raises(ValueError, match="integers 0..K-1 are needed"):
        nc.measure_features(FEATURES, TARGETS, task="classification")


# ---- what is read -------------------------------------------------------------------------------
def test_a_collapsed_network_is_called_so_and_noise_is_not() -> None:
    answers = {v.id: v.answer for v in measured(split=SPLIT).verdicts}
    assert answers == {
        "regression_collapsed:train": "yes",
        "regression_collapsed:test": "yes",
        "regression_head": "yes",
        "regression_gram": "yes",
    }
    for seed in range(5):
        rng = np.random.default_rng(seed)
        m = nc.measure_features(
            rng.normal(size=(90, D)), rng.normal(size=(90, T)), weight=rng.normal(size=(T, D))
        )
        assert all(verdict.answer != "yes" for verdict in m.verdicts), seed


def test_readings_have_comparators_and_only_the_head_has_those_of_the_head() -> None:
    readings = measured().results["train"]["head"]
    for key in ("nrc1", "nrc2", "nrc3", "nrc_cka", "target_error"):
        null = readings[key].null
        assert null is not None and null.low <= null.mean <= null.high
    assert readings["nrc1"].null.low > 0.3 and readings["nrc1"].value < 0.01
    assert readings["nrc_cka"].null.high < 0.2
    headless = nc.measure_features(FEATURES, TARGETS).results["train"]["head"]
    assert set(readings) - set(headless) == {
        "nrc2", "nrc2_centred", "nrc3", "nrc_gamma", "nrc_rank_weights", "nrc_alignment",
        "target_error",
    }  # fmt: skip


def test_columns_that_hold_nothing_change_nothing() -> None:
    wide = np.concatenate([FEATURES, np.zeros((N, 5))], 1)
    padded = np.concatenate([WEIGHT, np.zeros((T, 5))], 1)
    first = measured().results["train"]["head"]
    second = nc.measure_features(wide, TARGETS, weight=padded, bias=TARGETS.mean(0))
    for key, reading in second.results["train"]["head"].items():
        assert reading.value == pytest.approx(first[key].value, rel=1e-7, abs=1e-12), key
        if reading.null is not None:
            # Nulls are draws: alike, not equal.
            assert reading.null.mean == pytest.approx(first[key].null.mean, rel=0.15, abs=0.02)


def test_one_target_has_no_nrc3_and_the_warning_says_why() -> None:
    found = nc.measure_features(FEATURES, TARGETS[:, 0], weight=WEIGHT[:1])
    assert found.value("nrc3") is None and found.value("nrc1") is not None
    assert any("with one target both matrices are one number" in said for said in found.warnings)


def test_non_negative_features_are_warned_of() -> None:
    assert not any("no feature is negative" in said for said in measured(null=False).warnings)
    found = nc.measure_features(np.abs(FEATURES), TARGETS, null=False)
    assert any("no feature is negative" in said for said in found.warnings)
    few = nc.measure_features(np.abs(RNG.normal(size=(30, 200))), TARGETS[:30], null=False)
    assert any("no feature is negative" in said for said in few.warnings)


def test_few_samples_in_many_dimensions_are_read_in_their_span() -> None:
    H, Y = RNG.normal(size=(25, 300)), TARGETS[:25]
    W = RNG.normal(size=(T, 300))
    narrow = nc.measure_features(H, Y, weight=W, null=False).results["train"]["head"]
    from ncollapse.metrics.catalog import of_task
    from ncollapse.metrics.targets import TargetView

    view = TargetView.of_rows(*(torch.from_numpy(x) for x in (H, Y, W)))
    for key, row in of_task("regression").items():
        wanted = float(row.evaluate(targets=view))
        assert narrow[key].value == pytest.approx(wanted, rel=1e-7, abs=1e-10), key


def test_traces_alone_leave_what_needs_the_spectrum_unread() -> None:
    found = measured(mode="trace")
    assert found.value("nrc1") is None and found.value("nrc_cka") is None
    full = measured()
    for key in ("nrc2", "nrc3", "target_error"):
        assert found.value(key) == pytest.approx(full.value(key), rel=1e-12)


# ---- files, snapshots, models -------------------------------------------------------------------
def test_files_hold_targets_under_two_names(tmp_path: Path) -> None:
    wanted = measured(null=False, intervals=False)
    arrays = {"features": FEATURES, "weight": WEIGHT, "bias": TARGETS.mean(0)}
    for name in ("labels", "targets"):
        path = tmp_path / f"{name}.npz"
        np.savez(path, **arrays, **{name: TARGETS})
        found = nc.measure_source(open_source(path), null=False, intervals=False)
        assert found.results == wanted.results
    whole = tmp_path / "whole.npz"
    np.savez(whole, **arrays, targets=RNG.integers(0, 5, size=(N, 2)))
    source = open_source(whole)
    assert source.targets is not None and tuple(source.targets.shape) == (N, 2)
    folder = tmp_path / "shards"
    folder.mkdir()
    for number, part in enumerate((slice(0, 50), slice(50, N))):
        np.savez(folder / f"{number}.npz", **{**arrays, "features": FEATURES[part]},
                 targets=TARGETS[part])  # fmt: skip
    found = nc.measure_source(open_source(folder), null=False, intervals=False)
    for key, reading in found.results["train"]["head"].items():
        assert reading.value == pytest.approx(wanted.value(key), rel=1e-9), key


class Regressor(nn.Module):
    def __init__(self, outputs: int) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(outputs)
            self.body = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, D))
            self.out = nn.Linear(D, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.body(x))


@pytest.mark.parametrize("outputs", [1, 2, 3])
@pytest.mark.parametrize("cache", [True, False])
def test_a_model_is_measured_with_its_head(outputs: int, cache: bool) -> None:
    generator = torch.Generator().manual_seed(outputs)
    model = Regressor(outputs)
    x = torch.randn(N, 8, generator=generator)
    y = torch.randn(N, outputs, generator=generator)
    data = [(x[i : i + 32], y[i : i + 32]) for i in range(0, N, 32)]
    if outputs == 1:
        data = [(a, b[:, 0]) for a, b in data]
    found = nc.measure(model, data, layers="body.0", cache=cache, null=False)
    assert found.document.task == "regression" and found.document.num_classes == outputs
    assert found.document.config["head"]["name"] == "out"
    assert "classes" not in found.document.config["head"]["check"]
    with torch.no_grad():
        wanted = float(((model(x) - y) ** 2).mean())
    assert found.value("target_error") == pytest.approx(wanted, rel=1e-4)
    assert found.results["train"]["body.0"]["nrc_explained"].value is not None
    assert "nrc2" not in found.results["train"]["body.0"]


def test_a_model_with_other_outputs_is_refused() -> None:
    x = torch.randn(20, 8, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="has 2 target numbers and the head 'out' makes 3"):
        nc.measure(Regressor(3), [(x, x[:, :2])])


def test_shares_of_classes_are_not_taken_for_targets() -> None:
    x = torch.randn(20, 8, generator=torch.Generator().manual_seed(0))
    mixed = torch.softmax(x[:, :3], 1)
    with pytest.raises(ValueError, match=r"argmax\(1\)"):
        nc.measure(Regressor(3), [(x, mixed)])


# ---- bad input ----------------------------------------------------------------------------------
def holed(values: np.ndarray) -> np.ndarray:
    found = values.copy()
    found[7, 1] = np.nan
    return found


BAD = {
    "NaN target": ((FEATURES, holed(TARGETS)), {}, "labels hold NaN or infinity, first that of sample 7"),
    "NaN feature": ((holed(FEATURES), TARGETS), {}, "NaN or infinity, first in sample 7;"),
    "constant target": (
        (FEATURES, np.c_[TARGETS[:, :1], np.full(N, 2.5)]), {}, "target 1 is 2.5 in all 120",
    ),
    "more targets than features": (
        (FEATURES[:, :2], TARGETS), {}, "3 targets and 2 features",
    ),
    "rows": ((FEATURES[:50], TARGETS), {}, "50 rows of features but 120 rows of targets"),
    "cube": ((FEATURES, TARGETS[:, :, None]), {}, "labels have shape"),
    "no column": ((FEATURES, TARGETS[:, :0]), {}, "targets have shape"),
    "weight": ((FEATURES, TARGETS), {"weight": WEIGHT[:2]}, "weight has 2 rows but a sample has 3"),
    "number": ((FEATURES, TARGETS), {"num_classes": 4}, "num_classes=4 but a sample has 3 targets"),
    "one sample": ((FEATURES[:1], TARGETS[:1]), {}, "1 sample; at least two"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence(name: str) -> None:
    given, options, said = BAD[name]
    with pytest.raises(ValueError, match=said):
        nc.measure_features(*given, **options)


# ---- theory and report --------------------------------------------------------------------------
def test_theory_is_laid_over_a_network_without_a_fit(tmp_path: Path) -> None:
    found = measured(class_names=["ink", "cross", "spread"])
    laid = found.compare(PREDICTION)
    against = laid.theory.to_dict()["against"]
    assert against["gram_gap"] < 1e-10 and against["covariance_gap"] < 1e-10
    assert against["spectrum_gap"] < 0.05
    assert against["error_ratio"] == pytest.approx(1, abs=0.1)
    held = {a.text.split(":")[0]: a.holds for a in laid.theory.assumptions}
    assert held["the measured targets have the covariance of the prediction"] is True
    assert held["features may be negative"] is True
    assert "from the closed form" in str(laid)
    folder = laid.save(tmp_path / "run")
    again = nc.Measurement.load(folder)
    assert again.results == found.results
    page = laid.save_html(tmp_path / "page.html").read_text("utf-8")
    for said in (
        "The head against the targets",
        "closed form",
        "spread",
        "Theory over this network",
    ):
        assert said in page
    assert "$" not in page.split("<main ")[1].split('class="details"')[0]
    plain = found.save_html(tmp_path / "plain.html").read_text("utf-8")
    assert "scale and γ fitted" in plain and "Theory over" not in plain


def test_theories_of_another_task_are_refused() -> None:
    with pytest.raises(ValueError, match="measurement is of regression"):
        measured(null=False).compare(nc.predict([5, 5, 5]))
    labels = np.arange(N) % 3
    with pytest.raises(ValueError, match="measurement is of classification"):
        nc.measure_features(FEATURES, labels, null=False).compare(PREDICTION)
    other = nc.predict(task="regression", target_covariance=np.eye(2))
    with pytest.raises(ValueError, match="prediction is of 2 targets and the measurement of 3"):
        measured(null=False).compare(other)


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return int(caught.value.code or 0), out, err


def test_the_command_line_goes_all_the_way(capsys, tmp_path: Path) -> None:
    np.savez(
        tmp_path / "f.npz", features=FEATURES, targets=TARGETS, weight=WEIGHT,
        bias=TARGETS.mean(0),
    )  # fmt: skip
    out = tmp_path / "out"
    code, said, _ = run(capsys, "measure", tmp_path / "f.npz", "-o", out, "-q")
    assert code == 0 and "Collapsed to n directions on train?" in said
    decays = ["--weight-decay", "0.1", "--feature-decay", "0.2"]
    asked = ["predict", "--task", "regression", *decays]
    code, said, _ = run(capsys, *asked, "--against", out, "--json")
    assert code == 0 and json.loads(said)["against"]["gram_gap"] < 1e-10
    assert (out / "prediction.json").exists()
    assert "Theory over this network" in (out / "report.html").read_text("utf-8")
    np.save(tmp_path / "s.npy", np.cov(TARGETS.T, bias=True))
    (tmp_path / "s.json").write_text("[[2.0, 0.5], [0.5, 1.0]]")
    for covariance in (tmp_path / "s.npy", tmp_path / "s.json", "2,0.5;0.5,1"):
        code, said, _ = run(capsys, *asked, "--covariance", covariance)
        assert code == 0 and "least loss" in said
    for bad, sentence in (
        (["--covariance", "2,x"], "is not understood"),
        (["--covariance", tmp_path / "none.npy"], "does not exist"),
        ([], "no --covariance was passed"),
        (["--covariance", "1", "--counts", "3,4"], "--counts means nothing"),
    ):
        code, _, said = run(capsys, *asked, *bad)
        assert code == 2 and sentence in said


def test_a_source_of_class_numbers_can_be_read_as_numbers() -> None:
    source = ArraySource(FEATURES, np.arange(N) % 4)
    told = source.targeted()
    assert told.targets is not None and tuple(told.targets.shape) == (N, 1)
    assert source.targets is None and int(told.labels.max()) == 0
    assert told.fingerprint != source.fingerprint
