"""Unlearning, audited: what three readers say of made features, its answer, and bad input."""

from __future__ import annotations

import json

import jsonschema
import numpy as np
import pytest
import torch

import ncollapse as nc
from ncollapse.answers.questions import verdict_on
from ncollapse.downstream.unlearning import measure_unlearning, unlearning_of_features
from ncollapse.measuring.unlearned import with_unlearning
from ncollapse.metrics.estimates import wilson
from ncollapse.record.document import json_schema
from ncollapse.record.run import Run
from ncollapse.report.html import render_page
from tests.cli.test_commands import run
from tests.models import blobs, net

K, EACH, D = 6, 30, 10
LABELS = torch.arange(K * EACH) % K
MEANS = 4 * torch.eye(K, D, dtype=torch.float64)
NOISE = 0.3 * torch.randn(K * EACH, D, generator=torch.Generator().manual_seed(0)).double()
GONE = (1, 4)


def made(kind: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Features and weight. kept: nothing is forgotten; hidden: the head's rows of two classes are
    such that they never win; gone: their features lie upon those of kept classes as well."""
    means, weight = MEANS.clone(), MEANS.clone()
    if kind != "kept":
        weight[list(GONE)] = -MEANS.sum(0)
    if kind == "gone":
        means[list(GONE)] = means[[0, 2]]
    return means[LABELS] + NOISE, weight


def audited(kind: str):
    features, weight = made(kind)
    left = unlearning_of_features(features, LABELS, forgotten=GONE, weight=weight)
    found = nc.measure_features(features, LABELS, weight=weight, null=False, intervals=False)
    return left, with_unlearning(found, left)


@pytest.mark.parametrize(
    ("kind", "answer", "says"),
    [
        ("kept", "no", "The head still decides"),
        ("hidden", "no", "The head forgets, the features do not"),
        ("gone", "yes", "Head and features forget"),
    ],
)
def test_a_hidden_class_is_told_from_a_forgotten_one(kind, answer, says, tmp_path) -> None:
    left, found = audited(kind)
    verdict = verdict_on(found.document, "unlearned")
    assert verdict is not None and verdict.answer == answer and says in verdict.sentence
    assert left.head is not None and left.head.kept.value > 0.9 and left.probe.kept.n == 4 * EACH
    assert left.head.chance == left.probe.chance == 1 / K
    for one in left.readers.values():
        assert (one.forgotten.low, one.forgotten.high) == wilson(one.forgotten.value, 2 * EACH)
        assert set(one.classes) == set(GONE)
    if kind == "gone":
        # Upon another class every second sample is decided rightly, by chance.
        assert left.probe.forgotten.value > 0.3 and abs(left.probe.told[0]) < 0.2
    if kind == "hidden":
        assert left.head.forgotten.value == 0 and left.probe.forgotten.low > 0.9
        found.save(tmp_path)
        jsonschema.validate(json.loads((tmp_path / "results.json").read_text()), json_schema())
        page = render_page(Run.read(tmp_path))
        assert "Unlearning" in page and says in page


def test_the_columns_do_not_matter_and_without_a_head_two_readers_stay() -> None:
    features, weight = made("hidden")
    plain = unlearning_of_features(features, LABELS, forgotten=GONE, weight=weight)
    wide = torch.cat([features, torch.full((len(LABELS), 3), 7.0)], 1)
    others = unlearning_of_features(wide, LABELS, forgotten=GONE)
    assert list(others.readers) == ["centres", "probe"]
    assert others.probe.forgotten == plain.probe.forgotten
    assert others.centres == plain.centres


def test_a_model_is_read_once_and_its_held_out_split() -> None:
    splits = {"train": blobs(48), "test": blobs(40, seed=1)}
    found = measure_unlearning(net(), splits, forgotten=[2])
    assert found.probe.forgotten.n == 10 and found.probe.kept.n == 30
    assert found.source == "Net" and "unlearning · Net · 1 classes" in str(found)


@pytest.mark.parametrize(
    ("forgotten", "says"),
    [
        ([], "forgotten is empty"),
        ([9], "class 9 is to be forgotten and has no sample"),
        (range(K), "all classes are to be forgotten"),
    ],
)
def test_classes_that_cannot_be_are_said(forgotten, says) -> None:
    features, weight = made("kept")
    with pytest.raises(ValueError, match=says):
        unlearning_of_features(features, LABELS, forgotten=list(forgotten), weight=weight)


def test_labels_beyond_the_head_and_bad_rows_are_said() -> None:
    features, weight = made("kept")
    with pytest.raises(ValueError, match=r"outside the head's classes 0\.\.3"):
        unlearning_of_features(features, LABELS, forgotten=[1], weight=weight[:4])
    with pytest.raises(ValueError, match="sample 0 is not finite"):
        unlearning_of_features(features * torch.nan, LABELS, forgotten=[1])


# ---- from the command line ------------------------------------------------------------------------
def file(path):
    features, weight = made("hidden")
    names = np.array([f"c{k}" for k in range(K)])
    np.savez(
        path, features=features.numpy(), labels=LABELS.numpy(), weight=weight.numpy(),
        class_names=names,
    )  # fmt: skip
    return path


def test_a_file_is_audited_by_names_or_numbers(capsys, tmp_path) -> None:
    place, out = file(tmp_path / "x.npz"), tmp_path / "out"
    quick = ("--no-null", "--no-intervals", "-q")
    code, said, _ = run(capsys, "measure", place, "--forgotten", "c1, 4", "-o", out, *quick)
    assert code == 0 and "Unlearning" in said
    assert "Were the named classes unlearned?" in said
    part = json.loads((out / "results.json").read_text())["downstream"]["unlearning"]
    assert part["numbers"]["classes"] == list(GONE)
    code, _, said = run(capsys, "measure", place, "--forgotten", "c9", *quick)
    assert code == 2 and "'c9' is no class; classes are c0, c1" in said


def test_a_model_is_audited(capsys, tmp_path) -> None:
    spec = "tests.cli.test_measure_model"
    model = ("--model", f"{spec}:model", "--data", f"{spec}:data", "-q", "--no-null")
    out = tmp_path / "out"
    code, said, _ = run(capsys, "measure", *model, "--forgotten", "2", "-o", out)
    assert code == 0 and "Unlearning" in said
    code, _, said = run(
        capsys, "measure", *model, "--forgotten", "2", "--weights", str(tmp_path / "*.pt")
    )
    assert code == 2 and "no pattern of weights" in said
