"""Laws and watchers on the page: what a run kept of them stands there."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from torch import nn

import ncollapse as nc
from ncollapse.downstream.calibration import CalibrationError
from ncollapse.metrics.catalog import shown
from ncollapse.record.run import Run
from ncollapse.record.trace import Trace
from ncollapse.report.along import laws, watchers
from ncollapse.report.html import render_page
from ncollapse.report.plots import spread_panels, watched


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3))
        X, y = torch.randn(60, 6), torch.arange(60) % 3
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
        tracker = nc.Tracker(
            model,
            train=(X, y),
            test=(X[:30], y[:30]),
            optimizer=optimizer,
            watch=[CalibrationError()],
        )
        for _ in range(3):
            optimizer.zero_grad()
            (model(X) - nn.functional.one_hot(y, 3)).square().mean().backward()
            optimizer.step()
            tracker.step()
            tracker.end_epoch()
    folder = tmp_path_factory.mktemp("run")
    tracker.finish(null=False, intervals=False).save(folder)
    return Run.read(folder)


def test_the_page_says_what_breaks_a_law_and_draws_what_was_watched(run: Run) -> None:
    page = render_page(run)
    assert 'id="laws"' in page and "squared errors" in page and "breaks" in page
    assert 'id="watched"' in page
    (kept,) = laws(run.document)
    assert kept["mark"] == "✗"
    found = watchers(run.trace, "head")
    assert found is not None and re.search(r"<svg", str(found["figure"]))


def test_series_are_those_of_the_trace(run: Run) -> None:
    unit, found = watched(run.trace)
    assert unit == "epoch" and found
    rows = [row for row in run.trace.rows if row.key == found[0].key and row.split == "train"]
    assert found[0].series["train"] == ([row.epoch for row in rows], [row.value for row in rows])


def test_a_run_without_either_has_no_such_sections() -> None:
    generator = torch.Generator().manual_seed(0)
    m = nc.measure_features(torch.randn(40, 5, generator=generator), torch.arange(40) % 2)
    page = render_page(Run(m.document, classes=m.classes))
    assert 'id="laws"' not in page and 'id="watched"' not in page
    assert watchers(None, "head") is None and laws(m.document) == []


def test_where_the_spread_lives_is_drawn_along_a_trace(run: Run) -> None:
    """A panel a row that has one, and one of class ranks: the median and the class that keeps
    least."""
    trace = Trace(list(run.trace.rows))
    for step, lost in ((1, 9.0), (2, 2.0)):
        ranks = {f"class_rank:{k}": lost if k == 1 else 8.0 for k in range(3)}
        trace.append(trace.rows[0].step + step, ranks, split="train", epoch=step)
    _, found = spread_panels(trace, "train", names={1: "cat"})
    titles = [place.title for _, place in shown("along")]
    assert [panel.key for panel in found] == [*titles, "effective rank of classes"]
    assert found[-1].series["cat"][1] == [9.0, 2.0] and found[-1].series["median"][1] == [8.0, 8.0]
    page = render_page(replace(run, trace=trace))
    assert 'id="spread"' in page and "Where the spread lives" in page
    # Ranks of classes are no watcher's.
    assert all("class_rank" not in one.key for one in watched(trace)[1])
