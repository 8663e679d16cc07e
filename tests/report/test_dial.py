"""What a dial held, on the page: reading against target, and the weight of its pull or push."""

from __future__ import annotations

from pathlib import Path

import pytest

from ncollapse.record.run import Run
from ncollapse.record.trace import Trace
from ncollapse.report.html import render_page
from ncollapse.report.plots.dial import dial_curve, held
from tests.report.runs import folder


def turned(readings: list[float | None], *, target: float = 0.1, stuck: int = 0) -> Trace:
    """A trace whose dial read these, one an epoch, at its bound in the last `stuck` of them."""
    trace = Trace()
    for place, reading in enumerate(readings):
        values = {
            "nc1_ratio": reading,
            "target": target,
            "weight": 0.5 - 0.1 * place,
            "saturated": -1.0 if place >= len(readings) - stuck else 0.0,
        }
        trace.append(10 * place, values, split="dial", epoch=place)
    return trace


def test_a_trace_without_a_dial_has_none() -> None:
    assert held(None) is None
    assert held(Trace()) is None
    plain = Trace()
    plain.append(1, {"nc1_ratio": 0.1}, split="train", epoch=1)
    assert held(plain) is None
    aimless = Trace()
    aimless.append(1, {"weight": 0.1}, split="dial", epoch=1)
    assert held(aimless) is None


def test_what_was_held_is_said() -> None:
    found = held(turned([1.0, 0.3, 0.11]))
    assert found is not None
    assert (found.key, found.unit, found.x) == ("nc1_ratio", "epoch", [0.0, 1.0, 2.0])
    assert found.sentence == (
        "nc1_ratio reads 0.11 at the last look; the target is 0.1, held within a quarter."
    )
    away = held(turned([1.0, 0.3], stuck=1))
    assert away is not None
    assert "not within a quarter. At 1 of 2 looks the dial was at its bound" in away.sentence
    silent = held(turned([None, None]))
    assert silent is not None
    assert silent.sentence == "The dial of nc1_ratio has no reading yet."
    assert dial_curve(silent) is None


def test_steps_stand_for_epochs_that_are_not_known() -> None:
    trace = Trace()
    for step in (1, 5):
        trace.append(step, {"nc1_fisher": 0.2, "target": 0.2}, split="dial")
    found = held(trace)
    assert found is not None
    assert (found.unit, found.x, found.weight) == ("step", [1.0, 5.0], [None, None])
    assert dial_curve(found) is not None


@pytest.mark.parametrize(
    "readings", [[1.0, 0.3, 0.1], [0.1, 0.1], [1e-9, 1e3], [0.2, None, 0.1], [0.0, 0.1, 0.2]]
)
def test_every_series_is_drawn(readings: list[float | None]) -> None:
    found = held(turned(readings, stuck=1))
    assert found is not None
    svg = dial_curve(found)
    assert svg is not None
    assert svg == dial_curve(found)
    assert f"<title>{found.sentence}</title>" in svg
    assert "$" not in svg and "nc1_ratio" in svg and "target ± a quarter" in svg


def test_the_page_shows_the_dial_of_a_run(tmp_path: Path) -> None:
    path = folder(tmp_path)
    without = render_page(Run.read(path))
    assert "The dial" not in without
    trace = Trace.load(path / "trace.csv")
    trace.rows += turned([0.5, 0.2, 0.1]).rows
    trace.save(path / "trace.csv")
    page = render_page(Run.read(path))
    assert "<h2>The dial</h2>" in page and "nc1_ratio reads 0.1 at the last look" in page
    assert page.count('<svg class="figure"') == without.count('<svg class="figure"') + 1
