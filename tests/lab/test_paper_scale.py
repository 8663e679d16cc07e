"""Any model, any data, any number of processes: on a small folder of images, in seconds."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from ncollapse.cli import main
from ncollapse.lab.by_name import redrawn
from ncollapse.lab.data import Data, Dataset, digits, long_tailed
from ncollapse.lab.features import features_of
from ncollapse.lab.looks import Looks
from ncollapse.lab.models import conv, mlp
from ncollapse.lab.samples import Samples, labels_of, open_data, relabelled, subset
from ncollapse.lab.train import Settings, State, TrainResult, train
from ncollapse.sources.specs.optional import optional
from ncollapse.studies import find, run
from tests.ranks import launched, spawn

CODE = """
from torch import nn

def build():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 3),
    )
"""
SMALL = long_tailed(digits(), [12] * 10)
SHORT = Settings(epochs=3, batch_size=32, checkpoint_every=1)


def images(folder: Path, train: int = 34, test: int = 6) -> Path:
    """Three classes of noisy colours as folders of PNG files."""
    try:
        optional("torchvision")
    except ValueError as error:
        pytest.skip(str(error))
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("test", test)):
        for k, name in enumerate(("red", "green", "blue")):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 120, (8, 8, 3))
                pixels[:, :, k] += 120
                place = folder / split / name / f"{number}.png"
                image.fromarray(pixels.astype(np.uint8)).save(place)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("paper")
    images(found / "data")
    (found / "own_paper_code.py").write_text(CODE)
    return found


@pytest.fixture
def own_code(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.syspath_prepend(str(folder))
    return "own_paper_code:build"


def as_samples(data: Dataset) -> Samples:
    train = TensorDataset(data.train_x, data.train_y)
    return Samples(train, TensorDataset(data.test_x, data.test_y), data.num_classes)


def plain(seed: int = 1) -> nn.Sequential:
    return mlp(64, (16,), 10, batch_norm=False, seed=seed)


def same(one: TrainResult, two: TrainResult) -> bool:
    other = two.model.state_dict()
    equal = (torch.equal(value, other[name]) for name, value in one.model.state_dict().items())
    return one.history == two.history and all(equal)


# ---- one process ------------------------------------------------------------------------------
def test_samples_train_as_tensors_do() -> None:
    data = as_samples(SMALL)
    assert isinstance(data, Data) and isinstance(SMALL, Data)
    assert same(train(plain(), data, SHORT), train(plain(), SMALL, SHORT))


def test_image_folders_are_read_with_their_labels(folder: Path) -> None:
    data = open_data(f"imagefolder:{folder / 'data'}", image_size=8)
    assert isinstance(data, Samples)
    assert (data.num_classes, data.count("train"), data.count("test")) == (3, 102, 18)
    assert torch.bincount(labels_of(data.train)).tolist() == [34] * 3
    some = subset(data, 12, seed=0)
    assert isinstance(some, Samples)
    assert torch.bincount(labels_of(some.train)).tolist() == [4] * 3
    other = relabelled(some, torch.zeros(12, dtype=torch.int64))
    assert isinstance(other, Samples)
    assert torch.equal(other.train[3][0], some.train[3][0]) and other.train[3][1] == 0
    with pytest.raises(ValueError, match="40 samples of class 0 wanted and 34"):
        subset(data, 120, seed=0)


def test_other_seeds_start_elsewhere_from_the_same_values() -> None:
    zero, one = redrawn(conv(10), 0), redrawn(conv(10), 1)
    weights = [model.get_submodule("conv1").weight.detach().flatten() for model in (zero, one)]
    assert torch.equal(weights[0], conv(10).get_submodule("conv1").weight.detach().flatten())
    assert not torch.equal(*weights)
    assert torch.equal(weights[0].sort().values, weights[1].sort().values)


def test_an_interrupted_run_goes_on_from_its_checkpoint(tmp_path: Path, monkeypatch) -> None:
    whole_study = find("terminal-phase")
    part = next(part for part in whole_study.parts if part.name == "mse")
    claims = tuple(claim for claim in whole_study.claims if claim.id in part.claims)
    study = replace(whole_study, claims=claims, parts=(part,), draw=None)
    options = {"model": "mlp", "epochs": 12, "every": 2}
    whole = run(study, "mini", jobs=1, options=options)
    looked = Looks.on_epoch_end

    def stop(self, state) -> None:
        looked(self, state)
        if state.epoch == 11:
            raise KeyboardInterrupt

    monkeypatch.setattr(Looks, "on_epoch_end", stop)
    arguments = {"jobs": 1, "options": options, "output": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        run(study, "mini", **arguments)
    assert [path.name for path in tmp_path.glob("checkpoints/*/*")] == ["0-mse.pt"]
    monkeypatch.setattr(Looks, "on_epoch_end", looked)
    epochs: list[int] = []
    monkeypatch.setattr(Looks, "on_start", lambda self, state: epochs.append(state.epoch))
    resumed = run(study, "mini", resume=True, **arguments)
    # Ctrl-C keeps the last whole epoch, whose callbacks all ran.
    assert epochs == [10]
    for one, two in zip(whole.units, resumed.units, strict=True):
        assert replace(one, seconds=0.0) == replace(two, seconds=0.0)
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("peeled", "--model", "torchvision:resnet18"), "study 'peeled' has no setting model"),
        (("terminal-phase", "--scheduler", "tcp://h:1"), "'dask' is needed"),
    ],
)
def test_what_cannot_be_is_one_sentence(arguments, said: str, capsys, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["study", "run", *arguments, "--size", "mini", "-o", str(tmp_path)])
    assert stop.value.code == 2
    said_ = capsys.readouterr().err
    assert said in said_ and "Traceback" not in said_


def test_what_a_run_cannot_use_fails_that_run(own_code: str, folder: Path) -> None:
    for options, said in (
        ({"data": f"imagefolder:{folder / 'data'}"}, "is made for digits and the data is"),
        ({"model": own_code, "data": f"imagefolder:{folder}/none"}, "no such folder"),
        ({"device": "cuda:77"}, "device 'cuda:77' cannot be used here"),
    ):
        found = run("terminal-phase", "mini", jobs=1, options=options)
        assert [said in unit.error for unit in found.failures] == [True] * 3


# ---- two processes ----------------------------------------------------------------------------
class StopAfter:
    """Callback: Ctrl-C after the epoch named."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_start(self, state: State) -> None: ...

    def on_epoch_end(self, state: State) -> None:
        if state.epoch == self.epoch:
            raise KeyboardInterrupt

    def on_end(self, state: State) -> None: ...


