"""Laws that every statistic obeys: merging is exact in any order, and over ranks it is two sums."""

from __future__ import annotations

import ast
import copy
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ncollapse.collect.ranks import sync
from ncollapse.collect.statistics.blocks import BlockMoments
from ncollapse.collect.statistics.classes import ClassMoments
from ncollapse.collect.statistics.counts import LabelCounts
from ncollapse.collect.statistics.decisions import Decisions
from ncollapse.collect.statistics.directions import Directions
from ncollapse.collect.statistics.forgetting import ForgettingMoments
from ncollapse.collect.statistics.fourth import FourthMoments
from ncollapse.collect.statistics.leftover import Leftover, TargetSample
from ncollapse.collect.statistics.predictions import Predictions
from ncollapse.collect.statistics.protocol import NEEDS, Batch, Statistic, added
from ncollapse.collect.statistics.residuals import Residuals
from ncollapse.collect.statistics.span import SpanScatter
from ncollapse.collect.statistics.spread import FeatureSpread
from ncollapse.collect.statistics.targets import TargetMoments

K, D, N = 4, 24, 180
GENERATOR = torch.Generator().manual_seed(0)
LABELS = torch.randint(0, K, (N,), generator=GENERATOR)
FEATURES = torch.randn(N, D, generator=GENERATOR, dtype=torch.float64) + torch.eye(K, D)[LABELS] * 3
TARGETS = torch.randn(N, 2, generator=GENERATOR, dtype=torch.float64) + FEATURES[:, :2]
WEIGHT = torch.randn(K, D, generator=GENERATOR, dtype=torch.float64)
COUNTS = torch.bincount(LABELS, minlength=K)
PARTS = (slice(0, 50), slice(50, 51), slice(51, N))


def whole_moments() -> ClassMoments:
    moments = ClassMoments(K, D)
    moments.update(FEATURES, LABELS)
    return moments


def decisions() -> Decisions:
    return Decisions(whole_moments().means, torch.arange(K), K, WEIGHT, torch.zeros(K))


def target_moments(mode: str = "full") -> TargetMoments:
    moments = TargetMoments(D, 2, mode)
    moments.update(FEATURES, TARGETS)
    return moments


