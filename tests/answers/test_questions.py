"""Verdicts: five answers, each with its number, and silence where nothing is resolved."""

from __future__ import annotations

import numpy as np
import pytest

import ncollapse as nc
from ncollapse.answers.questions import cuts
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

    means = torch.from_numpy(rng.normal(size=(10, 64)))
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
