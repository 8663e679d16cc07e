"""The loss over its certified floor: sentence, line and curve are those of the trace's rows."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
import torch

import ncollapse as nc
from ncollapse.cli import main
from ncollapse.record.run import Run
from ncollapse.record.trace import CERTIFIED, Trace
from ncollapse.report.certified import certified
from ncollapse.report.html import render_page
from ncollapse.report.plots import certified_curves, watched


def trace_of(*looks: tuple[float | None, ...], split: str = "train") -> Trace:
    trace = Trace()
    for epoch, values in enumerate(looks):
        trace.append(
            10 * epoch, dict(zip(CERTIFIED, values, strict=True)), split=split, epoch=epoch
        )
    return trace


FIRST = (1.1, 0.55, 0.5, 0.1, 0.2, 0.2, 0.01)
NOTHING = (None,) * 7
LAST = (0.04, 0.03, 0.25, 0.15, 0.075, 0.025, 0.001)


@pytest.fixture(scope="module")
def run() -> Run:
    generator = torch.Generator().manual_seed(0)
    X, y = torch.randn(40, 5, generator=generator), torch.arange(40) % 2
    m = nc.measure_features(X, y, null=False, intervals=False)
    return Run(m.document, classes=m.classes)


def test_the_sentence_tells_loss_floor_gap_and_parts() -> None:
    (found,) = certified(trace_of(FIRST, NOTHING, LAST), "train")
    assert found.sentence == (
        "On train the loss is 0.04; it is certified that no head and features of the same norms "
        "can have less than 0.03. 25 % of the loss is geometry that is not reached, at the first "
        "look 50 %. Of this gap 60 % is spread within classes, 30 % the shape of the class-mean "
        "logits and 10 % norm that makes no logits."
    )
    assert found.line == "Loss above its floor █▁ 25 %: spread 15, shape 8, norm 2"
    assert found.to_dict()["ufm_gap"] == 0.25 and found.to_dict()["step"] == 20


def test_a_floor_that_is_reached_and_one_that_says_nothing() -> None:
    (near,) = certified(trace_of((0.03, 0.03, 2e-4, 1e-4, 1e-4, 0.0, 0.1)), "train")
    assert "within 0.02 % of the least" in near.sentence and "is reached" in near.sentence
    (deep,) = certified(trace_of((0.03, 0.0, 1.0, 0.6, 0.3, 0.1, None)), "train")
    assert (
        "floor of its norms is below 0.01 % of that" in deep.sentence
        and "at the first" not in deep.sentence
    )


def test_nothing_is_said_where_nothing_was_certified(run: Run) -> None:
    for trace in (None, Trace(), trace_of(NOTHING)):
        assert certified(trace, "train") == []
        assert 'id="floor"' not in render_page(replace(run, trace=trace))
    other = Trace()
    other.append(0, {"nc1_fisher": 1.0}, split="train")
    assert certified(other, "train") == []


def test_the_page_draws_it_and_not_once_more_among_watchers(run: Run) -> None:
    page = render_page(replace(run, trace=trace_of(FIRST, NOTHING, LAST)))
    (section,) = re.findall(r'<section class="film" id="floor">.*?</section>', page, re.S)
    assert "is geometry that is not reached" in section and "certified floor" in section
    assert section.count("<svg") == 1 and "mathdefault" not in section
    assert watched(trace_of(FIRST, LAST)) == ("", [])
    # One look is a sentence and no curve.
    page = render_page(replace(run, trace=trace_of(LAST)))
    assert 'id="floor"' in page and 'aria-label="On train the loss' not in page


def test_a_loss_of_zero_and_floors_of_zero_are_drawn() -> None:
    dead = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, None)
    deep = (0.5, 0.0, 1.0, 1.0, 0.0, 0.0, None)
    for looks in ((dead, dead), (deep, dead), (deep, deep), (LAST, deep)):
        svg = certified_curves(certified(trace_of(*looks), "train"))
        assert svg is not None and "nan" not in svg.lower()


def test_two_splits_stand_below_each_other_the_given_first() -> None:
    both = Trace([*trace_of(FIRST, LAST, split="test").rows, *trace_of(FIRST, LAST).rows])
    found = certified(both, "train")
    assert [one.split for one in found] == ["train", "test"]
    svg = certified_curves(found)
    assert svg is not None and "loss on train" in svg and "loss on test" in svg


def test_terminals_show_it_with_the_laws(run: Run, tmp_path, capsys) -> None:
    law = {"law": "head_sum", "answer": "agrees", "sentence": "the sum follows", "notes": []}
    document = replace(run.document, config={**run.document.config, "laws": [law]})
    trace = trace_of(FIRST, LAST)
    text = nc.Measurement(document, run.classes, {}, trace).summary()
    assert " ✓ the sum follows." in text
    assert " Loss above its floor █▁ 25 %: spread 15, shape 8, norm 2." in text
    assert len(text.splitlines()) <= 24 and max(map(len, text.splitlines())) <= 80
    Run(run.document, trace=trace).save(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["doctor", "--run", str(tmp_path)])
    assert not stop.value.code and "25 % of the loss is geometry" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["doctor", "--run", str(tmp_path), "--json"])
    data = json.loads(capsys.readouterr().out)
    assert data["laws"] == [] and data["certified"]["train"]["ufm_gap"] == 0.25
