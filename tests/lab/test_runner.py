"""Running: failures are kept apart, finished runs are kept, the same seeds give the same file."""

from __future__ import annotations

import csv
import json
import os
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from ncollapse.lab.claims import FAILS, HOLDS, UNKNOWN
from ncollapse.lab.result import StudyResult
from ncollapse.lab.study import SIZES
from ncollapse.studies import Bar, Claim, Part, Study, run

CALLS: list[str] = []


def steady(settings, seed: int) -> dict:
    CALLS.append(f"steady-{seed}")
    return {"values": {"own-steady": settings["value"] + 0.01 * seed}, "data": {"place": [seed, 1]}}


def shaky(settings, seed: int) -> dict:
    CALLS.append(f"shaky-{seed}")
    if seed == settings["breaks"]:
        raise RuntimeError("the run\nbroke")
    return {"values": {"own-shaky": float("nan") if seed == settings["empty"] else 1.0}}


def dies(settings, seed: int) -> dict:
    os._exit(1)


def together(units) -> dict:
    return {"own-joint": [float(len(units["steady"]))]}


def draw(units) -> dict:
    from ncollapse.lab.figures import axes, finish

    figure, area, ink = axes("x", "y", "x")
    area.plot([1, 10], [0, len(units["steady"])], color=ink.first, label="line")
    return {"line": ("A <line> & its legend", finish(figure, area))}


def study(breaks: int = -1, empty: int = -1, value: float = 0.5, name: str = "own") -> Study:
    settings = {"value": value, "breaks": breaks, "empty": empty, "seeds": 2}
    return Study(
        name=name,
        question="Does it run?",
        paper="none",
        claims=(
            Claim("own-steady", "steady", "ours", Bar(high=1.0), rule="mean", seeds=2),
            Claim("own-shaky", "shaky", "ours", Bar(low=1.0)),
            Claim("own-joint", "joint", "ours", Bar(high=0.0)),
        ),
        settings=dict.fromkeys(SIZES, settings),
        parts=(
            Part("steady", steady, ("own-steady", "own-joint")),
            Part("shaky", shaky, ("own-shaky",)),
        ),
        combine=together,
        draw=draw,
    )


def test_a_study_runs_and_is_judged() -> None:
    found = run(study(), seeds=3, jobs=1)
    assert [claim.verdict for claim in found.claims] == [HOLDS, HOLDS, FAILS]
    assert found.claims[0].measured == pytest.approx(0.51)
    assert [unit.seed for unit in found.units] == [0, 1, 2, 0, 1, 2]
    assert "1 does not hold" in str(found)


def test_a_failed_run_is_reported_and_leaves_the_others(caplog) -> None:
    found = run(study(breaks=1), jobs=1)
    assert [claim.verdict for claim in found.claims] == [HOLDS, UNKNOWN, FAILS]
    assert found.claims[1].reason == "1 run failed"
    assert [unit.error for unit in found.failures] == ["RuntimeError: the run broke"]
    assert "shaky-1 failed" in caplog.text
    assert "shaky-1 failed" in str(found)


def test_a_process_that_dies_fails_its_runs_only(tmp_path: Path) -> None:
    broken = Study(
        name="broken",
        question="Does it survive?",
        paper="none",
        claims=(Claim("broken", "text", "ours", Bar(low=0.0)),),
        settings={size: {"seeds": 2} for size in SIZES},
        parts=(Part("dies", dies, ("broken",)),),
    )
    found = run(broken, jobs=2, output=tmp_path)
    assert len(found.failures) == 2
    assert "a process ended" in found.failures[0].error
    assert found.claims[0].reason == "2 runs failed"
    assert (tmp_path / "study.json").exists()


def test_a_run_without_a_number_decides_nothing() -> None:
    found = run(study(empty=0), jobs=1)
    assert found.claims[1].verdict == UNKNOWN
    assert found.claims[1].measured == 1.0


def test_several_studies_give_a_list_and_progress() -> None:
    said: list[tuple[str, int, int]] = []
    found = run(
        [study(), study(name="other")],
        "full",
        jobs=1,
        progress=lambda name, done, total: said.append((name, done, total)),
    )
    assert [result.name for result in found] == ["own", "other"]
    assert said[-1] == ("other", 4, 4)


