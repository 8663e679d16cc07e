"""Merging over processes: one process's numbers on every rank, two collectives, faults everywhere."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from ncollapse.collect.ranks import sync
from ncollapse.collect.statistics.classes import ClassMoments
from ncollapse.collect.statistics.forgetting import ForgettingMoments
from tests.data import make
from tests.ranks import said_by, spawn

CASE = make("deep", counts=[40, 60, 30, 1, 25], dim=12, spread=1e-6, offset=5.0)
X, Y = torch.from_numpy(CASE.features).double(), torch.from_numpy(CASE.labels)
COUNTS = torch.bincount(Y)
FORMS: dict[str, dict[str, Any]] = {
    "per_class": {},
    "weighted": {"counts": COUNTS, "memory_budget": 0.0},
    "pooled": {"memory_budget": 0.0},
    "trace": {"mode": "trace"},
    "sketch": {"mode": "sketch", "sketch_size": 8},
}


def build(form: str) -> ClassMoments:
    return ClassMoments(5, 12, **FORMS[form])


def shares(kind: str, ranks: int) -> list[torch.Tensor]:
    """Which samples each rank holds."""
    if kind == "uneven":
        sizes = [3 * (r + 1) for r in range(ranks - 1)]
        return list(torch.arange(len(Y)).split([*sizes, len(Y) - sum(sizes)]))
    if kind == "classes":
        return [(Y % ranks == r).nonzero().flatten() for r in range(ranks)]
    return [
        torch.arange(0) if r == 0 else torch.arange(r - 1, len(Y), ranks - 1) for r in range(ranks)
    ]


def merged(rank: int, ranks: int) -> dict[str, Any]:
    calls: list[str] = []
    for name in ("all_reduce", "all_gather", "broadcast", "all_gather_object", "reduce"):
        plain = getattr(dist, name)

        def counted(*a: Any, name: str = name, plain: Any = plain, **k: Any) -> Any:
            calls.append(name)
            return plain(*a, **k)

        setattr(dist, name, counted)
    found = {}
    for kind in ("uneven", "classes", "empty"):
        for form in FORMS:
            moments = build(form)
            mine = shares(kind, ranks)[rank]
            moments.update(X[mine], Y[mine])
            calls.clear()
            whole = sync.all_merge(moments)
            number = len(calls)
            assert moments.num_samples == len(mine)
            found[kind, form] = (number, whole.state_dict(), whole.means, whole.statistics())
    return found


@pytest.mark.parametrize("ranks", [2, 4])
def test_every_rank_has_what_one_process_has_after_two_collectives(ranks: int) -> None:
    results = spawn(merged, ranks, ranks)
    for form in FORMS:
        one = build(form)
        one.update(X, Y)
        wanted = one.statistics()
        for kind in ("uneven", "classes", "empty"):
            for rank in range(ranks):
                number, state, means, found = results[rank][kind, form]
                assert number == 2
                assert torch.equal(state["counts"], COUNTS)
                torch.testing.assert_close(means, one.means, rtol=1e-12, atol=0)
                torch.testing.assert_close(found.traces, wanted.traces, rtol=1e-10, atol=0)
                for name in ("macro", "micro"):
                    left, right = getattr(found, name), getattr(wanted, name)
                    assert (left is None) == (right is None)
                    if left is not None:
                        gap = float((left - right).norm() / right.norm())
                        assert gap < 1e-10
                # Bit for bit the same on every rank, so that nulls and verdicts agree.
                assert torch.equal(state["sums"], results[0][kind, form][1]["sums"])


def goes_on(rank: int) -> ClassMoments:
    moments = ClassMoments(5, 12)
    mine = torch.arange(rank, 100, 2)
    moments.update(X[mine].float(), Y[mine])
    whole = sync.all_merge(moments)
    whole.update(X[100:].float(), Y[100:])
    return whole


def test_merged_moments_take_in_more() -> None:
    one = ClassMoments(5, 12)
    one.update(X.float(), Y)
    for moments in spawn(goes_on, 2):
        torch.testing.assert_close(moments.means, one.means, rtol=1e-6, atol=0)
        assert moments.num_samples == len(Y)


def fading(rank: int) -> ForgettingMoments:
    moments = ForgettingMoments(5, 12, half_life=float("inf"))
    mine = (rank == Y % 2).nonzero().flatten() if rank else torch.arange(90)
    moments.update(X[mine], Y[mine])
    return sync.all_merge(moments)


def test_moments_with_forgetting_merge_to_those_of_all_samples() -> None:
    one = ClassMoments(5, 12, memory_budget=0.0)
    for mine in (torch.arange(90), (Y % 2 == 1).nonzero().flatten()):
        one.update(X[mine], Y[mine])
    wanted = one.statistics()
    for moments in spawn(fading, 2):
        found = moments.statistics()
        torch.testing.assert_close(moments.means, one.means, rtol=1e-12, atol=0)
        torch.testing.assert_close(found.traces, wanted.traces, rtol=1e-6, atol=1e-20)
        assert float((found.micro - wanted.micro).norm() / wanted.micro.norm()) < 1e-6


def faulty(rank: int) -> list[str]:
    said = []
    moments = ClassMoments(5, 12)
    moments._deferred = True
    moments.update(X[:20], torch.full((20,), 7) if rank == 1 else Y[:20])
    said.append(said_by(lambda: sync.all_merge(moments)))
    other = ClassMoments(5, 12, mode="trace" if rank else "full")
    said.append(said_by(lambda: sync.all_merge(other)))
    return said


def test_a_fault_on_one_rank_is_raised_on_all() -> None:
    (label0, mode0), (label1, mode1) = spawn(faulty, 2)
    assert "1 of 2 ranks met labels" in label0
    assert r"20 labels lie outside 0..4" in label1
    assert "the same arguments on every rank" in mode0
    assert "the same arguments on every rank" in mode1


def deserted(rank: int, path: str) -> None:
    dist.init_process_group(
        "gloo",
        init_method=f"file://{path}.store",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=10),
    )
    dist.barrier()
    connected = Path(f"{path}.connected")
    if rank == 1:
        # Not before the other is done with connecting, which would fail in another way.
        while not connected.exists():
            time.sleep(0.01)
        os._exit(0)
    connected.touch()
    moments = ClassMoments(5, 12)
    moments.update(X, Y)
    Path(path).write_text(said_by(lambda: sync.all_merge(moments)))


def test_a_rank_that_is_gone_ends_the_others_with_a_reason(tmp_path: Path) -> None:
    said = tmp_path / "said"
    started = mp.start_processes(deserted, (str(said),), 2, join=False, start_method="fork")
    assert started is not None
    for process in started.processes:
        process.join(30)
    assert "another process of the group ended" in said.read_text()


def test_without_a_group_a_copy_comes_back() -> None:
    moments = build("per_class")
    moments.update(X, Y)
    copy = sync.all_merge(moments)
    assert copy is not moments
    assert copy.num_samples == moments.num_samples
