"""`torchrun -m ncollapse measure`: one process's numbers, printed and written by rank 0 alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ncollapse.cli import main
from tests.cli.test_commands import run as alone
from tests.ranks import Ended, launched

CODE = """
import os
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

def data():
    g = torch.Generator().manual_seed(1)
    y = torch.randint(0, 3, (90,), generator=g)
    x = torch.randn(90, 6, generator=g) + 2 * nn.functional.one_hot(y, 6)
    return {"train": DataLoader(TensorDataset(x, y), batch_size=8)}

def broken():
    found = data()["train"].dataset.tensors
    y = found[1].clone()
    if os.environ.get("RANK") == "1":
        y[0] = 7
    return {"train": DataLoader(TensorDataset(found[0], y), batch_size=8)}

def deadly():
    if os.environ.get("RANK") == "1":
        os._exit(9)
    return data()

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
"""


def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "own_code.py").write_text(CODE)
    start = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    plain = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE")}
    env = {**plain, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(folder), "NCOLLAPSE_TIMEOUT": "20"}
    return subprocess.run(
        [*start, "-m", "ncollapse", "measure", *arguments],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=100,
    )


def forked(arguments: list[str], folder: Path) -> list[Ended]:
    """The command on two ranks with torchrun's environment, without its launcher."""
    (folder / "own_code.py").write_text(CODE)

    def command() -> None:
        os.environ["NCOLLAPSE_TIMEOUT"] = "20"
        os.chdir(folder)
        sys.path.insert(0, str(folder))
        main(["measure", *arguments])

    return launched(command, 2)


def values(text: str) -> dict[str, float | None]:
    layers = json.loads(text)["results"]["train"]
    return {
        f"{layer}/{key}": reading["value"]
        for layer, readings in layers.items()
        for key, reading in readings.items()
    }


MODEL = ["--model", "own_code:build", "--data", "own_code:data", "--layers", "*"]


def test_a_model_measured_by_two_reads_as_by_one(capsys, monkeypatch, tmp_path: Path) -> None:
    two = run([*MODEL, "--json", "-o", "out"], tmp_path)
    assert two.returncode == 0, two.stderr
    monkeypatch.syspath_prepend(tmp_path)
    _, one, _ = alone(capsys, "measure", *MODEL, "--json")
    # Rank 0 alone prints: one document on stdout.
    left, right = values(one), values(two.stdout)
    assert left.keys() == right.keys()
    for key, value in left.items():
        assert value == pytest.approx(right[key], rel=1e-12, abs=1e-14), key
    assert (tmp_path / "out" / "results.json").exists()


def test_a_file_measured_by_two_reads_as_by_one(capsys, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 9000)
    features = rng.normal(size=(9000, 5)).astype(np.float32)
    features[:, :3] += np.eye(3, dtype=np.float32)[labels]
    np.savez(tmp_path / "f.npz", features=features, labels=labels, weight=np.eye(3, 5))
    two, other = forked(["f.npz", "--json"], tmp_path)
    assert (two.status, other.status) == (0, 0), two.err + other.err
    assert other.out == ""
    _, one, _ = alone(capsys, "measure", tmp_path / "f.npz", "--json")
    left, right = values(one), values(two.out)
    for key, value in left.items():
        assert value == pytest.approx(right[key], rel=1e-12, abs=1e-14), key


def test_a_bad_label_on_one_rank_is_one_sentence(tmp_path: Path) -> None:
    done = forked([*MODEL[:2], "--data", "own_code:broken"], tmp_path)
    assert all(one.status != 0 for one in done)
    lines = [line for one in done for line in one.err.splitlines()]
    said = [line for line in lines if line.startswith("ncollapse:")]
    assert len(said) == 1
    assert "rank 1: label 7 of sample 0" in said[0]


@pytest.mark.slow
def test_a_rank_that_dies_ends_the_other(tmp_path: Path) -> None:
    done = run([*MODEL[:2], "--data", "own_code:deadly"], tmp_path)
    assert done.returncode != 0
