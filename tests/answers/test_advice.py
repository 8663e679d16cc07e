"""Advice for a goal: the degree measured against the degree wanted, no surer than its evidence."""

from __future__ import annotations

import json

import numpy as np
import pytest

import ncollapse as nc
from ncollapse.answers import advice
from ncollapse.answers.advice import (
    COMPLETE,
    LITTLE,
    MIXED,
    PARTIAL,
    SUPPORTED,
    UNKNOWN,
    UNSHOWN,
    Evidence,
    advise,
    goals,
)
from ncollapse.cli import main
from ncollapse.lab.catalog import find
from ncollapse.lab.claims import VERDICTS
from ncollapse.record.readings import Null, Reading

GOALS = ("classification", "ood", "transfer", "robustness", "incremental")


def results(share: float, low: float, high: float, **layers: float):
    null = Null(0.0, -0.01, 0.01)
    found = {
        name: {"class_share": Reading(value, null=null, interval=(value, value), estimate=value)}
        for name, value in layers.items()
    }
    reading = Reading(share, null=null, interval=(low, high), estimate=share)
    return {"train": {**found, "head": {"class_share": reading}}}


@pytest.mark.parametrize(
    ("ends", "degree"),
    [
        ((0.97, 0.96, 0.98), COMPLETE),
        ((0.93, 0.90, 0.96), UNKNOWN),
        ((0.75, 0.70, 0.80), PARTIAL),
        ((0.55, 0.40, 0.70), UNKNOWN),
        ((0.20, 0.10, 0.30), LITTLE),
        ((0.005, -0.01, 0.02), UNKNOWN),
    ],
)
def test_the_degree_is_told_where_no_cut_lies_in_the_interval(ends, degree: str) -> None:
    found = advise(results(*ends), "classification")
    assert found.measured == degree
    assert found.fits == (None if degree == UNKNOWN else degree == found.wanted)
    assert advise(results(*ends), "robustness").fits is None


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("share", [0.2, 0.75, 0.97])
def test_every_goal_says_what_to_do_at_most_three_things(goal: str, share: float) -> None:
    found = advise(results(share, share - 0.01, share + 0.01), goal)
    assert len(found.actions) <= 3
    assert bool(found.actions) != bool(found.fits) or found.fits
    assert found.certainty in (SUPPORTED, MIXED, UNSHOWN)
    assert goal in found.sentence and found.why in str(found)
    assert json.loads(json.dumps(found.to_dict()))["goal"] == goal


def test_transfer_names_the_last_layer_that_still_holds_variance() -> None:
    layers = {"a": 0.3, "b": 0.6, "c": 0.95}
    found = advise(results(0.97, 0.96, 0.98, **layers), "transfer")
    assert "layer 'b'" in found.actions[0] and "40.0 %" in found.actions[0]


def test_transfer_takes_the_layer_that_a_target_set_did_best_at() -> None:
    def layer(accuracy: float) -> dict:
        return {"few_shot": {"5": {"centres": {"accuracy": accuracy}}}}

    found = {
        "best": "b", "last": "head", "main": 5, "target": "birds",
        "layers": {"b": layer(0.9), "head": layer(0.7)},
    }  # fmt: skip
    said = advise(results(0.97, 0.96, 0.98, a=0.3), "transfer", transfer=found).actions[0]
    assert "layer 'b': 90.0 % of birds" in said and "70.0 % at the last" in said
    found["best"] = "head"
    assert (
        "layer 'a'"
        in advise(results(0.97, 0.96, 0.98, a=0.3), "transfer", transfer=found).actions[0]
    )


def test_certainty_is_that_of_the_evidence() -> None:
    def one(verdict: str, supports: bool = True) -> Evidence:
        return Evidence("id", "study", "it is so", "1", "≥ 0", verdict, supports)

    holds, fails, open_ = one("holds"), one("does not hold"), one("cannot tell")
    assert advice._certainty([holds, open_]) == SUPPORTED
    assert advice._certainty([holds, fails]) == MIXED
    assert advice._certainty([fails, open_]) == UNSHOWN
    assert advice._certainty([open_]) == advice._certainty([]) == UNSHOWN
    assert one("does not hold", supports=False).speaks == 1
    assert one("holds", supports=False).speaks == -1


def test_evidence_is_of_claims_that_studies_make() -> None:
    assert goals() == GOALS
    for goal in GOALS:
        for entry in advice._document()[goal]["evidence"]:
            one = Evidence(**entry)
            claims = {claim.id: claim for claim in find(one.study).claims}
            assert str(claims[one.claim].bar) == one.bar, one
            assert one.verdict in VERDICTS


def test_an_unknown_goal_is_refused() -> None:
    with pytest.raises(ValueError, match="goal='fame' is unknown; one of classification"):
        advise(results(0.9, 0.8, 1.0), "fame")


def test_a_run_is_advised_from_the_command_line(tmp_path, capsys) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3
    features = rng.normal(size=(120, 5)) * 0.1 + np.eye(5)[labels]
    m = nc.measure_features(features, labels)
    m.save(tmp_path)
    assert str(m.advise("transfer")) == str(advise(m.results, "transfer"))
    with pytest.raises(SystemExit) as stop:
        main(["advise", str(tmp_path), "--goal", "transfer", "--json"])
    assert stop.value.code == 0
    shown = json.loads(capsys.readouterr().out)["advice"]
    assert [one["goal"] for one in shown] == ["transfer"]
    with pytest.raises(SystemExit) as stop:
        main(["advise", str(tmp_path)])
    assert stop.value.code == 0 and "incremental" in capsys.readouterr().out