MAKERS: dict[str, Callable[[], Any]] = {
    "counts": lambda: LabelCounts(K),
    "class moments": lambda: ClassMoments(K, D),
    "class moments, weighted": lambda: ClassMoments(K, D, counts=COUNTS, memory_budget=0.0),
    "class moments, pooled": lambda: ClassMoments(K, D, memory_budget=0.0),
    "class moments, traces": lambda: ClassMoments(K, D, mode="trace"),
    "class moments, sketch": lambda: ClassMoments(K, D, mode="sketch", sketch_size=16),
    "forgetting": lambda: ForgettingMoments(K, D),
    "forgetting, traces": lambda: ForgettingMoments(K, D, mode="trace"),
    "decisions": decisions,
    "decisions, no head": lambda: Decisions(whole_moments().means, torch.arange(K), K),
    "directions": lambda: Directions(K, D),
    "blocks": lambda: BlockMoments(whole_moments()),
    "span": lambda: SpanScatter(whole_moments()),
    "residuals": lambda: Residuals(whole_moments(), FEATURES.dtype),
    "residuals, some": lambda: Residuals(whole_moments(), FEATURES.dtype, rows=N // 3),
    "feature spread": lambda: FeatureSpread(D),
    "predictions": lambda: Predictions(WEIGHT),
    "predictions, categories": lambda: Predictions(WEIGHT, COUNTS / N, torch.arange(K) // 2),
    "target moments": lambda: TargetMoments(D, 2),
    "target moments, traces": lambda: TargetMoments(D, 2, "trace"),
    "leftover": lambda: Leftover(
        target_moments().result(), torch.eye(D, dtype=torch.float64)[:, :2], WEIGHT[:2]
    ),
    "target sample": lambda: TargetSample(N, D, 2, FEATURES.dtype),
    "fourth": lambda: FourthMoments(whole_moments()),
    "fourth, traces": lambda: FourthMoments(whole_moments(), "trace"),
    "target sample, some": lambda: TargetSample(N, D, 2, FEATURES.dtype, rows=N // 3),
}


@pytest.fixture(params=MAKERS, ids=str)
def make(request: pytest.FixtureRequest) -> Callable[[], Statistic]:
    return MAKERS[request.param]


def batch(part: slice, statistic: Statistic) -> Batch:
    """Samples with their places among those of their class, as several processes know them; of
    targets, among all."""
    places = torch.zeros(N, dtype=torch.int64)
    for label in range(K):
        mine = (label == LABELS).nonzero().flatten()
        places[mine] = torch.arange(mine.numel())
    rows = torch.arange(N)
    if "targets" in statistic.needs:
        places = rows
    features = FEATURES[part]
    return Batch(features, LABELS[part], rows[part], features, places[part], targets=TARGETS[part])


def filled(make: Callable[[], Statistic], *parts: slice) -> Statistic:
    statistic = make()
    for part in parts:
        statistic.take(batch(part, statistic))
    return statistic


def flat(value: Any) -> list[Tensor]:
    """All numbers of a result, as float64 tensors."""
    if isinstance(value, Tensor):
        return [value.double()]
    if isinstance(value, int | float):
        return [torch.tensor(float(value), dtype=torch.float64)]
    if isinstance(value, dict):
        value = [value[name] for name in sorted(value)]
    if isinstance(value, list | tuple):
        return [tensor for item in value for tensor in flat(item)]
    if isinstance(value, Decisions):
        names = (*Decisions.SUMS, "margin_sum", "margin_min")
        return [getattr(value, name).double() for name in names]
    if hasattr(value, "__dict__"):
        held = {k: v for k, v in vars(value).items() if v is not None and not k.startswith("_")}
        return [tensor for name in sorted(held) for tensor in flat(held[name])]
    return []


def same(left: Statistic, right: Statistic, rtol: float = 1e-11) -> None:
    mine, theirs = flat(left.result()), flat(right.result())
    assert len(mine) == len(theirs) > 0
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=rtol, atol=rtol)


def test_every_statistic_obeys_the_contract(make) -> None:
    statistic = make()
    assert isinstance(statistic, Statistic)
    assert statistic.needs <= NEEDS
    assert isinstance(statistic.identity, str)
    assert statistic.identity == make().identity


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_merged_parts_are_the_whole_in_any_order(make, order) -> None:
    parts = [filled(make, PARTS[number]) for number in order]
    first, *others = parts
    for other in others:
        first.merge(other)
    same(filled(make, slice(0, N)), first)


def test_a_part_without_samples_changes_nothing(make) -> None:
    whole = filled(make, slice(0, N))
    wanted = copy.deepcopy(whole)
    whole.merge(make())
    same(wanted, whole)


def test_a_state_that_is_saved_is_gone_on_with(make) -> None:
    half = filled(make, slice(0, 90))
    restored = make()
    restored.load_state_dict(copy.deepcopy(half.state_dict()))
    for statistic in (half, restored):
        statistic.take(batch(slice(90, N), statistic))
    same(half, restored, rtol=0.0)


@pytest.mark.parametrize("parts", [PARTS, (slice(0, N), slice(0, 0)), (slice(0, 0), slice(0, N))])
def test_summands_over_ranks_are_the_whole(make, parts) -> None:
    """What `merge_all` does over processes, with the sums formed here."""
    ranks = [filled(make, part) for part in parts]
    for rank in ranks:
        rank.flush()
    before = [copy.deepcopy(rank.state_dict()) for rank in ranks]
    centres = added([rank.centres() for rank in ranks])
    assert all(tensor.dtype == torch.float64 for tensor in centres.values())
    summed = added([rank.summands(centres) for rank in ranks])
    lows = [rank.minima() for rank in ranks]
    minima = {name: torch.stack([low[name] for low in lows]).amin(0) for name in lows[0]}
    for rank in ranks:
        merged = copy.copy(rank)
        merged.load(centres, summed, minima)
        same(filled(make, slice(0, N)), merged)
    # Those that were merged may go on as they are.
    for rank, state in zip(ranks, before, strict=True):
        for name, value in rank.state_dict().items():
            assert not isinstance(value, Tensor) or torch.equal(value, state[name]), name


def test_state_bytes_are_known_before_the_first_batch(make) -> None:
    statistic = make()
    known = statistic.state_bytes
    features = FEATURES.float()
    statistic.take(Batch(features, LABELS, torch.arange(N), features, targets=TARGETS))
    statistic.flush()
    held: dict[int, int] = {}
    pending: list[Any] = [statistic]
    while pending:
        value = pending.pop()
        if isinstance(value, Tensor):
            held[value.untyped_storage().data_ptr()] = value.nbytes
        elif isinstance(value, list | tuple):
            pending += value
        elif hasattr(value, "__dict__") and not isinstance(value, type):
            # What a statistic was made from is not its own state.
            made_from = ("total", "_expected", "expected", "_given_pilots")
            pending += [inner for name, inner in vars(value).items() if name not in made_from]
    assert known == pytest.approx(sum(held.values()), rel=0.05)


def test_synchronising_touches_no_attribute_of_a_statistic() -> None:
    """The tensors that travel are those that a statistic hands out."""
    tree = ast.parse(Path(sync.__file__).read_text(encoding="utf-8"))
    asked = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in ("statistic", "merged", "s")
    }
    contract = {name for name in vars(Statistic) if not name.startswith("_")}
    assert asked <= contract
    assert asked >= {"centres", "summands", "minima", "load", "flush"}
