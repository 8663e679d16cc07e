"""Conditions of theory, successors of contexts, and readings against frequency: laws and bad input."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from ncollapse.collect.statistics.classes import ClassMoments
from ncollapse.collect.statistics.decisions import Decisions
from ncollapse.metrics.frequency import by_class, frequency_curve
from ncollapse.metrics.preconditions import preconditions, zipf_exponent
from ncollapse.metrics.successors import Successors, SuccessorShares


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 1.7])
def test_the_exponent_of_exact_counts_is_found(exponent: float) -> None:
    counts = (1e9 * torch.arange(1, 400, dtype=torch.float64) ** -exponent).round().long()
    assert zipf_exponent(counts) == pytest.approx(exponent, abs=1e-5)
    turned = counts[torch.randperm(399, generator=torch.Generator().manual_seed(0))]
    with_absent = torch.cat([turned, torch.zeros(5, dtype=torch.int64)])
    assert zipf_exponent(with_absent) == pytest.approx(zipf_exponent(counts), abs=1e-9)


def test_every_condition_has_its_number_and_says_whether_it_holds() -> None:
    seen = SuccessorShares(3, 1000, 400, 0.6, 0.8, 1.0)
    counts = torch.tensor([500, 100, 20, 5, 0])
    found = {
        one.name: one
        for one in preconditions(
            counts, 2, context_share=0.8, successors=seen, train_error=0.6, epochs=1
        )
    }
    assert [one.holds for one in found.values()] == [False] * 7
    assert found["count_ratio"].value == 100 and "100 times" in found["count_ratio"].sentence
    assert found["classes_per_dimension"].value == pytest.approx(4 / 3)
    assert "no simplex frame fits" in found["classes_per_dimension"].sentence
    assert "60 % of repeated contexts of 3 tokens" in found["several_successors"].sentence
    ideal = preconditions(
        torch.full((4,), 50), 3, context_share=0.0,
        successors=SuccessorShares(3, 9, 9, 0.0, 0.0, 1.0), train_error=0.0, epochs=300,
    )  # fmt: skip
    assert all(one.holds for one in ideal) and len(ideal) == 7
    unknown = {one.name: one for one in preconditions(counts, 2)}
    for name in ("context_share", "several_successors", "train_error", "epochs"):
        assert unknown[name].value is None and unknown[name].holds is None
    none = SuccessorShares(3, 9, 0, float("nan"), float("nan"), 1.0)
    assert {one.name: one for one in preconditions(counts, 2, successors=none)}[
        "several_successors"
    ].holds is None


def test_bad_conditions_are_said() -> None:
    with pytest.raises(ValueError, match="1 class has samples"):
        preconditions(torch.tensor([0, 9, 0]), 4)
    with pytest.raises(ValueError, match=r"train_error=1\.5"):
        preconditions(torch.tensor([3, 9]), 4, train_error=1.5)
    with pytest.raises(ValueError, match="epochs=-1"):
        preconditions(torch.tensor([3, 9]), 4, epochs=-1)
    with pytest.raises(ValueError, match="needs at least two"):
        zipf_exponent(torch.tensor([4]))


# ---- successors ---------------------------------------------------------------------------------
def naive(ids, mask, order):
    follow = defaultdict(Counter)
    for row, held in zip(ids.tolist(), mask.tolist(), strict=True):
        for t in range(len(row) - order):
            if all(held[t : t + order + 1]):
                follow[tuple(row[t : t + order])][row[t + order]] += 1
    again = {c: n for c, n in follow.items() if n.total() > 1}
    several = {c for c, n in again.items() if len(n) > 1}
    total = sum(n.total() for n in again.values())
    return len(follow), len(again), len(several) / len(again), sum(
        again[c].total() for c in several
    ) / total  # fmt: skip


@pytest.mark.parametrize("order", [1, 2, 3])
def test_successors_are_counted_as_a_dictionary_counts_them(order: int) -> None:
    rng = np.random.default_rng(0)
    ids = torch.from_numpy(rng.zipf(1.6, size=(40, 30)) % 17)
    mask = torch.from_numpy(rng.random((40, 30)) > 0.05)
    whole, parts = Successors(order), [Successors(order) for _ in range(3)]
    whole.update(ids, mask)
    for number, part in enumerate(parts):
        part.update(ids[number::3], mask[number::3])
    merged = parts[2].merge(parts[0]).merge(parts[1])
    for found in (whole.result(), merged.result()):
        assert (found.contexts, found.repeated, found.share, found.position_share) == pytest.approx(
            naive(ids, mask, order)
        )
        assert found.kept == 1 and found.order == order


def test_past_the_limit_a_part_of_the_contexts_stands_for_all() -> None:
    rng = np.random.default_rng(1)
    ids = torch.from_numpy(rng.integers(0, 60, size=(60, 400)))
    whole, some, one, other = (Successors(2, limit) for limit in (10**9, 4000, 4000, 4000))
    whole.update(ids)
    some.update(ids)
    one.update(ids[:30])
    other.update(ids[30:])
    full, part = whole.result(), some.result()
    assert part.kept < 0.5 and part.contexts == pytest.approx(part.kept * full.contexts, rel=0.15)
    assert part.share == pytest.approx(full.share, abs=0.03)
    assert one.merge(other).result() == part


def test_a_text_without_choice_has_no_context_with_several_successors() -> None:
    ids = (torch.arange(50)[None] + torch.arange(4)[:, None]) % 20
    sure = Successors(2)
    sure.update(ids)
    assert sure.result().share == 0 and sure.result().repeated > 0
    short = Successors(3)
    short.update(torch.zeros(4, 1, dtype=torch.int64))
    assert short.result().contexts == 0 and np.isnan(short.result().share)
    with pytest.raises(ValueError, match="order=0"):
        Successors(0)
    with pytest.raises(ValueError, match="cannot join"):
        sure.merge(short)


# ---- frequency ----------------------------------------------------------------------------------
def test_the_curve_is_means_over_octaves_of_the_count() -> None:
    rng = np.random.default_rng(2)
    counts = np.array([1, 1, 2, 3, 3, 4, 5, 7, 8, 15, 16, 40])
    labels = np.repeat(np.arange(12), counts)
    h = rng.normal(size=(12, 4))[labels] + 0.3 * rng.normal(size=(len(labels), 4))
    W = rng.normal(size=(12, 4))
    moments = ClassMoments(13, 4, mode="trace")
    moments.update(torch.from_numpy(h), torch.from_numpy(labels + 1))
    weight = torch.from_numpy(np.r_[np.zeros((1, 4)), W])
    present = torch.arange(1, 13)
    decided = Decisions(moments.means[present], present, 13, weight, torch.zeros(13))
    decided.update(torch.from_numpy(h[labels != 11]), torch.from_numpy(labels[labels != 11] + 1))
    held = moments.statistics(), moments.geometry(weight), decided
    curve, each = frequency_curve(*held), by_class(*held)
    assert curve["tokens"] == [2, 3, 3, 2, 1, 1] and sum(curve["positions"]) == len(labels)
    assert curve["count"][1] == pytest.approx((2 * 3 * 3) ** (1 / 3))
    mu = np.stack([h[labels == c].mean(0) for c in range(12)])
    m = mu - mu.mean(0)
    n = np.linalg.norm(m, axis=1)
    cosine = (W * m).sum(1) / np.linalg.norm(W, axis=1) / n
    spread = np.array([h[labels == c].var(0, ddof=1).sum() for c in range(2, 12)])
    assert curve["readings"]["norm"][2] == pytest.approx(n[5:8].mean())
    assert curve["readings"]["cosine"][3] == pytest.approx(cosine[8:10].mean())
    assert curve["readings"]["spread"][0] is None
    assert curve["readings"]["spread"][1] == pytest.approx(spread[:3].mean())
    assert each["length"].numpy()[2:] == pytest.approx(
        np.sqrt(np.maximum(n[2:] ** 2 - spread / counts[2:], 0))
    )
    right = (np.c_[np.zeros(len(h)), h @ W.T].argmax(1) == labels + 1)[labels == 9].mean()
    assert float(each["accuracy"][9]) == pytest.approx(right)
    assert (
        curve["readings"]["accuracy"][5] is None and curve["readings"]["agreement"][4] is not None
    )
    assert curve["correlation"]["norm"] == pytest.approx(spearmanr(n, counts).statistic)
    assert curve["correlation"]["cosine"] == pytest.approx(spearmanr(cosine, counts).statistic)


def test_a_mean_of_few_samples_is_no_longer_for_its_noise() -> None:
    """Norms of rare tokens' means are large by noise alone; lengths are not."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(400).repeat_interleave(torch.tensor([2, 64]).repeat(200))
    noise = torch.randn(len(labels), 30, generator=generator, dtype=torch.float64)
    moments = ClassMoments(400, 30, mode="trace")
    moments.update(noise, labels)
    curve = frequency_curve(moments.statistics(), moments.geometry())
    norm, length = (curve["readings"][name] for name in ("norm", "length"))
    assert norm[0] > 4 * norm[1] and length[0] < 0.35 * norm[0]
    assert "cosine" not in curve["readings"]
