"""Snapshots: two generations, checked, and never half written."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ncollapse.errors import NCollapseWarning
from ncollapse.record.atomic import is_unfinished, replacing
from ncollapse.record.lock import alone
from ncollapse.record.snapshots import load_snapshot, previous, remove_snapshot, save_snapshot


def state(number: int) -> dict[str, torch.Tensor]:
    return {"a": torch.full((3, 2), float(number)), "seen": torch.tensor([True, False])}


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "s.safetensors"
    save_snapshot(path, state(1), {"rows": 5, "nested": {"x": [1, None]}})
    tensors, header = load_snapshot(path)
    assert header == {"rows": 5, "nested": {"x": [1, None]}}
    assert all(torch.equal(tensors[k], v) for k, v in state(1).items())


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
def test_a_damaged_snapshot_falls_back_to_the_one_before(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "s.safetensors"
    for number in (1, 2):
        save_snapshot(path, state(number), {"rows": number})
    data = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "flipped":
        data[-3] ^= 0xFF
        path.write_bytes(data)
    else:
        path.unlink()
        assert load_snapshot(path)[1]["rows"] == 1
        return
    with pytest.warns(NCollapseWarning, match="the one before it is used"):
        assert load_snapshot(path)[1]["rows"] == 1


def test_no_valid_generation_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "s.safetensors"
    with pytest.raises(ValueError, match="no valid snapshot"):
        load_snapshot(path)
    path.write_bytes(b"x")
    previous(path).write_bytes(b"y")
    with pytest.raises(ValueError, match="no valid snapshot"):
        load_snapshot(path)


def test_a_failed_write_keeps_the_one_before(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "s.safetensors"
    save_snapshot(path, state(1), {"rows": 1})

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_snapshot(path, state(2), {"rows": 2})
    monkeypatch.undo()
    assert load_snapshot(path)[1]["rows"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["s.safetensors"]
    remove_snapshot(path)
    assert not list(tmp_path.iterdir())


def test_files_of_others_are_neither_overwritten_nor_removed(tmp_path: Path) -> None:
    path = tmp_path / "s.safetensors"
    path.write_text("mine")
    remove_snapshot(path)
    assert path.read_text() == "mine"
    save_snapshot(path, state(1), {"rows": 1})
    assert (tmp_path / "s-1.safetensors").read_text() == "mine"
    remove_snapshot(path)
    assert [p.name for p in tmp_path.iterdir()] == ["s-1.safetensors"]


def test_what_a_killed_writer_left_is_known_and_removed(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(Path, "unlink", lambda path, missing_ok=False: None)
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "a.json"):
        raise KeyboardInterrupt
    monkeypatch.undo()
    (left,) = tmp_path.iterdir()
    for name in (".notes.tmp", "a.0123456789ab.tmp", ".a.0123456789AB.tmp", "a.json"):
        (tmp_path / name).write_text("theirs")
    assert is_unfinished(left.name)
    with alone(tmp_path):
        assert not left.exists()
    assert len(list(tmp_path.iterdir())) == 4
