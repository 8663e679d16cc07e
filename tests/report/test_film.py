"""The training film: projection, decision planes, the animation and its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ncollapse.record.frames import Frame, Frames
from ncollapse.report.film.animation import HOLD, last_picture, write_gif
from ncollapse.report.film.film import cells, chosen, corners, plane, space
from tests.report.runs import frames, simplex


def frame(classes: int, width: int = 8, seed: int = 0, scale: float = 3.0) -> Frame:
    means = scale * simplex(classes, width, seed) + 0.7
    labels = np.repeat(np.arange(classes), 4)
    return Frame(1, 1.0, labels, means[labels], means, 2 * means, np.zeros(classes))


@pytest.mark.parametrize(("count", "view"), [(3, plane), (4, space)])
def test_an_ideal_simplex_falls_on_the_corners(count: int, view) -> None:
    seen = view(frame(count))
    assert np.allclose(np.linalg.norm(corners(count), axis=1), 1)
    assert np.allclose(seen.points, corners(count)[seen.labels], atol=1e-6)
    assert np.allclose(seen.means, corners(count), atol=1e-6)
    assert np.allclose(seen.weight, corners(count), atol=1e-6)
    assert seen.outside is None


@pytest.mark.parametrize("view", [plane, space])
def test_a_view_does_not_depend_on_the_recorded_basis(view, rng) -> None:
    means = rng.normal(size=(4, 6))
    labels = np.repeat(np.arange(4), 5)
    features = means[labels] + 0.3 * rng.normal(size=(20, 6))
    weight = rng.normal(size=(4, 6))
    turn, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    one = view(Frame(0, None, labels, features, means, weight, None))
    two = view(Frame(0, None, labels, features @ turn, means @ turn, weight @ turn, None))
    for name in ("points", "means", "weight", "slopes", "offsets"):
        assert np.allclose(getattr(one, name), getattr(two, name), atol=1e-9)
    assert one.outside == pytest.approx(two.outside, abs=1e-9)
    assert 0 < one.outside < 1


def test_a_narrow_basis_is_enough_and_too_few_classes_are_not() -> None:
    flat = Frame(0, None, np.arange(3), corners(3), corners(3))
    assert np.allclose(plane(flat).points, corners(3))
    line = Frame(0, None, np.arange(3), np.array([[0.0], [1.0], [2.0]]), np.ones((3, 1)))
    assert np.isfinite(plane(line).points).all()
    with pytest.raises(ValueError, match="4 are needed"):
        space(flat)


def test_decision_planes_lie_where_two_classes_tie_and_beat_the_others(rng) -> None:
    slopes = corners(4) + 0.2 * rng.normal(size=(4, 3))
    offsets = 0.05 * rng.normal(size=4)
    found = cells(slopes, offsets)
    assert len(found) == 6
    for i, j, polygon in found:
        logits = polygon @ slopes.T + offsets
        assert np.allclose(logits[:, i], logits[:, j], atol=1e-9)
        assert (logits.max(1) <= logits[:, i] + 1e-9).all()
        assert (polygon @ corners(4).T >= -1 / 3 - 1e-9).all()


def test_nothing_ties_where_one_class_always_wins() -> None:
    assert cells(np.zeros((4, 3)), np.array([1.0, 0, 0, 0])) == []
    assert cells(0.1 * corners(4), np.array([9.0, 0, 0, 0])) == []


def test_frames_are_read_as_they_were_written(tmp_path: Path) -> None:
    found = Frames.read(frames(tmp_path / "f.safetensors", classes=3, count=5))
    assert len(found) == 5
    assert (found.num_classes, found.classes, found.split) == (3, (0, 1, 2), "train")
    assert [f.step for f in found.frames] == [0, 10, 20, 30, 40]
    assert found.frames[0].weight is not None
    assert Frames.read(frames(tmp_path / "g.safetensors", head=False)).frames[0].weight is None
    assert chosen(found, 3) == [0, 1, 4] or len(chosen(found, 3)) <= 3


def test_newer_and_foreign_files_are_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="newer than 1"):
        Frames.read(frames(tmp_path / "new.safetensors", schema="2"))
    (tmp_path / "text").write_text("no tensors")
    with pytest.raises(ValueError, match="no safetensors"):
        Frames.read(tmp_path / "text")
    from safetensors.numpy import save_file

    save_file({"labels": np.zeros(2, np.int64)}, tmp_path / "bare.safetensors")
    with pytest.raises(ValueError, match="names no schema"):
        Frames.read(tmp_path / "bare.safetensors")
    save_file({"labels": np.zeros(2, np.int64)}, tmp_path / "cut", metadata={"schema": "1"})
    with pytest.raises(ValueError, match="lacks 'steps'"):
        Frames.read(tmp_path / "cut")


@pytest.mark.parametrize("classes", [3, 4])
def test_the_gif_holds_its_last_picture_and_loops(tmp_path: Path, classes: int) -> None:
    found = Frames.read(frames(tmp_path / "f.safetensors", classes=classes))
    path = write_gif(found, tmp_path / "film.gif", width=240, height=120, count=6)
    again = write_gif(found, tmp_path / "again.gif", width=240, height=120, count=6)
    assert path.read_bytes() == again.read_bytes()
    with Image.open(path) as film:
        assert film.n_frames == 6
        assert film.size == (240, 120)
        assert film.info["loop"] == 0
        times = []
        for number in range(film.n_frames):
            film.seek(number)
            times.append(film.info["duration"])
    assert times[-1] == HOLD > 10 * max(times[:-1])
    assert last_picture(path.read_bytes()).startswith(b"\x89PNG")
    assert sorted(p.name for p in tmp_path.glob(".*")) == []


def test_a_film_of_two_classes_is_refused(tmp_path: Path) -> None:
    found = Frames.read(frames(tmp_path / "f.safetensors", classes=2))
    with pytest.raises(ValueError, match="needs 3 or 4"):
        write_gif(found, tmp_path / "film.gif")
