"""Kills and Ctrl-C at moments drawn at random: what is resumed ends in the same bits.

Every kind of run is stopped ten times in a row, each time going on from what the kill before left, and
then finished.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.data import make

KILLS = 10
# Snapshots after every chunk and batch: more moments at which one is being written.
OFTEN = """
import signal, sys
# Ignored where the tests themselves run in the background of a shell.
signal.signal(signal.SIGINT, signal.default_int_handler)
from dataclasses import replace
import ncollapse.measuring.measure as measuring
plain = measuring.options_of
measuring.options_of = lambda *a, **k: replace(plain(*a, **k), snapshot_every=0.0)
from ncollapse.cli import main
main(sys.argv[1:])
"""
CODE = """
import time, torch
from torch.utils.data import TensorDataset

class Net(torch.nn.Linear):
    def forward(self, x):
        time.sleep(0.02)
        return super().forward(x)

def build():
    torch.manual_seed(0)
    return Net(8, 5)

def data():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(2000) % 5
    inputs = torch.randn(2000, 8, generator=generator) + labels[:, None]
    return {"train": TensorDataset(inputs, labels), "test": TensorDataset(inputs[::2], labels[::2])}
"""


def file_run(folder: Path) -> list[str]:
    case = make("kills", counts=[25_000] * 4, dim=32)
    path = folder / "data.npz"
    np.savez(path, features=case.features, labels=case.labels, weight=case.weight)
    return ["measure", str(path), "--no-null"]


def model_run(folder: Path) -> list[str]:
    (folder / "killed_code.py").write_text(CODE)
    spec = ["--model", "killed_code:build", "--data", "killed_code:data"]
    return ["measure", *spec, "--batch-size", "32", "--no-null"]


def study_run(folder: Path) -> list[str]:
    return ["study", "run", "landscape", "--size", "mini", "-j", "1"]


def demo_run(folder: Path) -> list[str]:
    return ["demo", "--epochs", "2"]


def plain(value: object) -> object:
    """A document without what differs from run to run: dates, seconds, places."""
    if isinstance(value, dict):
        gone = ("date", "seconds", "environment", "git_hash", "folder", "output")
        return {key: plain(inner) for key, inner in value.items() if key not in gone}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


def found(folder: Path) -> dict[str, object]:
    parts: dict[str, object] = {}
    for name in ("results.json", "study.json"):
        if (folder / name).exists():
            parts[name] = plain(json.loads((folder / name).read_text("utf-8")))
    for name in ("trace.csv", "classes.csv", "claims.csv"):
        if (folder / name).exists():
            parts[name] = (folder / name).read_text("utf-8")
    if (folder / "features.npz").exists():
        with np.load(folder / "features.npz") as arrays:
            parts["features"] = {name: arrays[name].tolist() for name in arrays.files}
    return parts


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("run", [file_run, model_run, study_run, demo_run])
def test_a_run_that_is_killed_again_and_again_ends_in_the_same_bits(run, tmp_path: Path) -> None:
    command = [sys.executable, "-c", OFTEN, *run(tmp_path), "-q", "--output"]
    paths = [str(tmp_path), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
    began = time.monotonic()
    subprocess.run([*command, str(tmp_path / "whole")], check=True, env=environment)
    whole, seconds = found(tmp_path / "whole"), time.monotonic() - began
    assert whole

    rng = np.random.default_rng(0)
    again = [*command, str(tmp_path / "killed"), "--resume"]
    for number in range(KILLS):
        child = subprocess.Popen(again, env=environment, stderr=subprocess.PIPE, text=True)
        try:
            child.wait(float(rng.uniform(0.1, 1.0)) * seconds)
        except subprocess.TimeoutExpired:
            child.send_signal((signal.SIGKILL, signal.SIGINT)[number % 2])
        _, said = child.communicate(timeout=600)
        assert child.returncode in (0, 130, -signal.SIGINT, -signal.SIGKILL), said
    subprocess.run(again, check=True, env=environment, timeout=600)
    left = found(tmp_path / "killed")
    assert left.keys() == whole.keys()
    for name, part in whole.items():
        assert left[name] == part, name
    names = {path.name for path in (tmp_path / "killed").iterdir()}
    assert not {name for name in names if name.startswith((".", "snapshot"))}
