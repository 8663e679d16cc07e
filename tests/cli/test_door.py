"""The door of the command line: help, completion, configuration files, dry runs, names of metrics."""

from __future__ import annotations

import json
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ncollapse.cli import COMPLETE, main
from ncollapse.cli.app import build
from ncollapse.cli.panels import PANELS
from ncollapse.metrics.catalog import METRICS
from ncollapse.record.command import MARK, toml
from tests.data import make

COMMAND = build()
CASE = make("door", counts=[30, 25, 35], dim=5)


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return int(caught.value.code or 0), out, err


def leaves(command: Any = COMMAND, path: str = "") -> Iterator[tuple[str, Any]]:
    for name, each in command.commands.items():
        whole = f"{path} {name}".strip()
        if hasattr(each, "commands"):
            yield from leaves(each, whole)
        else:
            yield whole, each


LEAVES = dict(leaves())
EXAMPLES = [
    (name, line.strip())
    for name, command in [("", COMMAND), *LEAVES.items()]
    for line in (command.epilog or "").splitlines()
    if line.startswith("  ")
]


def saved(path: Path) -> Path:
    place = path / "data.npz"
    np.savez(place, features=CASE.features, labels=CASE.labels, weight=CASE.weight)
    return place


# ---- help ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(("name", "example"), EXAMPLES, ids=[line for _, line in EXAMPLES])
def test_examples_name_commands_and_options_that_exist(name: str, example: str) -> None:
    words = shlex.split(example)
    words = words[words.index("ncollapse") + 1 :]
    path = max((p for p in LEAVES if words[: len(p.split())] == p.split()), key=len)
    command = LEAVES[path]
    options = {opt for param in command.params for opt in param.opts}
    for word in words:
        if word.startswith("-"):
            assert word.partition("=")[0] in options, word
    assert len(words) > len(path.split()) or path in ("demo", "doctor", "explain", "study list")


def test_every_command_has_an_example() -> None:
    assert {name for name, _ in EXAMPLES} >= set(LEAVES)


def test_panels_hold_options_that_exist_once_and_leave_none_of_the_large_commands_out() -> None:
    for path, panels in PANELS.items():
        listed = [option for options in panels.values() for option in options]
        assert len(listed) == len(set(listed)), path
        there = {param.name for param in LEAVES[path].params if param.param_type_name == "option"}
        shared = {"json", "output", "quiet", "verbose", "debug", "resume", "config", "dry_run"}
        assert set(listed) - shared <= there, path
        assert len(panels) >= 2


