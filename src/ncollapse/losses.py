"""Per-sample losses that theory predicts for and that training uses: one definition for both.

Every loss is a frozen value; called with logits (samples, classes) and labels (samples) it returns
one number a sample, in the logits' dtype, differentiable in the logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

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


@dataclass(frozen=True)
class CrossEntropy:
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
class MeanSquaredError:
    """w_y ½ ‖z - e_y‖², summed over classes. weight: w_k > 0, class weights."""

    weight: PerClass = None

    def __post_init__(self) -> None:
        _check_positive("weight", self.weight)

    @property
    def name(self) -> str:
        return "mean squared error" + (" with class weights" if self.weight is not None else "")

    def __call__(self, logits: Logits, labels: Labels) -> PerSample:
        target = functional.one_hot(labels, logits.shape[1]).to(logits.dtype)
        values = 0.5 * ((logits - target) ** 2).sum(1)
        return _weighted(values, self.weight, logits, labels)


@dataclass(frozen=True)
class Focal:
    """-w_y (1 - p_y)^γ log p_y, p = softmax(z). gamma: γ ≥ 0; 0 is cross-entropy.

    Not convex in z. Source: Lin et al. 2017.
    """

    gamma: float = 2.0
    weight: PerClass = None

    def __post_init__(self) -> None:
        if not self.gamma >= 0:
            raise ValueError(f"gamma={self.gamma}; a number ≥ 0 is needed")
        _check_positive("weight", self.weight)

    @property
    def name(self) -> str:
        return f"focal loss (γ = {self.gamma:g})"

    def __call__(self, logits: Logits, labels: Labels) -> PerSample:
        own = logits.gather(1, labels[:, None])[:, 0]
        mine = functional.one_hot(labels, logits.shape[1]).bool()
        others = logits.masked_fill(mine, -torch.inf).logsumexp(1)
        # log p_y and log(1 - p_y) from the gap, without cancellation at either end.
        log_p = functional.logsigmoid(own - others)
        log_rest = functional.logsigmoid(others - own)
        values = -torch.exp(self.gamma * log_rest) * log_p
        return _weighted(values, self.weight, logits, labels)


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


NAMES = ("ce", "mse", "ls", "focal", "weighted", "la", "cdt", "vs")


def named(name: str, counts: Sequence[int] = (), **parameters: Any) -> Loss:
    """A loss by its short name.

    ce, mse, ls (smoothing=0.1), focal (gamma=2), weighted (weight=…, default 1/π_k scaled to mean
    1), la (strength=1), cdt (gamma=0.3), vs (gamma=0.3, strength=1). Raises ValueError for an
    unknown name or parameter.
    """
    makers: dict[str, Any] = {
        "ce": lambda smoothing=0.0: CrossEntropy(smoothing),
        "mse": lambda: MeanSquaredError(),
        "ls": lambda smoothing=0.1: CrossEntropy(smoothing),
        "focal": lambda gamma=2.0: Focal(gamma),
        "weighted": lambda weight=None: CrossEntropy(
            weight=tuple(map(float, weight)) if weight is not None else _inverse(counts)
        ),
        "la": lambda strength=1.0: logit_adjusted(counts, strength),
        "cdt": lambda gamma=0.3: class_dependent_temperature(counts, gamma),
        "vs": lambda gamma=0.3, strength=1.0: vector_scaling(counts, gamma, strength),
    }
    if name not in makers:
        raise ValueError(f"loss {name!r} is unknown; one of {', '.join(NAMES)} is needed")
    maker = makers[name]
    known = maker.__code__.co_varnames[: maker.__code__.co_argcount]
    for key in parameters:
        if key not in known:
            takes = ", ".join(known) or "no parameters"
            raise ValueError(f"loss {name!r} takes {takes}; {key!r} was passed")
    found: Loss = maker(**parameters)
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
