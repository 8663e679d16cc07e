"""One net for errors, and terminals that lack characters: no command ends in a traceback."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ncollapse.cli import main
from ncollapse.cli.app import build
from ncollapse.cli.characters import HANDLER, plain, spare_terminal
from ncollapse.cli.common import parse_limits
from ncollapse.record.lock import LOCK, alone
from tests.cli.test_commands import run, saved


class UnheardError(Exception):
    """Of no kind that anyone expects."""


@pytest.mark.parametrize(
    "error",
    [
        TypeError("a\nb"), KeyError("x"), RuntimeError(""), MemoryError(), UnheardError("new"),
        RecursionError("deep"), NotImplementedError(), StopIteration(), ZeroDivisionError("0"),
        OverflowError("x" * 5000), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        AssertionError("no"), OSError(28, "No space left on device"), EOFError(),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_whatever_is_raised_is_a_sentence_and_exit_2(error, capsys, monkeypatch) -> None:
    def raising(*_: object) -> None:
        raise error

    monkeypatch.setattr("ncollapse.record.document.read_document", raising)
    for more, traceback in ((), False), (("--debug",), True):
        code, out, err = run(capsys, "check", "none", "--max", "nc1_fisher=1", *more)
        assert (code, out) == (2, "")
        assert ("Traceback" in err) == traceback
        last = err.strip().splitlines()[-1]
        assert last.startswith("ncollapse: ")
        assert 12 < len(last) <= 1000
        if not traceback:
            assert err.count("\n") == 1


@pytest.mark.parametrize("flag", ["-v", "--verbose", "--debug"])
def test_a_traceback_is_there_for_those_who_ask(flag: str, capsys, tmp_path: Path) -> None:
    code, _, err = run(capsys, "measure", tmp_path / "none.npz", flag)
    assert code == 2
    assert err.startswith("Traceback")
    assert err.splitlines()[-1].endswith("pass a feature file or a folder of shards")


def test_every_command_takes_debug() -> None:
    def commands(command):
        inner = getattr(command, "commands", None)
        return [command] if inner is None else [c for i in inner.values() for c in commands(i)]

    found = commands(build())
    assert len(found) >= 11
    assert all(any("--debug" in p.opts for p in command.params) for command in found)


# ---- characters -----------------------------------------------------------------------------
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "cp437", "utf-8"])
@pytest.mark.parametrize(
    "arguments", [("explain",), ("explain", "nc1_fisher"), ("predict", "--help"), ("--help",)]
)
def test_a_terminal_without_our_characters_gets_plain_ones(
    arguments, encoding: str, monkeypatch
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    sys.stdout.flush()
    assert not caught.value.code
    assert len(raw.getvalue()) > 100


def test_plain_characters_say_the_same() -> None:
    spare_terminal()
    assert plain("tr(Σ_W Σ_B⁺)/K ≤ ½‖μ̂‖²") == "tr(Sigma_W Sigma_B^+)/K <= 1/2||mu||^2"
    assert plain("λ₂ → café \N{SNOWMAN}") == "lambda_2 -> cafe ?"
    assert "naïve τ".encode("latin-1", HANDLER) == "naïve tau".encode("latin-1")
    assert plain("plain") == "plain"


def test_json_is_the_same_data_on_every_terminal(monkeypatch) -> None:
    found = []
    for encoding in ("utf-8", "cp1252", "latin-1"):
        raw = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
        with pytest.raises(SystemExit):
            main(["explain", "nc1_fisher", "--json"])
        sys.stdout.flush()
        found.append(json.loads(raw.getvalue().decode(encoding)))
    assert found[0] == found[1] == found[2]
    assert "Σ" in found[0]["formula"]


# ---- given twice, or by two -----------------------------------------------------------------
@pytest.mark.parametrize(
    ("entries", "said"),
    [
        (["a=1", "a=2"], "a is given twice, 1 and 2"),
        (["a=nan"], "is no limit"),
        (["=1"], "write KEY=NUMBER"),
        (["a"], "write KEY=NUMBER"),
    ],
)
def test_limits_that_cannot_be_are_refused(entries: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_limits(entries, "--max")
    assert parse_limits(["a=1", "b=inf"], "--max") == {"a": 1.0, "b": float("inf")}


def test_an_answer_given_twice_is_refused(capsys, tmp_path: Path) -> None:
    assert run(capsys, "measure", saved(tmp_path), "-q", "-o", tmp_path / "o")[0] == 0
    twice = ("--answer", "frame=yes", "--answer", "frame=no")
    code, _, err = run(capsys, "check", tmp_path / "o", *twice)
    assert code == 2
    assert "frame is given twice" in err


def test_the_second_of_two_writers_is_told(capsys, tmp_path: Path) -> None:
    path, out = saved(tmp_path), tmp_path / "out"
    with alone(out):
        for command in (
            ("measure", path, "-o", out),
            ("demo", "--epochs", 1, "-o", out),
            ("predict", "--counts", "5x3", "-o", out),
            ("study", "run", "landscape", "--size", "mini", "-o", out),
        ):
            code, _, err = run(capsys, *command, "-q")
            assert code == 2, command
            assert "is being written by another process" in err
        assert [p.name for p in out.iterdir()] == [LOCK]
    assert not out.exists()
    assert run(capsys, "measure", path, "-o", out, "-q")[0] == 0
    assert not (out / LOCK).exists()


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    code = (
        "import os, sys, pathlib\nfrom ncollapse.record.lock import alone\n"
        "held = alone(pathlib.Path(sys.argv[1]))\nheld.__enter__()\nos.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "o")], check=False)
    assert (tmp_path / "o" / LOCK).exists()
    again = alone(tmp_path / "o")
    with alone(tmp_path / "o"), pytest.raises(ValueError, match="another process"):
        again.__enter__()
    assert not (tmp_path / "o" / LOCK).exists()
    # A folder that held something stays.
    np.save(tmp_path / "o" / "theirs.npy", 1)
    with alone(tmp_path / "o"):
        pass
    assert (tmp_path / "o" / "theirs.npy").exists()
