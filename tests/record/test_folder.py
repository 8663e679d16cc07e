"""A run folder holds one run, whole: whatever stops a save, and whoever reads meanwhile."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

import ncollapse as nc
from ncollapse.record import folder as places
from ncollapse.record.folder import PARTS, WRITING, WRITTEN, part, reading, replace_parts
from ncollapse.record.run import Run

LABELS = np.arange(60) % 3


class Killed(BaseException):
    """Stands in for SIGKILL: no handler of ours may catch it and tidy up."""


def measured(scale: float, width: int = 6, trace: nc.Trace | None = None) -> nc.Measurement:
    rng = np.random.default_rng(0)
    features = scale * np.eye(3, width)[LABELS] + 0.1 * rng.normal(size=(60, width))
    return nc.measure_features(
        features, LABELS, weight=np.eye(3, width), null=False, intervals=False, trace=trace
    )


def traced() -> nc.Trace:
    trace = nc.Trace()
    trace.append(1, {"nc1_fisher": 0.5}, split="train")
    return trace


def whole(folder: Path) -> float:
    """The scale of the run in a folder, with every part of that run."""
    run = Run.read(folder)
    value = run.document.results["train"]["head"]["nc1_fisher"].value
    own = next(m for m in (OLD, NEW) if m.value("nc1_fisher") == value)
    assert np.array_equal(run.geometry["means"], own.geometry.means.numpy())
    assert [row.norm for row in run.classes] == [row.norm for row in own.classes]
    assert (run.trace is None) == (own.trace is None)
    return value


OLD, NEW = measured(1.0, trace=traced()), measured(5.0)


def write_of(text: str) -> places.Write:
    return lambda path: path.write_text(text)


def test_a_save_takes_the_place_of_the_run_before_and_spares_other_files(tmp_path: Path) -> None:
    OLD.compare(nc.predict([20] * 3, weight_decay=1e-3, feature_decay=1e-3)).save(tmp_path)
    (tmp_path / "report.html").write_text("old page")
    (tmp_path / "notes.txt").write_text("mine")
    assert {p.name for p in tmp_path.iterdir()} >= {"trace.csv", "prediction.json"}
    NEW.save(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {
        "results.json", "classes.csv", "layers.csv", "config.toml", "geometry.safetensors",
        "notes.txt",
    }  # fmt: skip
    assert whole(tmp_path) == NEW.value("nc1_fisher")


@pytest.mark.parametrize("moment", range(16))
def test_a_save_killed_at_any_moment_leaves_one_whole_run(
    moment: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    OLD.save(tmp_path)
    steps = iter(range(100))

    def killed_at(name: str):
        real = getattr(Path, name)

        def step(self: Path, *rest, **named):
            if str(self).startswith(str(tmp_path)) and next(steps) == moment:
                # As a killed process would: nothing that follows is run.
                monkeypatch.setattr(places, "_clear", lambda aside: None)
                raise Killed
            return real(self, *rest, **named)

        return step

    for name in ("mkdir", "rename", "replace", "unlink"):
        monkeypatch.setattr(Path, name, killed_at(name))
    try:
        NEW.save(tmp_path)
        survived = True
    except Killed:
        survived = False
    monkeypatch.undo()
    value = whole(tmp_path)
    if survived:
        assert value == NEW.value("nc1_fisher")
    # Whatever was left, the next save is whole and leaves nothing aside.
    OLD.save(tmp_path)
    assert whole(tmp_path) == OLD.value("nc1_fisher")
    assert not any((tmp_path / name).exists() for name in (WRITING, WRITTEN))


def test_both_outcomes_of_a_kill_are_met(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the folder written aside is renamed the old run stands, after it the new one."""
    for number, name in enumerate(("rename", "replace")):
        place = tmp_path / name
        OLD.save(place)
        real = getattr(Path, name)

        def stop(self: Path, target: Path, real=real, place=place):
            if self.parent in (place, place / WRITTEN):
                raise Killed
            return real(self, target)

        monkeypatch.setattr(Path, name, stop)
        with pytest.raises(Killed):
            NEW.save(place)
        monkeypatch.undo()
        assert whole(place) == (OLD, NEW)[number].value("nc1_fisher")


def save_for_ever(place: Path, ready: Connection) -> None:
    ready.send("ready")
    while True:
        NEW.save(place)
        OLD.save(place)


