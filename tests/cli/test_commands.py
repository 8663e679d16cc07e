"""The command line as a user meets it: exit codes, one sentence, JSON alone on stdout."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from ncollapse.cli import main
from ncollapse.metrics.catalog import METRICS
from ncollapse.record.document import json_schema
from tests.data import CASES, Case, make
from tests.oracles import oracle

CASE = make("cli", counts=[40, 30, 50], dim=6)


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return int(caught.value.code or 0), out, err


def saved(path: Path, case: Case = CASE, **changes: object) -> Path:
    place = path / "data.npz"
    arrays = {"features": case.features, "labels": case.labels, "weight": case.weight}
    np.savez(place, **{**arrays, "bias": case.bias, **changes})
    return place


@pytest.mark.parametrize(
    "case", [CASES[0], CASES[1], CASES[2], CASES[6]], ids=lambda case: case.name
)
def test_measured_json_agrees_with_the_oracle_on_every_key(case, capsys, tmp_path) -> None:
    code, out, _ = run(capsys, "measure", saved(tmp_path, case), "--directional", "--json", "-q")
    assert code == 0
    data = json.loads(out)
    jsonschema.validate(data, json_schema())
    wanted = oracle(case.features, case.labels, case.weight, case.bias)
    found = data["results"]["train"]["head"]
    if len(np.unique(case.labels)) <= case.features.shape[1] + 1:
        # A simplex fits, so that rows of more classes are not read unasked.
        wanted = {key: value for key, value in wanted.items() if not METRICS[key].crowded}
    assert set(found) == set(wanted)
    # With a null at hand the angles are over its mean, not over its closed form.
    angle, random = wanted["nc2_maxangle_means"], found["nc2_maxangle_means"]["null"]
    wanted["nc2_angle_ratio"] = None if angle is None else angle / random["mean"]
    for key, value in wanted.items():
        if value is None:
            assert found[key]["value"] is None, key
            continue
        assert found[key]["value"] == pytest.approx(value, rel=1e-5, abs=1e-12), key
    assert [p.name for p in tmp_path.iterdir()] == ["data.npz"]


def test_output_holds_everything_and_no_snapshot(capsys, tmp_path) -> None:
    folder = tmp_path / "out"
    code, out, _ = run(capsys, "measure", saved(tmp_path), "-o", folder)
    assert code == 0
    assert {p.name for p in folder.iterdir()} == {
        "results.json",
        "classes.csv",
        "layers.csv",
        "config.toml",
        "geometry.safetensors",
        "report.html",
    }
    assert all(len(line) <= 80 for line in out.splitlines()[:-2])
    assert len(out.splitlines()) <= 26


BAD = {
    "missing file": (lambda p: [p / "none.npz"], "does not exist"),
    "missing array": (lambda p: [saved_without_labels(p)], "no array named labels"),
    "negative labels": (lambda p: [saved(p, labels=CASE.labels - 1)], "label -1 of sample"),
    "labels past K": (lambda p: [saved(p, labels=CASE.labels + 1)], "label 3 of sample"),
    "real labels beside a classifier": (
        lambda p: [saved(p, labels=CASE.labels + 0.5)],
        "one row a target",
    ),
    "NaN": (
        lambda p: [
            saved(p, features=np.where(np.arange(120)[:, None] == 7, np.nan, CASE.features))
        ],
        "first in sample 7",
    ),
    "one class": (lambda p: [saved(p, labels=CASE.labels * 0)], "only class [0] is present"),
    "K = 1": (
        lambda p: [saved(p, labels=CASE.labels * 0, weight=np.ones((1, 6)), bias=[0.0])],
        "K = 1",
    ),
    "shapes": (lambda p: [saved(p, labels=CASE.labels[:5])], "120 rows of features but 5 labels"),
    "empty file": (lambda p: [touched(p)], "is empty"),
    "weight": (lambda p: [saved(p, weight=np.ones((3, 5)))], "features have 6 columns"),
    "no npz": (lambda p: [text(p)], "is no .npz archive"),
    "resume alone": (lambda p: [saved(p), "--resume"], "--resume needs --output"),
    "weighting": (lambda p: [saved(p), "--weighting", "mine"], "'mine' is unknown"),
    "definition": (lambda p: [saved(p), "--definition", "x"], "definition 'x' is unknown"),
    "budget": (lambda p: [saved(p), "--memory-budget", "much"], "size 'much' is not understood"),
}


def saved_without_labels(path: Path) -> Path:
    np.savez(path / "data.npz", features=CASE.features)
    return path / "data.npz"


def touched(path: Path) -> Path:
    (path / "data.npz").touch()
    return path / "data.npz"


def text(path: Path) -> Path:
    (path / "data.npz").write_text("not an archive")
    return path / "data.npz"


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence_exit_2_and_nothing_written(case, capsys, tmp_path) -> None:
    build, said = BAD[case]
    folder = tmp_path / "out"
    extra = [] if case == "resume alone" else ["--output", folder]
    code, out, err = run(capsys, "measure", *build(tmp_path), *extra)
    assert code == 2
    assert out == ""
    assert said in err
    assert len(err.strip().splitlines()) == 1
    assert not folder.exists()


def test_usage_errors_exit_2(capsys) -> None:
    assert run(capsys, "measure")[0] == 2
    assert run(capsys, "nothing")[0] == 2
    assert run(capsys, "measure", "x.npz", "--colour")[0] == 2


@pytest.mark.parametrize("command", ["demo", "measure", "compare", "check", "explain", "doctor"])
def test_every_command_helps_with_examples(command, capsys) -> None:
    code, out, _ = run(capsys, command, "--help")
    assert code == 0
    assert f"ncollapse {command}" in out
    assert "Examples:" in out


def test_the_top_help_lists_the_commands(capsys) -> None:
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert "ncollapse measure features.npz" in out
    code, out, _ = run(capsys, "--version")
    assert (code, out[:9]) == (0, "ncollapse")


def test_check_holds_fails_and_explains(capsys, tmp_path) -> None:
    folder = tmp_path / "out"
    run(capsys, "measure", saved(tmp_path), "-o", folder, "-q")
    code, out, _ = run(capsys, "check", folder, "--max", "nc1_fisher=9", "--min", "accuracy=0")
    assert (code, out.count("holds")) == (0, 2)
    code, out, _ = run(capsys, "check", folder / "results.json", "--max", "nc1_fisher=0")
    assert (code, out.count("FAILS")) == (1, 1)
    code, out, _ = run(capsys, "check", folder, "--max", "nc1_fisher=0", "--json")
    assert (code, json.loads(out)["holds"]) == (1, False)
    code, _, err = run(capsys, "check", folder, "--max", "nc1_fischer=0")
    assert code == 2
    assert "did you mean nc1_fisher" in err
    assert run(capsys, "check", folder)[0] == 2
    assert run(capsys, "check", folder, "--max", "nc1_fisher")[0] == 2
    assert run(capsys, "check", folder, "--max", "nc1_fisher=1", "--split", "test")[0] == 2


def test_answers_are_checked_and_compared_by_id(capsys, tmp_path) -> None:
    folder = tmp_path / "out"
    run(capsys, "measure", saved(tmp_path), "-o", folder, "-q")
    code, out, _ = run(capsys, "check", folder, "--answer", "dual=yes,partly,no,cannot tell")
    assert code == 0 and out.startswith("holds  dual is yes or partly or no or cannot tell: ")
    code, out, _ = run(capsys, "check", folder, "--answer", "transfer=yes", "--json")
    assert code == 1
    assert json.loads(out)["answers"] == [
        {"id": "transfer", "answer": "not measured", "wanted": ["yes"], "holds": False}
    ]
    code, _, err = run(capsys, "check", folder, "--answer", "duel=yes")
    assert code == 2 and "did you mean dual?" in err
    code, _, err = run(capsys, "check", folder, "--answer", "dual=maybe")
    assert code == 2 and "write ID=ANSWER, with answers of yes, partly, no" in err
    data = json.loads(run(capsys, "compare", folder, folder, "--json")[1])
    assert {row["id"] for row in data["answers"]} >= {"collapsed:train", "frame", "nearest"}
    assert all(row["first"] == row["second"] for row in data["answers"])
    assert "Is the head dual to the class means?" in run(capsys, "compare", folder, folder)[1]


def test_explain_says_what_a_number_is_compared_with(capsys) -> None:
    out = run(capsys, "explain", "nc1_fisher")[1]
    assert "null       the same features under shuffled labels" in out
    out = run(capsys, "explain", "margin_min")[1]
    assert "interval   none: their spread over samples is not kept" in out
    data = json.loads(run(capsys, "explain", "nc4_mismatch", "--json")[1])
    assert data["comparators"]["null"].startswith("decisions drawn independently")


def test_a_null_reading_fails_a_check(capsys, tmp_path) -> None:
    folder = tmp_path / "out"
    case = make("points", counts=[5, 5], dim=3, spread=0.0)
    run(capsys, "measure", saved(tmp_path, case), "-o", folder, "-q")
    code, out, _ = run(capsys, "check", folder, "--min", "fisher_ratio=1")
    assert code == 1
    assert "could not be read" in out


def test_compare_and_explain_and_doctor(capsys, tmp_path) -> None:
    folder = tmp_path / "out"
    run(capsys, "measure", saved(tmp_path), "-o", folder, "-q")
    code, out, _ = run(capsys, "compare", folder, folder / "results.json", "--json")
    rows = json.loads(out)["readings"]
    assert code == 0
    assert {row["difference"] for row in rows} <= {0.0, None}
    assert "train/head/nc1_fisher" in run(capsys, "compare", folder, folder)[1]
    code, out, _ = run(capsys, "explain", "nc1_fisher")
    assert "tr(Σ_W Σ_B⁺)/K" in out
    assert "papyan2020" in out
    assert "did you mean" in run(capsys, "explain", "nc1_fischer")[2]
    listed = run(capsys, "explain")[1].splitlines()
    assert listed[1].startswith("class_share ") and all("  " in line for line in listed)
    assert len(listed) == len(json.loads(run(capsys, "explain", "--json")[1]))
    code, out, _ = run(capsys, "doctor", "--json")
    assert json.loads(out)["torch"]["float64"] is True
    assert run(capsys, "doctor")[0] == 0


def test_ctrl_c_leaves_a_snapshot_that_resumes_to_the_same_result(tmp_path) -> None:
    """A real process, a real signal: exit 130, then --resume ends where one run would have."""
    case = make("long", counts=[60_000] * 6, dim=64)
    file = saved(tmp_path, case)
    folder = tmp_path / "out"
    command = [sys.executable, "-m", "ncollapse", "measure", str(file), "--no-null"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, "--output", str(folder), "-v"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    for line in process.stderr:
        if line.startswith("statistics 3"):
            process.send_signal(signal.SIGINT)
            break
    said = process.stderr.read()
    assert process.wait(timeout=60) == 130, said
    assert "--resume" in said
    assert [p.name for p in folder.iterdir()] == ["snapshot.safetensors"]
    began = time.monotonic()
    subprocess.run([*command, "--output", str(folder), "--resume"], check=True, env=environment)
    assert time.monotonic() - began < 120
    whole = subprocess.run(
        [*command, "--json", "-q"], check=True, env=environment, capture_output=True, text=True
    )
    wanted = json.loads(whole.stdout)["results"]["train"]["head"]
    found = json.loads((folder / "results.json").read_text())["results"]["train"]["head"]
    for key, reading in wanted.items():
        assert found[key]["value"] == pytest.approx(reading["value"], rel=1e-12), key
    assert not (folder / "snapshot.safetensors").exists()


def test_demo_in_small(capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(capsys, "demo", "--epochs", "3", "--output", "run")
    assert code == 0
    assert "Collapsed on train?" in out
    assert {p.name for p in Path("run").iterdir()} >= {
        "results.json",
        "trace.csv",
        "checkpoint.pt",
        "features.npz",
        "classes.csv",
    }
    code, out, _ = run(capsys, "measure", "run/features.npz", "--json", "-q")
    measured = json.loads(out)["results"]
    wanted = json.loads(Path("run/results.json").read_text())["results"]
    # A model's statistics are summed in float64, stored float32 features' in products of float32.
    for split, layers in wanted.items():
        for key, reading in layers["head"].items():
            found = measured[split]["head"][key]
            assert found["value"] == pytest.approx(reading["value"], rel=1e-5, abs=1e-7), key
            assert (found["n"], found["definition"]) == (reading["n"], reading["definition"])
    code, out, _ = run(capsys, "demo", "--epochs", "2", "--json")
    assert set(json.loads(out)["results"]) == {"train", "test"}
    assert [p.name[:5] for p in Path("ncollapse-runs").iterdir()] == ["demo-"]


def test_other_libraries_do_not_log_in_our_name(capsys) -> None:
    import logging

    from ncollapse.cli.common import set_logging

    for _ in range(2):
        set_logging(quiet=False, verbose=False)
    logging.getLogger("somebody.else").warning("their word")
    logging.getLogger("ncollapse").warning("our word")
    said = capsys.readouterr().err.splitlines()
    assert said.count("ncollapse: our word") == 1
    assert "ncollapse: their word" not in said