def test_help_shows_every_option_in_its_panel(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    out = run(capsys, "measure", "--help")[1]
    for name in ("Model", "Data", "Texts", "Attack", "Readings", "Run"):
        assert f" {name} ─" in out
    for param in LEAVES["measure"].params:
        if param.param_type_name == "option" and not param.hidden:
            assert max(param.opts, key=len) in out
    assert "Examples:" in out and "ncollapse measure features.npz --json" in out
    # What stands in brackets is text, and no markup.
    assert "[default: float32]" in out


def test_long_lines_break_on_a_terminal_alone(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    whole = run(capsys, "study", "list")[1].splitlines()
    assert max(map(len, whole)) > 100
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    broken = run(capsys, "study", "list")[1]
    assert max(map(len, broken.splitlines())) <= 60
    assert " ".join(broken.split()) == " ".join(" ".join(whole).split())


# ---- completion ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("ncollapse mea", {"measure"}),
        ("ncollapse explain nc1_f", {"nc1_fisher"}),
        ("ncollapse measure --no-n", {"--no-null"}),
        ("ncollapse study run terminal-ph", {"terminal-phase"}),
    ],
)
def test_a_shell_is_told_what_could_come_next(words: str, wanted, capsys, monkeypatch) -> None:
    monkeypatch.setenv(COMPLETE, "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    code, out, _ = run(capsys)
    assert (code, set(out.split())) == (0, wanted)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_printed(shell: str, capsys, monkeypatch) -> None:
    monkeypatch.setenv(COMPLETE, f"source_{shell}")
    code, out, _ = run(capsys)
    assert code == 0 and COMPLETE in out and "ncollapse" in out
    assert "--show-completion" in {opt for param in COMMAND.params for opt in param.opts}


# ---- configuration files ------------------------------------------------------------------------
def without_date(folder: Path) -> dict[str, Any]:
    data = json.loads((folder / "results.json").read_text("utf-8"))
    return {key: value for key, value in data.items() if key != "date"}


def test_the_config_of_a_run_repeats_it_and_the_line_wins(capsys, tmp_path: Path) -> None:
    file = saved(tmp_path)
    first = tmp_path / "a"
    given = ("--seed", "3", "--min-count", 2, "--no-null", "--no-intervals", "--weighting", "micro")
    assert run(capsys, "measure", file, *given, "-o", first, "-q")[0] == 0
    text = (first / "config.toml").read_text("utf-8")
    options = tomllib.loads(text)["measure"]
    assert options == {
        "file": str(file), "min_count": 2, "weighting": "micro", "no_null": True,
        "no_intervals": True, "seed": 3,
    }  # fmt: skip
    assert text.startswith(MARK) and '# pool = "auto"' in text
    tomllib.loads(re.sub(r"(?m)^# (\w+ = )", r"\1", text))
    before, config = without_date(first), first / "config.toml"
    # Onto its own folder, from where it is read first.
    assert run(capsys, "measure", "--config", config, "-o", first, "-q")[0] == 0
    assert without_date(first) == before
    assert config.read_text("utf-8") == text
    data = json.loads(run(capsys, "measure", "--config", config, "--seed", 4, "--json")[1])
    assert data["config"]["seed"] == 4 and data["config"]["weighting"] == "micro"


def test_runs_from_python_say_what_they_know_and_configs_of_users_are_spared(tmp_path) -> None:
    import ncollapse as nc

    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.toml").write_text("mine = 1\n")
    m = nc.measure_features(CASE.features, CASE.labels, null=False, intervals=False, seed=7)
    for _ in range(2):
        m.save(folder)
    found = tomllib.loads((folder / "config.toml").read_text("utf-8"))["measure"]
    assert (found["seed"], found["no_null"], found["task"]) == (7, True, "classification")
    assert (folder / "config-1.toml").read_text() == "mine = 1\n"
    assert not (folder / "config-2.toml").exists()
    known = {param.name for param in LEAVES["measure"].params}
    assert set(found) <= known


def test_predictions_are_configured_too(capsys, tmp_path: Path) -> None:
    out = tmp_path / "p"
    (tmp_path / "p.toml").write_text('counts = "50x3,5x2"\nweight-decay = 1e-3\n')
    code, said, _ = run(capsys, "predict", "--config", tmp_path / "p.toml", "--json", "-o", out)
    assert code == 0 and json.loads(said)["problem"]["counts"] == [50, 50, 50, 5, 5]
    found = tomllib.loads((out / "config.toml").read_text("utf-8"))["predict"]
    assert found == {"counts": "50x3,5x2", "weight_decay": 0.001}


BAD = {
    "unknown": ("[measure]\nseeed = 1", "measure has no option 'seeed'; did you mean seed"),
    "no TOML": ("seed = ", "is no TOML"),
    "other": ('[predict]\ncounts = "5x2"', "is of predict, not of measure"),
    "list": ("seed = [1, 2]", "seed is [1, 2]; one value is needed"),
    "flag": ("no_null = 1", "true or false is needed"),
    "table": ("layers = {a = 1}", "a list of values is needed"),
    "kind": ('seed = "many"', "Invalid value for"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_configurations_are_refused(case, capsys, tmp_path: Path) -> None:
    text, said = BAD[case]
    (tmp_path / "c.toml").write_text(text)
    code, out, err = run(capsys, "measure", "--config", tmp_path / "c.toml", saved(tmp_path))
    assert (code, out) == (2, "") and said in " ".join(err.split())
    code, _, err = run(capsys, "measure", "--config", tmp_path / "none.toml")
    assert code == 2 and "does not exist" in err


def test_values_survive_toml() -> None:
    values = {
        "a": 1, "b": 2e9, "c": 1e-5, "d": True, "e": 'C:\\x "é"\n\x7f', "f": ["*", "layer.1"],
        "g": float("inf"), "h": -100,
    }  # fmt: skip
    text = "\n".join(f"{key} = {toml(value)}" for key, value in values.items())
    assert tomllib.loads(text) == values


# ---- dry runs -----------------------------------------------------------------------------------
def test_a_dry_run_of_a_file_reads_no_features_and_writes_nothing(
    capsys, tmp_path: Path, monkeypatch
) -> None:
    import ncollapse.sources.features.npz as npz

    file = saved(tmp_path)
    source = next(
        each for each in vars(npz).values() if isinstance(each, type) and hasattr(each, "rows")
        and each.__module__ == npz.__name__
    )  # fmt: skip
    monkeypatch.setattr(source, "rows", lambda *_: pytest.fail("features were read"))
    code, out, _ = run(capsys, "measure", file, "--dry-run", "-o", tmp_path / "out")
    assert code == 0 and [p.name for p in tmp_path.iterdir()] == ["data.npz"]
    assert "train 90; 3 classes" in out and "head (3, 5) stored" in out
    assert re.search(r"state +about [\d.]+ MB", out) and re.search(r"time +about \d+ s", out)
    data = json.loads(run(capsys, "measure", file, "--dry-run", "--json")[1])
    assert data["dry_run"][0].startswith("would read")


def test_a_dry_run_of_a_model_runs_one_batch(capsys, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "door_toy.py").write_text(
        "import torch\nfrom torch import nn\nfrom torch.utils.data import TensorDataset\n"
        "seen = []\n"
        "class Body(nn.Linear):\n"
        "    def forward(self, x):\n        seen.append(len(x))\n        return super().forward(x)\n"
        "def build():\n    return nn.Sequential(Body(6, 8), nn.ReLU(), nn.Linear(8, 4))\n"
        "def data():\n    x = torch.arange(600.0).reshape(100, 6) % 7\n"
        "    return {'train': TensorDataset(x, torch.arange(100) % 4)}\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    arguments = ("--model", "door_toy:build", "--data", "door_toy:data", "--layers", "0")
    code, out, _ = run(capsys, "measure", *arguments, "--dry-run", "--batch-size", "16")
    assert code == 0 and sys.modules["door_toy"].seen == [16]
    assert "train 100" in out and "input of '2'" in out and "0: 8 features" in out
    assert "one batch of 16 was run" in out


# ---- names of metrics ---------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "key"),
    [("CDNV", "nc1_cdnv"), ("vci", "nc1_vci"), ("ETF", "nc2_etf_means"), ("NC1_Fisher", "nc1_fisher"),
     ("nearest class center", "nc4_mismatch"), ("Self Duality", "nc3_duality")],
)  # fmt: skip
def test_metrics_are_found_by_what_papers_call_them(name: str, key: str, capsys) -> None:
    code, out, err = run(capsys, "explain", name)
    assert (code, err) == (0, "") and out.startswith(f"{key}: ")
    assert json.loads(run(capsys, "explain", name, "--json")[1])["key"] == key


def test_families_the_subject_and_near_misses_are_explained(capsys) -> None:
    out = run(capsys, "explain", "NC1")[1]
    assert out.startswith("NC1: Variability within classes") and "nc1_fisher" in out
    out = run(capsys, "explain", "neural collapse")[1]
    assert all(f"  {name} " in out for name in ("NC1", "NC2", "NC3", "NC4"))
    code, out, err = run(capsys, "explain", "nc1_fischer")
    assert code == 0 and "did you mean nc1_fisher?" in err and out.startswith("nc1_fisher: ")
    code, out, err = run(capsys, "explain", "zzz")
    assert (code, out) == (2, "") and "run `ncollapse explain`" in err


def test_no_two_metrics_share_an_alias_but_sides_of_one() -> None:
    seen: dict[str, str] = {}
    for key, row in METRICS.items():
        stem = key.removesuffix("_means").removesuffix("_weights")
        for alias in row.aliases:
            assert alias not in METRICS
            assert seen.setdefault(alias.lower(), stem) == stem, alias
