"""Per-sample losses that theory predicts for and that training uses: one definition for both.

Every loss is a frozen value; called with logits (samples, classes) and labels (samples) it returns
one number a sample, in the logits' dtype, differentiable in the logits. The contrastive loss alone
reads features. Modules that average over samples stand in `ncollapse.control`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from ncollapse.linalg import unit_rows

Logits = Float[Tensor, "samples classes"]
Labels = Int[Tensor, " samples"]
PerSample = Float[Tensor, " samples"]
PerClass = tuple[float, ...] | None


@runtime_checkable
class Loss(Protocol):
    """What theory and training share: a name, class weights w_k, and the loss itself."""

    @property
    def name(self) -> str: ...

    @property
    def weight(self) -> PerClass: ...

    def __call__(self, logits: Logits, labels: Labels) -> PerSample: ...


class LogitLoss:
    """A loss of logits that theory solves for, with what it asks of it beside its value.

    smoothing ε, scale δ_k, shift ι_k, weight w_k: as in `CrossEntropy`. convex: in the logits.
    softmax: it sees softmax(δ z + ι) alone, so that a common shift of δ z changes nothing.
    sees_others: whether logits of other classes enter. pull_squared: the square of `pull` at
    logits 0, in symbols. Subclasses, frozen dataclasses, override what is not so for them.
    """

    weight: PerClass = None
    smoothing: float = 0.0
    scale: PerClass = None
    shift: PerClass = None
    convex = True
    softmax = False
    sees_others = True
    pull_squared = "(1-ε)²"

    @property
    def name(self) -> str:
        raise NotImplementedError

    @property
    def same_order(self) -> LogitLoss:
        """A convex loss that this one increases with: on any set both have the same minimisers."""
        return self

    def pull(self, *, confidence: float | None = None, logit: float | None = None) -> float | None:
        """∂ℓ/∂z_j - ∂ℓ/∂z_y where z_j = z_y, without w_y and δ_y: what drives two classes apart.

        confidence: p_y there; logit: z_y there. None where it depends on one that is not given.
        """
        return None

    def __call__(self, logits: Logits, labels: Labels) -> PerSample:
        raise NotImplementedError


@dataclass(frozen=True)
class CrossEntropy(LogitLoss):
    """w_y Σ_c -t_c log softmax(δ z + ι)_c with t = (1 - ε) e_y + ε/K.

    smoothing: ε in [0, 1), label smoothing. weight: w_k > 0, class weights. scale: δ_k > 0,
    class-dependent temperature. shift: ι_k, logit adjustment; scale and shift together are vector
    scaling. Raises ValueError outside these ranges.
    Source: Szegedy et al. 2016 (ε), Menon et al. 2021 (ι), Ye et al. 2020 (δ), Kini et al. 2021.
    """

    smoothing: float = 0.0
    weight: PerClass = None
    scale: PerClass = None
    shift: PerClass = None
    softmax = True

    def __post_init__(self) -> None:
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"smoothing={self.smoothing}; a number in [0, 1) is needed")
        _check_positive("weight", self.weight)
        _check_positive("scale", self.scale)

    @property
    def name(self) -> str:
        parts = []
        if self.smoothing:
            parts.append("label smoothing")
        if self.scale is not None:
            parts.append("class-dependent temperature" if self.shift is None else "vector scaling")
        elif self.shift is not None:
            parts.append("logit adjustment")
        if self.weight is not None:
            parts.append("class weights")
        return "cross-entropy" + (f" with {' and '.join(parts)}" if parts else "")

    def pull(self, *, confidence: float | None = None, logit: float | None = None) -> float:
        """1 - ε, at any logits."""
        return 1 - self.smoothing

    def __call__(self, logits: Logits, labels: Labels) -> PerSample:
        if self.scale is not None:
            logits = logits * _row("scale", self.scale, logits)
        if self.shift is not None:
            logits = logits + _row("shift", self.shift, logits)
        values = functional.cross_entropy(
            logits, labels, reduction="none", label_smoothing=self.smoothing
        )
        return _weighted(values, self.weight, logits, labels)


@dataclass(frozen=True)
class MeanSquaredError(LogitLoss):
    """w_y ½ ‖z - e_y‖², summed over classes. weight: w_k > 0, class weights."""

    weight: PerClass = None

    def __post_init__(self) -> None:
        _check_positive("weight", self.weight)

    @property
    def name(self) -> str:
        return "mean squared error" + (" with class weights" if self.weight is not None else "")

    def pull(self, *, confidence: float | None = None, logit: float | None = None) -> float:
        """1, at any logits."""
        return 1.0

    def __call__(self, logits: Logits, labels: Labels) -> PerSample:
        target = functional.one_hot(labels, logits.shape[1]).to(logits.dtype)
        values = 0.5 * ((logits - target) ** 2).sum(1)
        return _weighted(values, self.weight, logits, labels)


@dataclass(frozen=True)
class RescaledSquaredError(LogitLoss):
    """w_y ½ (κ (z_y - M)² + Σ_{c≠y} z_c²): squared error that asks more of the own logit.

    factor: κ > 0. target: M > 0. κ = M = 1 is MeanSquaredError; many classes want both larger
    (15 and 30 for 1,000). weight: w_k > 0, class weights. Raises ValueError outside these ranges.
    Source: Hui & Belkin 2021.
    """

    factor: float = 1.0
    target: float = 1.0
    weight: PerClass = None
    pull_squared = "κ²M²"

    def __post_init__(self) -> None:
        _check_positive("factor", (self.factor,))
        _check_positive("target", (self.target,))
        _check_positive("weight", self.weight)

    @property
    def name(self) -> str:
        return f"rescaled squared error (κ = {self.factor:g}, M = {self.target:g})"

    def pull(self, *, confidence: float | None = None, logit: float | None = None) -> float | None:
        """κM - (κ-1) v at the common logit v, which does not matter for κ = 1."""
        if self.factor == 1:
            logit = 0.0
        return None if logit is None else self.factor * self.target - (self.factor - 1) * logit

    def __call__(self, logits: Logits, labels: Labels) -> PerSample:
        own = logits.gather(1, labels[:, None])[:, 0]
        mine = functional.one_hot(labels, logits.shape[1]).bool()
        others = (logits.masked_fill(mine, 0) ** 2).sum(1)
        values = 0.5 * (self.factor * (own - self.target) ** 2 + others)
        return _weighted(values, self.weight, logits, labels)


@dataclass(frozen=True)
class DotRegression(LogitLoss):
    """w_y (z_y - √(E_W E_H))² / (2 √(E_W E_H)): the own logit pulled up to the largest it can be.

    For a fixed head with ‖w_k‖² = E_W (weight_energy) and features limited to ‖h‖² ≤ E_H
    (feature_energy): only there is h ∝ w_y the one minimum, whatever the class counts. Other
    logits do not enter, so nothing pushes classes apart but the frame. weight: w_k > 0, class
    weights. Raises ValueError for energies that are not positive. Source: Yang et al. 2022.
    """

    weight_energy: float = 1.0
    feature_energy: float = 1.0
    weight: PerClass = None
    sees_others = False

    def __post_init__(self) -> None:
        _check_positive("weight_energy", (self.weight_energy,))
        _check_positive("feature_energy", (self.feature_energy,))
        _check_positive("weight", self.weight)

    @property
    def name(self) -> str:
        return "dot regression"

    @property
    def target(self) -> float:
        """√(E_W E_H), the largest own logit."""
        return (self.weight_energy * self.feature_energy) ** 0.5

    def __call__(self, logits: Logits, labels: Labels) -> PerSample:
        own = logits.gather(1, labels[:, None])[:, 0]
        values = (own - self.target) ** 2 / (2 * self.target)
        return _weighted(values, self.weight, logits, labels)


@dataclass(frozen=True)
class Focal(LogitLoss):
    """-w_y (1 - p_y)^γ log p_y, p = softmax(z). gamma: γ ≥ 0; 0 is cross-entropy.

    Not convex in z. Source: Lin et al. 2017.
    """

    gamma: float = 2.0
    weight: PerClass = None
    convex = False
    softmax = True

    def __post_init__(self) -> None:
        if not self.gamma >= 0:
            raise ValueError(f"gamma={self.gamma}; a number ≥ 0 is needed")
        _check_positive("weight", self.weight)

    @property
    def name(self) -> str:
        return f"focal loss (γ = {self.gamma:g})"

    @property
    def same_order(self) -> CrossEntropy:
        """Cross-entropy: both increase with log Σ_{j≠y} e^{z_j} - z_y."""
        return CrossEntropy()

    def pull(self, *, confidence: float | None = None, logit: float | None = None) -> float | None:
        """(1-p)^(γ-1) ((1-p) - γ p log p) at the probability p = confidence."""
        if confidence is None:
            return None
        p, gamma = confidence, self.gamma
        return float((1 - p) ** (gamma - 1) * ((1 - p) - gamma * p * math.log(p)))

    def __call__(self, logits: Logits, labels: Labels) -> PerSample:
        own = logits.gather(1, labels[:, None])[:, 0]
        mine = functional.one_hot(labels, logits.shape[1]).bool()
        others = logits.masked_fill(mine, -torch.inf).logsumexp(1)
        # log p_y and log(1 - p_y) from the gap, without cancellation at either end.
        log_p = functional.logsigmoid(own - others)
        log_rest = functional.logsigmoid(others - own)
        values = -torch.exp(self.gamma * log_rest) * log_p
        return _weighted(values, self.weight, logits, labels)


@dataclass(frozen=True)
class SupervisedContrastive:
    """Of features, not logits: samples of a class attract, all others in the batch repel.

    With unit features z_i, P(i) the other samples of i's class and τ the temperature,
    -1/#P(i) Σ_{p∈P(i)} log( exp(z_i·z_p/τ) / Σ_{a≠i} exp(z_i·z_a/τ) ), and 0 where P(i) is empty.
    Raises ValueError for τ ≤ 0. Source: Khosla et al. 2020.
    """

    temperature: float = 0.1

    def __post_init__(self) -> None:
        _check_positive("temperature", (self.temperature,))

    @property
    def name(self) -> str:
        return f"supervised contrastive loss (τ = {self.temperature:g})"

    @property
    def weight(self) -> PerClass:
        """None: it knows no class weights."""
        return None

    def __call__(self, features: Float[Tensor, "samples dim"], labels: Labels) -> PerSample:
        unit = unit_rows(features)
        if labels.numel() < 2:
            return 0 * unit.sum(1)
        scores = unit @ unit.T / self.temperature
        itself = torch.eye(labels.numel(), dtype=torch.bool, device=labels.device)
        shares = scores - scores.masked_fill(itself, -torch.inf).logsumexp(1, keepdim=True)
        positive = (labels[:, None] == labels) & ~itself
        return -torch.where(positive, shares, 0).sum(1) / positive.sum(1).clamp_min(1)


def logit_adjusted(counts: Sequence[int], strength: float = 1.0) -> CrossEntropy:
    """Cross-entropy of z + strength · log π, π_k = n_k/N. Source: Menon et al. 2021."""
    share = _shares(counts)
    return CrossEntropy(shift=tuple((strength * share.log()).tolist()))


def class_dependent_temperature(counts: Sequence[int], gamma: float = 0.3) -> CrossEntropy:
    """Cross-entropy of δ z with δ_k = (n_k/n_max)^γ. Source: Ye et al. 2020."""
    share = _shares(counts)
    return CrossEntropy(scale=tuple(((share / share.max()) ** gamma).tolist()))


def vector_scaling(
    counts: Sequence[int], gamma: float = 0.3, strength: float = 1.0
) -> CrossEntropy:
    """Cross-entropy of δ z + ι, the two adjustments together. Source: Kini et al. 2021."""
    scale = class_dependent_temperature(counts, gamma).scale
    return CrossEntropy(scale=scale, shift=logit_adjusted(counts, strength).shift)


NAMES = ("ce", "mse", "rescaled", "ls", "focal", "weighted", "la", "cdt", "vs", "dr")


def named(name: str, counts: Sequence[int] = (), **parameters: Any) -> LogitLoss:
    """A loss by its short name.

    ce (smoothing=0, weight=None), mse, rescaled (factor=1, target=1), ls (smoothing=0.1), focal
    (gamma=2), weighted (weight=…, default 1/π_k scaled to mean 1), la (strength=1), cdt
    (gamma=0.3), vs (gamma=0.3, strength=1), dr (weight_energy=1, feature_energy=1). smoothing is
    also called label_smoothing, as in torch. torch divides a weighted mean by the weights of its
    samples, theory by their number: weights whose mean over samples is 1 make the two the same.
    Raises ValueError for an unknown name or parameter.
    """
    makers: dict[str, Any] = {
        "ce": lambda smoothing=0.0, weight=None: CrossEntropy(
            smoothing, None if weight is None else tuple(map(float, weight))
        ),
        "mse": lambda: MeanSquaredError(),
        "rescaled": lambda factor=1.0, target=1.0: RescaledSquaredError(factor, target),
        "ls": lambda smoothing=0.1: CrossEntropy(smoothing),
        "focal": lambda gamma=2.0: Focal(gamma),
        "weighted": lambda weight=None: CrossEntropy(
            weight=tuple(map(float, weight)) if weight is not None else _inverse(counts)
        ),
        "la": lambda strength=1.0: logit_adjusted(counts, strength),
        "cdt": lambda gamma=0.3: class_dependent_temperature(counts, gamma),
        "dr": lambda weight_energy=1.0, feature_energy=1.0: DotRegression(
            weight_energy, feature_energy
        ),
        "vs": lambda gamma=0.3, strength=1.0: vector_scaling(counts, gamma, strength),
    }
    if name not in makers:
        raise ValueError(f"loss {name!r} is unknown; one of {', '.join(NAMES)} is needed")
    maker = makers[name]
    known = maker.__code__.co_varnames[: maker.__code__.co_argcount]
    if "label_smoothing" in parameters and "smoothing" in known:
        if "smoothing" in parameters:
            raise ValueError("smoothing and label_smoothing are one setting; pass one of them")
        parameters["smoothing"] = parameters.pop("label_smoothing")
    for key in parameters:
        if key not in known:
            takes = ", ".join(known) or "no parameters"
            raise ValueError(
                f"{key!r} was passed and loss {name!r} takes {takes}; leave {key!r} out"
            )
    found: LogitLoss = maker(**parameters)
    return found


def _inverse(counts: Sequence[int]) -> tuple[float, ...]:
    inverse = 1 / _shares(counts)
    return tuple((inverse / inverse.mean()).tolist())


def _shares(counts: Sequence[int]) -> Tensor:
    found = torch.as_tensor(counts, dtype=torch.float64)
    if found.numel() < 2 or not bool((found > 0).all()):
        raise ValueError(f"counts={list(counts)}; at least 2 positive class counts are needed")
    return found / found.sum()


def _row(name: str, values: tuple[float, ...], logits: Tensor) -> Tensor:
    if len(values) != logits.shape[1]:
        raise ValueError(
            f"{name} has {len(values)} entries and the logits have {logits.shape[1]} classes; "
            "one entry a class is needed"
        )
    return torch.tensor(values, dtype=logits.dtype, device=logits.device)


def _weighted(values: Tensor, weight: PerClass, logits: Tensor, labels: Tensor) -> Tensor:
    return values if weight is None else _row("weight", weight, logits)[labels] * values


def _check_positive(name: str, values: PerClass) -> None:
    if values is not None and not all(value > 0 for value in values):
        raise ValueError(f"{name}={values}; positive numbers are needed, one a class")
