"""Points of an atlas are critical, with the curvature that is said, and each is nearest itself."""

from __future__ import annotations

import functools
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import ncollapse as nc
from ncollapse.theory.problems.objective import Objective
from ncollapse.theory.problems.point import Point
from tests.cli.test_predict import run

PAGE = Path(__file__).parents[2] / "docs" / "predict.md"
CASES = {
    "balanced": ((4, 4, 4, 4), {"bias": "none"}),
    "two groups": ((20, 20, 5, 5), {"bias": "free"}),
    "all different": ((30, 14, 8, 3), {"bias": "free", "loss": "ls", "smoothing": 0.1}),
    "squares": ((9, 9, 9), {"bias": 0.05, "loss": "mse"}),
}


@functools.cache
def drawn(name: str):
    counts, settings = CASES[name]
    decay = math.sqrt(0.3 * min(counts)) / sum(counts)
    found = nc.predict(counts, weight_decay=2 * decay, feature_decay=decay / 2, **settings)
    return found, found.landscape(starts=4)


@pytest.mark.parametrize("name", CASES)
def test_points_are_critical_and_leave_where_they_say(name: str) -> None:
    """Sample by sample: gradients vanish, and the second difference along the unit direction is
    the curvature."""
    prediction, atlas = drawn(name)
    K = len(prediction.problem.counts)
    objective = Objective(replace(prediction.problem, num_features=K))
    labels = objective.labels
    assert atlas.optimum.objective == pytest.approx(prediction.objective, rel=1e-9)
    assert {point.rank for point in atlas.points} >= set(range(K - 1))
    unit = math.sqrt(prediction.problem.weight_decay * prediction.problem.feature_decay)
    for point in atlas.points:
        geometry = point.geometry
        flat = objective.pack(Point(geometry.weight, geometry.means[labels], geometry.bias))
        assert objective.stationarity(flat) <= 1e-7 * unit
        assert objective.value(flat) == pytest.approx(point.objective, rel=1e-10)
        if point.kind == "global optimum":
            assert point is atlas.optimum and point.escape_weight is None
            continue
        assert point.curvature < 0 and point.excess > 0
        bias = None if geometry.bias is None else torch.zeros(K, dtype=torch.float64)
        step = objective.pack(Point(point.escape_weight, point.escape_means[labels], bias))
        assert float(step.norm()) == pytest.approx(1)
        h = 1e-3
        ends = objective.value(flat + h * step) + objective.value(flat - h * step)
        bent = (ends - 2 * objective.value(flat)) / h**2
        assert bent == pytest.approx(point.curvature, rel=1e-3, abs=1e-6)
        assert float(step @ objective.hessian_product(flat, step)) == pytest.approx(
            point.curvature, rel=1e-7
        )


def test_every_point_is_nearest_itself_under_any_names() -> None:
    """Rotated, scaled, and with interchangeable classes renamed."""
    _, atlas = drawn("two groups")
    generator = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(4, 4, generator=generator, dtype=torch.float64))[0]
    names = [1, 0, 3, 2]
    for point in atlas.points[1:-1:2]:
        geometry = point.geometry
        other = nc.Geometry(3 * geometry.means[names] @ turn, geometry.weight[names] @ turn)
        near = atlas.nearest(other)
        assert near.distance <= 1e-5, point.text
        assert near.point.rank == point.rank
        assert near.point.objective == pytest.approx(point.objective, rel=1e-7)
    shared = next(p for p in atlas.points if p.blocks == ((2, 3),))
    assert "classes 2, 3 share one direction" in atlas.nearest(shared.geometry).sentence


def test_a_long_line_is_cut_where_one_sees_it() -> None:
    """100 columns, the last of them an ellipsis between words where the text goes on."""
    _, atlas = drawn("two groups")
    long = replace(atlas.optimum, kind="strict saddle", rank=3, zero=tuple(range(3, 60, 7)) * 2)
    lines = str(replace(atlas, points=(long,))).splitlines()
    assert max(map(len, lines)) <= 100 and lines[2].endswith((", …", " …"))
    assert all("…" not in line for line in str(atlas).splitlines())


def test_what_has_no_landscape_is_said() -> None:
    for settings, said in (
        ({"loss": "focal"}, "the focal loss"),
        ({"nonnegative": True, "bias": "none"}, "features after a ReLU"),
        ({"model": "gufm"}, "GUFM"),
    ):
        with pytest.raises(ValueError, match=said):
            nc.predict([5, 5, 5], **settings).landscape()
    atlas = nc.predict([5, 5, 5], weight_decay=0.05, feature_decay=0.05).landscape(starts=0)
    with pytest.raises(ValueError, match="the geometry has 4 classes and the atlas 3"):
        atlas.nearest(nc.Geometry.simplex_etf(4, 4))


def test_the_command_line_draws_it(capsys, tmp_path) -> None:
    base = ("--weight-decay", "5e-2", "--feature-decay", "5e-2", "--landscape")
    code, out, _ = run(capsys, "--counts", "9x2", *base)
    assert code == 0 and "critical points found" in out
    code, out, _ = run(capsys, "--counts", "9x3", *base, "--json", "-o", tmp_path)
    points = json.loads(out)["landscape"]["points"]
    assert points[0]["kind"] == "global optimum" and points[-1]["rank"] == 0
    assert (tmp_path / "landscape.svg").read_text("utf-8").count("<svg") == 1


@pytest.mark.slow
def test_the_figure_of_the_page_is_of_its_command(capsys, tmp_path) -> None:
    """And what the page says about it holds."""
    line = next(row for row in PAGE.read_text("utf-8").splitlines() if "--landscape -o" in row)
    _, out, _ = run(capsys, *line.split()[2:-1], tmp_path, "--json")
    points = json.loads(out)["landscape"]["points"]
    now = (tmp_path / "landscape.svg").read_text("utf-8")
    kept = (PAGE.parent / "figures" / "landscape.svg").read_text("utf-8")
    assert kept.count("<use") == now.count("<use") and len(points) == 18
    four, three = (min((p for p in points if p["rank"] == r), key=height) for r in (4, 3))
    assert four["blocks"] == [[4, 5]] and four["excess"] == pytest.approx(0.039, abs=5e-4)
    assert three["frames"] == [[0, 1], [2, 3], [4, 5]]
    assert three["curvature"] == max(p["curvature"] for p in points[1:])


def height(point: dict) -> float:
    return point["excess"]
