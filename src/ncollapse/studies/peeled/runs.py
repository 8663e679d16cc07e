"""Runs of the peeled study: gradient flow without decay, KKT points, norms as constraints."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ncollapse.lab.study import Units
from ncollapse.studies.minority.runs import spread
from ncollapse.theory.problems import ULPM
from ncollapse.theory.problems.point import Point
from ncollapse.theory.solvers.flow import flow, kkt, kkt_point
from ncollapse.theory.solvers.lpm import collapse_ratio, train_two_groups

# Minority rows closer than this share of the longest row count as merged.
MERGED = 1e-3
STEPS = (0.01, 0.03, 0.1)


def flows(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Gradient flow from random starts: share of the maximal margin, growth of the norms."""
    problem = ULPM((settings["count"],) * settings["classes"], num_features=settings["features"])
    shares, growth, paths = [], [], []
    for start in range(settings["starts"]):
        path = flow(problem, seed=1000 * seed + start, until=settings["until"])
        assert path.largest_margin is not None
        share = path.normalised_margin / path.largest_margin
        square = path.weight_norm**2 + path.feature_norm**2
        early = int(np.searchsorted(path.t, 1e5))
        shares.append(float(share[-1]))
        growth.append(float(square[-1] / square[early]))
        paths.append(share[path.t >= 1])
    return {
        "values": {"peeled-margin": min(shares), "peeled-diverges": min(growth)},
        "data": {"shares": shares, "growth": growth, "t": path.t[path.t >= 1], "paths": paths},
    }


def points(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Constructed KKT points that are no simplices, and a small step out of each of them."""
    rows = []
    for shape, size in settings["points"]:
        problem = ULPM((settings["count"],) * size)
        point = kkt_point(shape, problem, width=2 * size)
        found = kkt(point, problem)
        change = math.inf
        if found.direction is not None:
            change = min(
                energy(step_from(point, found.direction, step), problem) / found.energy - 1
                for step in STEPS
            )
        simplex = problem.num_classes - 1
        rows.append(
            {
                "shape": shape,
                "classes": size,
                "residual": max(found.stationarity, abs(energy(point, problem) / found.energy - 1)),
                "excess": found.excess,
                "change": change,
                # ½‖W‖² + ½‖H‖² of the simplex at margins 1.
                "above_simplex": found.energy / (math.sqrt(settings["count"]) * simplex) - 1,
            }
        )
    return {
        "values": {
            "peeled-kkt": max(row["residual"] for row in rows),
            "peeled-descent": max(row["change"] for row in rows),
        },
        "data": {"rows": rows},
    }


def step_from(point: Point, direction: Point, step: float) -> Point:
    """The point after a step along a direction, in units of its largest entry."""
    scale = step * float(point.weight.abs().max())
    return Point(
        point.weight + scale * direction.weight, point.features + scale * direction.features
    )


def energy(point: Point, problem: ULPM) -> float:
    """½‖W‖² + ½‖H‖² after scaling to smallest margin 1; infinite unless all are separated."""
    labels = torch.arange(problem.num_classes).repeat_interleave(torch.tensor(problem.counts))
    logits = point.logits
    own = logits.gather(1, labels[:, None])
    gaps = (own - logits).scatter(1, labels[:, None], math.inf)
    margin = float(gaps.min())
    if margin <= 0:
        return math.inf
    return float(point.weight.square().sum() + point.features.square().sum()) / 2 / margin


def threshold(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Brute force on both sides of the computed imbalance from which on minorities merge."""
    rows = []
    for large, small, weight_energy, feature_energy in settings["peeled"]:
        energies = {"weight_energy": weight_energy, "feature_energy": feature_energy}
        ratio = collapse_ratio(large, small, **energies)
        for factor in settings["factors"]:
            starts = [
                train_two_groups(large, small, ratio * factor, seed=2 * seed + start, **energies)
                for start in range(2)
            ]
            weight = min((run for run, _ in starts), key=lambda run: run.objective).geometry.weight
            assert weight is not None
            apart = spread(weight, large)
            rows.append(
                {
                    "setting": [large, small, weight_energy, feature_energy],
                    "ratio": ratio,
                    "factor": factor,
                    "spread": apart,
                    "agrees": (apart <= MERGED) == (factor > 1),
                }
            )
    agree = sum(row["agrees"] for row in rows) / len(rows)
    return {"values": {"peeled-threshold": agree}, "data": {"rows": rows}}


def draw(units: Units) -> dict[str, Any]:
    """Share of the maximal margin along the flow; spread of minorities about R*."""
    from ncollapse.lab.figures import axes, finish

    made: dict[str, Any] = {}
    if units["flow"]:
        figure, area, ink = axes("t", "share of the maximal normalised margin", "x")
        data = units["flow"][0]
        for index, path in enumerate(data["paths"]):
            area.plot(data["t"], path, color=ink.first, linewidth=0.8,
                      label=f"{len(data['paths'])} starts" if index == 0 else None)  # fmt: skip
        area.axhline(1, color=ink.line)
        area.set_ylim(0, 1.03)
        made["margin"] = (
            "Gradient flow without decay: every start nears the maximal normalised margin",
            finish(figure, area),
        )
    if units["threshold"]:
        figure, area, ink = axes("imbalance over R*", "spread of minority classifiers")
        rows = units["threshold"][0]["rows"]
        settings = list(dict.fromkeys(tuple(row["setting"]) for row in rows))
        for setting, colour in zip(settings, ink.all, strict=False):
            mine = [row for row in rows if tuple(row["setting"]) == setting]
            area.plot(
                [row["factor"] for row in mine],
                [row["spread"] for row in mine],
                "o-", color=colour, markersize=4,
                label=f"{setting[0]} large, {setting[1]} small, R* = {mine[0]['ratio']:.1f}",
            )  # fmt: skip
        area.axvline(1, color=ink.mark, label="computed R*")
        made["threshold"] = (
            "Constrained norms: minority classifiers merge at the computed imbalance",
            finish(figure, area),
        )
    return made
