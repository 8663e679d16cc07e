"""Runs of the deep-ufm study: thresholds, the table of low rank, random starts, linear lengths."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from ncollapse.lab.study import Outcome, Plan, outcome
from ncollapse.theory.deep import dnc_value, k2_threshold, srg_value
from ncollapse.theory.problems import DeepLinearUFM, DeepReluUFM
from ncollapse.theory.problems.deep import Deep
from ncollapse.theory.problems.deep_relu import ReluPoint
from ncollapse.theory.problems.objective import Objective
from ncollapse.theory.problems.point import Point
from ncollapse.theory.solution import Solution
from ncollapse.theory.solve import solve
from ncollapse.theory.solvers.deep_relu import dnc_point, srg_point
from ncollapse.theory.solvers.descent import descend

# What the smallest K is called at which the ratio falls below 1 when there is none.
NEVER = 1e6
NOISE = 0.1
ROOT = 1e-2


def threshold(settings: Plan, seed: int) -> Outcome:
    """Two classes just below and just above the threshold: the best of many starts against zero."""
    below, above = settings["factors"]
    rows: list[dict[str, Any]] = []
    for depth in settings["depths"]:
        row = {"depth": depth}
        for name, factor in (("below", below), ("above", above)):
            decay = (factor * k2_threshold(depth) / settings["count"]) ** (1 / (depth + 1))
            problem = DeepReluUFM((settings["count"],) * 2, (decay,) * depth, decay)
            # The shape of collapse where it is best, whatever becomes of it here.
            shape = replace(problem, weight_decays=(decay / 2,) * depth)
            runs = _descents(problem, dnc_point(shape), settings["starts"], settings["steps"], 4)
            row[name] = min(runs)
            row[f"{name}_formula"] = dnc_value(problem)
        rows.append(row)
    values = {
        "deep-ufm-below": min(0.5 - row["below"] for row in rows),
        "deep-ufm-formula": max(abs(row["below"] - row["below_formula"]) for row in rows),
        "deep-ufm-above": max(0.5 - row["above"] for row in rows),
    }
    return outcome(values, rows=rows)


def _descents(problem: Deep, shape: Point, starts: int, steps: int, width: int) -> list[float]:
    """f after descents: from a shape as it is, larger, smaller and with noise, from one direction
    that both classes share with opposite signs, and from random starts."""
    structured = [_times(shape, scale) for scale in (1.0, 0.8, 1.25)]
    structured += [_noisy(problem, shape, seed) for seed in range(starts)]
    opposite = torch.zeros_like(shape.features)
    opposite[:, 0] = torch.tensor([1.0, -1.0]) * shape.features.abs().max()
    first, *others = shape.inner
    split = torch.zeros_like(first)
    split[:, 0] = torch.tensor([1.0, -1.0]) * first.abs().max()
    structured.append(replace(shape, features=opposite, inner=(split, *others)))
    runs = [
        descend(problem, start=point, per_class=True, max_iterations=steps, tolerance=1e-10)
        for point in structured
    ]
    runs += [
        descend(
            problem, seed=seed, scale=scale, width=width, per_class=True,
            max_iterations=steps, tolerance=1e-10,
        )
        for seed in range(starts)
        for scale in (0.4, 0.8)
    ]  # fmt: skip
    return [found.objective for found in runs]


def table(settings: Plan, seed: int) -> Outcome:
    """Loss of the low-rank construction, as it is and after a descent, over deep collapse's."""
    rows: list[list[float]] = []
    for depth, sizes in settings["table"].items():
        for classes in sizes:
            decay = settings["decay"] / classes
            problem = DeepReluUFM((1,) * classes, (decay,) * int(depth), decay)
            collapse = dnc_value(problem)
            found = descend(
                problem, start=srg_point(problem), per_class=True, max_iterations=settings["steps"]
            )
            made = srg_value(problem)
            assert made is not None
            rows.append([int(depth), classes, made / collapse, found.objective / collapse])
    ratios = {depth: [row for row in rows if row[0] == depth] for depth in (2, 3)}
    values = {
        "deep-ufm-depth-2": min(row[3] for row in ratios[2]),
        "deep-ufm-depth-3": min((row[1] for row in ratios[3] if row[3] < 1 - 1e-6), default=NEVER),
        "deep-ufm-depth-4": max(row[3] for row in rows if row[0] >= 4 and row[1] >= 6),
    }
    return outcome(values, rows=rows)


def random(settings: Plan, seed: int) -> Outcome:
    """One random start at depth 4, where low rank is better, and one at depth 3."""
    plan = settings["random"]
    found: dict[str, Any] = {}
    for name in ("deep", "shallow"):
        depth, decay = plan[name]
        problem = DeepReluUFM((1,) * plan["classes"], (decay,) * depth, decay)
        run = descend(
            problem, seed=seed, width=plan["width"], per_class=True, max_iterations=plan["steps"]
        )
        found[name] = {
            "ratio": run.objective / dnc_value(problem),
            "ranks": _ranks(ReluPoint.of(run.extra["point"])),
            "iterations": run.iterations,
        }
    values = {
        "deep-ufm-random": found["deep"]["ratio"],
        "deep-ufm-random-rank": min(found["deep"]["ranks"]),
        "deep-ufm-random-shallow": found["shallow"]["ratio"],
    }
    return outcome(values, **found)


def _ranks(point: ReluPoint) -> list[int]:
    """Of class means before each ReLU, singular values above a hundredth of the largest."""
    spectra = [torch.linalg.svdvals(before) for before, _ in point.layers]
    return [int((values > ROOT * values[0]).sum()) for values in spectra]


def lengths(settings: Plan, seed: int) -> Outcome:
    """Deep linear features under unequal counts: the best descent against the formula."""
    counts, decay = tuple(settings["counts"]), settings["linear_decay"]
    rows: list[dict[str, Any]] = []
    for depth in settings["matrices"]:
        problem = DeepLinearUFM(counts, (decay,) * depth, decay)
        formula = solve(problem)
        runs = [
            descend(problem, seed=number, scale=1.0, per_class=True)
            for number in range(settings["starts"])
        ]
        # Near frames of this decay and of half of it, in which more classes live.
        for near in (decay, decay / 2) if depth > 1 else ():
            shape = dnc_point(DeepReluUFM(counts, (near,) * depth, decay))
            runs += [
                descend(problem, start=_noisy(problem, shape, number), per_class=True)
                for number in range(2)
            ]
        best = min(runs, key=lambda run: run.objective)
        rows.append(
            {
                "depth": depth,
                "predicted": formula.logits.diagonal().tolist(),
                "measured": best.logits.diagonal().tolist(),
                "apart": _apart(best, formula),
                "below": formula.objective - best.objective,
                "reached": sum(run.objective <= formula.objective + 1e-7 for run in runs),
                "starts": len(runs),
            }
        )
    values = {
        "deep-ufm-lengths": max(row["apart"] for row in rows),
        "deep-ufm-lengths-best": max(row["below"] for row in rows),
    }
    return outcome(values, counts=list(counts), rows=rows)


def _apart(one: Solution, two: Solution) -> float:
    """Largest difference of logits, and of lengths of class means that enter the last matrix."""
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
    """The point with noise of a tenth of its largest entry."""
    objective = Objective(problem, point.weight.shape[1], per_class=True)
    flat = objective.pack(point)
    noise = objective.start(seed, 1.0)
    return objective.unpack(flat + NOISE * flat.abs().max() * noise)
