"""Claims and their verdicts, studies and their settings."""

from __future__ import annotations

import math

import pytest

from ncollapse.lab.claims import FAILS, HOLDS, UNKNOWN
from ncollapse.lab.page import page
from ncollapse.lab.result import StudyResult
from ncollapse.lab.scoreboard import describe
from ncollapse.lab.study import SIZES
from ncollapse.studies import Bar, Claim, Part, Study, find

WORST = Claim("a", "text", "source", Bar(high=1.0))
MEAN = Claim("a", "text", "source", Bar(low=0.9), rule="mean", seeds=3)
RANGE = Claim("a", "text", "source", Bar(0.0, 1.0), rule="mean", seeds=2)


@pytest.mark.parametrize(
    ("claim", "values", "verdict", "measured"),
    [
        (WORST, [0.1, 0.5], HOLDS, 0.5),
        (WORST, [0.1, 1.5], FAILS, 1.5),
        (WORST, [1.0], HOLDS, 1.0),
        (WORST, [], UNKNOWN, None),
        (WORST, [0.1, None], UNKNOWN, 0.1),
        (WORST, [0.1, math.nan], UNKNOWN, 0.1),
        (MEAN, [0.95, 0.96, 0.97], HOLDS, 0.96),
        (MEAN, [0.5, 0.51, 0.52], FAILS, 0.51),
        (MEAN, [0.7, 0.9, 1.1], UNKNOWN, 0.9),
        (MEAN, [0.99, 0.99], UNKNOWN, 0.99),
        (MEAN, [0.99], UNKNOWN, 0.99),
        (RANGE, [0.5, 0.5], HOLDS, 0.5),
        (RANGE, [3.0, 3.01], FAILS, 3.005),
        (RANGE, [-3.0, -3.01], FAILS, -3.005),
        (RANGE, [-5.0, 6.0], UNKNOWN, 0.5),
    ],
)
def test_verdicts_follow_the_rule(claim, values, verdict, measured) -> None:
    found = claim.judge(values)
    assert found.verdict == verdict
    assert found.measured == (None if measured is None else pytest.approx(measured))
    assert bool(found.reason) == (verdict == UNKNOWN)


def test_failed_runs_and_trials_decide_nothing() -> None:
    failed = WORST.judge([0.1], failed=2)
    assert (failed.verdict, failed.reason) == (UNKNOWN, "2 runs failed")
    trial = WORST.judge([0.1], trial=True)
    assert trial.verdict == UNKNOWN and trial.measured == 0.1


def test_the_interval_is_student_s() -> None:
    low, high = MEAN.judge([1.0, 2.0, 3.0]).interval
    half = 4.302652729 / math.sqrt(3)
    assert (low, high) == (pytest.approx(2 - half), pytest.approx(2 + half))


def test_the_worst_of_a_range_is_the_one_farthest_out() -> None:
    claim = Claim("a", "text", "source", Bar(0.98, 1.02))
    assert claim.judge([1.0, 0.9, 1.01]).measured == 0.9
    assert claim.judge([1.0, 1.2]).measured == 1.2


def test_bars_read_as_they_mean() -> None:
    assert [str(Bar(high=1e-8)), str(Bar(low=3)), str(Bar(-2, 0.5))] == [
        "≤ 1e-08",
        "≥ 3",
        "-2 to 0.5",
    ]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Bar(), "says nothing"),
        (lambda: Bar(2, 1), "above high"),
        (lambda: Claim("a", "t", "s", Bar(1), rule="best"), "rule 'best' is unknown"),
        (lambda: Claim("a", "t", "s", Bar(1), rule="mean"), "seeds ≥ 2"),
        (lambda: find("nothing"), "study 'nothing' is unknown; one of landscape"),
        (lambda: find("peeled").units("huge"), "size 'huge' is unknown"),
        (lambda: find("peeled").units("mini", 0), "seeds=0"),
        (lambda: made(settings={"mini": {}}), "no settings for quick, full"),
        (lambda: made(claims=(WORST, WORST)), "twice"),
        (lambda: made(parts=(Part("p", len, ("b",)),)), "a, b has a part or a claim"),
        (lambda: made(retired={"a": "why"}), "a is retired and claimed"),
    ],
)
def test_what_is_wrong_is_explained(make, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


def made(**changes: object) -> Study:
    base = {
        "name": "own",
        "question": "?",
        "paper": "none",
        "claims": (WORST,),
        "settings": {size: {} for size in SIZES},
        "parts": (Part("p", len, ("a",)),),
    }
    return Study(**{**base, **changes})


def test_seeds_begin_where_the_settings_say() -> None:
    study = made(settings={size: {"seeds": 2, "first_seed": 7} for size in SIZES})
    assert [unit.seed for unit in study.units("quick")] == [7, 8]
    assert [unit.seed for unit in study.units("quick", 3)] == [7, 8, 9]
    once = made(
        settings={size: {"first_seed": 7} for size in SIZES},
        parts=(Part("p", len, ("a",), seeded=False),),
    )
    assert [unit.seed for unit in once.units("full", 5)] == [7]


def test_pages_say_where_a_bar_comes_from_and_what_was_retired() -> None:
    told = Claim("a", "t", "s", Bar(high=1), basis="a pilot run", history="was b <before>")
    study = made(claims=(told,), retired={"b": "it could not fail"})
    assert told.notes == ("bar from: a pilot run", "history: was b <before>")
    result = StudyResult(study, "quick", (told.judge([0.5]),), ())
    for shown in (describe(study), page(result.document(), {})):
        assert "bar from: a pilot run" in shown and "it could not fail" in shown
    assert "was b &lt;before&gt;" in page(result.document(), {})
    assert made().claims[0].notes == ()


def test_runs_with_other_settings_have_other_fingerprints() -> None:
    study = find("minority")
    prints = [unit.fingerprint for size in SIZES for unit in study.units(size)]
    assert len(set(prints)) == len(prints)
    again = [unit.fingerprint for size in SIZES for unit in study.units(size)]
    assert prints == again
