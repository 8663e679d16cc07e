"""Deep linear features: formula, descent, and what `predict` makes of them."""

from __future__ import annotations

import math
import re

import jsonschema
import numpy as np
import pytest
import torch

from ncollapse.losses import MeanSquaredError
from ncollapse.theory.predict import predict
from ncollapse.theory.prediction import json_schema
from ncollapse.theory.problems import UFM, DeepLinearUFM
from ncollapse.theory.problems.objective import Objective
from ncollapse.theory.solve import solve
from ncollapse.theory.solvers.closed_form import closed_form
from ncollapse.theory.solvers.descent import descend
from tests.theory.laws import (
    derivatives_are_differences,
    formula,
    one_feature_a_class_loses_nothing,
    packing_keeps,
)

THREE = DeepLinearUFM((3, 2, 4), weight_decays=(0.1, 0.2, 0.3), feature_decay=0.4)


def test_its_objective_obeys_the_laws() -> None:
    derivatives_are_differences(Objective(THREE))
    packing_keeps(Objective(THREE))


def test_one_feature_a_class_is_enough() -> None:
    one_feature_a_class_loses_nothing(DeepLinearUFM((6, 4, 2), (0.01, 0.02), 0.01))


def test_a_deep_point_multiplies_its_factors_in_order() -> None:
    objective = Objective(THREE)
    point = objective.unpack(objective.start(5))
    first, second = point.inner
    torch.testing.assert_close(point.classifier, point.weight @ second @ first)
    torch.testing.assert_close(point.logits, (point.classifier @ point.features.T).T)
    torch.testing.assert_close(point.logits, point.entering @ point.weight.T)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_deep_linear(layers) -> None:
    p = DeepLinearUFM((20, 10, 5), weight_decays=(3e-3,) * layers, feature_decay=2e-3)
    found = formula(p)
    assert found is not None
    assert found.status == ("optimal" if layers < 3 else "not certified")
    if layers == 1:
        shallow = UFM(
            p.counts, weight_decay=3e-3, feature_decay=2e-3, loss=MeanSquaredError(), bias="none"
        )
        same = closed_form(shallow)
        assert same is not None and found.objective == pytest.approx(same.objective, abs=1e-14)
        assert float(found.geometry.distance(same.geometry)) < 1e-7
    for seed in range(3):
        trained = solve(p, solver="descent", seed=seed)
        assert trained.objective >= found.objective - 1e-9
    g = found.geometry
    np.testing.assert_allclose(
        torch.linalg.svdvals(g.weight @ g.means.T * (g.counts / 35.0).sqrt()),
        found.spectrum,
        atol=1e-14,
    )


@pytest.mark.parametrize("layers", [1, 2, 3, 5])
def test_lengths_follow_counts_at_every_depth(layers) -> None:
    """Every factor carries one energy in a class's direction, at which f has no slope in x."""
    decays = tuple(np.linspace(1e-3, 3e-3, layers))
    p = DeepLinearUFM((90, 30, 30, 10), weight_decays=decays, feature_decay=2e-3)
    g = solve(p).geometry
    logits = g.weight @ g.means.T
    own = logits.diagonal()
    torch.testing.assert_close(logits, torch.diag(own))
    assert own[0] > own[1] == own[2] > own[3] > 0.5
    share = g.counts / p.num_samples
    energy = decays[-1] * g.weight.square().sum(1)
    product = p.feature_decay * math.prod(decays)
    # What M - 1 matrices and the features leave of Π energies: h_k and the last row give z_kk.
    torch.testing.assert_close(energy ** (layers + 1), product * g.counts * own**2)
    # d/dz of π/2 (1 - z)² + ((M+1)/2) energy(z) vanishes.
    torch.testing.assert_close(share * (1 - own), energy / own)


