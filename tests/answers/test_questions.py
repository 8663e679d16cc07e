"""Verdicts: five answers, each with its number, and silence where nothing is resolved."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

import ncollapse as nc
from ncollapse.answers.question import NOT_MEASURED, Asking, Question, cuts
from ncollapse.answers.questions import identified, question_of, questions, verdict_on
from ncollapse.metrics.catalog import METRICS
from ncollapse.record.readings import ANSWERS

SIMPLEX = "Do the class means form a simplex?"
DUAL = "Is the head dual to the class means?"


def answers(
    frame: nc.Geometry, spread: float, *, offset: float = 0.0, counts: int = 60, seed: int = 0
) -> dict[str, nc.Verdict]:
    rng = np.random.default_rng(seed)
    classes, dim = frame.means.shape
    labels = np.repeat(np.arange(classes), counts)
    features = frame.means.numpy()[labels] + spread * rng.normal(size=(len(labels), dim)) + offset
    m = nc.measure_features(features, labels, weight=frame.weight)
    return {verdict.question: verdict for verdict in m.verdicts}


@pytest.mark.parametrize("count", [3, 10, 40])
def test_a_collapsed_simplex_is_told_from_an_orthogonal_frame(count: int) -> None:
    found = answers(nc.Geometry.simplex_etf(count, 64), 0.002, counts=200)
    assert found["Collapsed on train?"].answer == "yes"
    assert found[SIMPLEX].answer == "yes"
    assert found[DUAL].answer == "yes"
    assert found["Does the head decide like the nearest class centre?"].answer == "yes"
    found = answers(nc.Geometry.orthogonal([1.0] * count, 64), 0.01)
    assert found[SIMPLEX].answer == "no"
    assert "an orthogonal frame, not a simplex" in found[SIMPLEX].sentence


def test_random_means_are_no_simplex() -> None:
    rng = np.random.default_rng(1)
    import torch

    # In many more dimensions than classes random means do lie near a simplex, and are called so.
    means = torch.from_numpy(rng.normal(size=(10, 12)))
    assert answers(nc.Geometry(means, means), 0.01)[SIMPLEX].answer == "no"


def test_too_many_classes_for_a_simplex_is_said() -> None:
    rng = np.random.default_rng(2)
    import torch

    means = torch.from_numpy(rng.normal(size=(30, 8)))
    verdict = answers(nc.Geometry(means, means), 0.01)[SIMPLEX]
    assert verdict.answer == "no"
    assert "does not fit into 8 features" in verdict.sentence


def test_loose_classes_are_not_collapsed() -> None:
    assert answers(nc.Geometry.simplex_etf(4, 16), 0.15)["Collapsed on train?"].answer == "partly"
    assert answers(nc.Geometry.simplex_etf(4, 16), 1.2)["Collapsed on train?"].answer == "no"


def test_noise_never_gets_a_yes() -> None:
    """Of 40 data sets without classes none is called collapsed, simplex or dual."""
    rng = np.random.default_rng(3)
    for _ in range(40):
        features, labels = rng.normal(size=(120, 16)), np.arange(120) % 4
        m = nc.measure_features(features, labels, weight=rng.normal(size=(4, 16)))
        for verdict in m.verdicts[:4]:
            assert verdict.answer != "yes", verdict


def test_small_classes_that_merge_are_at_risk() -> None:
    rng = np.random.default_rng(4)
    means = rng.normal(size=(6, 20))
    means[4] = means[3] + 0.05 * rng.normal(size=20)
    means[5] = means[3] + 0.05 * rng.normal(size=20)
    labels = np.repeat(np.arange(6), [400, 400, 400, 20, 20, 20])
    features = means[labels] + 0.01 * rng.normal(size=(len(labels), 20))
    m = nc.measure_features(features, labels)
    found = {verdict.question: verdict for verdict in m.verdicts}
    assert found["Are small classes at risk of merging?"].answer == "yes"
    assert found[DUAL].answer == "not measured"


def test_the_precision_floor_is_said() -> None:
    import torch

    frame = nc.Geometry.simplex_etf(4, 16)
    labels = torch.arange(400) % 4
    noise = torch.randn(400, 16, generator=torch.Generator().manual_seed(0)).double()
    features = (frame.means[labels] + 2.0 + 1e-3 * noise).to(torch.bfloat16)
    m = nc.measure_features(features, labels)
    assert "precision floor" in m.verdicts[0].sentence


def test_sentences_carry_numbers_and_no_banned_words() -> None:
    for spread in (0.01, 0.3, 2.0):
        for verdict in answers(nc.Geometry.simplex_etf(5, 12), spread).values():
            assert verdict.answer in ANSWERS
            said = verdict.sentence.lower()
            for word in ("good collapse", "bad collapse", "healthy", "will generalise"):
                assert word not in said
            if verdict.answer in ("yes", "partly", "no"):
                assert any(character.isdigit() for character in said)


def test_without_nulls_the_frame_is_not_judged() -> None:
    frame = nc.Geometry.simplex_etf(4, 8)
    labels = np.arange(80) % 4
    noise = np.random.default_rng(5).normal(size=(80, 8))
    m = nc.measure_features(frame.means.numpy()[labels] + 0.01 * noise, labels, null=False)
    found = {verdict.question: verdict.answer for verdict in m.verdicts}
    assert found[SIMPLEX] == "cannot tell"


def test_cuts_are_numbers_in_order() -> None:
    found = cuts()
    assert found["share_partly"] < found["share_yes"] < 1
    for name in ("angle", "frame", "mismatch"):
        assert found[f"{name}_yes"] < found[f"{name}_partly"]
    assert found["law_partly"] < found["law_yes"] < 1


# ---- questions by id --------------------------------------------------------------------------
def measured(split: bool = False) -> nc.Measurement:
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 4
    features = np.eye(4, 9)[labels] + 0.1 * rng.normal(size=(120, 9))
    names = np.where(np.arange(120) < 80, "train", "held out") if split else None
    return nc.measure_features(features, labels, weight=np.eye(4, 9), split=names)


@pytest.mark.parametrize("split", [False, True])
def test_every_verdict_has_an_id_of_its_own(split: bool) -> None:
    found = [verdict.id for verdict in measured(split).verdicts]
    second = "held out" if split else "test"
    assert found == [
        "collapsed:train",
        f"collapsed:{second}",
        "frame",
        "dual",
        "nearest",
        "minority",
        "terminal_phase",
        "transfer",
        "out_of_distribution",
    ]


def test_documents_older_than_ids_are_understood() -> None:
    document = measured(split=True).document
    old = replace(document, verdicts=tuple(replace(v, id="") for v in document.verdicts))
    assert [identified(v) for v in old.verdicts] == [v.id for v in document.verdicts]
    for verdict in document.verdicts:
        found = verdict_on(old, verdict.id)
        assert found is not None and found.question == verdict.question
    assert verdict_on(old, "nothing") is None
    stranger = nc.Verdict("Is it art?", "yes", "It is.")
    assert question_of(stranger) is None and identified(stranger) == ""


@pytest.mark.parametrize("question", questions().values(), ids=lambda q: q.id)
def test_every_question_is_complete(question: Question) -> None:
    assert set(question.needs) <= set(METRICS)
    for phrases in (question.phrases, question.others):
        assert not phrases or set(phrases) == set(ANSWERS)
    # Where nothing was read it answers all the same, and never with a yes.
    layers: dict[str, dict] = {"block": {}, "head": {}} if question.several_layers else {"head": {}}
    asking = Asking({"train": layers}, (), 4, 2 if question.crowded else 9)
    found = question.answered(asking)
    if question.crowded:
        assert question.answered(Asking({"train": layers}, (), 4, 9)) == []
    if question.several_layers:
        assert question.answered(Asking({"train": {"head": {}}}, (), 4, 9)) == []
    if question.asked is not None:
        assert found == []
        found = replace(question, asked=None).answered(asking)
    assert found and all(v.answer in ("cannot tell", NOT_MEASURED) for v in found)
    assert all(v.sentence.endswith(".") for v in found)


def test_a_file_with_questions_is_found_by_itself(monkeypatch, tmp_path) -> None:
    import ncollapse.answers

    (tmp_path / "weather.py").write_text(
        "from ncollapse.answers.question import Answer, Question\n"
        "QUESTIONS = (Question('rain', 99, 'Will it rain?', (), "
        "lambda asking, seen: Answer('no', 'Not here.')),)\n"
    )
    monkeypatch.setattr(ncollapse.answers, "__path__", [*ncollapse.answers.__path__, str(tmp_path)])
    questions.cache_clear()
    try:
        assert [v.id for v in measured().verdicts][-1] == "rain"
    finally:
        monkeypatch.undo()
        questions.cache_clear()
        sys.modules.pop("ncollapse.answers.weather", None)
