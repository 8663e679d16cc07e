"""Runs of the landscape study: random starts, the zero threshold, saddles, focal loss."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from ncollapse.lab.study import Units
from ncollapse.losses import CrossEntropy, Focal, Loss, MeanSquaredError
from ncollapse.theory.problems import UFM
from ncollapse.theory.problems.point import Point
from ncollapse.theory.solve import solve
from ncollapse.theory.solvers.descent import descend
from ncollapse.theory.subjects.landscape import landscape, perturbed_descent

LIMIT = 200_000
# A gap of 1e-8 is first order in what is left of the gradient, divided by √(λ_W λ_H).
SETTLED = 1e-11
# Far enough on either side of 1/(nK²) for descent to settle in float64.
NEAR = 0.05


def make(settings: Mapping[str, Any], loss: Loss, factor: float | None = None) -> UFM:
    """The study's balanced bias-free problem; factor: λ_W λ_H in units of 1/(nK²) instead."""
    known = settings["problem"]
    decays = known["weight_decay"], known["feature_decay"]
    if factor is not None:
        decays = (math.sqrt(factor / known["count"]) / known["classes"],) * 2
    return UFM(
        (known["count"],) * known["classes"],
        weight_decay=decays[0],
        feature_decay=decays[1],
        loss=loss,
        bias="none",
        num_features=known["features"],
    )


