"""What is asked of a model or a run in a test: one line that passes, or says what fails and why."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import ncollapse as nc
from ncollapse.answers.checked import laws_of
from ncollapse.errors import CheckError
from ncollapse.record.document import Document

LABELS = torch.arange(60) % 3


def data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return 2 * torch.randn(3, 6, generator=generator)[LABELS] + 0.3 * torch.randn(
        60, 6, generator=generator
    ), LABELS


def net() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3))


def trained(loss: str, make=torch.optim.SGD) -> nc.Tracker:
    model, (X, y) = net(), data()
    optimizer = make(model.parameters(), lr=0.05, weight_decay=1e-3)
    tracker = nc.Tracker(model, train=(X, y), optimizer=optimizer)
    for _ in range(8):
        optimizer.zero_grad()
        logits = model(X)
        if loss == "ce":
            nn.functional.cross_entropy(logits, y).backward()
        else:
            (logits - nn.functional.one_hot(y, 3)).square().mean().backward()
        optimizer.step()
        tracker.step()
    tracker.end_epoch()
    return tracker


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> tuple[nc.Tracker, nc.Measurement, Path]:
    tracker = trained("ce")
    found = tracker.finish(null=False, intervals=False)
    return tracker, found, found.save(tmp_path_factory.mktemp("good"))


@pytest.fixture(scope="module")
def bad(tmp_path_factory) -> tuple[nc.Tracker, nc.Measurement, Path]:
    tracker = trained("mse")
    found = tracker.finish(null=False, intervals=False)
    return tracker, found, found.save(tmp_path_factory.mktemp("bad"))


# ---- laws ---------------------------------------------------------------------------------------
def test_laws_that_hold_are_returned_from_wherever_they_are_kept(good) -> None:
    tracker, found, folder = good
    places = (tracker, tracker.law, found, found.document, found.run(), folder, str(folder))
    for place in (*places, folder / "results.json"):
        assert nc.check_laws(place) == {"head_sum": "agrees"}


def test_a_law_that_breaks_is_named_with_its_size_and_what_breaks_it(bad) -> None:
    tracker, found, folder = bad
    for place in (tracker, found, folder):
        with pytest.raises(AssertionError) as stop:
            nc.check_laws(place)
        error, said = stop.value, str(stop.value)
        assert isinstance(error, nc.CheckError)
        assert said.startswith("1 of 1 laws of training fails in ")
        assert "FAILS  head_sum breaks" in said and "squared errors" in said
        (law,) = error.failed
        assert law["error"] == tracker.law.error and f"{law['error']:.0e}" in said
        assert law["names"] == ["loss"] and law["holds"] is False
    assert str(folder) in said


def test_a_law_that_does_not_apply_raises_nothing_and_says_so() -> None:
    assert nc.check_laws(trained("ce", torch.optim.Adam)) == {"head_sum": "does not apply"}


@pytest.mark.parametrize("damage", [{"answer": "fine"}, {"law": 3}, {"notes": None}])
def test_damaged_laws_are_no_passing_laws(good, damage) -> None:
    document = good[1].document
    laws = [{**document.config["laws"][0], **damage}]
    with pytest.raises(ValueError, match="what it keeps of a law of its training is not whole"):
        nc.check_laws(replace(document, config={**document.config, "laws": laws}))


def test_where_no_law_was_followed_that_is_said(tmp_path: Path) -> None:
    X, y = data()
    found = nc.measure(net(), (X, y), null=False, intervals=False)
    found.save(tmp_path)
    for place in (found, tmp_path):
        with pytest.raises(ValueError, match="keeps no laws of its training; pass optimizer="):
            nc.check_laws(place)
    with pytest.raises(ValueError, match="this Tracker follows no law of its training; pass opt"):
        nc.check_laws(nc.Tracker(net(), train=(X, y)))
    with pytest.raises(ValueError, match="a trace keeps readings along training and no laws"):
        nc.check_laws(nc.Trace())
    with pytest.raises(ValueError, match="laws of a Sequential are not known; pass a run folder"):
        nc.check_laws(net())
    with pytest.raises(ValueError, match="does not exist"):
        nc.check_laws(tmp_path / "nowhere")
    assert isinstance(found.document, Document)


def test_callbacks_are_asked_as_trackers_are(bad) -> None:
    class Callback:
        law = bad[0].law

    assert [law["law"] for law in laws_of(Callback())] == ["head_sum"]


def test_the_error_survives_another_process(bad) -> None:
    with pytest.raises(CheckError) as stop:
        nc.check_laws(bad[2])
    again = pickle.loads(pickle.dumps(stop.value))
    assert str(again) == str(stop.value) and again.failed == stop.value.failed


# ---- models -------------------------------------------------------------------------------------
def test_a_model_that_holds_is_measured_and_returned(good) -> None:
    model = good[0].model
    asked = {"maximum": {"nc1_fisher": 100.0}, "minimum": {"accuracy": 0.5}}
    found = nc.check_model(model, data(), **asked, laws=good[2])
    assert isinstance(found, nc.Measurement) and found.value("accuracy") > 0.5
    # What limits do not need is not made; answers need all of it.
    assert found["train"]["head"]["nc1_fisher"].null is None
    known = {"yes", "partly", "no", "cannot tell"}
    found = nc.check_model(model, data(), answers={"collapsed": tuple(known)})
    assert found["train"]["head"]["nc1_fisher"].null is not None
    found.check(answers={"collapsed:train": tuple(known)})


def test_everything_that_does_not_hold_is_named_at_once(bad) -> None:
    tracker, found, folder = bad
    value = found.value("nc1_fisher")
    with pytest.raises(AssertionError) as stop:
        nc.check_model(
            tracker.model,
            data(),
            maximum={"nc1_fisher": value / 2, "nc1_ratio": 1e9},
            minimum={"accuracy": 1.5},
            answers={"transfer": "yes"},
            laws=tracker,
        )
    said = str(stop.value)
    assert said.startswith("4 of 5 checks fail in this measurement of Sequential:")
    assert f"FAILS  train/head/nc1_fisher <= {value / 2:g}: {value:.6g}" in said
    assert "FAILS  train/head/accuracy >= 1.5" in said and "nc1_ratio" not in said
    assert "FAILS  transfer is yes: not measured" in said and "FAILS  head_sum breaks" in said
    kinds = [next(k for k in ("key", "id", "law") if k in one) for one in stop.value.failed]
    assert kinds == ["key", "key", "id", "law"]
    with pytest.raises(CheckError, match="head_sum breaks"):
        nc.Measurement.load(folder).check(laws=True)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "nothing is asked of the model; pass maximum="),
        ({"maximum": {}}, "nothing is asked of the model"),
        ({"maximum": {"nc1_fischer": 1}}, "no reading 'nc1_fischer'; did you mean nc1_fisher"),
        ({"minimum": {"accuracy": "0.9"}}, "'0.9' is no limit of accuracy; a number is needed"),
        ({"minimum": {"accuracy": float("nan")}}, "nan is no limit of accuracy"),
        ({"minimum": {"accuracy": True}}, "True is no limit of accuracy"),
        ({"answers": {"duel": "yes"}}, "no answer to 'duel'; did you mean dual"),
        ({"answers": {"dual": "maybe"}}, "'maybe' is no answer to 'dual'; answers are yes"),
        ({"answers": {"dual": ()}}, "no answer is no answer to 'dual'"),
        ({"answers": {"collapsed": "yes", "collapsed:train": "no"}}, "collapsed:train is given tw"),
        (
            {"maximum": {"accuracy": 1}, "split": "test"},
            "has no split/layer test/head; name one of tra",
        ),
        ({"laws": True}, "keeps no laws of its training"),
    ],
)
def test_what_cannot_be_asked_is_an_error_of_its_own(asked, said: str) -> None:
    with pytest.raises(ValueError, match=said) as stop:
        nc.check_model(net(), data(), **{"intervals": False, **asked})
    assert not isinstance(stop.value, AssertionError)


def test_options_of_measuring_are_checked_by_measure() -> None:
    with pytest.raises(TypeError, match="did you mean"):
        nc.check_model(net(), data(), maximum={"nc1_fisher": 1}, layrs="*")


# ---- in pytest ----------------------------------------------------------------------------------
def test_it_is_one_line_of_a_test_suite(good, bad, tmp_path: Path) -> None:
    """pytest fails at the user's own line, with our sentences and nothing of our insides."""
    (tmp_path / "test_runs.py").write_text(
        "import ncollapse as nc\n\n\n"
        f"def test_good():\n    nc.check_laws({str(good[2])!r})\n\n\n"
        f"def test_bad():\n    nc.check_laws({str(bad[2])!r})\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_runs.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "1 failed, 1 passed" in done.stdout, done.stdout
    assert "FAILS  head_sum breaks" in done.stdout and "test_runs.py:9" in done.stdout
    assert "checked.py" not in done.stdout.replace("errors.CheckError", "")
