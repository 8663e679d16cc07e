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
        capsys, "study", "run", "minority", "--size", "mini", "--jobs", 1, "--json", "-o", folder
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
        capsys, "study", "run", "imbalance", "minority", "--size", "mini", "--jobs", 1, "-q"
    )
    assert code == 0
    made = sorted(p.name.split("-")[0] for p in (tmp_path / "ncollapse-runs").iterdir())
    assert made == ["imbalance", "minority"]
    assert "cannot tell" in out and "summary.html" in out


def test_several_studies_lie_in_folders_and_resume(capsys, tmp_path: Path) -> None:
    arguments = (
        "study",
        "run",
        "imbalance",
        "minority",
        "--size",
        "mini",
        "--jobs",
        1,
        "-o",
        tmp_path,
    )
    run(capsys, *arguments)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["imbalance", "minority"]
    before = (tmp_path / "minority" / "runs" / "grid-0.json").stat().st_mtime_ns
    code, _, _ = run(capsys, *arguments, "--resume", "--json")
    assert code == 0
    assert (tmp_path / "minority" / "runs" / "grid-0.json").stat().st_mtime_ns == before


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


# ---- settings -----------------------------------------------------------------------------------
OLD_FLAGS = {
    "model": "mlp",
    "data": "digits",
    "epochs": "3",
    "batch-size": "32",
    "learning-rate": "0.1",
    "weight-decay": "0.001",
    "schedule": "step",
    "every": "2",
    "image-size": "8",
    "workers": "0",
    "device": "cpu",
}


def mini(*arguments: object) -> tuple[object, ...]:
    return ("study", "run", *arguments, "--size", "mini", "--jobs", 1, "-q")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """Settings of the studies that would be run, by name; nothing is run."""
    seen: list[dict] = []

    def note(studies, size: str, **_: object) -> list:
        seen.append({study.name: study.settings[size] for study in studies})
        return []

    monkeypatch.setattr("ncollapse.lab.runner.run", note)
    return seen


def test_help_shows_set_and_none_of_the_old_flags(capsys) -> None:
    code, out, _ = run(capsys, "study", "run", "--help")
    assert code == 0
    assert "--set epochs=20" in out and "KEY=VALUE" in out
    assert not [flag for flag in OLD_FLAGS if f"--{flag} " in out]


def test_set_replaces_settings_by_their_kind(capsys, tmp_path: Path) -> None:
    code, _, err = run(
        capsys,
        *mini("peeled", "-o", tmp_path),
        "--set", "starts=2", "--set", "until=1e6", "--set", "factors=0.5,1.5",
    )  # fmt: skip
    assert (code, err) == (0, "")
    found = json.loads((tmp_path / "study.json").read_text("utf-8"))["settings"]
    assert (found["starts"], found["until"], found["factors"]) == (2, 1e6, [0.5, 1.5])
    assert found["count"] == 2


def test_old_flags_set_the_same_and_say_how_it_is_written_now(capsys, asked) -> None:
    old = [part for flag, value in OLD_FLAGS.items() for part in (f"--{flag}", value)]
    keys = {flag.replace("-", "_"): value for flag, value in OLD_FLAGS.items()}
    new = [part for key, value in keys.items() for part in ("--set", f"{key}={value}")]
    code, _, said = run(capsys, *mini("terminal-phase"), *old)
    assert code == 0
    assert said.splitlines() == [
        f"--{flag} is deprecated and works until version 0.3; write --set {key}={value}"
        for (flag, value), key in zip(OLD_FLAGS.items(), keys, strict=True)
    ]
    code, _, said = run(capsys, *mini("terminal-phase"), *new)
    assert (code, said) == (0, "")
    before, after = (found["terminal-phase"] for found in asked)
    assert before == after
    assert (after["model"], after["image_size"], after["learning_rate"]) == ("mlp", 8, 0.1)


def test_of_several_studies_those_that_have_a_setting_take_it(capsys, asked) -> None:
    code, _, err = run(capsys, *mini("peeled", "minority"), "--set", "epochs=2", "--set", "seeds=3")
    assert code == 0
    assert err.splitlines() == ["epochs=2 goes to minority, not to peeled"]
    (found,) = asked
    assert found["minority"]["epochs"] == 2 and "epochs" not in found["peeled"]
    assert found["minority"]["seeds"] == found["peeled"]["seeds"] == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("peeled", "--set", "epochs=3"),
            "no setting epochs; at size mini it has seeds=1, first_seed=0",
        ),
        (
            ("peeled", "--epochs", "3"),
            "no setting epochs; at size mini it has seeds=1, first_seed=0",
        ),
        (("peeled", "landscape", "--set", "epochs=3"), "no study has a setting epochs"),
        (("peeled", "--set", "starts=few"), "starts=few cannot be; a whole number is needed"),
        (
            ("minority", "--set", "ratios=2,x"),
            "a list of the same kind is needed, as in ratios=2,4",
        ),
        (("imbalance", "--set", "network=3"), "set one of them: network.majority=30"),
        (("peeled", "--set", "starts"), "--set 'starts' is not understood; write --set KEY=VALUE"),
        (("peeled", "--set", "=3"), "--set '=3' is not understood"),
        (("peeled", "--set", "starts=1", "--set", "starts=2"), "starts is set twice, to 1 and 2"),
        (("minority", "--set", "epochs=1", "--epochs", "2"), "epochs is set twice, to 1 and 2"),
        (("peeled", "--set", "seeds=0"), "seeds=0; at least 1 is needed"),
        (("minority", "--epochs", "0"), "Invalid value for '--epochs'"),
        (("peeled", "--size", "huge", "--set", "starts=1"), "size 'huge' is unknown"),
    ],
)
def test_settings_that_cannot_be_are_one_sentence(
    capsys, tmp_path: Path, arguments, said: str
) -> None:
    size = () if "--size" in arguments else ("--size", "mini")
    code, out, err = run(capsys, "study", "run", *arguments, *size, "-o", tmp_path / "out")
    assert (code, out) == (2, "")
    assert said in err and "Traceback" not in err
    assert not (tmp_path / "out").exists()
