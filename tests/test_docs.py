"""What we print must run: code blocks of README and docs, and the documentation itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

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
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
RESULTS = ROOT / "docs" / "_ext" / "results.py"


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_tutorials_run(page: Path, tmp_path: Path) -> None:
    cells = re.findall(r"```\{code-cell\} ipython3\n(.*?)```", page.read_text("utf-8"), re.S)
    assert len(cells) >= 5
    code = "import matplotlib; matplotlib.use('agg')\n" + "\n".join(cells)
    done = fresh.run(code, tmp_path, timeout=120, environment={"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr


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


@pytest.mark.parametrize("page", ["moving.md", "which_metric.md"])
def test_every_metric_is_named_with_the_definitions_that_moving_promises(page: str) -> None:
    from ncollapse.metrics.catalog import DEFINITIONS, METRICS

    text = (ROOT / "docs" / page).read_text("utf-8")
    for name in re.findall(r"`([a-z_0-9*]+)`", text):
        known = name in METRICS or name in DEFINITIONS or name.endswith("_*")
        assert known, name


def _results():
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("docs_results", RESULTS)
    module = sys.modules["docs_results"] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_study_has_results_of_claims_that_it_makes() -> None:
    """From which scoreboard and gallery are made."""
    import ncollapse as nc

    read = {one.name: one for one in _results().read(ROOT / "docs", nc.studies.names())}
    assert set(read) == set(nc.studies.names())
    for name, one in read.items():
        study = nc.studies.find(name)
        ids = [row.id for row in one.rows]
        assert set(ids) <= {claim.id for claim in study.claims} | set(study.retired), name
        assert len(ids) == len(set(ids)), name
        assert one.question
        for row in one.rows:
            value, (low, high) = row.numbers[0], row.ends
            if row.verdict == "holds":
                # As printed: three digits.
                room = 0.01 * abs(value)
                assert low - room <= value <= high + room, row.id


def test_a_table_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    head = "## mine\n\nWhy?\n\n| claim | measured | bar | verdict |\n|---|---|---|---|\n"
    (tmp_path / "studies.md").write_text(head + "| `mine-a` b *Source: c.* | 1 | ≤ 2 | holds |\n")
    (one,) = _results().read(tmp_path, ["mine"])
    assert (one.rows[0].text, one.question, one.tally["holds"]) == ("b", "Why?", 1)
    for row in ("| `mine-a` |b| | 1 | ≤ 2 | holds |", "| `mine-a` b | 1 | ≤ 2 | yes |"):
        (tmp_path / "studies.md").write_text(head + row + "\n")
        with pytest.raises(ValueError, match=r"studies\.md: a row of claims is"):
            _results().read(tmp_path, ["mine"])


class Links(HTMLParser):
    """What a page links to, and the places in it that can be linked to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.ids: set[str] = set()
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value for name, value in attrs if value}
        self.targets += [found[name] for name in ("href", "src") if name in found]
        self.ids |= {found[name] for name in ("id", "name") if name in found}


def dead(folder: Path) -> Iterator[str]:
    """Links within the pages of a folder that lead nowhere."""
    pages = {path: Links(path) for path in folder.rglob("*.html")}
    for path, page in pages.items():
        for target in page.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            there = path if not parts.path else (path.parent / unquote(parts.path)).resolve()
            lost = there in pages and parts.fragment and parts.fragment not in pages[there].ids
            if not there.exists() or lost:
                yield f"{path.relative_to(folder)} -> {target}"


def test_links_of_pages_outside_the_documentation() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)#]+)", page.read_text("utf-8")):
            assert target.startswith("http") or (ROOT / target).exists(), target


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
            # Tutorials have a test of their own.
            "-D",
            "nb_execution_mode=off",
            str(ROOT / "docs"),
            str(tmp_path),
        ],
        capture_output=True,
        text=True,
        timeout=480,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "metrics.html").read_text("utf-8")
    assert "nc1_fisher" in page
    assert "papyan2020_notebook" in page
    assert not list(dead(tmp_path))
    front = (tmp_path / "index.html").read_text("utf-8")
    import ncollapse as nc

    found = _results().read(ROOT / "docs", nc.studies.names())
    for verdict, label in (("holds", "held"), ("does not hold", "did not")):
        assert f"<b>{sum(one.tally[verdict] for one in found)}</b> {label}" in front
    gallery = (tmp_path / "gallery.html").read_text("utf-8")
    assert gallery.count('class="nc-figure"') == len(found)
    assert "<math" in front
