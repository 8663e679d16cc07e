"""Decisions: float32 with near-ties settled equals float64; blocks leave out what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ncollapse.collect.statistics.blocks import BlockMoments
from ncollapse.collect.statistics.classes import ClassMoments
from ncollapse.collect.statistics.decisions import Decisions
from tests.data import make


def decide(
    features: torch.Tensor, labels: torch.Tensor, means: torch.Tensor, weight: torch.Tensor
) -> Decisions:
    found = Decisions(means, torch.arange(len(means)), len(means), weight, torch.zeros(len(means)))
    found.update(features, labels)
    return found


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_float32_decides_like_float64_even_at_ties(offset: float) -> None:
    """Means in near-identical pairs, far from the origin: float32 alone cannot tell them apart."""
    rng = np.random.default_rng(0)
    means = torch.from_numpy(rng.normal(size=(6, 20)) + offset)
    means = torch.cat([means, means + 1e-6 * torch.from_numpy(rng.normal(size=(6, 20)))])
    labels = torch.from_numpy(rng.integers(0, 12, size=500))
    features = (means[labels] + 0.3 * torch.from_numpy(rng.normal(size=(500, 20)))).float()
    narrow = decide(features, labels, means, means - means.mean(0))
    exact = decide(features.double(), labels, means, means - means.mean(0))
    for name in Decisions.SUMS:
        assert torch.equal(getattr(narrow, name), getattr(exact, name)), name
    assert float(narrow.margin_min) == pytest.approx(float(exact.margin_min), rel=1e-9)
    torch.testing.assert_close(narrow.margin_sum, exact.margin_sum, rtol=1e-4, atol=1e-3)


def test_parts_merge_to_the_whole() -> None:
    case = make("d", counts=[30, 20, 25], dim=5, spread=1.5)
    features, labels = torch.from_numpy(case.features), torch.from_numpy(case.labels)
    means, weight = torch.randn(3, 5, generator=_seeded(1)), torch.randn(3, 5, generator=_seeded(2))
    whole = decide(features, labels, means.double(), weight)
    merged = decide(features[:40], labels[:40], means.double(), weight)
    merged.merge(decide(features[40:], labels[40:], means.double(), weight))
    for name in Decisions.SUMS:
        assert torch.equal(getattr(merged, name), getattr(whole, name))
    assert float(merged.margin_min) == float(whole.margin_min)
    assert float(merged.margin_sum) == pytest.approx(float(whole.margin_sum), rel=1e-6)


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("order", ["shuffled", "sorted by class"])
def test_leaving_out_a_block_is_measuring_the_others(order: str) -> None:
    case = make("b", counts=[40, 60, 25, 1], dim=6, spread=0.5)
    index = np.argsort(case.labels, kind="stable") if order != "shuffled" else slice(None)
    features, labels = torch.from_numpy(case.features[index]), torch.from_numpy(case.labels[index])
    total = ClassMoments(4, 6)
    total.update(features, labels)
    blocks = BlockMoments(total)
    dealt = []
    for start in range(0, len(labels), 37):
        part = slice(start, start + 37)
        dealt.append(blocks.turns.places(labels[part], None) % blocks.number)
    blocks = BlockMoments(total)
    for start in range(0, len(labels), 37):
        blocks.update(features[start : start + 37], labels[start : start + 37])
    block = torch.cat(dealt)
    # A class of one sample is never left out.
    block[labels == 3] = -1
    for left_out in (0, 4, 9):
        statistics, geometry = blocks.without(left_out)
        alone = ClassMoments(4, 6)
        alone.update(features[block != left_out], labels[block != left_out])
        wanted = alone.statistics()
        assert torch.equal(statistics.counts, wanted.counts)
        torch.testing.assert_close(statistics.traces, wanted.traces, rtol=1e-5, atol=1e-9)
        torch.testing.assert_close(geometry.means, alone.geometry().means, rtol=1e-6, atol=1e-7)
