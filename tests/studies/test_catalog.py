"""Every study of the package: what it states, and how it is found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import ncollapse.studies as package
from ncollapse.lab.scoreboard import describe
from ncollapse.lab.study import resolve
from ncollapse.studies import names, studies


def test_every_study_states_what_it_needs() -> None:
    first = ("landscape", "losses", "peeled", "imbalance", "minority", "terminal-phase")
    assert names()[: len(first)] == first
    ids = [claim.id for study in studies() for claim in study.claims]
    assert len(set(ids)) == len(ids)
    for study in studies():
        assert study.question.endswith("?") and study.paper
        page = describe(study)
        for claim in study.claims:
            assert claim.id.startswith(study.name)
            assert claim.source and "Measured:" in claim.text
            assert claim.id in page and str(claim.bar) in page
        for part in study.parts:
            assert callable(resolve(part.work))
        assert study.draw is not None and callable(resolve(study.draw))


def test_listing_loads_no_torch() -> None:
    code = (
        "import sys; from ncollapse.studies import studies; "
        "[s.units('quick') for s in studies()]; print(' '.join(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert not set(done.stdout.split()) & {"torch", "scipy", "pandas", "matplotlib", "sklearn"}


def test_a_study_is_small() -> None:
    root = Path(package.__file__).parent
    lines = {
        name: sum(len(p.read_text("utf-8").splitlines()) for p in (root / folder).glob("*.py"))
        for name, folder in ((name, name.replace("-", "_")) for name in names())
    }
    assert sum(lines.values()) / len(lines) <= 200, lines


def test_every_study_stands_in_its_three_files() -> None:
    root = Path(package.__file__).parent
    for name in names():
        folder = root / name.replace("-", "_")
        assert {path.name for path in folder.glob("*.py")} == {
            "__init__.py",
            "claims.py",
            "runs.py",
            "figures.py",
        }
