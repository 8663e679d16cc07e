"""Hostile inputs: projected gradient descent of our own, noise of the same size, and anything that
is called as attack(model, inputs, labels) → inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ncollapse.collect.tap.batches import describe
from ncollapse.collect.tap.outputs import logits_of
from ncollapse.collect.tap.preserve import evaluating, preserved

Attack = Callable[[nn.Module, Tensor, Tensor], Tensor]
Clip = tuple[float, float] | None
LINF, L2 = "linf", "l2"
NORMS = (LINF, L2)
# Without a step size, the steps add up to this many times eps, as Madry et al. 2018 chose.
REACH = 2.5
# Added to a gradient's length before it is divided by it.
TINY = 1e-7


@runtime_checkable
class Drawing(Protocol):
    """An attack of this file: it draws from a generator that it is handed."""

    eps: float
    norm: str
    clip: Clip

    def perturb(
        self,
        model: nn.Module,
        inputs: Tensor,
        labels: Tensor,
        generator: torch.Generator | None = None,
    ) -> Tensor: ...


@dataclass(frozen=True)
class PGD:
    """Projected gradient descent: x ← Π(x + α g), g = sign ∇ℓ ("linf") or ∇ℓ/‖∇ℓ‖ ("l2") of the
    cross-entropy ℓ, Π onto the ball of radius eps about the clean input and into `clip`.

    Inputs (samples, …) of real numbers, labels (samples); the result has the inputs' shape.
    targeted: the labels are where to go, and the loss is descended. step_size: α, by default 2.5
    eps/steps. random_start: from a point of the ball drawn uniformly by `seed` (or by the generator
    given to `perturb`); the global random state is not touched. clip: (low, high) of valid
    entries, None for no bounds. loss: "ce", or "margin" for ℓ = max over c ≠ y of z_c - z_y, whose
    slope no saturated softmax takes away. The model runs in eval mode and is put back; its
    parameters and their gradients, frozen or not, stay as they are.

    Raises ValueError for eps or a step size that is not positive, fewer than one step, an unknown
    norm, inputs outside `clip`, and inputs that are no real numbers. Source: Madry et al. 2018
    (remembered, not read); steps, balls and clipping are those of adversarial-robustness-toolbox.

    >>> attacked = PGD(0.1, clip=(0, 1))(model, inputs, labels)         # doctest: +SKIP
    """

    eps: float
    norm: str = LINF
    steps: int = 20
    step_size: float | None = None
    targeted: bool = False
    random_start: bool = True
    clip: Clip = None
    seed: int = 0
    loss: str = "ce"

    def __post_init__(self) -> None:
        check_size(self.eps, self.norm, self.clip)
        if self.loss not in LOSSES:
            raise ValueError(f"loss {self.loss!r} is unknown; one of {', '.join(LOSSES)} is needed")
        if self.steps < 1:
            raise ValueError(f"steps={self.steps}; at least 1 step is needed")
        if self.step_size is not None and not self.step_size > 0:
            raise ValueError(f"step_size={self.step_size}; a positive number is needed, or None")

    @property
    def alpha(self) -> float:
        """The length of a step."""
        return REACH * self.eps / self.steps if self.step_size is None else self.step_size

    def __call__(self, model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        return self.perturb(model, inputs, labels)

    def perturb(
        self,
        model: nn.Module,
        inputs: Tensor,
        labels: Tensor,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """The attacked inputs, detached; a generator serves several batches in turn."""
        check_inputs(inputs, labels, self.clip)
        clean = inputs.detach()
        found = clean
        if self.random_start:
            found = self.inside(clean + self._drawn(clean, _seeded(generator, self.seed)), clean)
        sign = -1.0 if self.targeted else 1.0
        with evaluating(model), torch.enable_grad():
            for number in range(self.steps):
                at = found.clone().requires_grad_()
                made = logits(model, at)
                if not number:
                    _check_classes(made, labels)
                loss = LOSSES[self.loss](made, labels.to(at.device))
                (slope,) = torch.autograd.grad(loss, at)
                found = self.moved(found, sign * slope, clean)
        return found

    def moved(self, found: Tensor, slope: Tensor, clean: Tensor) -> Tensor:
        """One step up the slope, back inside."""
        return self.inside(found + self.alpha * self._way(slope), clean)

    def _way(self, slope: Tensor) -> Tensor:
        if self.norm == LINF:
            return slope.sign()
        # A saturated loss leaves slopes near zero, which point the right way all the same.
        return slope / _lengths(slope).clamp_min(torch.finfo(slope.dtype).tiny)

    def inside(self, found: Tensor, clean: Tensor) -> Tensor:
        """Into the bounds first, then into the ball, which moves towards the clean input only."""
        if self.clip is not None:
            found = found.clamp(*self.clip)
        moved = found - clean
        if self.norm == LINF:
            return clean + moved.clamp(-self.eps, self.eps)
        return clean + moved * (self.eps / (_lengths(moved) + TINY)).clamp(max=1.0)

    def _drawn(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """A point of the ball, uniformly."""
        if self.norm == LINF:
            unit = torch.rand(clean.shape, generator=generator, dtype=clean.dtype)
            return (self.eps * (2 * unit - 1)).to(clean.device)
        way = torch.randn(clean.shape, generator=generator, dtype=clean.dtype)
        radius = torch.rand(clean.shape[0], generator=generator, dtype=clean.dtype)
        radius = radius ** (1 / max(clean[0].numel(), 1))
        way = way / (_lengths(way) + TINY) * radius.view(-1, *[1] * (clean.dim() - 1))
        return (self.eps * way).to(clean.device)


@dataclass(frozen=True)
class Noise:
    """Noise of an attack's size, the control beside it: x + eps sign(N) ("linf") or x + eps N/‖N‖
    ("l2"), N standard normal, cut into `clip`. It looks at neither model nor labels.

    Raises ValueError as `PGD` does. Source: Su et al. 2024 (their code read).
    """

    eps: float
    norm: str = LINF
    clip: Clip = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_size(self.eps, self.norm, self.clip)

    def __call__(self, model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        return self.perturb(model, inputs, labels)

    def perturb(
        self,
        model: nn.Module,
        inputs: Tensor,
        labels: Tensor,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """The noisy inputs; a generator serves several batches in turn."""
        check_inputs(inputs, labels, self.clip)
        clean = inputs.detach()
        drawn = _seeded(generator, self.seed)
        way = torch.randn(clean.shape, generator=drawn, dtype=clean.dtype).to(clean.device)
        way = way.sign() if self.norm == LINF else way / (_lengths(way) + TINY)
        noisy = clean + self.eps * way
        return noisy if self.clip is None else noisy.clamp(*self.clip)


def logits(model: nn.Module, inputs: Tensor) -> Float[Tensor, "samples classes"]:
    """What a model decides by; one logit tells two classes. Raises ValueError where the model
    returns no logits (samples, classes)."""
    output = model(inputs)
    found = logits_of(output)
    if found is None or found.dim() not in (1, 2) or found.shape[0] != inputs.shape[0]:
        raise ValueError(
            f"the model returned {describe(output)}; logits (samples, classes) are needed, which "
            "an attack can follow"
        )
    if found.dim() == 1 or found.shape[1] == 1:
        flat = found.reshape(-1, 1)
        found = torch.cat([-flat / 2, flat / 2], 1)
    return found if found.dtype == torch.float64 else found.float()


def _check_classes(found: Tensor, labels: Tensor) -> None:
    wrong = (labels < 0) | (labels >= found.shape[1])
    if bool(wrong.any()):
        raise ValueError(
            f"label {int(labels[wrong][0])} has no logit among {found.shape[1]}; class numbers "
            "from 0 are needed, for an attack follows a classifier with one logit a class (or one "
            "for two)"
        )


def _cross_entropy(found: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(found, labels, reduction="sum")


def _margin(found: Tensor, labels: Tensor) -> Tensor:
    """Σ over samples of the best other logit minus the label's."""
    own = found.gather(1, labels[:, None])
    others = found.scatter(1, labels[:, None], -torch.inf)
    return (others.max(1, keepdim=True).values - own).sum()


