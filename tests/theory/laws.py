"""Laws that every problem obeys, told once: tests of single problems and of all call them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ncollapse.theory.problems.objective import Objective
from ncollapse.theory.problems.problem import Ask
from ncollapse.theory.solvers.descent import descend


def derivatives_are_differences(objective: Objective) -> None:
    """Gradient and Hessian product against central differences."""
    generator = torch.Generator().manual_seed(2)
    direction = torch.randn(objective.size, generator=generator, dtype=torch.float64)
    flat, step = objective.start(1, 1.0), 1e-5
    value, gradient = objective.value_and_gradient(flat)
    assert value == pytest.approx(objective.value(flat), abs=1e-15)
    ahead, behind = flat + step * direction, flat - step * direction
    slope = (objective.value(ahead) - objective.value(behind)) / (2 * step)
    assert slope == pytest.approx(float(gradient @ direction), rel=1e-7, abs=1e-8)
    bend = (objective.value_and_gradient(ahead)[1] - objective.value_and_gradient(behind)[1]) / (
        2 * step
    )
    torch.testing.assert_close(
        bend, objective.hessian_product(flat, direction), rtol=1e-6, atol=1e-7
    )


def packing_keeps(objective: Objective) -> None:
    """A feasible point is the same after packing and unpacking, and has the value it had."""
    point = objective.unpack(objective.start(3))
    again = objective.unpack(objective.pack(point))
    for one, two in zip(point.parts, again.parts, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-12)
    assert objective.value(objective.pack(point)) == pytest.approx(float(objective.at(point)))


def one_feature_a_class_loses_nothing(problem) -> None:
    """Same value at repeated features, stationary for all samples, and no sample-level run below."""
    runs = [descend(problem, per_class=True, seed=seed, scale=0.6) for seed in range(6)]
    best = min(runs, key=lambda found: found.objective)
    point = best.extra["point"]
    assert point.features.shape[0] == problem.num_classes
    assert best.geometry.counts.tolist() == list(problem.counts)
    counts = torch.tensor(problem.counts)
    repeated = replace(point, features=point.features.repeat_interleave(counts, 0))
    whole = Objective(problem, point.weight.shape[1])
    assert float(whole.at(repeated)) == pytest.approx(best.objective, abs=1e-12)
    assert whole.stationarity(whole.pack(repeated)) <= 1e-8
    every = min(descend(problem, seed=seed, scale=0.6).objective for seed in range(6))
    assert best.objective == pytest.approx(every, abs=1e-9)
    again = Objective(problem, point.weight.shape[1], per_class=True)
    torch.testing.assert_close(again.unpack(again.pack(point)).features, point.features)


def formula(problem):
    """What the problem's first solver, its closed form, answers."""
    assert problem.solvers[0].name == "closed form"
    return problem.solvers[0](problem, Ask())