def test_the_mini_size_judges_nothing() -> None:
    assert {claim.verdict for claim in run(study(), "mini", jobs=1).claims} == {UNKNOWN}


def test_the_folder_holds_everything(tmp_path: Path) -> None:
    found = run(study(breaks=1), output=tmp_path / "out", jobs=1)
    folder = tmp_path / "out"
    assert sorted(p.name for p in folder.iterdir()) == [
        "claims.csv", "figures", "runs", "study.json", "summary.html",
    ]  # fmt: skip
    data = json.loads((folder / "study.json").read_text("utf-8"))
    assert [row["verdict"] for row in data["claims"]] == [c.verdict for c in found.claims]
    assert data["runs"][3]["error"] == "RuntimeError: the run broke"
    rows = list(csv.DictReader((folder / "claims.csv").open(encoding="utf-8")))
    assert [row["id"] for row in rows] == ["own-steady", "own-shaky", "own-joint"]
    page = (folder / "summary.html").read_text("utf-8")
    assert "Does it run?" in page and "A &lt;line&gt; &amp; its legend" in page
    root = ElementTree.parse(folder / "figures" / "line.svg").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert sorted(p.stem for p in (folder / "runs").iterdir()) == [
        "shaky-0",
        "steady-0",
        "steady-1",
    ]


def test_resuming_runs_only_what_is_missing(tmp_path: Path) -> None:
    first = run(study(breaks=1), output=tmp_path, jobs=1)
    CALLS.clear()
    again = run(study(breaks=1), output=tmp_path, jobs=1, resume=True)
    assert CALLS == ["shaky-1"]
    assert [c.to_dict() for c in again.claims] == [c.to_dict() for c in first.claims]
    CALLS.clear()
    run(study(breaks=1), seeds=3, output=tmp_path, jobs=1, resume=True)
    assert CALLS == ["steady-2", "shaky-1", "shaky-2"]
    CALLS.clear()
    (tmp_path / "runs" / "steady-0.json").write_text("{", encoding="utf-8")
    run(study(breaks=1), output=tmp_path, jobs=1, resume=True)
    assert CALLS == ["steady-0", "shaky-1"]


def test_other_settings_are_run_anew(tmp_path: Path) -> None:
    run(study(), output=tmp_path, jobs=1)
    CALLS.clear()
    run(study(value=0.7), output=tmp_path, jobs=1, resume=True)
    assert len(CALLS) == 4


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyResult, Path]:
    """A study of theory and networks, run in this process."""
    folder = tmp_path_factory.mktemp("once")
    return run("minority", "mini", output=folder, jobs=1), folder


def test_the_same_seeds_give_the_same_document(
    once: tuple[StudyResult, Path], tmp_path: Path
) -> None:
    places = {"a": once[1], "b": tmp_path}
    run("minority", "mini", output=tmp_path, jobs=1)

    def read(name: str) -> dict:
        data = json.loads((places[name] / "study.json").read_text("utf-8"))
        for unit in data["runs"]:
            unit.pop("seconds")
        return {key: value for key, value in data.items() if key not in ("date", "seconds")}

    assert read("a") == read("b")
    files = [sorted((place / "figures").iterdir()) for place in places.values()]
    assert files[0]
    for one, two in zip(*files, strict=True):
        assert one.read_bytes() == two.read_bytes()


def test_processes_give_what_one_process_gives(once: tuple[StudyResult, Path]) -> None:
    there = run("minority", "mini", jobs=2)
    assert [c.to_dict() for c in once[0].claims] == [c.to_dict() for c in there.claims]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"names": []}, "no study was named"),
        ({"names": ["peeled", "peeled"]}, "named twice"),
        ({"names": "peeled", "resume": True}, "needs output=FOLDER"),
        ({"names": "peeled", "size": "large"}, "size 'large' is unknown"),
    ],
)
def test_wrong_arguments_are_explained(arguments: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        run(**arguments)
