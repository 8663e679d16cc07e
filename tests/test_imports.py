"""Data walks one way: who may import whom, and what `import ncollapse` loads."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src" / "ncollapse"
# From bottom to top: a room imports only what stands below it.
LAYERS = [
    {"linalg", "pairs", "errors", "figures", "moved"},
    {"record", "sources"},
    {"geometry", "links", "losses"},
    {"collect"},
    {"metrics", "theory"},
    {"tasks"},
    {"answers", "report", "control"},
    {"downstream"},
    {"measuring"},
    {"tracking"},
    {"lab"},
    {"studies"},
    {"cli"},
]
# Neighbours on a floor are strangers, but for these: the report asks questions for their words.
WITHIN = {("pairs", "linalg"), ("report", "answers")}
# What documents are made of is readable everywhere without torch.
FREE_OF_TORCH = (
    "errors",
    "record.document",
    "record.tables",
    "record.trace",
    "record.provenance",
    "record.run",
    "answers.questions",
)
FILES = sorted(p for p in SOURCE.rglob("*.py") if p.name not in ("__init__.py", "__main__.py"))


def room(path: Path) -> str:
    first = path.relative_to(SOURCE).parts[0]
    return first.removesuffix(".py")


def level(name: str) -> int:
    for number, rooms in enumerate(LAYERS):
        if name in rooms:
            return number
    raise AssertionError(f"{name} has no place in LAYERS")


def imported(path: Path) -> set[str]:
    """Rooms of this package that a file imports anywhere, for types too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full"
            names = [node.module or ""]
        for name in names:
            parts = name.split(".")
            if parts[0] == "ncollapse" and len(parts) > 1:
                found.add(parts[1])
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_point_downward(path: Path) -> None:
    mine = room(path)
    for other in imported(path) - {mine}:
        allowed = level(other) < level(mine) or (mine, other) in WITHIN
        assert allowed, f"{mine} must not import {other}"


def test_theory_and_report_never_import_collect() -> None:
    for path in FILES:
        if room(path) in ("theory", "report"):
            assert "collect" not in imported(path)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_no_file_grows_past_400_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import ncollapse; dir(ncollapse)",
        "import ncollapse.cli.app as a; a.build()",
        "from ncollapse.metrics.catalog import METRICS",
        "import ncollapse.report.terminal",
        *(f"import ncollapse.{name}" for name in FREE_OF_TORCH),
    ],
)
def test_what_must_stay_light_loads_nothing_heavy(statement: str) -> None:
    assert not loaded_by(statement) & {"torch", "pandas", "matplotlib", "scipy", "sklearn"}


def test_every_public_name_is_there() -> None:
    import ncollapse

    for name in ncollapse.__all__:
        assert getattr(ncollapse, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ncollapse.nothing
