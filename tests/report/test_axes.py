"""Figures on a reader's Axes: each owner has its kinds, says which, and names never overlap."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

import ncollapse as nc
from ncollapse.record.readings import ClassRow
from ncollapse.record.trace import Trace
from ncollapse.report.plots.classes import class_scatter
from tests.data import make
from tests.report.runs import folder


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> nc.Measurement:
    return nc.Measurement.load(folder(tmp_path_factory.mktemp("axes")))


def axes() -> Any:
    figure = Figure()
    return figure.subplots()


def test_every_owner_draws_its_kinds_on_the_axes_it_is_given(measured: nc.Measurement) -> None:
    predicted = nc.predict([30, 30, 10], weight_decay=1e-3, feature_decay=1e-3)
    kinds = {
        "gram": (measured, measured.geometry, predicted),
        "spectrum": (measured, measured.geometry, predicted),
        "strip": (measured,),
        "classes": (measured,),
        "training": (measured, measured.trace),
    }
    for kind, owners in kinds.items():
        for owner in owners:
            given = axes()
            assert owner.plot(kind, ax=given) is given
            assert given.has_data() or given.images
    image = measured.plot("gram", ax=axes()).images[0].get_array()
    unit = measured.geometry.centred_means
    unit = unit / unit.norm(dim=1, keepdim=True)
    np.testing.assert_allclose(np.asarray(image), (unit @ unit.T).numpy(), atol=1e-12)


def test_layers_are_a_kind_where_there_are_several() -> None:
    case = make("axes", counts=[8] * 3, dim=4, spread=0.3)
    found = nc.measure_features(case.features, case.labels, null=False, intervals=False)
    with pytest.raises(ValueError, match=r"layers.*; this Measurement can draw gram, strip, cla"):
        found.plot("layers")
    split = next(iter(found.results))
    found.results[split]["first"] = found.results[split]["head"]
    drawn = found.plot("layers", ax=axes())
    assert [label.get_text() for label in drawn.get_xticklabels()] == ["first", "head"]


def test_what_cannot_be_drawn_is_said_with_what_can(measured: nc.Measurement) -> None:
    with pytest.raises(ValueError, match="did you mean 'gram'"):
        measured.plot("grams")
    with pytest.raises(ValueError, match="this Geometry can draw gram, spectrum"):
        measured.geometry.plot("strip")
    with pytest.raises(ValueError, match="follow or measure a model first"):
        Trace().plot()
    with pytest.raises(ValueError, match="one of svg, pdf, png is needed"):
        measured.save_figures("nowhere", format="jpg")
    assert not Path("nowhere").exists()


@pytest.mark.parametrize(
    ("format", "begins"), [("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG")]
)
def test_figures_are_files(
    measured: nc.Measurement, tmp_path: Path, format: str, begins: bytes
) -> None:
    owner = measured if format == "svg" else measured.geometry
    written = owner.save_figures(tmp_path / "new", format=format)
    assert {path.stem for path in written} >= {"gram", "spectrum"}
    assert all(path.read_bytes().startswith(begins) for path in written)


def test_names_stand_beside_their_dots_on_axes_that_set_their_own_limits() -> None:
    """Which matplotlib settles late: places are of those that are drawn."""
    case = make("named", counts=[40, 30, 20], dim=6, spread=0.4)
    found = nc.measure_features(case.features, case.labels, null=False, intervals=False)
    drawn = found.plot("classes", ax=axes())
    drawn.figure.canvas.draw()
    dots = drawn.transData.transform(drawn.collections[0].get_offsets())
    frame = drawn.get_window_extent()
    assert len(drawn.texts) == 3 and not drawn.lines
    for text in drawn.texts:
        box = text.get_window_extent()
        gap = min(abs(dots - [box.x0, (box.y0 + box.y1) / 2]).sum(axis=1))
        assert gap < 120 and frame.contains(box.x0, box.y0) and frame.contains(box.x1, box.y1)


def rows(count: int, rng: np.random.Generator, tight: bool) -> list[ClassRow]:
    width = 0.02 if tight else 0.5
    place = 1 + width * rng.random(count)
    spread = 1 + width * rng.random(count)
    return [
        ClassRow("train", "head", f"a long class name {k}", k, 50, 1.0, float(s**2), "0", float(p))
        for k, (p, s) in enumerate(zip(place, spread, strict=True))
    ]


@pytest.mark.parametrize("count", [5, 12, 80, 300])
@pytest.mark.parametrize("tight", [False, True])
def test_names_of_classes_overlap_nothing(
    count: int, tight: bool, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Figure] = []
    from ncollapse.report.plots import classes

    original = classes.to_svg
    monkeypatch.setattr(
        classes, "to_svg", lambda figure, *rest: kept.append(figure) or original(figure, *rest)
    )
    class_scatter(rows(count, rng, tight), "said")
    (drawn,) = kept[0].axes
    boxes = [text.get_window_extent() for text in drawn.texts if text.get_text()]
    names = [text for text in drawn.texts if "class" in text.get_text() or "…" in text.get_text()]
    assert len(names) == 5
    for first, second in combinations(boxes, 2):
        assert not first.overlaps(second)
    for text in names:
        box = text.get_window_extent()
        for dots in drawn.collections:
            for spot in drawn.transData.transform(dots.get_offsets()):
                assert not box.contains(*spot), "a name covers a dot"
