"""ncollapse predict as a user meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from ncollapse.cli import main
from ncollapse.cli.predict import parse_counts
from ncollapse.theory.prediction import json_schema
from tests.report.runs import folder

COUNTS = ("--counts", "500x3,20x3")


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(["predict", *(str(argument) for argument in arguments)])
    out, err = capsys.readouterr()
    return int(caught.value.code or 0), out, err


def test_counts_are_read_in_both_forms() -> None:
    assert parse_counts("5000x2,50x1") == [5000, 5000, 50]
    assert parse_counts(" 37, 81 ,120") == [37, 81, 120]
    assert parse_counts("3×2") == [3, 3]


def test_json_fits_the_schema_and_nothing_is_written(capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *COUNTS, "--json", "--weight-decay", "1e-2")
    assert (code, err) == (0, "")
    data = json.loads(out)
    jsonschema.validate(data, json_schema())
    assert data["problem"]["counts"] == [500] * 3 + [20] * 3
    assert data["relative_gap"] <= 1e-8
    assert list(tmp_path.iterdir()) == []


def test_the_page_fits_a_terminal(capsys) -> None:
    code, out, _ = run(capsys, *COUNTS, "--loss", "ls", "--smoothing", "0.2", "--bias", "none")
    assert code == 0
    assert len(out.splitlines()) <= 24
    assert max(map(len, out.splitlines())) <= 80
    assert "merging threshold 12.8" in out


def test_minority_collapse_shows(capsys) -> None:
    _, out, _ = run(capsys, *COUNTS, "--json", "--weight-decay", "0.1", "--feature-decay", "1e-3")
    data = json.loads(out)
    assert data["collapsed_classes"] == [3, 4, 5]
    assert data["minority_threshold"][-1] == {
        "count": 20, "weight": 1.0, "value": 20.0, "current": pytest.approx(1560**2 * 1e-4),
        "collapsed": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    "extra",
    [
        ("--loss", "focal", "--gamma", "1", "--bias", "none"),
        ("--loss", "weighted", "--class-weights", "1x3,2x3"),
        ("--loss", "weighted", "--class-weights", "1,1,1,2,2,2"),
        ("--loss", "vs", "--gamma", "0.2", "--strength", "0.5"),
        ("--loss", "mse", "--bias", "0.1"),
        ("--model", "normalized", "--temperature", "2"),
        ("--loss", "rescaled", "--factor", "15", "--target", "30"),
        ("--model", "fixed-head", "--head", "simplex", "--loss", "dr"),
        ("--model", "fixed-head", "--head", "orthogonal", "--feature-decay", "1e-3"),
        ("--model", "fixed-head", "--loss", "dr", "--weight-energy", "2", "--feature-energy", "4"),
    ],
)
def test_settings_reach_the_problem(extra, capsys) -> None:
    code, out, _ = run(capsys, *COUNTS, "--json", "-q", *extra)
    assert code == 0
    jsonschema.validate(json.loads(out), json_schema())


BAD = {
    "nothing": ([], "no --counts were passed"),
    "zero": (["--counts", "5x2,0"], "holds 0"),
    "negative": (["--counts", "5x2,-3x2"], "holds -3"),
    "one class": (["--counts", "50"], "one class"),
    "no class": (["--counts", "50x0,3"], "write at least x1"),
    "words": (["--counts", "many"], "part 'many' is not understood"),
    "empty": (["--counts", ""], "is not understood"),
    "too many": (["--counts", "1x99999999999"], "more than"),
    "decay": ([*COUNTS, "--weight-decay", "-1"], "weight_decay=-1.0"),
    "loss": ([*COUNTS, "--loss", "hinge"], "loss='hinge' is unknown"),
    "model": ([*COUNTS, "--model", "cnn"], "model='cnn' is unknown"),
    "bias": ([*COUNTS, "--bias", "some"], "--bias 'some' is unknown"),
    "negative bias": ([*COUNTS, "--bias", "-2"], "λ_b must be positive"),
    "weights": ([*COUNTS, "--loss", "weighted", "--class-weights", "1,a"], "part 'a'"),
    "few weights": ([*COUNTS, "--loss", "weighted", "--class-weights", "1,2"], "2 entries"),
    "picture": ([*COUNTS, "--plot", "x.txt"], "no ending of a picture"),
    "phases": ([*COUNTS, "--phase-diagram", "x.svg", "--nonnegative"], "drawn for model ufm"),
    "foreign": ([*COUNTS, "--temperature", "2"], "means nothing to model 'ufm'"),
    "dot regression": ([*COUNTS, "--loss", "dr"], 'model="fixed-head"'),
    "head": ([*COUNTS, "--model", "fixed-head", "--head", "cube"], "head='cube'"),
    "factor": ([*COUNTS, "--factor", "2"], "'factor' was passed"),
    "no run": (["--against", "nowhere"], "does not exist"),
    "gamma": ([*COUNTS, "--gamma", "2"], "'gamma' was passed"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence_and_exit_2(case, capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments, said = BAD[case]
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_solver_that_stops_early_is_an_answer_with_its_gap(capsys, monkeypatch) -> None:
    from dataclasses import replace

    import ncollapse.theory.solve

    module = sys.modules["ncollapse.theory.solve"]
    real = module.solve
    monkeypatch.setattr(
        module,
        "solve",
        lambda problem, **more: replace(
            real(problem, **more), status="not converged", advice="raise the tolerance"
        ),
    )
    code, out, _ = run(capsys, *COUNTS)
    assert code == 0
    assert "not converged" in out
    assert "raise the tolerance" in out
    code, out, err = run(capsys, *COUNTS, "--json")
    assert json.loads(out)["status"] == "not converged"
    assert "raise the tolerance" in err
    assert ncollapse.theory.solve is not module


def test_pictures_and_folders(capsys, tmp_path) -> None:
    svg, png, phases = (tmp_path / name for name in ("a.svg", "b.png", "phases.svg"))
    output = tmp_path / "out"
    code, out, _ = run(
        capsys, "--counts", "8x2,4x2", "--weight-decay", "1e-2", "--plot", svg, "-o", output,
        "--phase-diagram", phases,
    )  # fmt: skip
    assert code == 0
    assert {p.name for p in tmp_path.iterdir()} == {"a.svg", "phases.svg", "out"}
    assert {p.name for p in output.iterdir()} == {
        "prediction.json", "prediction.svg", "config.toml",
    }  # fmt: skip
    assert svg.read_bytes() == (output / "prediction.svg").read_bytes()
    assert "#0101" not in svg.read_text("utf-8")
    assert out.count("wrote") == 4
    assert run(capsys, "--counts", "8x2,4x2", "--plot", png, "-q")[0] == 0
    assert png.read_bytes()[:4] == b"\x89PNG"


def test_fixed_heads_and_rescaled_error_are_drawn(capsys, tmp_path) -> None:
    picture, phases = tmp_path / "head.png", tmp_path / "phases.png"
    code, out, _ = run(
        capsys, "--counts", "500x3,5x3", "--model", "fixed-head", "--loss", "dr", "--plot", picture
    )
    assert code == 0 and "fixed head (simplex) · dot regression" in out
    code, out, _ = run(
        capsys, "--counts", "8x2,4x2", "--loss", "rescaled", "--factor", "5", "--target", "4",
        "--bias", "none", "--phase-diagram", phases,
    )  # fmt: skip
    assert code == 0 and "merging threshold 1600" in out
    assert picture.stat().st_size and phases.stat().st_size


def test_against_a_run_fits_and_rebuilds_the_report(capsys, tmp_path) -> None:
    path = folder(tmp_path / "run", trace=False, comparators=False)
    code, out, _ = run(capsys, "--against", path)
    assert code == 0
    assert "fitted" in out
    assert "random directions" in out
    data = json.loads((path / "prediction.json").read_text("utf-8"))
    jsonschema.validate(data, json_schema())
    assert data["against"]["fit"]["tau"] > 0
    assert data["problem"]["bias"] == "free"
    assert "bias free" in out.splitlines()[0]
    assert "<h2>Theory</h2>" in (path / "report.html").read_text("utf-8")
    code, out, _ = run(capsys, "--against", path, "--weight-decay", "1e-3", "--json")
    assert json.loads(out)["against"]["fit"] is None
    code, _, err = run(capsys, "--against", path, *COUNTS)
    assert code == 2
    assert "holds 6 classes and the run 5" in err
    code, _, err = run(capsys, "--against", path, "--model", "lpm")
    assert "lays model ufm" in err


def test_help_shows_examples_and_no_torch(capsys) -> None:
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert "ncollapse predict --counts 5000x5,50x5" in " ".join(out.split())
    code = "import sys, ncollapse.cli.predict; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_the_shipped_schema_is_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    assert np.isfinite(len(json.dumps(json_schema())))
    assert (Path(__file__).parents[2] / "src/ncollapse/record/schemas/prediction-1.json").exists()


def test_deep_relu_features_say_that_a_lower_rank_is_better(capsys, monkeypatch) -> None:
    from ncollapse.theory.solvers import deep_relu

    monkeypatch.setattr(deep_relu, "STEPS", 15)
    deep = ("--counts", "1x6", "--model", "deep-relu", "--depth", "4", "--weight-decay", "4e-3")
    code, out, _ = run(capsys, *deep, "--feature-decay", "4e-3")
    assert code == 0 and out.startswith("deep ReLU features · mean squared error")
    assert "a solution of lower rank than the simplex is better" in out.replace("\n  ", " ")
    assert len(out.splitlines()) <= 24 and "not certified" in out
    code, out, err = run(capsys, *deep, "--depth", "1")
    assert code == 2 and "at least 2 weight matrices are needed" in err and not out


def test_deep_linear_features_refuse_other_losses_and_say_why(capsys) -> None:
    deep = ("--counts", "5x4", "--model", "deep-linear", "--depth", "3")
    code, out, err = run(capsys, *deep, "--loss", "ls", "--smoothing", "0.1")
    assert code == 2 and not out
    assert "Under cross-entropy deep collapse cannot be a global minimum" in err
    code, out, _ = run(capsys, *deep, "--json")
    assert code == 0
    assert any("Garrod & Keating" in text for text in json.loads(out)["warnings"])
