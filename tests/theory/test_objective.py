"""The sample-level objective: derivatives, feasibility, and what may be passed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ncollapse.losses import CrossEntropy, Focal, MeanSquaredError, vector_scaling
from ncollapse.theory.problems import GUFM, LPM, UFM, ULPM, NormalizedUFM
from ncollapse.theory.problems.objective import Objective
from ncollapse.theory.problems.point import Point, class_labels, class_means
from tests.theory.laws import derivatives_are_differences, packing_keeps

COUNTS = (3, 2, 4)
PROBLEMS = {
    "ce": UFM(COUNTS, weight_decay=0.01, feature_decay=0.02),
    "ce without bias": UFM(COUNTS, weight_decay=0.01, feature_decay=0.02, bias="none"),
    "smoothing": UFM(COUNTS, loss=CrossEntropy(0.1, weight=(1.0, 2.0, 3.0)), bias=0.3),
    "vector scaling": UFM(COUNTS, loss=vector_scaling(COUNTS), bias=0.3),
    "mse": UFM(COUNTS, loss=MeanSquaredError()),
    "focal": UFM(COUNTS, loss=Focal(2.0), bias="none"),
    "nonnegative": UFM(COUNTS, nonnegative=True),
    "normalised": NormalizedUFM(COUNTS, temperature=3.0),
    "layer-peeled": LPM(COUNTS, weight_energy=2.0, feature_energy=3.0),
    "unconstrained": ULPM(COUNTS),
    "generalised": GUFM(COUNTS, weight_decay=0.1),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_gradient_and_hessian_product_are_finite_differences(name: str) -> None:
    derivatives_are_differences(Objective(PROBLEMS[name]))


@pytest.mark.parametrize("name", PROBLEMS)
def test_packing_a_feasible_point_keeps_it(name: str) -> None:
    packing_keeps(Objective(PROBLEMS[name]))


def test_points_obey_their_constraints() -> None:
    objective = Objective(PROBLEMS["normalised"])
    point = objective.unpack(objective.start())
    for rows in point.parts:
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(len(rows)).double())
    objective = Objective(PROBLEMS["generalised"])
    features = objective.unpack(objective.start()).features
    torch.testing.assert_close(features.norm(dim=1), torch.ones(9).double())
    assert float(features.mean(1).abs().max()) < 1e-15
    objective = Objective(PROBLEMS["layer-peeled"])
    for seed in range(5):
        point = objective.unpack(objective.start(seed))
        energy = (point.features.square().sum(1) / torch.tensor(COUNTS)[objective.labels]).sum()
        assert float(point.weight.square().sum()) / 3 <= 2.0
        assert float(energy) / 3 <= 3.0
    objective = Objective(PROBLEMS["nonnegative"])
    assert float(objective.unpack(objective.start()).features.min()) >= 0


def test_the_objective_is_the_formula() -> None:
    problem = PROBLEMS["smoothing"]
    objective = Objective(problem, 5)
    point = objective.unpack(objective.start(4))
    W, H, b = (part.numpy() for part in point.parts)
    labels = np.repeat(np.arange(3), COUNTS)
    logits = H @ W.T + b
    logp = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    target = 0.9 * np.eye(3)[labels] + 0.1 / 3
    weight = np.array([1.0, 2.0, 3.0])[labels]
    wanted = -(weight * (target * logp).sum(1)).mean()
    wanted += (5e-4 * (W**2).sum() + 1e-5 * (H**2).sum() + 0.3 * (b**2).sum()) / 2
    assert objective.value(objective.pack(point)) == pytest.approx(wanted, rel=1e-12)
    gradient = objective.loss_gradient(point).numpy()
    probability = np.exp(logp)
    np.testing.assert_allclose(gradient.T, weight[:, None] * (probability - target) / 9, atol=1e-14)


def test_zero_columns_change_nothing() -> None:
    problem = PROBLEMS["ce"]
    point = Objective(problem, 2).unpack(Objective(problem, 2).start())
    wide = point.widened(4)
    assert wide.weight.shape == (3, 4)
    assert float(Objective(problem, 4).at(wide)) == float(Objective(problem, 2).at(point))
    gradient = Objective(problem, 4).split(
        Objective(problem, 4).value_and_gradient(Objective(problem, 4).pack(wide))[1]
    )
    assert float(gradient.weight[:, 2:].abs().max()) == 0
    with pytest.raises(ValueError, match="a larger width"):
        point.widened(1)


def test_polishing_ends_at_machine_precision() -> None:
    from ncollapse.theory.solvers.descent import descend

    rough = descend(PROBLEMS["ce"], method="accelerated", tolerance=1e-5)
    objective = Objective(PROBLEMS["ce"])
    flat = objective.pack(rough.extra["point"])
    assert objective.stationarity(flat) > 1e-9
    assert objective.stationarity(objective.polish(flat)) < 1e-13


def test_classes_are_laid_out_in_order() -> None:
    assert class_labels(COUNTS).tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 2]
    features = torch.arange(9, dtype=torch.float64)[:, None]
    assert class_means(features, COUNTS)[:, 0].tolist() == [1.0, 3.5, 6.5]


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="width 0"):
        Objective(PROBLEMS["ce"], 0)
    with pytest.raises(ValueError, match="num_features=4"):
        Objective(UFM(COUNTS, num_features=4), 5)
    with pytest.raises(ValueError, match="shapes"):
        Objective(PROBLEMS["ce"]).pack(
            Point(torch.zeros(3, 3).double(), torch.zeros(8, 3).double(), torch.zeros(3).double())
        )
