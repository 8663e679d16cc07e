"""Adding a study is adding one folder: it is listed, shown and run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ncollapse.studies as package
from ncollapse.lab.catalog import PACKAGE
from ncollapse.studies import find, names, run, studies

CLAIMS = """
from ncollapse.lab.claims import Bar, ids, worst
from ncollapse.lab.settings import By, sizes
from ncollapse.lab.study import Part, Study

CLAIMS = (worst("own-study-sum", "ours", Bar(high=9))("A sum is small. Measured: the sum."),)
STUDY = Study(
    name="{name}",
    question="Is it found?",
    paper="none",
    claims=CLAIMS,
    settings=sizes(seeds=2, start=By(1, 2, 3), step=4),
    parts=(Part("sum", "ncollapse.studies.own_study.runs:work", ids(CLAIMS), given={{"more": 2}}),),
    place={place},
)
"""
RUNS = """
def work(settings, seed):
    total = settings["start"] + seed * settings["step"] + settings["more"]
    return {"values": {"own-study-sum": total}}
"""


def study(root: Path, name: str = "own-study", place: int = 25, folder: str = "own_study") -> None:
    (root / folder).mkdir()
    (root / folder / "__init__.py").write_text("")
    (root / folder / "claims.py").write_text(CLAIMS.format(name=name, place=place))
    (root / folder / "runs.py").write_text(RUNS)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A second folder of the package of studies."""
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith(f"{PACKAGE}.own")]:
        del sys.modules[name]
    for name in [name for name in vars(package) if name.startswith("own")]:
        delattr(package, name)


def test_a_folder_is_a_study(root: Path, tmp_path: Path) -> None:
    before = names()
    study(root)
    assert [name for name in names() if name not in before] == ["own-study"]
    assert names()[names().index("losses") + 1] == "own-study"
    assert find("own-study").settings["full"] == {"seeds": 2, "start": 3, "step": 4}
    found = run("own-study", "quick", jobs=1)
    assert found.claims[0].values == (4.0, 8.0) and found.claims[0].verdict == "holds"
    again = run("own-study", "quick", jobs=1, options={"step": 7}, output=tmp_path / "out")
    assert again.claims[0].values == (4.0, 11.0) and again.claims[0].verdict == "does not hold"


def test_studies_stand_in_the_order_of_their_place(root: Path) -> None:
    study(root, place=-1)
    assert names()[0] == "own-study"
    places = [entry.place for entry in studies()]
    assert places == sorted(places)


def test_a_folder_without_claims_is_no_study(root: Path) -> None:
    before = names()
    (root / "own_notes").mkdir()
    (root / "own_notes" / "__init__.py").write_text("")
    (root / "own_data").mkdir()
    (root / "own_module.py").write_text("")
    assert names() == before
    with pytest.raises(
        ValueError, match="study 'own-notes' is unknown; (one of|did you mean) landscape, losses"
    ):
        find("own-notes")


def test_a_folder_that_misleads_is_explained(root: Path) -> None:
    study(root, name="other-name")
    with pytest.raises(ValueError, match=r"the study 'other-name'; its folder .* other_name"):
        find("own-study")
    study(root, folder="own_empty")
    (root / "own_empty" / "claims.py").write_text("STUDY = 3")
    with pytest.raises(ValueError, match=r"own_empty\.claims holds no study"):
        find("own-empty")


@pytest.mark.parametrize("name", ["", "terminal_phase", "no.where", "../peeled", "Peeled"])
def test_other_names_are_unknown(name: str) -> None:
    with pytest.raises(ValueError, match="is unknown; (one of|did you mean)"):
        find(name)
