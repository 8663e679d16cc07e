"""`ncollapse study` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ncollapse.cli import main
from ncollapse.studies import names


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return int(caught.value.code or 0), out, err


def test_list_names_every_study(capsys) -> None:
    code, out, _ = run(capsys, "study", "list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == list(names())
    code, out, _ = run(capsys, "study", "list", "--json")
    assert [row["name"] for row in json.loads(out)["studies"]] == list(names())


def test_show_tells_claims_and_bars(capsys) -> None:
    code, out, _ = run(capsys, "study", "show", "imbalance")
    assert code == 0
    assert "imbalance-network-blocks" in out and "≤ 0.03" in out and "source:" in out
    _, out, _ = run(capsys, "study", "show", "imbalance", "--json")
    shown = json.loads(out)
    assert {"name", "question", "paper", "settings", "claims"} == set(shown)
    assert shown["claims"][0]["high"] == 1e-3


def test_run_prints_json_alone(capsys, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    code, out, _ = run(
        capsys, "study", "run", "peeled", "--size", "mini", "--jobs", 1, "--json", "-o", folder
    )
    assert code == 0
    data = json.loads(out)
    assert set(data) == {"studies"}
    (study,) = data["studies"]
    assert set(study) == {"name", "seconds", "claims"}
    for claim in study["claims"]:
        assert set(claim) == {"id", "text", "source", "measured", "bar", "verdict"}
    assert (folder / "study.json").exists()
    assert (folder / "claims.csv").exists()
    assert (folder / "summary.html").exists()


def test_run_writes_dated_folders_by_default(capsys, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(
        capsys, "study", "run", "peeled", "minority", "--size", "mini", "--jobs", 1, "-q"
    )
    assert code == 0
    made = sorted(p.name.split("-")[0] for p in (tmp_path / "ncollapse-runs").iterdir())
    assert made == ["minority", "peeled"]
    assert "cannot tell" in out and "summary.html" in out


def test_several_studies_lie_in_folders_and_resume(capsys, tmp_path: Path) -> None:
    arguments = (
        "study",
        "run",
        "peeled",
        "minority",
        "--size",
        "mini",
        "--jobs",
        1,
        "-o",
        tmp_path,
    )
    run(capsys, *arguments)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["minority", "peeled"]
    before = (tmp_path / "peeled" / "runs" / "kkt-0.json").stat().st_mtime_ns
    code, _, _ = run(capsys, *arguments, "--resume", "--json")
    assert code == 0
    assert (tmp_path / "peeled" / "runs" / "kkt-0.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "nothing"), "study 'nothing' is unknown"),
        (("show", "nothing"), "study 'nothing' is unknown"),
        (("run", "peeled", "--size", "huge"), "size 'huge' is unknown"),
        (("run", "peeled", "--resume"), "--resume needs --output"),
        (("run", "peeled", "--jobs", "0"), "--jobs 0 runs nothing"),
    ],
)
def test_bad_input_is_one_sentence(capsys, arguments, said: str) -> None:
    code, out, err = run(capsys, "study", *arguments)
    assert code == 2
    assert out == ""
    assert said in err and "Traceback" not in err
