"""A lower bound from any point: how far a trained network is from the global minimum.

For weights W, features H and a bias that somebody found, the gradients of the loss, averaged over
each class and scaled until their spectral norm is allowed, are a dual point of the convex problem.
Its value lies below the minimum over all W, H and b, of whatever width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import csr_array

from ncollapse.losses import LogitLoss, Loss
from ncollapse.theory.problems.counted import check_loss
from ncollapse.theory.proof import Certificate
from ncollapse.theory.solvers.convex import one_thread
from ncollapse.theory.solvers.relaxation import Bound, Point, Relaxation

Array = np.ndarray
# Logits are formed for this many numbers at a time.
CHUNK = 2**22


@dataclass(frozen=True)
class Certified(Certificate):
    """A certificate with the point's own numbers.

    objective: f at the point. norm_ratio: ‖∇_Z f‖₂ over √(λ_W λ_H) for class means; 1 at an optimum
    that is not zero. bias_residual: largest entry of the bias gradient, 0 at an optimum.
    """

    objective: float = float("nan")
    norm_ratio: float = float("nan")
    bias_residual: float = 0.0

    @property
    def gap(self) -> float:
        """objective - lower_bound, never negative."""
        assert self.lower_bound is not None
        return max(self.objective - self.lower_bound, 0.0)


def certify(
    weight: Any,
    features: Any,
    labels: Any,
    *,
    weight_decay: float,
    feature_decay: float,
    loss: Loss,
    bias: Any = None,
    bias_decay: float | None = None,
    copies: Any = None,
) -> Certified:
    """Objective at a point and a lower bound on the minimum over all points.

    f = (1/N) Σ ℓ(W h_i + b, y_i) + λ_W/2 ‖W‖² + λ_H/2 ‖H‖² + λ_b/2 ‖b‖². weight (K, d), features
    (N, d), labels (N) in 0..K-1, every class present; arrays or tensors, taken in float64. bias
    (K) or None; bias_decay: None where the model has no bias, 0 for a free one, else λ_b. A bias
    without bias_decay counts as free. copies (N): how many samples each row stands for, default
    one; N is then their sum.

    The bound holds at every point, stationary or not, for cross-entropy (smoothed, weighted,
    scaled, shifted), squared error (rescaled too) and, through its convex envelope, the focal
    loss. A free bias asks dual points for a zero mean, which is restored by mixing, not assumed.
    Raises ValueError for shapes, labels or decays that do not fit.
    """
    W, H, y, b = _checked(weight, features, labels, bias)
    known = check_loss(loss, len(W))
    for name, value in (("weight_decay", weight_decay), ("feature_decay", feature_decay)):
        if not value > 0:
            raise ValueError(f"{name}={value}; a positive number is needed for a bound")
    if bias_decay is not None and not bias_decay >= 0:
        raise ValueError(f"bias_decay={bias_decay}; None, 0 or a positive number is needed")
    if b is not None and bias_decay is None:
        bias_decay = 0.0
    size = np.ones(len(y)) if copies is None else _array(copies)
    if size.shape != y.shape or not (size > 0).all():
        raise ValueError(f"copies has shape {size.shape}; {len(y)} positive numbers are needed")
    counts = np.bincount(y, weights=size, minlength=len(W))
    tau = float(np.sqrt(size.sum() * weight_decay * feature_decay))
    relaxed = Relaxation(counts, known, tau, bias_decay, merge=False)
    mean_loss, averaged = _losses(W, H, y, size, b, known, relaxed)
    objective = mean_loss + 0.5 * weight_decay * float(np.vdot(W, W))
    objective += 0.5 * feature_decay * float(size @ (H**2).sum(1))
    if b is not None and bias_decay:
        objective += 0.5 * bias_decay * float(b @ b)
    with one_thread():
        found = _bound(relaxed, averaged)
        value = found.value
        if bias_decay is not None:
            value = max(value, _bound_at_best_bias(relaxed, W, H, y, size, b))
    if not np.isfinite(value):
        value = 0.0
    # Every loss here is ≥ 0, so that 0 is a bound too.
    value = min(max(value, 0.0), objective)
    statement = (
        "No choice of weights, features and bias, of any width, has a lower objective than the "
        "bound: a scaled dual point of the convex form."
    )
    if not known.convex:
        statement += " The focal loss enters by its convex envelope, which lies below it."
    return Certified(
        lower_bound=value,
        kind="dual",
        statement=statement,
        objective=objective,
        norm_ratio=found.norm_ratio,
        bias_residual=found.residual,
    )


def _bound(relaxed: Relaxation, gradient: Float[Array, "classes classes"]) -> Bound:
    """gradient: column y is a loss gradient of class y, without class weights."""
    others = gradient.copy()
    np.fill_diagonal(others, 0.0)
    return relaxed.bound(np.diag(gradient).copy(), others)


def _bound_at_best_bias(
    relaxed: Relaxation, W: Array, H: Array, y: Array, size: Array, b: Array | None
) -> float:
    """The bound from class-mean features after a few Newton steps on the bias."""
    means = _class_sums(H, y, size, len(W)) / relaxed.groups.counts[:, None]
    core = (W @ means.T) * relaxed.root
    start = Point(np.zeros(len(W)), core, np.zeros(len(W)) if b is None else b)
    slope = relaxed.slope(relaxed.polish_bias(start))
    value = relaxed.bound(slope.own, slope.others).value
    return value if np.isfinite(value) else -np.inf


def _losses(
    W: Array, H: Array, y: Array, size: Array, b: Array | None, loss: LogitLoss, relaxed: Relaxation
) -> tuple[float, Array]:
    """Mean loss and the unweighted gradients averaged over each class, column by column (K, K)."""
    K = len(W)
    total, sums = 0.0, np.zeros((K, K))
    rows = max(1, CHUNK // K)
    for start in range(0, len(y), rows):
        part = slice(start, start + rows)
        logits = H[part] @ W.T
        if b is not None:
            logits = logits + b
        tensor = torch.from_numpy(logits)
        total += float(size[part] @ loss(tensor, torch.from_numpy(y[part])).numpy())
        # Of the loss or of its envelope, class weights left out.
        gradients = relaxed.form.sample_gradients(logits, y[part])
        sums += _class_sums(gradients, y[part], size[part], K)
    return total / float(size.sum()), sums.T / relaxed.groups.counts


def _class_sums(rows: Array, y: Array, size: Array, num_classes: int) -> Array:
    """(K, columns): rows summed by class, each as often as it stands for samples."""
    members = csr_array((size, (y, np.arange(len(y)))), shape=(num_classes, len(y)))
    found: Array = members @ rows
    return found


def _checked(
    weight: Any, features: Any, labels: Any, bias: Any
) -> tuple[Array, Array, Array, Array | None]:
    W, H = _array(weight), _array(features)
    y = np.asarray(labels.detach().cpu() if isinstance(labels, torch.Tensor) else labels)
    b = None if bias is None else _array(bias)
    if W.ndim != 2 or H.ndim != 2 or W.shape[1] != H.shape[1]:
        raise ValueError(
            f"weight has shape {W.shape} and features {H.shape}; (classes, dim) and (samples, dim) "
            "are needed"
        )
    if y.shape != (len(H),) or not np.issubdtype(y.dtype, np.integer):
        raise ValueError(
            f"labels have shape {y.shape} and type {y.dtype}; {len(H)} whole numbers are needed"
        )
    if len(y) == 0 or y.min() < 0 or y.max() >= len(W):
        raise ValueError(f"labels must lie in 0..{len(W) - 1}, the rows of weight, and exist")
    missing = np.flatnonzero(np.bincount(y, minlength=len(W)) == 0)
    if len(missing):
        raise ValueError(
            f"class {missing[0]} has no sample; leave absent classes out of weight and renumber"
        )
    if b is not None and b.shape != (len(W),):
        raise ValueError(f"bias has shape {b.shape}; ({len(W)},) is needed")
    for name, values in (("weight", W), ("features", H), ("bias", b)):
        if values is not None and not np.isfinite(values).all():
            raise ValueError(f"{name} holds NaN or infinite numbers; finite ones are needed")
    return W, H, y.astype(np.int64), b


def _array(values: Any) -> Array:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().numpy()
    return np.asarray(values, dtype=np.float64)
