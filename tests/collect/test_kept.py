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
from ncollapse.collect.keep.kept import is_kept, remove_kept
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
