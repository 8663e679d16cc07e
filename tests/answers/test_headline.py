"""The headline is put together from answers: splits by what they are, and what else was asked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import ncollapse as nc
from ncollapse.answers.headline import headline
from ncollapse.record.readings import ANSWERS, ClassRow, Verdict
from tests.data import make


@pytest.fixture(scope="module")
def measured() -> nc.Measurement:
    case = make("headline", counts=[24] * 5, dim=8, spread=0.1)
    split = np.where(np.arange(len(case.labels)) % 3 == 0, "test", "train")
    return nc.measure_features(case.features, case.labels, weight=case.weight, split=split)


def said(measured: nc.Measurement, **answers: str) -> str:
    """The headline where questions (by id, ":" written as "_on_") are answered so."""
    verdicts = []
    for name, answer in answers.items():
        verdicts.append(Verdict("Asked?", answer, "Said.", (), name.replace("_on_", ":")))
    return headline(replace(measured.document, verdicts=tuple(verdicts))).sentence


def test_splits_are_put_together_by_their_answers(measured: nc.Measurement) -> None:
    both = {"collapsed_on_train": "yes", "collapsed_on_test": "yes"}
    assert said(measured, **both) == "Collapsed on train and test"
    apart = {**both, "collapsed_on_test": "no", "frame": "yes", "dual": "no"}
    assert said(measured, **apart) == "Collapsed on train, not on test; simplex; head off the means"
    late = {"collapsed_on_train": "no", "collapsed_on_test": "partly"}
    assert said(measured, **late) == "Not collapsed on train, partly on test"
    assert said(measured, collapsed_on_elsewhere="yes", frame="no") == "No simplex"


@pytest.mark.parametrize("answer", ANSWERS)
def test_any_answer_makes_a_sentence(measured: nc.Measurement, answer: str) -> None:
    verdicts = tuple(replace(verdict, answer=answer) for verdict in measured.verdicts)
    found = headline(replace(measured.document, verdicts=verdicts))
    assert found.sentence and "{" not in found.sentence and "\n" not in found.sentence
    assert headline(replace(measured.document, verdicts=())).sentence == "No answer was written"


def test_the_number_is_the_first_that_an_answer_rests_on(measured: nc.Measurement) -> None:
    number = headline(measured.document).number
    assert number is not None and number == measured.verdicts[0].numbers[0]


def test_small_classes_at_risk_are_counted(measured: nc.Measurement) -> None:
    rows = [
        ClassRow("train", "head", str(k), k, count, 1.0, 0.1, "0", distance)
        for k, (count, distance) in enumerate(
            [(100, 2.0), (100, 2.0), (100, 2.0), (5, 0.1), (5, 0.2), (5, 1.9)]
        )
    ]
    verdict = Verdict("Asked?", "yes", "Said.", (), "minority")
    document = replace(measured.document, verdicts=(verdict,))
    assert headline(document, rows).sentence == "2 of 6 classes at risk"
