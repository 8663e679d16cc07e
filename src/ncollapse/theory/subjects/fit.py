"""The one number of a real network: τ fitted to a measured geometry.

The logits of the unconstrained model depend on the shares of the classes, the bias and
τ = √(N λ_W λ_H) alone. λ_H is no setting of a network, so τ is found from its mean logits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from ncollapse.geometry import Geometry
from ncollapse.losses import CrossEntropy, LogitLoss, Loss, named
from ncollapse.theory.predict import predict_problem
from ncollapse.theory.prediction import Prediction
from ncollapse.theory.problems.counted import check_loss
from ncollapse.theory.problems.ufm import UFM

# A K × K logit matrix is formed up to here.
LARGEST = 4096
# The scan of log τ, from nothing learnt downwards: two points a decade, this many at first and so
# many more while the error still falls.
STEP, POINTS, MORE = 0.5 * math.log(10), 15, 10
# Relative gaps of the solutions of the scan and of the search: errors of the logits are their
# roots, and those of squared losses are told from each other by τ times the logits.
ROUGH, SHARP = 1e-5, 1e-12
# Of log τ.
ACCURACY = 1e-6
POOR = 0.5


@dataclass(frozen=True, eq=False)
class Fit:
    """τ with what it explains. logit_error: ‖Z_theory - Z‖_F / ‖Z‖_F of the class-mean logits.

    prediction: solved at λ_W = λ_H = τ/√N. evaluations: problems solved on the way.
    """

    tau: float
    logit_error: float
    prediction: Prediction
    warnings: tuple[str, ...] = ()
    evaluations: int = 1

    def to_dict(self) -> dict[str, Any]:
        return {
            "tau": self.tau,
            "logit_error": self.logit_error,
            "evaluations": self.evaluations,
            "warnings": list(self.warnings),
        }


def fit_tau(
    geometry: Geometry,
    counts: Sequence[int] | None = None,
    *,
    loss: str | Loss = "ce",
    bias: str | float | None = None,
    tolerance: float = 1e-8,
) -> Fit:
    """Fit τ to a measured geometry (raw means, weight, bias if there is one).

    Balanced plain or smoothed cross-entropy: the mean margin a gives c = 1/(e^a + K - 1) - ε/K and
    τ = c √K. Otherwise a search in log τ on the certified solver, to a millionth, for the smallest
    relative error of the class-mean logits Z = W Mᵀ + b (K, K); cross-entropy ignores a constant in
    a column, so columns are centred. counts: default those of the geometry. bias: default "free"
    where the geometry has one, else "none".

    Raises ValueError when means or weight are missing, counts are unknown or do not match, and for
    more than 4,096 unbalanced classes. Source: derived from Zhu et al. 2021.
    """
    if geometry.means is None or geometry.weight is None:
        lacking = "class means" if geometry.means is None else "classifier weight"
        raise ValueError(
            f"the geometry holds no {lacking}; τ is fitted to the logits of the class means, which "
            "need means and weight"
        )
    sizes = _counts(geometry, counts)
    known = check_loss(named(loss, sizes) if isinstance(loss, str) else loss, len(sizes))
    setting = ("none" if geometry.bias is None else "free") if bias is None else bias
    if len(set(sizes)) == 1 and known == CrossEntropy(known.smoothing):
        return _balanced(geometry, sizes, known, setting, tolerance)
    if len(sizes) > LARGEST:
        raise ValueError(
            f"{len(sizes)} unbalanced classes; fitting τ forms the K × K logits up to {LARGEST}"
        )
    return _search(_logits(geometry, known.softmax), sizes, known, setting, tolerance)


def _counts(geometry: Geometry, counts: Sequence[int] | None) -> tuple[int, ...]:
    if counts is None:
        if geometry.counts is None:
            raise ValueError("the geometry holds no class counts; pass counts=…, one a class")
        counts = [int(count) for count in geometry.counts.tolist()]
    if len(counts) != geometry.num_classes:
        raise ValueError(
            f"{len(counts)} counts for a geometry of {geometry.num_classes} classes; one a class, "
            "in its order, is needed"
        )
    return tuple(int(count) for count in counts)


def _logits(geometry: Geometry, centre: bool) -> Float[Tensor, "classes classes"]:
    assert geometry.means is not None and geometry.weight is not None
    logits = geometry.weight @ geometry.means.T
    if geometry.bias is not None:
        logits = logits + geometry.bias[:, None]
    return logits - logits.mean(0) if centre else logits


def _problem(tau: float, counts: tuple[int, ...], loss: LogitLoss, bias: str | float) -> UFM:
    decay = tau / math.sqrt(sum(counts))
    return UFM(counts, weight_decay=decay, feature_decay=decay, loss=loss, bias=bias)


def _balanced(
    geometry: Geometry,
    counts: tuple[int, ...],
    loss: LogitLoss,
    bias: str | float,
    tolerance: float,
) -> Fit:
    """Closed form: the margin of the simplex nearest to the logits, without a K × K matrix."""
    assert geometry.means is not None and geometry.weight is not None
    size = len(counts)
    weight, means = geometry.centred_weight, geometry.means
    own = (weight * means).sum(1)
    square = float(((weight.T @ weight) * (means.T @ means)).sum())
    if geometry.bias is not None:
        shift = geometry.bias - geometry.bias.mean()
        own = own + shift
        square += float(size * (shift @ shift) + 2 * (shift @ weight) @ means.sum(0))
    # Columns of Z are centred, so Σ_y Z_yy / (K-1) is the mean of Z_yy - mean_{j≠y} Z_jy.
    margin = float(own.sum()) / (size - 1)
    notes: list[str] = []
    zero = (1 - loss.smoothing) / size
    # At most 600 nats, where e^a still is a number.
    c = 1 / (math.exp(min(max(margin, 0.0), 600.0)) + size - 1) - loss.smoothing / size
    if margin <= 0:
        notes.append(
            f"the mean margin is {margin:.3g}: the head does not tell the class means apart, and "
            "theory answers with nothing learnt"
        )
    if c <= 0:
        largest = math.log(size / loss.smoothing - size + 1)
        c = 1e-6 * zero
        notes.append(
            f"the mean margin {margin:.3g} exceeds what smoothing {loss.smoothing:g} allows "
            f"({largest:.3g}): was the network trained with it?"
        )
    tau = c * math.sqrt(size)
    prediction = predict_problem(_problem(tau, counts, loss, bias), tolerance)
    found = max(margin, 0.0)
    rest = max(square - 2 * found * margin * (size - 1) + found**2 * (size - 1), 0.0)
    error = math.sqrt(rest / square) if square > 0 else math.inf
    return _fit(tau, error, prediction, notes, 1)


def _search(
    measured: Tensor,
    counts: tuple[int, ...],
    loss: LogitLoss,
    bias: str | float,
    tolerance: float,
) -> Fit:
    """Scan log τ, then close in on the best point (Brent's method on the squared error)."""
    from scipy.optimize import minimize_scalar

    from ncollapse.theory.solve import solve
    from ncollapse.theory.solvers.readout import relaxation_of

    scale, centre = float(measured.norm()), loss.softmax
    if scale == 0:
        raise ValueError("the class-mean logits are all equal; there is nothing to fit τ to")
    evaluations = 0

    def error(log_tau: float, tolerance: float) -> float:
        nonlocal evaluations
        evaluations += 1
        found = solve(_problem(math.exp(log_tau), counts, loss, bias), tolerance=tolerance).logits
        found = found - found.mean(0) if centre else found
        return float((found - measured).norm()) / scale

    # Above this τ the solution is zero.
    top = math.log(relaxation_of(_problem(1.0, counts, loss, bias)).vanishing())
    errors: list[float] = []
    while len(errors) < POINTS + MORE:
        errors.append(error(top - STEP * len(errors), ROUGH))
        # Past the best point smaller τ only grow the logits further away.
        if len(errors) > 3 and errors[-1] > errors[-2] > min(errors) and errors[-1] > 1:
            break
        if len(errors) >= POINTS and not errors[-1] < (1 - ACCURACY) * min(errors[:-1]):
            break
    best = min(range(len(errors)), key=errors.__getitem__)
    low, high = top - STEP * min(best + 1, len(errors) - 1), top - STEP * max(best - 1, 0)
    found = minimize_scalar(
        lambda log_tau: error(log_tau, SHARP) ** 2,
        bounds=(low, high),
        method="bounded",
        options={"xatol": ACCURACY},
    )
    tau = math.exp(float(found.x))
    prediction = predict_problem(_problem(tau, counts, loss, bias), tolerance)
    logits = prediction.solution.logits
    logits = logits - logits.mean(0) if centre else logits
    notes = []
    if best in (0, len(errors) - 1):
        side = "large, where nothing is learnt" if best == 0 else "small: margins go on growing"
        notes.append(f"the best τ lies at the end of the scan ({side})")
    last = float((logits - measured).norm()) / scale
    return _fit(tau, last, prediction, notes, evaluations + 1)


def _fit(
    tau: float, error: float, prediction: Prediction, notes: list[str], evaluations: int
) -> Fit:
    if error > POOR:
        notes.append(
            f"one number does not explain these logits (relative error {error:.2f}): the network "
            "is far from a minimum of this model, or its features are not free"
        )
    return Fit(tau, error, prediction, tuple(notes), evaluations)