def starts_ce(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Cross-entropy from random starts."""
    return _starts(make(settings, CrossEntropy()), settings["starts"], seed, "landscape-ce-starts")


def starts_mse(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Mean squared error from random starts."""
    problem = make(settings, MeanSquaredError())
    return _starts(problem, settings["starts"], seed, "landscape-mse-starts")


def _starts(problem: UFM, count: int, seed: int, claim: str) -> dict[str, Any]:
    gaps, iterations = [], []
    for start in range(count):
        found = descend(
            problem,
            seed=1000 * seed + start,
            method="gradient",
            tolerance=SETTLED,
            max_iterations=LIMIT,
        )
        assert found.relative_gap is not None
        gaps.append(found.relative_gap)
        iterations.append(found.iterations)
    return {"values": {claim: max(gaps)}, "data": {"gaps": gaps, "iterations": iterations}}


def zero(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Just above and just below the decay at which nothing is learnt."""
    above = descend(make(settings, CrossEntropy(), 1 + NEAR), seed=seed)
    problem = make(settings, CrossEntropy(), 1 - NEAR)
    below = descend(problem, seed=seed)
    size = problem.num_classes
    c = problem.tau / math.sqrt(size)
    wanted = math.log(1 / c - size + 1)
    error = float((below.margins / wanted - 1).abs().max())
    return {
        "values": {
            "landscape-zero-above": float(above.logits.abs().max()),
            "landscape-zero-below": error,
        },
        "data": {"margin": below.margins, "wanted": wanted},
    }


def truncated(point: Point, rank: int) -> Point:
    """W and H in their leading `rank` shared directions, as a point of that width."""
    both = torch.cat([point.weight, point.features])
    basis = torch.linalg.svd(both, full_matrices=False)[2][:rank].T
    return Point(point.weight @ basis, point.features @ basis, point.bias)


def saddles(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The optimum cut to each rank r = 0 … K-2 and settled there: gradient, curvature, escape."""
    rows: list[dict[str, Any]] = []
    for name, loss in (("ce", CrossEntropy()), ("mse", MeanSquaredError())):
        problem = make(settings, loss)
        width = problem.num_features
        assert width is not None
        optimum = descend(problem, seed=seed).extra["point"]
        for rank in range(problem.num_classes - 1):
            narrow = replace(problem, num_features=max(rank, 1))
            point = truncated(optimum, max(rank, 1))
            if rank:
                point = descend(narrow, start=point, tolerance=1e-10).extra["point"]
            else:
                point = Point(torch.zeros_like(point.weight), torch.zeros_like(point.features))
            point = point.widened(width)
            found = landscape(point, problem)
            escaped = perturbed_descent(
                point, problem, seed=seed, max_iterations=LIMIT, tolerance=SETTLED
            )
            assert found.curvature is not None and found.measured_curvature is not None
            assert escaped.relative_gap is not None
            rows.append(
                {
                    "loss": name,
                    "rank": rank,
                    "settled_rank": int(torch.linalg.matrix_rank(point.weight, rtol=1e-6)),
                    "objective": found.objective,
                    "gradient": found.gradient_norm,
                    "curvature": found.measured_curvature,
                    "formula": found.curvature,
                    "threshold": found.threshold,
                    "escaped": escaped.relative_gap,
                    "optimum": escaped.objective,
                }
            )
    differences = [abs(row["curvature"] / row["formula"] - 1) for row in rows]
    return {
        "values": {
            "landscape-saddle-gradient": max(row["gradient"] for row in rows),
            "landscape-saddle-curvature": max(differences),
            "landscape-saddle-strict": max(row["curvature"] / row["threshold"] for row in rows),
            "landscape-escape": max(row["escaped"] for row in rows),
        },
        "data": {"rows": rows},
    }


def focal(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The focal loss over decays: probability p_y, the convex envelope's p₀(γ), and the gap."""
    known = settings["focal"]
    rows: list[dict[str, Any]] = []
    for gamma in known["gammas"]:
        limit = envelope_limit(gamma)
        for decay in known["decays"]:
            problem = UFM(
                (known["count"],) * known["classes"],
                weight_decay=decay,
                feature_decay=decay,
                loss=Focal(gamma),
                bias="none",
            )
            # Descent of the non-convex problem from three starts, the lowest of them.
            found = min((descend(problem, seed=s) for s in range(3)), key=lambda s: s.objective)
            share = float(found.logits.softmax(0).diagonal().min())
            gap = found.relative_gap
            certified = solve(problem).status == "optimal"
            rows.append(
                {"gamma": gamma, "decay": decay, "p": share, "limit": limit, "gap": gap,
                 "solver": certified}
            )  # fmt: skip
    closed = [row["gap"] for row in rows if row["p"] >= row["limit"]]
    # Without a bound nothing is certified: that is an open gap too.
    opened = [1.0 if r["gap"] is None else r["gap"] for r in rows if r["p"] < r["limit"]]
    values = {
        "landscape-focal-certified": max(
            (math.inf if gap is None else gap for gap in closed), default=math.nan
        ),
        "landscape-focal-open": min(opened, default=math.nan),
    }
    return {"values": values, "data": {"rows": rows}}


def envelope_limit(gamma: float) -> float:
    """p₀(γ): the slope of ψ(s), p = 1/(1 + e^s), is 1 there and the envelope is straight below.

    ψ'(s) = (1-p)^γ ((1-p) - γ p log p); the root p < ½ other than p = 0.
    """
    from scipy.optimize import brentq

    def slope(p: float) -> float:
        return (1 - p) ** gamma * ((1 - p) - gamma * p * math.log(p)) - 1

    return float(brentq(slope, 0.01, 0.5, xtol=1e-15))


def draw(units: Units) -> dict[str, Any]:
    """Objective and curvature of the saddles by rank; focal gaps against p."""
    from ncollapse.lab.figures import axes, finish

    made: dict[str, Any] = {}
    if units["saddles"]:
        figure, area, ink = axes("rank r", "curvature along the direction, √(λ_W λ_H)")
        rows = units["saddles"][0]["rows"]
        for loss, colour in (("ce", ink.first), ("mse", ink.second)):
            mine = [row for row in rows if row["loss"] == loss]
            ranks = [row["rank"] for row in mine]
            formula = [row["formula"] / row["threshold"] for row in mine]
            measured = [row["curvature"] / row["threshold"] for row in mine]
            area.plot(ranks, formula, color=ink.faint)
            area.plot(ranks, measured, "o", color=colour, label=loss)
        area.set_xticks(sorted({row["rank"] for row in rows}))
        made["saddles"] = (
            "Curvature at the saddle of every rank: dots measured, lines the formula",
            finish(figure, area),
        )
    if units["focal"]:
        figure, area, ink = axes("p_y - p₀(γ)", "relative gap", "y")
        rows = units["focal"][0]["rows"]
        gammas = dict.fromkeys(row["gamma"] for row in rows)
        for gamma, colour in zip(gammas, ink.all, strict=False):
            mine = [row for row in rows if row["gamma"] == gamma and row["gap"] is not None]
            x = [row["p"] - row["limit"] for row in mine]
            y = [max(row["gap"], 1e-17) for row in mine]
            area.plot(x, y, "o", color=colour, label=f"γ = {gamma:g}")
        area.axvline(0, color=ink.line)
        made["focal"] = (
            "Focal loss: the gap closes where p_y reaches p₀",
            finish(figure, area),
        )
    return made
