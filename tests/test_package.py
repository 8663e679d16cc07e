"""The wheel: built, unpacked outside the tree, and run from there."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-build-isolation", "--no-deps", "-w", str(folder), str(ROOT)]
    subprocess.run(build, check=True, timeout=120)
    wheel = next(folder.glob("*.whl"))
    target = folder / "site"
    subprocess.run([*pip, "install", "--no-deps", "--target", str(target), str(wheel)], check=True)
    return target


def run(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"},
        cwd=installed.parent,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_wheel_holds_its_data(installed: Path) -> None:
    package = installed / "ncollapse"
    for name in (
        "answers/cuts.json",
        "record/schemas/results-1.json",
        "record/schemas/prediction-1.json",
        "py.typed",
    ):
        assert (package / name).exists(), name
    code = "import ncollapse; print(ncollapse.__file__, ncollapse.__version__)"
    where, version = run(installed, "-c", code).stdout.split()
    assert where.startswith(str(installed))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert version == project["version"]


def test_the_wheel_runs_the_demo_and_reads_it_again(installed: Path) -> None:
    done = run(installed, "-m", "ncollapse", "demo", "--epochs", "2", "-o", "run", "--json")
    assert done.returncode == 0, done.stderr
    assert (installed.parent / "run" / "report.html").exists()
    done = run(installed, "-m", "ncollapse", "report", "run")
    assert done.returncode == 0, done.stderr
    done = run(installed, "-m", "ncollapse", "compare", "run", "run")
    assert done.returncode == 0, done.stderr
    assert "nc1_fisher" in done.stdout
