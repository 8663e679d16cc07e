"""Candidates for critical points of free features: by symmetry, by rank, by search.

By symmetry: permuting classes that the problem cannot tell apart (with their rows and features)
leaves f alone, so a minimiser among points that are unchanged by it is critical among all points.
For blocks of such classes that gives two points: one where the classes of a block share one row and
one mean ("shared"), and one where every block of several classes is a simplex of its own and all
else is zero ("frames": A leaves the sum over a block alone, and ∇F maps each block's differences
to themselves by Schur's lemma). By rank: a minimiser at width r is critical at every width. By
search: `census.settle` from random starts.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import replace
from itertools import islice, product

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor

from ncollapse.theory.problems.groups import groups_of
from ncollapse.theory.problems.objective import Objective
from ncollapse.theory.problems.point import Point
from ncollapse.theory.problems.ufm import UFM
from ncollapse.theory.solvers.blocks import Groups
from ncollapse.theory.solvers.convex import minimize, one_thread
from ncollapse.theory.solvers.descent import descend
from ncollapse.theory.solvers.readout import gain_of, read_out
from ncollapse.theory.solvers.relaxation import Point as Relaxed
from ncollapse.theory.solvers.relaxation import Relaxation
from ncollapse.theory.subjects.census import settle, starts
from ncollapse.theory.subjects.row_shapes import Blocks

# All partitions of so many equal classes are listed; of more, one block or blocks of one size.
LISTED = 10
# The search forms second derivatives of all variables: up to so many classes.
SEARCHED = 5
SCALES = (0.3, 1.0, 3.0)


# ---- by symmetry --------------------------------------------------------------------------------
def partitions(size: int) -> Iterator[tuple[int, ...]]:
    """Sizes of blocks, descending: all partitions up to ten classes; beyond, one block among single
    classes, and blocks of one size."""
    if size <= LISTED:
        yield from _partitions(size, size)
        return
    for block in range(2, size + 1):
        yield (block, *(1,) * (size - block))
    for block in range(2, size // 2 + 1):
        if size % block == 0:
            yield (block,) * (size // block)


def _partitions(size: int, largest: int) -> Iterator[tuple[int, ...]]:
    if size == 0:
        yield ()
    for first in range(min(size, largest), 0, -1):
        for rest in _partitions(size - first, first):
            yield (first, *rest)


def symmetric_blocks(problem: UFM, most: int) -> list[tuple[Blocks, float]]:
    """Blocks of interchangeable classes, one labelling of each kind with how many there are: at
    most so many, fewest merged classes first. Without those where nothing is merged."""
    groups = groups_of(problem)
    kinds = [list(islice(partitions(group.size), most * 4)) for group in groups]
    found = []
    for sizes in islice(product(*kinds), most * 16):
        blocks: list[tuple[int, ...]] = []
        copies = 1.0
        for group, parts in zip(groups, sizes, strict=True):
            at = 0
            for part in parts:
                blocks.append(group.classes[at : at + part])
                at += part
            copies *= math.exp(math.lgamma(group.size + 1) - sum(math.lgamma(p + 1) for p in parts))
            for number in Counter(parts).values():
                copies /= math.factorial(number)
        if any(len(block) > 1 for block in blocks):
            found.append((tuple(sorted(blocks)), float(round(copies))))
    found.sort(key=lambda entry: sum(len(block) - 1 for block in entry[0]))
    if len(found) > most:
        # Spread over all ranks.
        keep = np.unique(np.linspace(0, len(found) - 1, most).astype(int))
        found = [found[i] for i in keep]
    return found


def shared(problem: UFM, blocks: Blocks) -> Point | None:
    """The lowest point where each block has one row and one mean; None where it vanishes."""
    relaxed = _relaxed(problem, blocks)
    relaxed.free = np.zeros(relaxed.groups.number, dtype=bool)
    return _point(problem, relaxed, minimize(relaxed, tolerance=1e-11).point)


def frames(problem: UFM, blocks: Blocks) -> Point | None:
    """The lowest point where each block of several classes is a simplex, orthogonal to the other
    blocks, and all else is zero; None where all vanish."""
    relaxed = _relaxed(problem, blocks)
    found = relaxed.vanished()
    force = relaxed.tau * relaxed.rest

    def slope(spread: float, at: int, point: Relaxed) -> float:
        moved = point.spread.copy()
        moved[at] = spread
        there = Relaxed(moved, point.core, point.bias)
        return float(relaxed.slope(there).spread[at] + force[at])

    with one_thread():
        for _ in range(40):
            before = found
            for at in np.flatnonzero(relaxed.free):
                spread = found.spread.copy()
                spread[at] = 0.0
                if slope(0.0, int(at), found) < 0:
                    high = 1.0
                    while slope(high, int(at), found) < 0 and high < 1e6:
                        high *= 2
                    spread[at] = brentq(slope, 0.0, high, args=(int(at), found), xtol=1e-14)
                found = Relaxed(spread, found.core, found.bias)
            found = relaxed.polish_bias(found)
            if np.abs(found.spread - before.spread).max() <= 1e-12:
                break
    return _point(problem, relaxed, found)


def _relaxed(problem: UFM, blocks: Blocks) -> Relaxation:
    """(P) with the blocks as its groups."""
    loss = problem.logit_loss
    index = np.empty(problem.num_classes, dtype=np.int64)
    for number, block in enumerate(blocks):
        index[list(block)] = number
    first = [block[0] for block in blocks]

    def column(values: Sequence[float] | None) -> np.ndarray | None:
        return None if values is None else np.array([float(values[k]) for k in first])

    counts, weight = column(problem.counts), column(loss.weight or (1.0,) * problem.num_classes)
    assert counts is not None and weight is not None
    groups = Groups(
        index=index,
        sizes=np.array([float(len(block)) for block in blocks]),
        counts=counts,
        weight=weight,
        scale=column(loss.scale),
        shift=column(loss.shift),
    )
    return copy(Relaxation.on(groups, loss, problem.tau, problem.bias_decay))


def _point(problem: UFM, relaxed: Relaxation, found: Relaxed) -> Point | None:
    """Weight and class means, d = K."""
    matrix = relaxed.matrix(found)
    if matrix.singular_values()[0] <= 1e-9:
        return None
    index = relaxed.groups.index
    bias = None if found.bias is None else found.bias[index]
    wide = replace(problem, num_features=problem.num_classes)
    made = read_out(wide, matrix, relaxed.root[index], gain_of(problem), bias)
    assert made.weight is not None and made.means is not None
    return Point(made.weight, made.means, made.bias)


def origin(problem: UFM) -> Point:
    """Nothing learnt: W = 0, H = 0 and the bias that is best there."""
    relaxed = _relaxed(problem, tuple((k,) for k in range(problem.num_classes)))
    bias = relaxed.vanished().bias
    zero = torch.zeros(problem.num_classes, problem.num_classes, dtype=torch.float64)
    return Point(zero, zero, None if bias is None else torch.from_numpy(bias))


# ---- by rank and by search ----------------------------------------------------------------------
def of_rank(problem: UFM, start: Point, rank: int) -> Point:
    """A minimiser among points of width `rank`, from the leading directions of a point, with zero
    columns up to d = K."""
    balance = (problem.num_samples * problem.feature_decay / problem.weight_decay) ** 0.25
    roots = (torch.tensor(problem.counts, dtype=torch.float64) / problem.num_samples).sqrt()
    both = torch.cat([start.weight / balance, balance * roots[:, None] * start.features])
    basis = torch.linalg.svd(both, full_matrices=False)[2][:rank].T
    narrow = replace(problem, num_features=rank)
    cut = Point(start.weight @ basis, start.features @ basis, start.bias)
    run = descend(narrow, start=cut, per_class=True, tolerance=1e-9, max_iterations=3000)
    point: Point = run.extra["point"]
    return point.widened(problem.num_classes)


def searched(problem: UFM, count: int, seed: int) -> list[Point]:
    """Where the search ends from so many random starts; nothing for many classes and for biases
    with decay."""
    if not count or problem.num_classes > SEARCHED or problem.bias_decay:
        return []
    wide = replace(problem, num_features=problem.num_classes)
    objective = Objective(wide, per_class=True)
    flats = settle(objective, starts(objective, count, SCALES, seed), 60)
    return [objective.unpack(flat) for flat in flats]


def balanced(problem: UFM, weight: Tensor, means: Tensor, bias: Tensor | None) -> Point:
    """A point with the logits of a measured geometry whose W and H share the spectrum of
    A = Z diag(√π), centred for losses of softmax, as decay makes them."""
    roots = (torch.tensor(problem.counts, dtype=torch.float64) / problem.num_samples).sqrt()
    logits = weight @ means.T
    if problem.logit_loss.softmax:
        logits = logits - logits.mean(0)
    U, values, V = torch.linalg.svd(logits * roots)
    gain = gain_of(problem)
    half = values.sqrt()
    if problem.has_bias and bias is None:
        bias = torch.zeros(len(weight), dtype=torch.float64)
    kept = bias.to(torch.float64) if problem.has_bias and bias is not None else None
    return Point(gain * U * half, V.T * half / (gain * roots[:, None]), kept)
