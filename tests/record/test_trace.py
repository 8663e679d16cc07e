"""Traces: appended line by line, cut lines dropped, resumed from a step."""

from __future__ import annotations

from pathlib import Path

import pytest

from ncollapse.record.trace import Trace


def test_appending_saving_and_loading_agree(tmp_path: Path) -> None:
    trace = Trace(path=tmp_path / "run" / "trace.csv")
    for step in (1, 3, 10):
        trace.append(step, {"a": step / 7, "b": None}, split="train", epoch=step / 2)
    trace.append(10, {"a": 1e-300}, split="test")
    assert Trace.load(trace.path).rows == trace.rows
    trace.save(tmp_path / "copy.csv")
    assert Trace.load(tmp_path / "copy.csv").rows == trace.rows
    assert trace.series("train", "head", "a") == ([1, 3, 10], [1 / 7, 3 / 7, 10 / 7])
    assert list(trace.to_frame().columns) == ["step", "epoch", "split", "layer", "key", "value"]
    assert {row.step for row in trace.before(10).rows} == {1, 3}


def test_a_line_cut_by_a_crash_is_dropped(tmp_path: Path) -> None:
    trace = Trace(path=tmp_path / "trace.csv")
    trace.append(1, {"a": 0.5}, split="train")
    trace.append(2, {"a": 0.25}, split="train")
    text = trace.path.read_text()
    trace.path.write_text(text[:-5])
    assert [row.step for row in Trace.load(trace.path).rows] == [1]


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="is no trace.csv"):
        Trace.load(path)


@pytest.mark.parametrize("cut", [1, 4, 12, 30, 40, 10_000])
def test_a_cut_trace_is_continued_on_a_line_of_its_own(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    trace = Trace(path=path)
    for step in (1, 2):
        trace.append(step, {"a": 0.123456789}, split="train")
    text = path.read_bytes()
    path.write_bytes(text[:-cut])
    kept = Trace.load(path).rows if b"\n" in text[:-cut] else []
    Trace(list(kept), path).append(3, {"b": 0.5}, split="train")
    found = Trace.load(path).rows
    assert found[:-1] == kept
    assert (found[-1].step, found[-1].key, found[-1].value) == (3, "b", 0.5)


def test_a_very_long_cut_line_is_found_whole(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    Trace(path=path).append(1, {"a": 1.0}, split="train")
    with path.open("a") as handle:
        handle.write("2,,train," + "x" * 20_000)
    Trace(path=path).append(3, {"a": 1.0}, split="train")
    assert [row.step for row in Trace.load(path).rows] == [1, 3]
