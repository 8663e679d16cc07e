"""Regression with unconstrained features: free features under a linear head, both decayed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ncollapse.losses import Loss, MeanSquaredError
from ncollapse.theory.assumptions import EFFECTIVE, FREE, OPTIMAL, Premise
from ncollapse.theory.problems.problem import Formula, Found, Problem, Solver

SIGNED = Premise("features may be negative: no ReLU between them and the head")


@dataclass(frozen=True)
class RegressionUFM(Problem):
    """min over W (n, d), H (d, M), b of (1/2M) Σ ‖W h_i + b - y_i‖² + (λ_H/2M) ‖H‖² + (λ_W/2) ‖W‖².

    Of the targets only their covariance Σ (divided by M) matters, and of the decays how c = λ_H λ_W
    compares with its eigenvalues. target_covariance: Σ as n rows; weight_decay λ_W, feature_decay
    λ_H; num_features: d, None as wide as needed. Raises ValueError for a Σ that is not square,
    symmetric, finite and positive semi-definite, or zero, and for decays that are not positive.
    """

    target_covariance: tuple[tuple[float, ...], ...]
    weight_decay: float = 5e-4
    feature_decay: float = 1e-5
    num_features: int | None = None

    prediction: ClassVar[str] = "targets:TargetPrediction"

    def __post_init__(self) -> None:
        object.__setattr__(self, "target_covariance", as_rows(self.target_covariance))
        for name in ("weight_decay", "feature_decay"):
            value = getattr(self, name)
            if not (0 < value < float("inf")):
                raise ValueError(f"{name}={value}; a positive number is needed for a closed form")
        if self.num_features is not None and self.num_features < 1:
            raise ValueError(f"num_features={self.num_features}; at least 1 is needed")

    # ---- sizes and loss -----------------------------------------------------------------------
    @property
    def counts(self) -> tuple[int, ...]:
        """Ones: a sample is alone with its target."""
        return (1,) * len(self.target_covariance)

    @property
    def num_classes(self) -> int:
        """n, the rows of W."""
        return len(self.target_covariance)

    @property
    def loss(self) -> Loss:
        return MeanSquaredError()

    @property
    def level(self) -> float:
        """c = λ_H λ_W."""
        return self.weight_decay * self.feature_decay

    @property
    def covariance(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Σ (n, n)."""
        return np.array(self.target_covariance)

    # ---- what is said of it -------------------------------------------------------------------
    def describe(self) -> dict[str, Any]:
        return {
            "model": "RegressionUFM",
            "task": "regression",
            "targets": self.num_classes,
            "target_covariance": [list(row) for row in self.target_covariance],
            "weight_decay": self.weight_decay,
            "feature_decay": self.feature_decay,
            "level": self.level,
            "num_features": self.num_features,
            "loss": "(1/2M) Σ ‖W h + b - y‖² + (λ_H/2M) ‖H‖² + (λ_W/2) ‖W‖²",
        }

    def sources(self) -> tuple[str, ...]:
        return (
            "Andriopoulos et al. 2024: the closed form for c below every eigenvalue of Σ",
            "derived here and checked numerically: its spectral form for any Σ and c, the rank "
            "#{λ_j > c}, the value ½ Σ min(λ_j, c) + √c Σ (√λ_j - √c)₊, and a width that binds",
        )

    def premises(self) -> tuple[Premise, ...]:
        return FREE, OPTIMAL, SIGNED, EFFECTIVE

    def notes(self, found: Found) -> list[str]:
        values = np.linalg.eigvalsh(self.covariance)
        lost = int((values <= self.level).sum())
        if found.rank == 0:
            return [
                f"c = {self.level:.3g} is at least the largest eigenvalue {values[-1]:.3g} of the "
                "targets' covariance: W = H = 0, and every target is predicted by its mean"
            ]
        said = []
        if lost:
            said.append(
                f"{lost} of {len(values)} directions of the targets have a variance of at most c = "
                f"{self.level:.3g} and are not learnt"
            )
        if self.num_features is not None and self.num_features < len(values) - lost:
            said.append(
                f"the width {self.num_features} holds fewer directions than the "
                f"{len(values) - lost} that are worth learning: those of the largest variance stay"
            )
        return said

    # ---- how it is solved ---------------------------------------------------------------------
    @property
    def solvers(self) -> tuple[Solver, ...]:
        return (Formula("nrc:regression"),)

    def refusal(self, solver: str) -> str:
        return f'solver "{solver}" does not apply to RegressionUFM; use "auto" or "closed form"'


def as_rows(covariance: Any) -> tuple[tuple[float, ...], ...]:
    """A covariance as rows of numbers; a single number is that of one target. Raises ValueError
    for what is no covariance."""
    try:
        matrix = np.array(
            covariance.tolist() if hasattr(covariance, "tolist") else covariance, dtype=np.float64
        )
    except (TypeError, ValueError):
        raise ValueError(
            "target_covariance is no matrix of numbers; rows (n, n) are needed"
        ) from None
    matrix = matrix.reshape(1, 1) if matrix.size == 1 else matrix
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise ValueError(
            f"target_covariance has shape {matrix.shape}; a square matrix (targets, targets) is "
            "needed: numpy.cov(targets.T, bias=True)"
        )
    if not np.isfinite(matrix).all():
        raise ValueError("target_covariance holds NaN or infinity; remove or repair those targets")
    largest = float(np.abs(matrix).max())
    if not np.allclose(matrix, matrix.T, rtol=0, atol=1e-6 * largest):
        raise ValueError(
            "target_covariance is not symmetric; a covariance is: numpy.cov(targets.T)"
        )
    matrix = (matrix + matrix.T) / 2
    values = np.linalg.eigvalsh(matrix)
    if values[-1] <= 0 or values[0] < -1e-6 * values[-1]:
        raise ValueError(
            f"target_covariance has eigenvalues from {values[0]:.3g} to {values[-1]:.3g}; none "
            "below 0 and one above is needed, as of targets that vary: numpy.cov(targets.T, "
            "bias=True)"
        )
    return tuple(tuple(float(x) for x in row) for row in matrix)


def rows_of(targets: Sequence[Sequence[float]]) -> tuple[tuple[float, ...], ...]:
    """Σ of samples (M, n) of targets, divided by M."""
    found = np.asarray(targets, dtype=np.float64)
    found = found.reshape(len(found), -1)
    return as_rows(np.cov(found.T, bias=True))
