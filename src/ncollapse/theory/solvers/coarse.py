"""A start for many distinct counts: solve with a few, then interpolate the logits."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from ncollapse.theory.solvers.blocks import Groups
from ncollapse.theory.solvers.relaxation import Point, Relaxation

Array = np.ndarray
MANY = 64
FEW = 24


def coarse_start(problem: Relaxation, solve: Callable[[Relaxation], Point]) -> Point | None:
    """A point near the minimiser, or None where there are few groups or counts do not order them.

    Neighbouring counts are merged, in ranges that are equally wide in log n: the logits of the
    solution are smooth in it, and small counts, of which long tails have many classes, stand far
    apart there. They are interpolated to all counts, own and others apart.
    """
    groups = problem.groups
    if groups.number < MANY or len(np.unique(groups.counts)) < groups.number:
        return None
    logs = np.log(groups.counts)
    edges = np.linspace(logs[0], logs[-1], 1 + max(FEW, groups.number // 4))[1:-1]
    cut = np.unique([0, *np.searchsorted(logs, edges), groups.number])
    few = _merged(groups, list(pairwise(cut.tolist())))
    reduced = Relaxation.on(
        few, problem.loss, problem.tau, problem.bias_decay, problem.share_weighted
    )
    found = solve(reduced)
    without = Point(found.spread, found.core, None)
    own, others = reduced.logits(without)
    at, to = np.log(few.counts), logs
    own = np.interp(to, at, own)
    half = np.stack([np.interp(to, at, row) for row in others])
    others = np.stack([np.interp(to, at, column) for column in half.T], axis=1)
    bias = None if found.bias is None else np.interp(to, at, found.bias)
    return from_logits(problem, own, others, bias)


def from_logits(problem: Relaxation, own: Array, others: Array, bias: Array | None) -> Point:
    """The point whose logits (bias left out) are given."""
    sizes = problem.groups.sizes
    among = np.diag(others)
    spread = np.where(problem.free, np.maximum(own - among, 0.0) * problem.root, 0.0)
    core = others / problem.to_logits
    core[problem.diagonal] = (own + among * (sizes - 1)) * problem.root
    return Point(spread, core, bias)


def _merged(groups: Groups, ranges: list[tuple[int, int]]) -> Groups:
    """Groups that stand for ranges of neighbouring ones, with their class-weighted means."""

    def mean(values: Array) -> Array:
        return np.array([np.average(values[a:b], weights=groups.sizes[a:b]) for a, b in ranges])

    owner = np.empty(groups.number, dtype=np.int64)
    for number, (a, b) in enumerate(ranges):
        owner[a:b] = number
    return Groups(
        index=owner[groups.index],
        sizes=np.array([groups.sizes[a:b].sum() for a, b in ranges]),
        counts=mean(groups.counts),
        weight=mean(groups.weight),
        scale=None if groups.scale is None else mean(groups.scale),
        shift=None if groups.shift is None else mean(groups.shift),
    )