# Sums over samples: each sample then has the slope that it has alone.
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "ce": _cross_entropy,
    "margin": _margin,
}


def attacked(
    model: nn.Module,
    attack: Attack,
    inputs: Tensor,
    labels: Tensor,
    *,
    batch_size: int = 256,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """All inputs attacked batch by batch on the model's device; the result lies beside the inputs.

    labels: (samples), of the truth, or of the targets of a targeted attack. Random states, buffers,
    modes and gradients of the model are put back, whatever the attack does. progress(samples) is
    called after each batch.

    Raises ValueError where the attack returns another shape, another type, or numbers that are not
    finite, and whatever the attack raises.
    """
    first = next(iter(model.parameters()), None)
    device = inputs.device if first is None else first.device
    generator = torch.Generator().manual_seed(seed)
    parts = []
    with preserved(model), ungraded(model):
        for start in range(0, inputs.shape[0], batch_size):
            x = inputs[start : start + batch_size].to(device)
            y = labels[start : start + batch_size].to(device)
            if isinstance(attack, Drawing):
                found: Any = attack.perturb(model, x, y, generator)
            else:
                found = attack(model, x.clone(), y)
            parts.append(checked(found, x).to(inputs.device))
            if progress is not None:
                progress(x.shape[0])
    return torch.cat(parts)


@contextmanager
def ungraded(model: nn.Module) -> Iterator[None]:
    """Inside, parameters have no gradients yet; afterwards each has the one it had before."""
    kept = [(parameter, parameter.grad) for parameter in model.parameters()]
    try:
        for parameter, _ in kept:
            parameter.grad = None
        yield
    finally:
        for parameter, grad in kept:
            parameter.grad = grad


def with_clip(attack: Attack, clip: Clip) -> Attack:
    """An attack of this file with bounds, where it has none; any other as it is."""
    if isinstance(attack, (PGD, Noise)) and attack.clip is None:
        return replace(attack, clip=clip)
    return attack


def check_size(eps: float, norm: str, clip: Clip) -> None:
    """Raises ValueError for a size that no ball has, an unknown norm, and bounds out of order."""
    if not isinstance(eps, Real) or not 0 < eps < float("inf"):
        raise ValueError(
            f"eps={eps!r}; a positive finite number in units of the inputs is needed, such as 8 / "
            "255"
        )
    if norm not in NORMS:
        raise ValueError(f"norm {norm!r} is unknown; one of {', '.join(NORMS)} is needed")
    if clip is not None and not clip[0] < clip[1]:
        raise ValueError(f"clip={clip}; (low, high) with low below high is needed, or None")


def check_inputs(inputs: Tensor, labels: Tensor, clip: Clip) -> None:
    """Raises ValueError for inputs that cannot be moved by gradients, that lie outside `clip`, and
    for labels that are not one class number a sample."""
    if not isinstance(inputs, Tensor) or not inputs.is_floating_point() or inputs.dim() < 2:
        raise ValueError(
            f"the inputs are {describe(inputs)}; an attack moves one tensor (samples, …) of real "
            "numbers, so pass such inputs, or an attack on embeddings of your own"
        )
    if labels.shape != inputs.shape[:1] or labels.is_floating_point():
        raise ValueError(
            f"the labels are {describe(labels)} for {inputs.shape[0]} inputs; an attack needs one "
            "class number a sample"
        )
    if clip is None or not inputs.numel():
        return
    low, high = float(inputs.min()), float(inputs.max())
    slack = 1e-6 * max(abs(clip[0]), abs(clip[1]))
    if not (low >= clip[0] - slack and high <= clip[1] + slack):
        raise ValueError(
            f"inputs go from {low:.4g} to {high:.4g}, outside clip=({clip[0]:g}, {clip[1]:g}); "
            "pass the range that the model's inputs have (after normalisation), or clip=None"
        )


def checked(found: Any, inputs: Tensor) -> Tensor:
    """What an attack returned. Raises ValueError for another shape and for what is not finite."""
    if not isinstance(found, Tensor) or found.shape != inputs.shape:
        raise ValueError(
            f"the attack returned {describe(found)} for inputs {list(inputs.shape)}; it must "
            "return the attacked inputs, in the same shape"
        )
    if not bool(found.isfinite().all()):
        raise ValueError("the attack returned inputs that are NaN or infinite; check its steps")
    return found.detach().to(inputs.dtype)


def _seeded(generator: torch.Generator | None, seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed) if generator is None else generator


def _lengths(rows: Tensor) -> Tensor:
    """Euclidean length of every sample, (samples, 1, …)."""
    return rows.flatten(1).norm(dim=1).view(-1, *[1] * (rows.dim() - 1))
