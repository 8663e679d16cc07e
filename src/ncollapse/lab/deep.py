"""Deep unconstrained features in studies: descents from many starts, and what they end at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from ncollapse.theory.deep import dnc_value, srg_value
from ncollapse.theory.problems import DeepLinearUFM, DeepReluUFM
from ncollapse.theory.problems.deep import Deep
from ncollapse.theory.problems.deep_relu import ReluPoint
from ncollapse.theory.problems.objective import Objective
from ncollapse.theory.problems.point import Point
from ncollapse.theory.solution import Solution
from ncollapse.theory.solve import solve
from ncollapse.theory.solvers.deep_points import dnc_point, srg_point
from ncollapse.theory.solvers.descent import descend

# Noise of a start near a point, over the point's largest entry.
NOISE = 0.1
# Ranks of trained points count singular values above this share of the largest.
ROOT = 1e-2


def relu(classes: int, depth: int, decay: float, count: int = 1) -> DeepReluUFM:
    """Equal counts and equal decays."""
    return DeepReluUFM((count,) * classes, (decay,) * depth, decay)


def best_of_two(problem: DeepReluUFM, starts: int, steps: int) -> float:
    """The lowest f of two classes after descents: from the shape of collapse at half the decay as
    it is, larger, smaller and with noise, from one direction that both classes share with opposite
    signs, and from random starts of two sizes."""
    shape = dnc_point(replace(problem, weight_decays=tuple(d / 2 for d in problem.weight_decays)))
    points = [_times(shape, scale) for scale in (1.0, 0.8, 1.25)]
    points += [_noisy(problem, shape, seed) for seed in range(starts)]
    signs, first = torch.tensor([1.0, -1.0]), shape.inner[0]
    opposite, split = torch.zeros_like(shape.features), torch.zeros_like(first)
    opposite[:, 0] = signs * shape.features.abs().max()
    split[:, 0] = signs * first.abs().max()
    points.append(replace(shape, features=opposite, inner=(split, *shape.inner[1:])))
    how: dict[str, Any] = {"per_class": True, "max_iterations": steps, "tolerance": 1e-10}
    runs = [descend(problem, start=point, **how) for point in points]
    sizes = [(seed, scale) for seed in range(starts) for scale in (0.4, 0.8)]
    runs += [descend(problem, seed=seed, scale=scale, width=4, **how) for seed, scale in sizes]
    return min(found.objective for found in runs)


def low_rank_ratios(problem: DeepReluUFM, steps: int) -> tuple[float, float]:
    """f of the low-rank construction over that of deep collapse, as it is and after a descent."""
    collapse, made = dnc_value(problem), srg_value(problem)
    assert made is not None
    found = descend(problem, start=srg_point(problem), per_class=True, max_iterations=steps)
    return made / collapse, found.objective / collapse


def random_start(problem: DeepReluUFM, width: int, steps: int, seed: int) -> dict[str, Any]:
    """Where a random start ends: `ratio` of f to that of deep collapse, `ranks` of class means
    before each ReLU, `iterations`."""
    run = descend(problem, seed=seed, width=width, per_class=True, max_iterations=steps)
    layers = ReluPoint.of(run.extra["point"]).layers
    spectra = [torch.linalg.svdvals(before) for before, _ in layers]
    return {
        "ratio": run.objective / dnc_value(problem),
        "ranks": [int((values > ROOT * values[0]).sum()) for values in spectra],
        "iterations": run.iterations,
    }


def linear_lengths(counts: Sequence[int], depth: int, decay: float, starts: int) -> dict[str, Any]:
    """Deep linear features by formula and by the best of many descents: own logits `predicted` and
    `measured`; `apart`, the largest difference of logits and of lengths of what enters the last
    matrix; `below`, formula minus lowest f; how many of `starts` `reached` the formula.

    Starts: random ones, and for two matrices or more some near frames of this decay and of half of
    it, in which more classes live.
    """
    problem = DeepLinearUFM(tuple(counts), (decay,) * depth, decay)
    formula = solve(problem)
    runs = [descend(problem, seed=k, scale=1.0, per_class=True) for k in range(starts)]
    for near in (decay, decay / 2) if depth > 1 else ():
        shape = dnc_point(DeepReluUFM(tuple(counts), (near,) * depth, decay))
        points = [_noisy(problem, shape, seed) for seed in range(2)]
        runs += [descend(problem, start=point, per_class=True) for point in points]
    best = min(runs, key=lambda run: run.objective)
    return {
        "depth": depth,
        "predicted": formula.logits.diagonal().tolist(),
        "measured": best.logits.diagonal().tolist(),
        "apart": _apart(best, formula),
        "below": formula.objective - best.objective,
        "reached": sum(run.objective <= formula.objective + 1e-7 for run in runs),
        "starts": len(runs),
    }


def _apart(one: Solution, two: Solution) -> float:
    sizes = []
    for found in (one, two):
        assert found.geometry.means is not None
        sizes.append(found.geometry.means.norm(dim=1))
    logits = (one.logits - two.logits).abs().max()
    return float(torch.maximum(logits, (sizes[0] - sizes[1]).abs().max()))


def _times(point: Point, scale: float) -> Point:
    inner = tuple(scale * part for part in point.inner)
    return replace(point, weight=scale * point.weight, features=scale * point.features, inner=inner)


def _noisy(problem: Deep, point: Point, seed: int) -> Point:
    objective = Objective(problem, point.weight.shape[1], per_class=True)
    flat = objective.pack(point)
    noise = objective.start(seed, 1.0)
    return objective.unpack(flat + NOISE * flat.abs().max() * noise)
