"""Training against attacks: adversarial training and TRADES as steps of any loop.

A step returns its loss and the perturbed batch that was used, and ends with the training forward
pass of that batch, so that a Tracker that follows online reads collapse on it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from ncollapse.collect.tap.preserve import evaluating
from ncollapse.downstream.attacks import (
    PGD,
    Attack,
    Drawing,
    check_inputs,
    checked,
    logits,
    ungraded,
)

Loss = Callable[[Tensor, Tensor], Tensor]
# The start of TRADES beside the clean input, where the divergence has no slope.
START = 1e-3


@dataclass(frozen=True, eq=False)
class HardStep:
    """What a step of training against attacks made: the loss to call `backward` on, the perturbed
    inputs (samples, …) that it trained on, their labels, and logits (samples, classes) of both."""

    loss: Float[Tensor, ""]
    inputs: Tensor
    labels: Int[Tensor, " samples"]
    logits: Float[Tensor, "samples classes"]
    clean_logits: Float[Tensor, "samples classes"] | None = None


def adversarial_step(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    attack: Attack,
    *,
    loss: Loss = functional.cross_entropy,
    generator: torch.Generator | None = None,
) -> HardStep:
    """loss(model(attack(x)), y): adversarial training. The attack looks at the model in eval mode,
    the training pass runs in the mode the model is in.

    Raises ValueError for an attack that returns another shape, and whatever the attack raises.
    Source: Madry et al. 2018 (remembered, not read).

    >>> step = adversarial_step(model, inputs, labels, PGD(0.1, steps=7))   # doctest: +SKIP
    >>> step.loss.backward(); optimizer.step(); tracker.step(step.labels)   # doctest: +SKIP
    """
    with evaluating(model):
        if isinstance(attack, Drawing):
            found = attack.perturb(model, inputs, labels, generator)
        else:
            with ungraded(model):
                found = attack(model, inputs.clone(), labels)
    perturbed = checked(found, inputs)
    found = logits(model, perturbed)
    return HardStep(loss(found, labels), perturbed, labels, found)


def trades_step(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    attack: PGD,
    *,
    beta: float = 6.0,
    generator: torch.Generator | None = None,
) -> HardStep:
    """ℓ(f(x), y) + β KL(p(x) ‖ p(x')): TRADES, ℓ cross-entropy, KL the mean over samples.

    x' climbs the same divergence from x + .001 N by the steps, the ball and the bounds of `attack`,
    in eval mode; then clean and perturbed batches pass one after the other in the mode the model is
    in. Raises ValueError for β that is not positive, a targeted attack, and bad inputs. Source:
    Zhang et al. 2019 (remembered, not read); β 6 and the start as in the code of Su et al. 2024.

    >>> step = trades_step(model, inputs, labels, PGD(0.1, steps=10))       # doctest: +SKIP
    """
    if not beta > 0:
        raise ValueError(f"beta={beta}; TRADES weighs the divergence by a positive number")
    if attack.targeted:
        raise ValueError("TRADES climbs away from the clean decision; pass PGD(targeted=False)")
    perturbed = _away(model, inputs, labels, attack, generator)
    clean = logits(model, inputs)
    found = logits(model, perturbed)
    far = _divergence(clean, found) / len(labels)
    value = functional.cross_entropy(clean, labels) + beta * far
    return HardStep(value, perturbed, labels, found, clean)


def _away(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    attack: PGD,
    generator: torch.Generator | None,
) -> Tensor:
    """Where the decision differs most from the clean one, in the attack's ball."""
    check_inputs(inputs, labels, attack.clip)
    clean = inputs.detach()
    drawn = torch.Generator().manual_seed(attack.seed) if generator is None else generator
    noise = torch.randn(clean.shape, generator=drawn, dtype=clean.dtype).to(clean.device)
    found = attack.inside(clean + START * noise, clean)
    with evaluating(model), torch.enable_grad():
        fixed = logits(model, clean).detach()
        for _ in range(attack.steps):
            at = found.clone().requires_grad_()
            (slope,) = torch.autograd.grad(_divergence(fixed, logits(model, at)), at)
            found = attack.moved(found, slope, clean)
    return found


def _divergence(first: Tensor, second: Tensor) -> Float[Tensor, ""]:
    """Σ over samples of KL(softmax first ‖ softmax second)."""
    return functional.kl_div(
        second.log_softmax(1), first.log_softmax(1), reduction="sum", log_target=True
    )
