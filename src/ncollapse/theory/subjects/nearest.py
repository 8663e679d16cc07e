"""The critical point nearest to a measured geometry, with the names that it gives to classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ncollapse.geometry import Geometry
from ncollapse.theory.problems.groups import groups_of
from ncollapse.theory.problems.point import Point
from ncollapse.theory.problems.ufm import UFM
from ncollapse.theory.subjects import critical_points as candidates
from ncollapse.theory.subjects.overlay import random_distance
from ncollapse.theory.subjects.row_shapes import Blocks

if TYPE_CHECKING:
    from ncollapse.theory.subjects.atlas import Atlas, Nearest

# Descents from the geometry's own leading directions are made up to here.
DESCENDED = 32
# Labellings that are solved for, of each family.
MOST = 40


def nearest(atlas: Atlas, measured: Geometry) -> Nearest:
    """`Atlas.nearest`."""
    from ncollapse.theory.subjects.atlas import Nearest, judged

    problem = atlas.problem
    if measured.means is None or measured.weight is None:
        raise ValueError("a geometry with class means and classifier is needed to find its place")
    if measured.num_classes != problem.num_classes:
        raise ValueError(
            f"the geometry has {measured.num_classes} classes and the atlas {problem.num_classes}; "
            "the same classes in the same order are needed"
        )
    made: list[tuple[Point, str, float | None]] = []
    for blocks in merged_blocks(problem, measured)[:MOST]:
        point = candidates.shared(problem, blocks)
        made += [] if point is None else [(point, "shared", None)]
    for blocks in longest_blocks(problem, measured)[:MOST]:
        point = candidates.frames(problem, blocks)
        made += [] if point is None else [(point, "frames", None)]
    if problem.num_classes <= DESCENDED:
        start = candidates.balanced(problem, measured.weight, measured.means, measured.bias)
        ranks = range(1, problem.num_classes - 1)
        made += [(candidates.of_rank(problem, start, rank), "rank", None) for rank in ranks]
    # One by one: points that differ by names alone are different here.
    own = [p for one in made for p in judged(problem, [one], atlas.optimum.objective)]
    points = [*atlas.points, *own]
    distances = []
    for place in points:
        learnt = place.rank > 0
        distances.append(measured.distance(place.geometry).value if learnt else float("inf"))
    at = min(range(len(points)), key=distances.__getitem__)
    best = points[at]
    return Nearest(
        point=best,
        distance=distances[at],
        random=random_distance(measured, best.geometry).mean,
        optimum=distances[0],
    )


def merged_blocks(problem: UFM, measured: Geometry) -> list[Blocks]:
    """Interchangeable classes joined one after the other, those that lie closest first."""
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    gaps = _gaps(measured)
    merges: list[tuple[float, tuple[int, ...]]] = []
    for group in groups_of(problem):
        if group.size < 2:
            continue
        index = list(group.classes)
        square = gaps[index][:, index].numpy()
        tree = linkage(squareform(square, checks=False), "average")
        members: list[tuple[int, ...]] = [(k,) for k in index]
        for first, second, height, _ in tree:
            members.append(tuple(sorted(members[int(first)] + members[int(second)])))
            merges.append((float(height), members[-1]))
    blocks: set[tuple[int, ...]] = {(k,) for k in range(problem.num_classes)}
    found: list[Blocks] = []
    for _, joined in sorted(merges):
        blocks = {b for b in blocks if not set(b) <= set(joined)} | {joined}
        found.append(tuple(sorted(blocks)))
    return found


def longest_blocks(problem: UFM, measured: Geometry) -> list[Blocks]:
    """A simplex of the classes with the longest rows of a group, all others apart from it."""
    assert measured.weight is not None
    norms = measured.weight.norm(dim=1)
    found: list[Blocks] = []
    for group in groups_of(problem):
        order = sorted(group.classes, key=lambda k: -float(norms[k]))
        for size in range(2, group.size + 1):
            inside = tuple(sorted(order[:size]))
            rest = [(k,) for k in range(problem.num_classes) if k not in inside]
            found.append(tuple(sorted([inside, *rest])))
    return found


def _gaps(measured: Geometry) -> Tensor:
    """Distances of classes: squares of those of rows and of centred means, each over its mean
    square length, added."""
    assert measured.weight is not None
    total = torch.zeros(measured.num_classes, measured.num_classes, dtype=torch.float64)
    for rows in (measured.weight, measured.centred_means):
        square = rows.square().sum(1).mean().clamp_min(1e-300)
        total += torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist") ** 2 / square
    total = (total + total.T) / 2
    return total.fill_diagonal_(0.0)
