"""Figures of studies: drawn where there are runs, each label once, rows by what they share."""

from __future__ import annotations

from ncollapse.lab.figures import Axes, Drawing, Ink, Runs, axes, columns, curves, finish, grouped
from ncollapse.lab.page import pictures

draw = Drawing()


@draw.figure("one", x="x", y="y")
def first_of_two(area: Axes, ink: Ink, one: Runs) -> None:
    """What one shows,
    in words."""
    for run in one:
        area.plot([0, 1], [0, run["end"]], color=ink.first, label="run")


@draw.figure("one", "two", y="y", log="y")
def both(area: Axes, ink: Ink, one: Runs, two: Runs) -> None:
    curves(area, ink, {f"curve {n}": ([1, 2], [1, 10]) for n in range(9)})
    area.plot([1], [len(one) + len(two)], "o")


def test_a_figure_is_drawn_where_one_of_its_parts_has_runs() -> None:
    assert list(draw({"one": [], "two": []})) == []
    assert list(draw({"one": [], "two": [{}]})) == ["both"]
    found = draw({"one": [{"end": 1}, {"end": 2}], "two": []})
    assert list(found) == ["first-of-two", "both"]
    assert found["first-of-two"][0] == "What one shows, in words"


def test_a_legend_says_each_label_once_and_colours_end() -> None:
    found = draw({"one": [{"end": 1}, {"end": 2}], "two": []})
    (area,) = found["first-of-two"][1].axes
    assert [text.get_text() for text in area.get_legend().get_texts()] == ["run"]
    assert len(area.lines) == 2
    (area,) = found["both"][1].axes
    assert [text.get_text() for text in area.get_legend().get_texts()] == [
        f"curve {n}" for n in range(4)
    ]
    figure, area, _ = axes("x", "y")
    area.plot([0, 1], [0, 1])
    assert finish(figure, area).axes[0].get_legend() is None


def test_rows_are_grouped_in_the_order_in_which_they_are_met() -> None:
    rows = [{"a": 2, "b": [1, 2], "c": i} for i in range(2)] + [{"a": 1, "b": [3], "c": 5}]
    assert {key: columns(some, "c") for key, some in grouped(rows, "a").items()} == {
        2: ([0, 1],),
        1: ([5],),
    }
    assert list(grouped(rows, "b")) == [(1, 2), (3,)]


def test_holes_in_the_data_leave_figures_out(caplog) -> None:
    assert pictures("own", draw, {"one": [{}], "two": []}) == {}
    assert "study own: figures were not drawn" in caplog.text

    def divide(units) -> dict:
        return {"none": ("none", 1 / 0)}

    assert pictures("own", divide, {"one": [], "two": []}) == {}