def test_a_real_kill_leaves_one_whole_run(tmp_path: Path) -> None:
    OLD.save(tmp_path)
    context = multiprocessing.get_context("fork")
    for wait in (0.0, 0.011, 0.023):
        told, ready = context.Pipe(duplex=False)
        child = context.Process(target=save_for_ever, args=(tmp_path, ready))
        child.start()
        assert told.poll(60) and told.recv() == "ready"
        threading.Event().wait(wait)
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        assert child.exitcode == -signal.SIGKILL
        assert whole(tmp_path) in (OLD.value("nc1_fisher"), NEW.value("nc1_fisher"))


def test_a_file_cut_off_inside_what_was_being_written_is_cleared(tmp_path: Path) -> None:
    """Parts are written under names of their own first, which a kill leaves behind."""
    OLD.save(tmp_path)
    (tmp_path / WRITING).mkdir()
    (tmp_path / WRITING / f".classes.csv.{'0f' * 6}.tmp").write_text("cut")
    NEW.save(tmp_path)
    assert whole(tmp_path) == NEW.value("nc1_fisher")
    assert not (tmp_path / WRITING).exists()


def test_a_full_disk_leaves_the_run_before(tmp_path: Path, monkeypatch) -> None:
    OLD.save(tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ncollapse.record.run.write_layers", full)
    with pytest.raises(OSError, match="No space left"):
        NEW.save(tmp_path)
    monkeypatch.undo()
    assert whole(tmp_path) == OLD.value("nc1_fisher")
    assert not (tmp_path / WRITING).exists()


def test_a_folder_in_the_place_of_a_part_is_said_before_anything_changes(tmp_path: Path) -> None:
    OLD.save(tmp_path)
    (tmp_path / "layers.csv").unlink()
    (tmp_path / "layers.csv").mkdir()
    with pytest.raises(OSError, match=r"a folder stands at .*layers.csv"):
        NEW.save(tmp_path)
    assert whole(tmp_path) == OLD.value("nc1_fisher")


def test_files_of_others_that_bear_our_names_get_another(tmp_path: Path) -> None:
    (tmp_path / "classes.csv").write_text("mine")
    NEW.save(tmp_path)
    assert (tmp_path / "classes-1.csv").read_text() == "mine"
    NEW.save(tmp_path)
    assert not (tmp_path / "classes-2.csv").exists()


def test_two_writers_and_a_reader_see_whole_runs(tmp_path: Path) -> None:
    OLD.save(tmp_path)
    failed: list[BaseException] = []
    done = threading.Event()

    def write(m: nc.Measurement) -> None:
        try:
            for _ in range(15):
                m.save(tmp_path)
        except BaseException as error:
            failed.append(error)
        done.set()

    threads = [threading.Thread(target=write, args=(m,)) for m in (OLD, NEW)]
    for thread in threads:
        thread.start()
    while not done.is_set():
        whole(tmp_path)
    for thread in threads:
        thread.join()
    assert not failed


def test_a_run_that_can_only_be_read_is_read_where_it_was_cut_off(tmp_path: Path) -> None:
    OLD.save(tmp_path)
    NEW.save(tmp_path / "new")
    aside = tmp_path / WRITTEN
    (tmp_path / "new").rename(aside)
    names = sorted(path.name for path in aside.iterdir())
    (aside / places.LIST).write_text(str(names).replace("'", '"'))
    (aside / "classes.csv").replace(tmp_path / "classes.csv")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert whole(tmp_path) == NEW.value("nc1_fisher")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert part(tmp_path, "trace.csv") is None


def test_every_part_has_the_permissions_of_a_new_file(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        OLD.save(tmp_path)
        modes = {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    finally:
        os.umask(old)
    assert modes == {0o640}


def test_only_known_parts_are_kept_or_removed(tmp_path: Path) -> None:
    replace_parts(tmp_path, {"results.json": write_of("{}"), "film.gif": write_of("a")})
    replace_parts(tmp_path, {"results.json": write_of("[]")}, keep=("film.gif", "trace.csv"))
    assert {path.name for path in tmp_path.iterdir()} == {"results.json", "film.gif"}
    assert set(PARTS) > {"results.json", "film.gif"}
    with reading(tmp_path / "nowhere"):
        assert part(tmp_path / "nowhere", "results.json") is None
