"""The terminal page: 24 lines of 80 columns, whatever it is given."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import ncollapse as nc
from ncollapse.record.trace import Trace
from ncollapse.report.terminal import (
    number,
    render,
    render_comparison,
    render_trace,
    render_verdicts,
    sparkline,
    spread_out,
)
from tests.data import make


@pytest.mark.parametrize("classes", [2, 10, 300])
def test_the_table_fits_a_terminal(classes: int) -> None:
    case = make("t", counts=[6] * classes, dim=8, spread=1e-3)
    split = np.where(np.arange(6 * classes) % 3 == 0, "test", "train")
    m = nc.measure_features(case.features, case.labels, weight=case.weight, split=split)
    long = replace(m.document, source="a/very/long/path/" * 9, warnings=("x" * 200, "y"))
    lines = render(long, m.classes, seconds=1234.5).splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert all(len(line) <= 80 for line in render_verdicts(long).splitlines())
    assert all(len(line) <= 80 for line in render_comparison(long, long).splitlines())


def test_sentences_take_the_lines_that_are_left() -> None:
    said = ["one two three four", "five six seven", "eight"]
    assert spread_out(said, 10, 3) == [" one two …", " five six…", " eight"]
    assert spread_out(said, 10, 5) == [
        " one two", "   three", "   four", " five six…", " eight",
    ]  # fmt: skip
    whole = spread_out(said, 10, 9)
    assert " ".join(" ".join(whole).split()) == " ".join(said)


def test_numbers_are_short_and_honest() -> None:
    assert number(None) == "–"
    assert number(1e-12) == "1.0e-12"
    assert number(0.9999, "percent") == "99.99 %"
    assert number(0.5, "percent") == "50.0 %"
    assert number(0.0) == "0.000"


def test_a_trace_is_a_table_and_a_line_of_bars() -> None:
    trace = Trace()
    for step in range(8):
        trace.append(step, {"nc1_fisher": 0.5**step}, split="train")
    text = render_trace(trace, ["nc1_fisher"])
    assert "█" in text
    assert len(text.splitlines()) == 10
    assert sparkline([1.0, 1.0]) == "▁▁"