def test_deep_linear_small_classes_jump_to_zero() -> None:
    """M = 2: dead below √π = (2-p)/(2(1-p)) (2l(1-p))^{1/(2-p)}, p = 2/3."""
    at = []
    for n in range(1, 40):
        p = DeepLinearUFM((200, n), weight_decays=(8e-3, 8e-3), feature_decay=8e-3)
        found = formula(p)
        assert found is not None
        level = 1.5 * (p.num_samples * 8e-3**3) ** (1 / 3)
        jump = (4 / 3) / (2 / 3) * (2 * level / 3) ** 0.75
        alive = float(found.geometry.means[1].norm()) > 0
        assert alive == (math.sqrt(n / p.num_samples) > jump)
        at.append(alive)
    assert True in at and False in at


def test_deep_linear_features_are_orthogonal_and_shrunk() -> None:
    # M = 1 is the bias-free problem: z_kk = 1 - √(λ_W λ_H N²/n_k), a class below zero vanishes.
    counts, decay = (9, 4, 2), 0.1
    found = descend(DeepLinearUFM(counts, weight_decays=(decay,), feature_decay=decay), seed=1)
    wanted = [max(0.0, 1 - math.sqrt(sum(counts) ** 2 / n) * decay) for n in counts]
    assert wanted[-1] == 0
    torch.testing.assert_close(
        found.logits, torch.diag(torch.tensor(wanted).double()), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("decays", [(0.01, 0.01), (0.01, 0.02), (0.01, 0.01, 0.02)])
def test_deeper_linear_features_are_orthogonal_and_reach_the_scalar_problem(
    decays: tuple[float, ...],
) -> None:
    # Per class min_x ½ (x - √π)² + (M+1)/2 (N λ_H Π λ x²)^(1/(M+1)); small starts end at zero.
    counts, depth, feature_decay = (5, 2, 2), len(decays), 0.01
    product = sum(counts) * feature_decay * math.prod(decays)
    x = np.linspace(0, 1, 400_001)
    wanted = 0.0
    for count in counts:
        root = math.sqrt(count / sum(counts))
        penalty = (depth + 1) / 2 * (product * x**2) ** (1 / (depth + 1))
        wanted += float((0.5 * (x - root) ** 2 + penalty).min())
    problem = DeepLinearUFM(counts, weight_decays=decays, feature_decay=feature_decay)
    runs = [descend(problem, seed=seed, scale=1.0) for seed in range(6)]
    best = min(runs, key=lambda found: found.objective)
    assert best.objective == pytest.approx(wanted, abs=1e-9)
    assert min(found.objective for found in runs) > wanted - 1e-9
    off = best.logits - torch.diag(best.logits.diagonal())
    assert float(off.abs().max()) < 1e-7


def test_it_answers_with_a_document() -> None:
    p = predict([40] * 4, model="deep-linear")
    data = p.to_dict()
    jsonschema.validate(data, json_schema())
    assert data["minority_threshold"] == []
    assert data["sources"]
    assert len(str(p).splitlines()) <= 24
    deeper = predict([40] * 4, model="deep-linear", depth=3, weight_decay=1e-3).problem
    assert deeper == DeepLinearUFM((40,) * 4, (1e-3,) * 3)


BAD = {
    "depth": ({"depth": 0}, "depth=0"),
    "deep loss": (
        {"loss": "rescaled", "target": 3},
        "solved for mean squared error",
    ),
    "foreign": ({"bias": "none"}, "it takes weight_decay, feature_decay, depth"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence(case) -> None:
    settings, said = BAD[case]
    with pytest.raises(ValueError, match=re.escape(said)):
        predict([5, 5], model="deep-linear", **settings)


def test_bad_decays_and_solvers_are_named() -> None:
    with pytest.raises(ValueError, match="at least one matrix"):
        DeepLinearUFM((3, 2), weight_decays=())
    with pytest.raises(ValueError, match="does not apply"):
        solve(DeepLinearUFM((3, 2)), solver="convex")
