"""What we print must run: code blocks of README and docs, and the documentation itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import fresh

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = [
    pytest.param(block, id=f"{page.name}-{number}")
    for page in PAGES
    for number, block in enumerate(
        re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.S)
    )
]


@pytest.mark.parametrize("block", BLOCKS)
def test_code_blocks_run(block: str, tmp_path: Path) -> None:
    done = fresh.run(block, tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr


def test_the_first_block_runs_in_an_interpreter_of_its_own(tmp_path: Path) -> None:
    """Which has imported nothing before."""
    (block,) = BLOCKS[0].values
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", block],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("code", "status"),
    [("import sys; sys.exit(3)", 3), ("1/0", 1), ("import warnings; warnings.warn('x')", 1)],
)
def test_a_block_that_fails_is_seen(code: str, status: int, tmp_path: Path) -> None:
    assert fresh.run(code, tmp_path).returncode == status


def test_there_are_blocks() -> None:
    assert len(BLOCKS) >= 4


def test_readme_shows_commands_that_exist() -> None:
    from ncollapse.cli.app import build

    text = re.sub(r"```python.*?```", "", (ROOT / "README.md").read_text("utf-8"), flags=re.S)
    blocks = "".join(re.findall(r"```\n(.*?)```", text, re.S))
    named = set(re.findall(r"^ncollapse (\w+)", blocks, re.M))
    assert named
    assert named <= set(build().commands)


def test_every_metric_is_named_with_the_definitions_that_moving_promises() -> None:
    from ncollapse.metrics.catalog import DEFINITIONS, METRICS

    text = (ROOT / "docs" / "moving.md").read_text("utf-8")
    for name in re.findall(r"`([a-z_0-9*]+)`", text):
        known = name in METRICS or name in DEFINITIONS or name.endswith("_*")
        assert known, name


def test_documentation_builds_without_warnings(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "sphinx",
            "-W",
            "-q",
            "-b",
            "html",
            str(ROOT / "docs"),
            str(tmp_path),
        ],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "metrics.html").read_text("utf-8")
    assert "nc1_fisher" in page
    assert "papyan2020_notebook" in page
