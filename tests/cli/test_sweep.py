"""Sweeps over checkpoints: one trace in order of training, the last in full, resumable."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import ncollapse as nc
from ncollapse.record.trace import Trace
from ncollapse.tracking.sweep import checkpoints, sweep
from tests.cli.test_commands import run
from tests.models import blobs, net

MODEL = "tests.cli.test_measure_model:model"
DATA = "tests.cli.test_measure_model:data"
QUICK = ("--no-null", "--no-intervals", "-q")


def trained(folder: Path, names: list[str]) -> list[nn.Module]:
    """The network with ever smaller features' noise: a head scaled a little more each time."""
    folder.mkdir(exist_ok=True)
    states = []
    for number, name in enumerate(names):
        model = net()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1 + 0.1 * number)
        torch.save(model.state_dict(), folder / name)
        states.append(model)
    return states


@pytest.mark.parametrize(
    ("names", "steps", "epochs"),
    [
        (["epoch_2.pt", "epoch_10.pt", "epoch_1.pt"], [1, 2, 10], [1, 2, 10]),
        (["step_200.pt", "step_1000.pt"], [200, 1000], [None, None]),
        (["epoch=0-step=30.ckpt", "epoch=1-step=60.ckpt"], [30, 60], [0, 1]),
        (["run2_a_5.pt", "run2_a_12.pt"], [5, 12], [None, None]),
        (["first.pt", "second.pt"], [0, 1], [None, None]),
    ],
)
def test_steps_are_read_from_names(names, steps, epochs, tmp_path: Path) -> None:
    for name in names:
        torch.save({}, tmp_path / name)
    found = checkpoints(str(tmp_path / "*"))
    assert [c.step for c in found] == steps
    assert [c.epoch for c in found] == epochs


def test_steps_are_read_from_the_files_where_names_are_silent(tmp_path: Path) -> None:
    for name, step in (("best", 700), ("early", 20)):
        torch.save(
            {"epoch": step // 10, "global_step": step, "w": torch.ones(2)}, tmp_path / f"{name}.pt"
        )
    found = checkpoints([tmp_path / "best.pt", tmp_path / "early.pt"])
    assert [(c.path.stem, c.step, c.epoch) for c in found] == [("early", 20, 2), ("best", 700, 70)]


def test_names_of_one_step_and_patterns_of_nothing_are_refused(tmp_path: Path) -> None:
    for name in ("a_epoch_1.pt", "b_epoch_1.pt"):
        torch.save({}, tmp_path / name)
    with pytest.raises(ValueError, match="are both of step 1"):
        checkpoints(str(tmp_path / "*.pt"))
    with pytest.raises(ValueError, match="match no file"):
        checkpoints(str(tmp_path / "*.bin"))


def test_a_sweep_measures_each_and_the_last_in_full(tmp_path: Path) -> None:
    names = [f"epoch_{n}.pt" for n in (1, 2, 3)]
    models = trained(tmp_path / "ckpt", names)
    said: list[str] = []
    found = sweep(net(), str(tmp_path / "ckpt" / "*.pt"), {"train": blobs(80)}, say=said.append)
    steps, values = found.trace.series("train", "head", "nc1_ratio")
    assert steps == [1, 2, 3]
    for model, value in zip(models, values, strict=True):
        wanted = nc.measure(model, {"train": blobs(80)}, null=False, intervals=False)
        assert value == wanted.results["train"]["head"]["nc1_ratio"].value
    assert found.results["train"]["head"]["nc1_ratio"].null is not None
    assert [line.split(": ")[1] for line in said] == names
    # Ranks of single classes go along, from the same samples as in the last, whole measurement.
    for row in found.classes:
        steps, ranks = found.trace.series("train", "head", f"class_rank:{row.index}")
        assert steps == [1, 2, 3] and ranks[-1] == row.rank
    (verdict,) = [verdict for verdict in found.verdicts if verdict.id == "silent_collapse"]
    assert verdict.answer == "no"


def test_a_sweep_on_the_command_line_resumes(capsys, tmp_path: Path) -> None:
    trained(tmp_path / "ckpt", ["epoch_1.pt", "epoch_2.pt"])
    out = tmp_path / "out"
    command = ["measure", "--model", MODEL, "--data", DATA, "--output", out, *QUICK]
    pattern = str(tmp_path / "ckpt" / "epoch_*.pt")
    code, _, said = run(capsys, *command, "--weights", pattern)
    assert code == 0, said
    assert {"trace.csv", "results.json", "report.html"} <= {p.name for p in out.iterdir()}
    before = Trace.load(out / "trace.csv").rows
    assert sorted({row.step for row in before}) == [1, 2]
    trained(tmp_path / "ckpt", ["epoch_1.pt", "epoch_2.pt", "epoch_3.pt"])
    # What is in the trace is not read again: it could not be, now.
    (tmp_path / "ckpt" / "epoch_2.pt").write_bytes(b"cut")
    code, _, said = run(capsys, *command, "--weights", pattern, "--resume")
    assert code == 0, said
    rows = Trace.load(out / "trace.csv").rows
    assert rows[: len(before)] == before
    assert sorted({row.step for row in rows}) == [1, 2, 3]
    page = (out / "report.html").read_text("utf-8")
    assert "epoch" in page


def test_a_checkpoint_of_another_model_is_named_with_what_it_lacks(tmp_path: Path) -> None:
    trained(tmp_path / "ckpt", ["epoch_1.pt"])
    torch.save({"other.weight": torch.ones(2, 2)}, tmp_path / "ckpt" / "epoch_2.pt")
    with pytest.raises(ValueError, match=r"epoch_2\.pt lack \d+ of \d+ tensors, first 'conv1"):
        nc.measure_checkpoints(net(), str(tmp_path / "ckpt" / "*.pt"), {"train": blobs(80)})


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    trained(tmp_path / "ckpt", ["epoch_1.pt", "epoch_2.pt"])
    (tmp_path / "ckpt" / "epoch_2.pt").write_bytes(b"cut")
    with pytest.raises(ValueError, match=r"epoch_2\.pt cannot be read safely"):
        sweep(net(), str(tmp_path / "ckpt" / "*.pt"), {"train": blobs(80)})
