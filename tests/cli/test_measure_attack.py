"""`ncollapse measure --attack …` as a user meets it."""

from __future__ import annotations

import json

import pytest
from torch import Tensor, nn

from tests.cli.test_commands import run
from tests.measuring.test_attacked import data as pair
from tests.measuring.test_attacked import network

QUICK = ("--no-null", "--no-intervals", "-q")
HERE = "tests.cli.test_measure_attack"
WHAT = ("measure", "--model", f"{HERE}:network", "--data", f"{HERE}:splits")


def splits():
    return {"train": pair(), "test": pair(40, seed=1)}


def fade(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    return inputs * 0.9


def narrow(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    return inputs[:, :1]


def test_an_attack_in_terminal_report_results_and_check(capsys, tmp_path) -> None:
    folder = tmp_path / "out"
    code, out, _ = run(
        capsys, *WHAT, "--attack", "pgd", "--eps", "0.3", "--norm", "l2", "--steps", "5",
        "--clip", "none", "--layers", "1", "-o", folder, *QUICK,
    )  # fmt: skip
    assert code == 0
    assert "Under attack: pgd, l2 eps 0.3, 5 steps of 0.15" in out
    assert "test@pgd" in out and "test@noise" in out and "centres by layer" in out
    document = json.loads((folder / "results.json").read_text("utf-8"))
    assert list(document["results"]["test@pgd"]) == ["1", "head"]
    assert document["config"]["attack"]["norm"] == "l2"
    assert "Under attack" in (folder / "report.html").read_text("utf-8")
    code, out, _ = run(capsys, "check", folder, "--split", "test@pgd", "--min", "accuracy=0")
    assert code == 0 and "test@pgd/head/accuracy" in out
    code, out, _ = run(capsys, "explain", "leap_predicted")
    assert code == 0 and "none: samples are picked by the attack" in " ".join(out.split())


def test_an_attack_of_ones_own_on_one_split_as_json(capsys) -> None:
    code, out, _ = run(
        capsys, *WHAT, "--attack", f"{HERE}:fade", "--attack-split", "test", "--json", *QUICK
    )
    assert code == 0
    assert list(json.loads(out)["results"]) == ["train", "test", "test@fade", "test@noise"]


BAD = {
    "no size": (["--attack", "pgd"], "needs its size"),
    "eps": (["--attack", "pgd", "--eps", "0"], "eps=0.0"),
    "clip": (["--attack", "pgd", "--eps", "1", "--clip", "a,b"], "write LOW,HIGH or none"),
    "range": (["--attack", "pgd", "--eps", "1", "--clip", "0.4,0.5"], "outside clip"),
    "shape": (["--attack", f"{HERE}:narrow"], "same shape"),
    "no function": (["--attack", f"{HERE}:nothing"], "has no function 'nothing'"),
    "resume": (["--attack", "pgd", "--eps", "1", "--resume", "-o", "x"], "with --resume"),
    "no attack": (["--eps", "1"], "belong to --attack"),
    "checkpoints": (["--attack", "pgd", "--eps", "1", "--weights", "*.pt"], "one checkpoint"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence_and_exit_code_2(
    name: str, capsys, tmp_path, monkeypatch
) -> None:
    arguments, words = BAD[name]
    if name == "checkpoints":
        import torch

        torch.save(network().state_dict(), tmp_path / "a.pt")
        torch.save(network().state_dict(), tmp_path / "b.pt")
        arguments = [*arguments[:-1], str(tmp_path / "*.pt")]
    code, out, err = run(capsys, *WHAT, *arguments, *QUICK)
    assert code == 2 and out == ""
    assert words in err and len(err.strip().splitlines()) == 1


def test_files_have_no_inputs_to_attack(capsys, tmp_path) -> None:
    code, _, err = run(capsys, "measure", tmp_path / "a.npz", "--attack", "pgd", "--eps", "1")
    assert code == 2 and "does not go with a feature file" in err
