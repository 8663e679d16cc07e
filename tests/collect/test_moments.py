"""ClassMoments: merge = whole in any order and mode; states that save, load and name their fault."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from ncollapse.collect.statistics.classes import ClassMoments
from ncollapse.collect.statistics.protocol import Statistic
from tests.data import make
from tests.oracles import class_parts, within

CASE = make("deep", counts=[40, 60, 30, 1], dim=12, spread=1e-5, offset=5.0)
X, Y = torch.from_numpy(CASE.features), torch.from_numpy(CASE.labels)
COUNTS = torch.bincount(Y)
FORMS = {
    "per_class": {},
    "weighted": {"counts": COUNTS, "memory_budget": 0.0},
    "pooled": {"memory_budget": 0.0},
    "trace": {"mode": "trace"},
    "sketch": {"mode": "sketch", "sketch_size": 8},
}


def build(form: str) -> ClassMoments:
    return ClassMoments(4, 12, **FORMS[form])


def filled(form: str, index: torch.Tensor) -> ClassMoments:
    moments = build(form)
    moments.update(X[index], Y[index])
    return moments


def same(a: ClassMoments, b: ClassMoments, rtol: float) -> None:
    left, right = a.statistics(), b.statistics()
    assert torch.equal(left.counts, right.counts)
    torch.testing.assert_close(a.means, b.means, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(left.traces, right.traces, rtol=rtol, atol=0)
    for name in ("macro", "micro"):
        one, two = getattr(left, name), getattr(right, name)
        assert (one is None) == (two is None)
        if one is not None:
            torch.testing.assert_close(one, two, rtol=rtol, atol=rtol * float(one.abs().max()))


@pytest.mark.parametrize("form", FORMS)
def test_parts_merge_to_the_whole_in_any_order(form: str) -> None:
    whole = filled(form, torch.arange(len(Y)))
    parts = torch.arange(len(Y)).chunk(3)
    for order in itertools.permutations(range(3)):
        merged = build(form)
        for number in order:
            merged.merge(filled(form, parts[number]))
        same(merged, whole, 1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_parts_with_other_classes_merge(form: str) -> None:
    low, high = (Y < 2).nonzero().flatten(), (Y >= 2).nonzero().flatten()
    same(filled(form, low) + filled(form, high), filled(form, torch.arange(len(Y))), 1e-6)


def test_float64_merging_is_exact_to_1e_12() -> None:
    double = X.double()
    whole = ClassMoments(4, 12)
    whole.update(double, Y)
    merged = ClassMoments(4, 12)
    for part in torch.arange(len(Y)).chunk(5):
        other = ClassMoments(4, 12)
        other.update(double[part], Y[part])
        merged = merged + other
    same(merged, whole, 1e-12)


def test_adding_leaves_both_sides_alone() -> None:
    a, b = filled("per_class", torch.arange(50)), filled("per_class", torch.arange(50, 90))
    before = a.num_samples, b.num_samples
    assert (a + b).num_samples == 90
    assert (a.num_samples, b.num_samples) == before


def test_updates_go_on_after_a_merge() -> None:
    moments = filled("per_class", torch.arange(60)).merge(filled("per_class", torch.arange(60, 90)))
    moments.update(X[90:], Y[90:])
    same(moments, filled("per_class", torch.arange(len(Y))), 1e-6)


@pytest.mark.parametrize("weighting", ["macro", "micro"])
def test_scatter_is_that_of_two_passes(weighting: str) -> None:
    _, counts, _, centred = class_parts(CASE.features, CASE.labels)
    wanted = torch.from_numpy(within(centred, counts, weighting))
    for form in ("per_class", "weighted", "pooled"):
        moments = build(form)
        if form == "weighted":
            moments = ClassMoments(4, 12, counts=COUNTS, memory_budget=0.0, weighting=weighting)
        moments.update(X, Y)
        found = moments.statistics().scatter(weighting)
        if form == "pooled" and weighting == "macro":
            # One pooled matrix cannot weigh classes alike; it is never silently micro.
            assert found is None
        else:
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6 * wanted.abs().max())


def test_weighted_scatter_is_withheld_until_the_expected_counts_are_seen() -> None:
    moments = build("weighted")
    moments.update(X[:50], Y[:50])
    assert moments.statistics().macro is None


def test_sketch_estimates_the_fisher_metric_without_bias() -> None:
    from ncollapse.metrics.nc1 import nc1_fisher

    case = make("iso", counts=[200] * 6, dim=128, spread=0.5)
    features, labels = torch.from_numpy(case.features), torch.from_numpy(case.labels)
    exact = ClassMoments(6, 128)
    exact.update(features, labels)
    truth = float(nc1_fisher(exact.statistics(), exact.geometry()))
    ratios = []
    for seed in range(20):
        moments = ClassMoments(6, 128, mode="sketch", sketch_size=48, seed=seed)
        moments.update(features, labels)
        ratios.append(float(nc1_fisher(moments.statistics(), moments.geometry())) / truth)
    error = np.std(ratios, ddof=1) / np.sqrt(len(ratios))
    assert abs(np.mean(ratios) - 1) < 4 * error + 0.02


@pytest.mark.parametrize("form", FORMS)
def test_state_survives_saving(form: str) -> None:
    moments = filled(form, torch.arange(70))
    other = build(form)
    other.load_state_dict(moments.state_dict())
    for each in (moments, other):
        each.update(X[70:], Y[70:])
    same(moments, other, 0)


def test_state_of_other_moments_is_refused() -> None:
    with pytest.raises(ValueError, match="the state is of moments"):
        build("trace").load_state_dict(build("per_class").state_dict())
    with pytest.raises(ValueError, match="cannot be merged"):
        build("trace").merge(build("per_class"))


def test_state_bytes_are_known_first_and_right() -> None:
    for form in FORMS:
        moments = build(form)
        known = moments.state_bytes
        moments.update(X, Y)
        moments.flush()
        held = sum(t.nbytes for t in moments.state_dict().values() if isinstance(t, torch.Tensor))
        extra = moments._scatter.matrix.nbytes if form == "sketch" else 0
        assert known == pytest.approx(held + extra, rel=0.02)


def test_ignored_labels_are_skipped_and_others_named() -> None:
    labels = Y.clone()
    labels[::3] = -100
    moments = build("per_class")
    moments.update(X, labels)
    assert moments.num_samples == int((labels >= 0).sum())
    for bad in (-1, 4):
        labels = Y.clone()
        labels[17] = bad
        with pytest.raises(ValueError, match=rf"label {bad} of sample 17 lies outside 0\.\.3"):
            build("per_class").update(X, labels)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("form", FORMS)
def test_the_first_sample_that_is_not_finite_is_named(form: str, value: float) -> None:
    features = X.clone()
    features[[60, 23, 99], 4] = value
    moments = build(form)
    with pytest.raises(ValueError, match=f"first in sample 23 \\(class {int(Y[23])}\\)"):
        moments.update(features, Y)
        moments.statistics()


@pytest.mark.parametrize(
    ("features", "labels", "said"),
    [
        (torch.zeros(3, 5), torch.zeros(3, dtype=torch.int64), r"\(samples, 12\) is needed"),
        (torch.zeros(3, 12, 2), torch.zeros(3, dtype=torch.int64), "pool over space or tokens"),
        (torch.zeros(3, 12), torch.zeros(2, dtype=torch.int64), "one label a sample"),
        (torch.zeros(3, 12), torch.zeros(3), "integers 0..3 are needed"),
        (torch.zeros(3, 12, dtype=torch.int64), torch.zeros(3, dtype=torch.int64), "floating"),
    ],
)
def test_wrong_batches_say_what_was_needed(
    features: torch.Tensor, labels: torch.Tensor, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        build("per_class").update(features, labels)


def test_wrong_arguments_say_what_was_needed() -> None:
    for arguments, said in (
        ({"num_classes": 1, "num_features": 3}, "at least 2 classes"),
        ({"num_classes": 3, "num_features": 0}, "at least 1 feature"),
        ({"num_classes": 3, "num_features": 3, "mode": "fast"}, "mode 'fast' is unknown"),
        ({"num_classes": 3, "num_features": 3, "counts": torch.ones(2).long()}, "counts has shape"),
    ):
        with pytest.raises(ValueError, match=said):
            ClassMoments(**arguments)


def test_batches_do_not_hold_the_graph_and_may_be_reused() -> None:
    moments = build("per_class")
    batch = X[:20].clone().requires_grad_()
    moments.update(batch * 1.0, Y[:20])
    buffer = X[20:40].clone()
    moments.update(buffer, Y[20:40])
    buffer.zero_()
    moments.update(X[40:], Y[40:])
    same(moments, filled("per_class", torch.arange(len(Y))), 1e-6)


def test_the_path_without_host_synchronisation_reads_the_same() -> None:
    """Accelerators defer checks to `flush`; that path runs on the CPU as well."""
    for form in ("per_class", "pooled", "trace"):
        moments = build(form)
        moments._deferred = True
        labels = Y.clone()
        labels[::7] = -100
        moments.update(X[:70], labels[:70])
        moments.update(X[70:], labels[70:])
        moments.flush()
        kept = (labels >= 0).nonzero().flatten()
        same(moments, filled(form, kept), 1e-6)


def test_deferred_faults_are_counted_at_flush() -> None:
    moments = build("trace")
    moments._deferred = True
    features, labels = X.clone(), Y.clone()
    labels[3] = 9
    moments.update(features, labels)
    with pytest.raises(ValueError, match=r"1 labels lie outside 0\.\.3"):
        moments.flush()
    moments = build("trace")
    moments._deferred = True
    features[5, 0] = torch.nan
    moments.update(features, Y)
    with pytest.raises(ValueError, match="1 samples hold NaN"):
        moments.flush()


def test_class_moments_are_moments() -> None:
    assert isinstance(build("trace"), Statistic)


def test_a_label_to_skip_may_lie_among_the_classes(rng) -> None:
    labels = torch.arange(60) % 3
    features = torch.from_numpy(rng.normal(size=(60, 4)))
    skipping = ClassMoments(3, 4, ignore_index=0)
    skipping.update(features, labels)
    plain = ClassMoments(3, 4)
    plain.update(features[labels > 0], labels[labels > 0])
    assert skipping.counts.tolist() == [0, 20, 20]
    assert torch.equal(skipping.statistics().traces, plain.statistics().traces)
