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
# The scan of log τ: from nothing learnt down to margins of some twenty nats.
DECADES, POINTS = 7.0, 15
# While searching, solutions need no more digits than the fit has.
ROUGH = 1e-5
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
    τ = c √K. Otherwise a search in log τ on the certified solver for the smallest relative error of
    the class-mean logits Z = W Mᵀ + b (K, K); cross-entropy ignores a constant in a column, so
    columns are centred. counts: default those of the geometry. bias: default "free" where the
    geometry has one, else "none".

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
    """Scan log τ, then close in on the best point (golden section)."""
    from ncollapse.theory.solve import solve

    scale, centre = float(measured.norm()), loss.softmax
    if scale == 0:
        raise ValueError("the class-mean logits are all equal; there is nothing to fit τ to")
    evaluations = 0

    def error(log_tau: float) -> float:
        nonlocal evaluations
        evaluations += 1
        found = solve(_problem(math.exp(log_tau), counts, loss, bias), tolerance=ROUGH).logits
        found = found - found.mean(0) if centre else found
        return float((found - measured).norm()) / scale

    # ‖√π_k w_k ∇ℓ_k‖ is largest at constant logits: above this τ the solution is zero.
    weights = loss.weight or (1.0,)
    pull = 1.0 if loss.softmax else loss.pull(logit=0.0) or 1.0
    top = math.log(pull * max(weights) * math.sqrt(max(counts) / sum(counts)))
    step = DECADES * math.log(10) / (POINTS - 1)
    places = [top - i * step for i in range(POINTS)]
    errors: list[float] = []
    for place in places:
        errors.append(error(place))
        # Past the best point smaller τ only grow the logits further away.
        if len(errors) > 3 and errors[-1] > errors[-2] > min(errors) and errors[-1] > 1:
            break
    best = min(range(len(errors)), key=errors.__getitem__)
    low = places[min(best + 1, POINTS - 1)]
    high = places[max(best - 1, 0)]
    log_tau = _golden(error, low, high)
    tau = math.exp(log_tau)
    prediction = predict_problem(_problem(tau, counts, loss, bias), tolerance)
    found = prediction.solution.logits
    found = found - found.mean(0) if centre else found
    notes = []
    if best in (0, POINTS - 1):
        side = "large, where nothing is learnt" if best == 0 else "small: margins go on growing"
        notes.append(f"the best τ lies at the end of the scan ({side})")
    last = float((found - measured).norm()) / scale
    return _fit(tau, last, prediction, notes, evaluations + 1)


def _golden(function: Any, low: float, high: float, width: float = 2e-4) -> float:
    """Golden-section search of a minimum in [low, high], to `width` in log τ."""
    ratio = (math.sqrt(5) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = function(left), function(right)
    while high - low > width:
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = function(right)
    return (low + high) / 2


def _fit(
    tau: float, error: float, prediction: Prediction, notes: list[str], evaluations: int
) -> Fit:
    if error > POOR:
        notes.append(
            f"one number does not explain these logits (relative error {error:.2f}): the network "
            "is far from a minimum of this model, or its features are not free"
        )
    return Fit(tau, error, prediction, tuple(notes), evaluations)
