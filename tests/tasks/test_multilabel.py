"""Several labels a sample: found by itself, read as by hand, and refused in a sentence."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import ncollapse as nc
from ncollapse.answers.questions import verdict_on
from ncollapse.collect.statistics.tags import SetMoments, label_sets
from ncollapse.control import PickAllLabelsLoss
from ncollapse.lab import tagged
from ncollapse.theory.solvers.multilabel import pick_all, scales_from_gap

K, DIM = 5, 9
SCALES = {1: 1.0, 2: 0.9, 3: 0.8}
PLAIN: dict[str, Any] = {"null": False, "intervals": False}


def data(spread: float = 0.05) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(features, labels, head): sums of simplex vertices, times SCALES, about a common offset."""
    rng = np.random.default_rng(0)
    frame = nc.Geometry.simplex_etf(K, DIM).means.numpy()
    labels = tagged.all_sets(K, {1: 12, 2: 3, 3: 2}).numpy()
    size = np.array([SCALES[m] for m in labels.sum(1)])[:, None]
    return size * (labels @ frame) + 1 + spread * rng.normal(size=(len(labels), DIM)), labels, frame


def by_hand(features: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    means = {
        row: features[(labels == row).all(1)].mean(0)
        for row in map(tuple, np.unique(labels, axis=0))
    }
    single = np.stack([means[tuple(row)] for row in np.eye(K, dtype=int)])
    middle, own, other, top, bottom = single.mean(0), [], [], {}, {}
    sums = {row: np.array(row) @ (single - middle) for row in means if sum(row) > 1}
    for row, total in sums.items():
        apart = means[row] - middle
        top[sum(row)] = top.get(sum(row), 0) + apart @ total
        bottom[sum(row)] = bottom.get(sum(row), 0) + total @ total
        own.append(apart @ total / np.linalg.norm(apart) / np.linalg.norm(total))
        other += [
            apart @ s / np.linalg.norm(apart) / np.linalg.norm(s)
            for name, s in sums.items()
            if name != row and sum(name) == sum(row)
        ]
    scales = {f"ml_scale_{m}": top[m] / bottom[m] for m in top}
    return {"ml_tag_cosine": np.mean(own), "ml_tag_other": np.mean(other), **scales}


@pytest.mark.parametrize("kind", [np.int64, bool, np.float32], ids=["int", "bool", "float"])
def test_found_by_itself_and_read_as_by_hand(kind: type) -> None:
    features, labels, frame = data()
    found = nc.measure_features(features, labels.astype(kind), weight=frame, **PLAIN)
    assert found.document.config["task"]["name"] == "multilabel"
    assert "several labels" in found.document.config["task"]["why"]
    for key, value in by_hand(features, labels).items():
        assert found.value(key) == pytest.approx(value, rel=1e-9), key
    # Samples with one label are read as classes are.
    one = labels.sum(1) == 1
    classes = nc.measure_features(features[one], labels[one].argmax(1), weight=frame, **PLAIN)
    for mine, theirs in (("ml_nc1", "nc1_ratio"), ("ml_nc2", "nc2_etf_means")):
        assert found.value(mine) == pytest.approx(classes.value(theirs), rel=1e-9)
    details = found.document.config["details"]["train"]
    assert details["samples"] == {1: 60, 2: 30, 3: 20}
    assert set(details["predicted"]) == set(details["scales"]) == {2, 3}


def test_questions_are_answered() -> None:
    features, labels, frame = data()
    found = nc.measure_features(features, labels, weight=frame)
    for name in ("multilabel_spread", "multilabel_frame", "multilabel_tags"):
        assert verdict_on(found.document, name).answer == "yes"
    noise = np.random.default_rng(1).normal(size=features.shape)
    other = nc.measure_features(noise, labels)
    for name in ("multilabel_spread", "multilabel_frame", "multilabel_tags"):
        assert verdict_on(other.document, name).answer != "yes"


def test_a_model_and_its_loader() -> None:
    features, labels, _ = data()
    with torch.random.fork_rng(devices=[]):
        model = nn.Sequential(nn.Linear(DIM, 12), nn.Linear(12, K))
    x, y = torch.from_numpy(features).float(), torch.from_numpy(labels)
    # Batches of samples that all have one label are no one-hot labels of a whole.
    found = nc.measure(
        model, [(x[i : i + 20], y[i : i + 20]) for i in range(0, len(x), 20)], **PLAIN
    )
    assert found.document.config["task"]["name"] == "multilabel"
    assert found.value("ml_tag_cosine") is not None


@pytest.mark.parametrize(
    ("change", "options", "says"),
    [
        (lambda y: np.eye(K, dtype=int)[y.argmax(1)], {}, r"one-hot.*labels.argmax\(1\)"),
        (lambda y: y.argmax(1), {"task": "multilabel"}, "takes labels as a matrix"),
        (lambda y: np.where(y.sum(1, keepdims=True) == 1, 1, y), {}, "0 of 5 labels stand alone"),
        (lambda y: y, {"num_classes": 4}, "num_classes are 4 but a sample has 5"),
        (lambda y: y, {"weight": np.ones((4, DIM))}, "rows of the weight are 4"),
        (lambda y: y, {"ignore_index": None}, "leave ignore_index as it is"),
    ],
)
def test_bad_input(change: Any, options: dict[str, Any], says: str) -> None:
    features, labels, _ = data()
    with pytest.raises(ValueError, match=says):
        nc.measure_features(features, change(labels), **options, **PLAIN)


def test_labels_that_never_stand_alone_are_named() -> None:
    features, labels, _ = data()
    kept = ~((labels.sum(1) == 1) & (labels[:, 4] == 1))
    found = nc.measure_features(features[kept], labels[kept], **PLAIN)
    assert any("1 of 5 labels never stand alone" in said for said in found.warnings)
    assert 0.9 < found.value("ml_tag_cosine") <= 1


def test_sets_merge_as_a_whole() -> None:
    features, labels, _ = data()
    x, y = torch.from_numpy(features), torch.from_numpy(labels).double()
    sets, counts = label_sets(y)
    assert int(counts.sum()) == len(y) and len(sets) == 5 + 10 + 10

    def filled(part: slice) -> SetMoments:
        from ncollapse.collect.statistics.protocol import Batch

        one = SetMoments(sets, DIM)
        rows = torch.arange(len(x))[part]
        one.take(Batch(x[part], torch.zeros(len(rows)), rows, x[part], targets=y[part]))
        return one

    whole, halves = filled(slice(None)), filled(slice(0, 40))
    halves.merge(filled(slice(40, None)))
    assert torch.allclose(whole.means, halves.means, atol=1e-12)
    assert torch.equal(whole.counts, halves.counts)


# ---- theory and loss -----------------------------------------------------------------------------
@pytest.mark.parametrize("repeats", [{1: 4, 2: 1}, {1: 1, 2: 2, 3: 1}])
def test_free_features_end_where_theory_says(repeats: dict[int, int]) -> None:
    labels = tagged.all_sets(4, repeats)
    value, weight, features = tagged.descended(labels, 5, 5e-3, 0, 3000)
    theory = tagged.predicted(labels, 5e-3)
    assert value == pytest.approx(theory.objective, abs=1e-8)
    assert float(weight.square().sum(1).mean()) == pytest.approx(theory.weight_square, rel=1e-3)
    found = tagged.readings(features, labels, weight)
    for m, scale in found["scales"].items():
        assert scale == pytest.approx(theory.scales[m], abs=1e-3)
    for m in theory.gaps:
        mine = features[labels.sum(1) == m].norm(dim=1).mean()
        assert float(mine) == pytest.approx(theory.feature_norm(m, 4), rel=1e-3)


def test_one_label_is_cross_entropy_and_one_gap_gives_all_scales() -> None:
    """For m = 1 alone the optimum is that of the balanced unconstrained feature model."""
    n, decay = 10, 1e-3
    found = pick_all({1: n * K}, K, decay, decay)
    plain = nc.predict([n] * K, weight_decay=decay, feature_decay=decay, bias="none")
    assert found.objective == pytest.approx(float(plain.objective), rel=1e-9)
    several = pick_all({1: 50, 2: 100, 3: 50}, K, decay, decay / 50)
    again = scales_from_gap(several.gaps[1], K, (1, 2, 3))
    assert again == pytest.approx(several.scales)
    assert all(several.scales[m] > several.scales[m + 1] for m in (1, 2))
    assert math.isnan(pick_all({1: 5}, K, 1.0, 1.0).scales[1])


def test_the_loss_is_the_sum_of_cross_entropies() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, K, generator=generator, dtype=torch.float64)
    labels = tagged.all_sets(K, {2: 1})[:6]
    pairs = [list(chosen) for chosen in itertools.combinations(range(K), 2)][:6]
    by_hand = sum(
        nn.functional.cross_entropy(logits[i : i + 1], torch.tensor([k]))
        for i, chosen in enumerate(pairs)
        for k in chosen
    )
    assert float(PickAllLabelsLoss()(logits, labels)) == pytest.approx(float(by_hand) / 6)
    with pytest.raises(ValueError, match="one 0 or 1 a logit"):
        PickAllLabelsLoss()(logits, labels[:, 0])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (({1: 5}, 1, 0.1, 0.1), "at least two labels"),
        (({0: 5}, K, 0.1, 0.1), "samples by number of labels|by number of labels"),
        (({1: 5}, K, 0.0, 0.1), "weight_decay=0.0"),
    ],
)
def test_bad_input_of_theory(given: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        pick_all(*given)


def test_the_page_shows_single_means_and_scales() -> None:
    from ncollapse.report.html import render_page
    from ncollapse.report.sections.multilabel import scales

    features, labels, frame = data()
    found = nc.measure_features(features, labels, weight=frame, **PLAIN)
    page = render_page(found.run())
    assert "Means of one label" in page and "(theory 0." in page
    assert scales({"scales": {"2": 0.5}, "predicted": {}}) == "C_2 = 0.50"
    assert scales({}) == ""
