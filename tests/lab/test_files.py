"""A study's folder holds one result, whole, and what others keep there stays."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest

import ncollapse as nc
from ncollapse.lab import finished
from ncollapse.lab.place import Place, at, checkpoint, clear
from ncollapse.lab.study import SIZES
from ncollapse.record import folder as places
from ncollapse.record.run import Run
from ncollapse.studies import Bar, Claim, Part, Study, StudyResult, run


class Killed(BaseException):
    """Stands in for SIGKILL."""


def work(settings, seed: int) -> dict:
    return {"values": {"own": settings["value"]}, "data": {"value": settings["value"]}}


def draw(units) -> dict:
    """A figure for each value, named after it."""
    from ncollapse.lab.figures import axes, finish

    made = {}
    for name in ("both", f"only-{units['work'][0]['value']:g}"):
        figure, area, ink = axes("x", "y")
        area.plot([0, 1], [0, 1], color=ink.first)
        made[name] = (name, finish(figure, area))
    return made


def result(value: float) -> StudyResult:
    study = Study(
        name="own",
        question="Is it whole?",
        paper="none",
        claims=(Claim("own", "text", "ours", Bar(high=9)),),
        settings={size: {"value": value} for size in SIZES},
        parts=(Part("work", work, ("own",)),),
        draw=draw,
    )
    return run(study, jobs=1)


OLD, NEW = result(1.0), result(2.0)
PARTS = ("study.json", "claims.csv", "summary.html", "figures/both.svg")


def value_in(folder: Path) -> float:
    return json.loads((folder / "study.json").read_text("utf-8"))["claims"][0]["measured"]


def files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def test_figures_of_the_result_before_go_and_other_files_stay(tmp_path: Path) -> None:
    assert OLD.save(tmp_path) == tmp_path
    assert files(tmp_path) == {*PARTS, "figures/only-1.svg"}
    for name in ("notes.txt", "figures/mine.svg", "runs/mine.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    NEW.save(str(tmp_path))
    assert files(tmp_path) == {
        *PARTS, "figures/only-2.svg", "notes.txt", "figures/mine.svg", "runs/mine.json",
    }  # fmt: skip
    assert json.loads((tmp_path / "study.json").read_text("utf-8"))["figures"] == ["both", "only-2"]


def test_files_of_others_that_bear_our_names_get_another(tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    for name in PARTS:
        (tmp_path / name).write_text("mine")
    NEW.save(tmp_path)
    assert value_in(tmp_path) == 2.0
    for name in ("study-1.json", "claims-1.csv", "summary-1.html", "figures/both-1.svg"):
        assert (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize("moment", range(20))
def test_a_save_killed_at_any_moment_is_finished_by_the_next(
    moment: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    OLD.save(tmp_path)
    steps = iter(range(1000))

    def killed_at(name: str):
        real = getattr(Path, name)

        def step(self: Path, *rest, **named):
            if str(self).startswith(str(tmp_path)) and next(steps) == moment:
                monkeypatch.setattr(places, "_clear", lambda aside: None)
                raise Killed
            return real(self, *rest, **named)

        return step

    for name in ("mkdir", "rename", "replace", "unlink"):
        monkeypatch.setattr(Path, name, killed_at(name))
    with contextlib.suppress(Killed):
        NEW.save(tmp_path)
    monkeypatch.undo()
    # Whatever was left, every part is whole, and the next save leaves nothing aside.
    assert value_in(tmp_path) in (1.0, 2.0)
    OLD.save(tmp_path)
    assert files(tmp_path) == {*PARTS, "figures/only-1.svg"}
    assert value_in(tmp_path) == 1.0


def test_a_full_disk_leaves_the_result_before(tmp_path: Path, monkeypatch) -> None:
    OLD.save(tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}

    def full(path: Path, text: str) -> None:
        if path.name == "summary.html":
            raise OSError(28, "No space left on device")
        path.write_text(text)

    monkeypatch.setattr("ncollapse.lab.files.write_text", full)
    with pytest.raises(OSError, match="No space left"):
        NEW.save(tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == before


def test_what_stands_in_the_way_is_said_before_anything_changes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "figures").write_text("mine")
    with pytest.raises(OSError, match="a file stands at .*figures"):
        NEW.save(tmp_path / "a")
    assert files(tmp_path / "a") == {"figures"}
    (tmp_path / "b" / "claims.csv").mkdir(parents=True)
    with pytest.raises(OSError, match=r"a folder stands at .*claims\.csv"):
        NEW.save(tmp_path / "b")
    assert files(tmp_path / "b") == set()


@pytest.mark.parametrize("figures", [["../../precious"], ["/precious"], 3, [4], None])
def test_a_document_of_others_removes_nothing(tmp_path: Path, figures) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    (tmp_path / "precious.svg").write_text("mine")
    document = {"claims": [], "runs": [], "figures": figures}
    (folder / "study.json").write_text(json.dumps(document))
    NEW.save(folder)
    assert (tmp_path / "precious.svg").read_text() == "mine"
    assert value_in(folder) == 2.0


@pytest.mark.parametrize("name", ["../precious.svg", "/precious.svg"])
def test_a_list_of_others_removes_nothing(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "a"
    aside = folder / f"{places.WRITTEN}-study"
    aside.mkdir(parents=True)
    (tmp_path / "precious.svg").write_text("mine")
    listed = name.replace("/precious", f"{tmp_path}/precious") if name[0] == "/" else f"../{name}"
    (aside / places.LIST).write_text(json.dumps([listed, 7]))
    NEW.save(folder)
    assert (tmp_path / "precious.svg").read_text() == "mine"
    assert value_in(folder) == 2.0


def test_a_study_and_a_measured_run_may_share_a_folder(tmp_path: Path) -> None:
    features = np.eye(3)[np.arange(30) % 3] + 0.1 * np.random.default_rng(0).normal(size=(30, 3))
    measured = nc.measure_features(features, np.arange(30) % 3, null=False, intervals=False)
    OLD.save(tmp_path)
    measured.save(tmp_path)
    NEW.save(tmp_path)
    assert value_in(tmp_path) == 2.0
    assert Run.read(tmp_path).document.results == measured.document.results


# ---- runs and checkpoints -----------------------------------------------------------------------
def test_a_file_that_is_no_run_of_ours_gets_another_name(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    (runs / "work-0.json").write_text('{"mine": 1}')
    run(OLD.study, jobs=1, output=tmp_path, resume=True)
    assert json.loads((runs / "work-0-1.json").read_text()) == {"mine": 1}
    (unit,) = OLD.study.units("quick")
    assert finished.read(tmp_path, unit) == OLD.units[0].__class__(
        **{**vars(OLD.units[0]), "seconds": finished.read(tmp_path, unit).seconds}
    )
    run(OLD.study, jobs=1, output=tmp_path)
    assert sorted(p.name for p in runs.iterdir()) == ["work-0-1.json", "work-0.json"]


def test_only_checkpoints_of_the_run_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints" / "work-0-abc"
    folder.mkdir(parents=True)
    with at(Place(folder, resume=False)):
        kept = checkpoint("0-ce")["checkpoint"]
    kept.write_text("ours")
    (folder / f".{kept.name}.0123456789ab.tmp").write_text("ours, cut off")
    clear(folder)
    assert not folder.parent.exists()
    folder.mkdir(parents=True)
    kept.write_text("ours")
    (folder / "notes.txt").write_text("mine")
    clear(folder)
    assert files(tmp_path) == {"checkpoints/work-0-abc/notes.txt"}
    clear(tmp_path / "nowhere" / "at-all")