def trained(rank: int, folder: str) -> dict:
    """A run with checkpoints, the same again from the second epoch, and one with BatchNorm."""
    settings = replace(SHORT, checkpoint=Path(folder) / "c.pt")
    whole = train(plain(), SMALL, settings)
    again = Path(folder) / "again.pt"
    with contextlib.suppress(KeyboardInterrupt):
        train(plain(), SMALL, replace(settings, checkpoint=again), [StopAfter(2)])
    resumed = train(plain(), SMALL, replace(settings, checkpoint=again, resume=True))
    normed = train(mlp(64, (16,), 10, seed=1), as_samples(SMALL), SHORT)
    seen = features_of(normed.model, SMALL, "test", None)
    return {
        "history": whole.history,
        "weights": whole.model.state_dict(),
        "resumed": same(whole, resumed),
        "normed": (normed.history, normed.model.state_dict(), float(seen.features.sum())),
    }


def test_two_processes_train_one_model(tmp_path: Path) -> None:
    one, two = spawn(trained, 2, str(tmp_path))
    assert one["history"] == two["history"]
    assert one["resumed"] and two["resumed"]
    assert one["normed"][0] == two["normed"][0] and one["normed"][2] == two["normed"][2]
    for name, value in one["weights"].items():
        assert torch.equal(value, two["weights"][name])
    for name, value in one["normed"][1].items():
        assert torch.equal(value, two["normed"][1][name]), name
    alone = train(plain(), SMALL, SHORT)
    for name, value in alone.model.state_dict().items():
        assert torch.allclose(value, one["weights"][name], atol=1e-5), name
    for mine, shared in zip(alone.history, one["history"], strict=True):
        assert mine.train_loss == pytest.approx(shared.train_loss, rel=1e-4)
    assert (tmp_path / "c.pt").exists()


def test_torchrun_runs_the_study_once(folder: Path) -> None:
    arguments = [
        "study", "run", "terminal-phase", "--size", "mini", "--model", "own_paper_code:build",
        "--data", f"imagefolder:{folder / 'data'}", "--epochs", "2", "--every", "1",
        "--batch-size", "16", "--image-size", "8", "--device", "cpu", "--json", "-o", "out",
    ]  # fmt: skip

    def command() -> None:
        os.environ["NCOLLAPSE_TIMEOUT"] = "60"
        os.chdir(folder)
        sys.path.insert(0, str(folder))
        main(arguments)

    first, second = launched(command, 2, timeout=120)
    assert (first.status, second.status) == (0, 0), first.err[-2000:] + second.err[-2000:]
    assert second.out == ""
    (study,) = json.loads(first.out)["studies"]
    assert len(study["claims"]) == 12
    document = json.loads((folder / "out" / "study.json").read_text("utf-8"))
    assert [unit["error"] for unit in document["runs"]] == [""] * 3
    assert document["settings"]["model"] == "own_paper_code:build"
    curves = document["runs"][0]["data"]["rows"][0]["curves"]
    assert curves["epoch"] == [1, 2]
    assert all(value is not None and value > 0 for value in curves["nc1_fisher"])
