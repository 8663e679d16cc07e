"""A forward pass cut off goes on: the same numbers, on any number of ranks, never half a row."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import ncollapse as nc
from ncollapse.collect.keep.identity import fingerprint
from ncollapse.collect.keep.kept import is_kept, remove_kept
from ncollapse.collect.ranks.marks import sample_marks
from ncollapse.errors import NCollapseWarning
from tests.data import make
from tests.ranks import spawn

CASE = make("kept", counts=[30, 45, 40], dim=6, spread=0.3, offset=1.0)
ORDER = torch.randperm(115, generator=torch.Generator().manual_seed(1))
X, Y = torch.from_numpy(CASE.features).float()[ORDER], torch.from_numpy(CASE.labels)[ORDER]
DATA = TensorDataset(X, Y)


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A save after every batch would wait for the disk most of the time."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


class Counted(nn.Module):
    """Counts its forward passes, and stops in the one asked for."""

    def __init__(self, stop: int | None = None) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.hidden, self.fc = nn.Linear(6, 5), nn.Linear(5, 3)
        self.stop, self.calls = stop, 0

    def forward(self, x):
        if self.calls == self.stop:
            raise KeyboardInterrupt
        self.calls += 1
        return self.fc(torch.relu(self.hidden(x)))


def measured(model: nn.Module, folder: Path | None = None, **kept: Any) -> nc.Measurement:
    data = {"train": DataLoader(DATA, batch_size=8), "test": (X[:20], Y[:20])}
    if folder is not None:
        kept["snapshot"] = folder
    return nc.measure(model, data, layers="hidden", batch_size=8, null=False, **kept)


def same(left: nc.Measurement, right: nc.Measurement, rtol: float = 1e-12) -> None:
    assert left.document.config["splits"] == right.document.config["splits"]
    for split, layers in left.results.items():
        for layer, readings in layers.items():
            for key, reading in readings.items():
                other = right.results[split][layer][key].value
                assert reading.value == pytest.approx(other, rel=rtol, abs=1e-14), (split, key)


@pytest.mark.parametrize("stop", [1, 9, 16])
def test_a_pass_that_is_cut_off_goes_on_where_it_was(stop: int, tmp_path: Path) -> None:
    model = Counted(stop)
    with pytest.raises(KeyboardInterrupt):
        measured(model, tmp_path / "s", snapshot_every=0.0)
    model.stop, model.calls = None, 0
    found = measured(model, tmp_path / "s", resume=True)
    same(measured(Counted()), found)
    # 15 batches of one split and 3 of the other; the first finds the head again.
    assert model.calls == 18 - stop + 1


def test_without_a_snapshot_resume_starts_anew(tmp_path: Path) -> None:
    same(measured(Counted()), measured(Counted(), tmp_path / "s", resume=True))


@pytest.mark.parametrize("resume", [False, True])
def test_what_no_kept_pass_wrote_stays(resume: bool, tmp_path: Path) -> None:
    folder = tmp_path / "s"
    theirs = ("epoch_1/model.pt", "notes.txt", "001-of1/kept.txt", "002-of1/rank0/mine.txt")
    for name in theirs:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("theirs")
    for _ in range(3):
        measured(Counted(), folder, resume=resume)
    assert is_kept(folder)
    remove_kept(folder)
    assert all((folder / name).read_text() == "theirs" for name in theirs)
    assert {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} == {*theirs}
    assert not is_kept(folder)


def test_a_folder_of_ours_alone_is_removed_whole(tmp_path: Path) -> None:
    measured(Counted(), tmp_path / "s")
    remove_kept(tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_a_finished_pass_is_not_run_again(tmp_path: Path) -> None:
    measured(Counted(), tmp_path / "s")
    model = Counted()
    same(measured(Counted()), measured(model, tmp_path / "s", resume=True))
    assert model.calls == 1


@pytest.mark.parametrize("damage", ["state", "features"])
def test_files_cut_in_half_cost_at_most_a_generation(damage: str, tmp_path: Path) -> None:
    model = Counted(12)
    with pytest.raises(KeyboardInterrupt):
        measured(model, tmp_path / "s", snapshot_every=0.0)
    place = tmp_path / "s" / "001-of1" / "rank0"
    if damage == "state":
        state = place / "cache.safetensors"
        state.write_bytes(state.read_bytes()[: state.stat().st_size // 2])
        with pytest.warns(NCollapseWarning, match="snapshot damaged"):
            found = measured(Counted(), tmp_path / "s", resume=True)
    else:
        # Rows written after the last snapshot, and half of one, are cut.
        with (place / "0.bin").open("ab") as handle:
            handle.write(b"half a row")
        found = measured(Counted(), tmp_path / "s", resume=True)
    same(measured(Counted()), found)


def test_another_model_data_or_order_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        measured(Counted(9), tmp_path / "s", snapshot_every=0.0)
    other = Counted()
    with torch.no_grad():
        other.fc.weight.add_(1)
    with pytest.raises(ValueError, match="was made with another model"):
        measured(other, tmp_path / "s", resume=True)
    data = {
        "train": DataLoader(TensorDataset(X, Y.flip(0)), batch_size=8),
        "test": (X[:20], Y[:20]),
    }
    with pytest.raises(ValueError, match="gives other samples"):
        nc.measure(
            Counted(), data, layers="hidden", batch_size=8, snapshot=tmp_path / "s", resume=True
        )
    shuffling = DataLoader(DATA, batch_size=8, shuffle=True)
    with pytest.raises(ValueError, match="shuffles, so a resumed run could not tell"):
        nc.measure(Counted(), shuffling, snapshot=tmp_path / "t")
    with pytest.raises(ValueError, match="cache=False keeps none"):
        measured(Counted(), tmp_path / "u", cache=False)


def cut(rank: int, folder: Path) -> bool:
    try:
        # Ranks are stopped at different places.
        measured(Counted(3 + 2 * rank), folder, snapshot_every=0.0)
    except (KeyboardInterrupt, ValueError, RuntimeError):
        return True
    return False


def go_on(rank: int, folder: Path) -> nc.Measurement:
    return measured(Counted(), folder, resume=True)


@pytest.mark.parametrize(("before", "after"), [(2, 3), (3, 2), (2, 1), (1, 2)])
def test_any_number_of_ranks_goes_on_from_any_other(
    before: int, after: int, tmp_path: Path
) -> None:
    folder = tmp_path / "s"
    if before == 1:
        with pytest.raises(KeyboardInterrupt):
            measured(Counted(7), folder, snapshot_every=0.0)
    else:
        assert all(spawn(cut, before, folder, timeout=5))
    one = measured(Counted())
    results = [go_on(0, folder)] if after == 1 else spawn(go_on, after, folder)
    for found in results:
        same(one, found)
    assert (folder / "CURRENT").read_text() == f"002-of{after}"
    assert sorted(p.name for p in folder.iterdir()) == [f"002-of{after}", "CURRENT"]


# ---- what a kept pass goes on with ----------------------------------------------------------
def stack(activation: nn.Module, permuted: bool = False) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 5), activation, nn.Linear(5, 3))
    if permuted:
        with torch.no_grad():
            model[0].weight.copy_(model[0].weight.flip(0))
    return model


def kept(model: nn.Module, folder: Path, inputs: torch.Tensor = X, **more: Any) -> nc.Measurement:
    data = {"train": (inputs, Y)}
    return nc.measure(
        model, data, batch_size=8, null=False, intervals=False, snapshot=folder, **more
    )


def stop_at(done: int):
    def stop(stage: str, number: int, total: int) -> None:
        if stage == "forward pass" and number >= done:
            raise KeyboardInterrupt

    return stop


@pytest.fixture
def half(tmp_path: Path) -> Path:
    """A pass that was cut off after 40 samples."""
    with pytest.raises(KeyboardInterrupt):
        kept(stack(nn.ReLU()), tmp_path / "s", progress=stop_at(40), snapshot_every=0.0)
    return tmp_path / "s"


class Scaled(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x):
        return self.scale * x.relu()


MODELS = {
    "activation": lambda: stack(nn.Tanh()),
    "slope": lambda: stack(nn.LeakyReLU(0.5)),
    "rows in another order": lambda: stack(nn.ReLU(), permuted=True),
    "own module": lambda: stack(Scaled(1.0)),
    "dtype": lambda: stack(nn.ReLU()).bfloat16(),
}


@pytest.mark.parametrize("name", MODELS)
def test_another_model_is_refused(name: str, half: Path) -> None:
    with pytest.raises(ValueError, match="was made with another model"):
        kept(MODELS[name](), half, resume=True)


def test_a_model_is_known_by_what_it_computes_with() -> None:
    def of(model: nn.Module, *options: Any) -> str:
        return fingerprint(model, {}, options)

    assert of(stack(Scaled(1.0))) == of(stack(Scaled(1.0))) != of(stack(Scaled(2.0)))
    assert of(stack(nn.ReLU()), lambda x: x + 1) == of(stack(nn.ReLU()), lambda x: x + 1)
    assert of(stack(nn.ReLU()), lambda x: x + 1) != of(stack(nn.ReLU()), lambda x: x + 2)


def test_other_inputs_with_the_same_labels_are_refused(half: Path) -> None:
    changed = X.clone()
    changed[17, 3] += 1e-3
    with pytest.raises(ValueError, match="other inputs than .* first at sample 17"):
        kept(stack(nn.ReLU()), half, changed, resume=True)


def test_inputs_that_were_not_read_yet_may_change(half: Path) -> None:
    changed = X.clone()
    changed[60:] += 0.1
    found = kept(stack(nn.ReLU()), half, changed, resume=True)
    whole = nc.measure(stack(nn.ReLU()), {"train": (changed, Y)}, batch_size=8, null=False)
    assert found.value("nc1_fisher") == pytest.approx(whole.value("nc1_fisher"), rel=1e-9)


def test_another_size_of_batches_goes_on(half: Path) -> None:
    found = nc.measure(
        stack(nn.ReLU()), {"train": (X, Y)}, batch_size=16, null=False, snapshot=half, resume=True
    )
    whole = nc.measure(stack(nn.ReLU()), {"train": (X, Y)}, batch_size=8, null=False)
    assert found.value("nc1_fisher") == pytest.approx(whole.value("nc1_fisher"), rel=1e-6)


DAMAGE = {
    "one bit": lambda data: data[:100] + bytes([data[100] ^ 4]) + data[101:],
    "cut": lambda data: data[: len(data) // 3],
    "emptied": lambda data: b"",
    "gone": None,
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_features_are_refused(name: str, half: Path) -> None:
    change = DAMAGE[name]
    for path in half.rglob("*.bin"):
        if change is None:
            path.unlink()
        else:
            path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=r"is damaged \(rows \d+ to \d+ are not"):
        kept(stack(nn.ReLU()), half, resume=True)


def test_marks_are_of_the_sample_not_of_its_batch() -> None:
    ids, names = torch.arange(12).reshape(4, 3), ["a", "b", "c", "d"]
    whole = sample_marks({"ids": ids, "names": names, "scale": 2.0}, 4)
    part = sample_marks({"ids": ids[1:3], "names": names[1:3], "scale": 2.0}, 2)
    assert torch.equal(whole[1:3], part)
    assert whole.unique().numel() == 4
    for other in ({"ids": ids + 1, "names": names}, {"ids": ids.int(), "names": names}):
        assert not (sample_marks({**other, "scale": 2.0}, 4) == whole).any()
    assert not (sample_marks({"ids": ids, "names": names, "scale": 3.0}, 4) == whole).any()
