"""Runs held against the law of the classifier's sum, and the faults that are put into them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Muon, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler, StepLR

from ncollapse.lab.data import Dataset
from ncollapse.theory.subjects.head_sum import Rule
from ncollapse.tracking.head_breaks import LawReading
from ncollapse.tracking.head_law import HeadSum

Loss = Callable[[Tensor, Tensor, nn.Module], Tensor]
Fault = Callable[[int, nn.Sequential], None]
RATE, MOMENTUM, DECAY = 0.05, 0.9, 2e-2


def cross_entropy(z: Tensor, y: Tensor, model: nn.Module) -> Tensor:
    return functional.cross_entropy(z, y)


def focal(z: Tensor, y: Tensor, model: nn.Module) -> Tensor:
    """Of γ = 2."""
    log_p = functional.log_softmax(z, 1).gather(1, y[:, None])
    return -((1 - log_p.exp()) ** 2 * log_p).mean()


def smoothed(z: Tensor, y: Tensor, model: nn.Module) -> Tensor:
    """Label smoothing of a tenth, classes weighted from .2 to 2."""
    weight = torch.linspace(0.2, 2, z.shape[1], dtype=z.dtype)
    return functional.cross_entropy(z, y, weight=weight, label_smoothing=0.1)


def squares(z: Tensor, y: Tensor, model: nn.Module) -> Tensor:
    return 0.5 * (z - functional.one_hot(y, z.shape[1])).square().sum(1).mean()


def with_logits(z: Tensor, y: Tensor, model: nn.Module) -> Tensor:
    return cross_entropy(z, y, model) + 0.05 * z.square().mean()


def with_weights(z: Tensor, y: Tensor, model: nn.Module) -> Tensor:
    return cross_entropy(z, y, model) + 0.05 * head_of(model).weight.square().sum()


LOSSES: dict[str, Loss] = {"cross-entropy": cross_entropy, "focal": focal, "smoothed": smoothed}


def schedules(steps: int) -> dict[str, Callable[[Optimizer], LRScheduler]]:
    """Constant, cosine, and a tenth from half way on."""
    return {
        "constant": lambda o: LambdaLR(o, lambda step: 1.0),
        "cosine": lambda o: CosineAnnealingLR(o, steps),
        "steps": lambda o: StepLR(o, max(steps // 2, 1), 0.1),
    }


def head_of(model: nn.Module) -> nn.Linear:
    """The last linear layer."""
    return [module for module in model.modules() if isinstance(module, nn.Linear)][-1]


# ---- faults -------------------------------------------------------------------------------------
def clipped(step: int, model: nn.Sequential) -> None:
    nn.utils.clip_grad_value_(model.parameters(), 1e-3)


@torch.no_grad()
def clamped(step: int, model: nn.Sequential) -> None:
    if step % 5 == 4:
        head_of(model).weight.clamp_(-0.05, 0.05)


def averaged() -> Fault:
    """The head is set to a running mean of itself, as where averaged weights are swapped in."""
    kept: list[Tensor] = []

    @torch.no_grad()
    def fault(step: int, model: nn.Sequential) -> None:
        weight = head_of(model).weight
        kept.append(weight.clone())
        if step % 8 == 7:
            weight.copy_(torch.stack(kept).mean(0))

    return fault


class Twice(StepLR):
    """A scheduler that a loop steps twice."""

    def step(self, epoch: int | None = None) -> None:
        super().step(epoch)
        if self.last_epoch > 0:
            super().step(epoch)


class Hidden(SGD):
    """SGD whose decay is not that of its options."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.mul_(1 - group["lr"] * 0.1)
        return super().step(closure)


def sgd(model: nn.Module) -> Optimizer:
    return SGD(model.parameters(), lr=RATE, momentum=MOMENTUM, weight_decay=DECAY)


def faults(steps: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each fault by the name that the reading has to give it, and what it changes in a run."""
    yield "loss", {"loss": squares}
    yield "loss", {"loss": with_logits}
    yield "penalty", {"loss": with_weights}
    yield "clipping", {"fault": clipped}
    yield "outside", {"fault": clamped}
    yield "outside", {"fault": averaged()}
    yield "schedule", {"schedule": lambda o: Twice(o, max(steps // 4, 1), 0.5)}
    rule = Rule(DECAY, MOMENTUM)
    hidden: dict[str, Any] = {"lr": RATE, "momentum": MOMENTUM, "weight_decay": DECAY}
    yield "step", {"make": lambda m: Hidden(m.parameters(), **hidden), "rule": rule}


# ---- other optimizers -----------------------------------------------------------------------
def adamw(model: nn.Module) -> Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=DECAY)


def muon(model: nn.Module) -> Optimizer:
    """torch's, which orthogonalises in bfloat16; of matrices only."""
    flat = [one for one in model.parameters() if one.dim() == 2]
    return Muon(flat, lr=0.02, weight_decay=DECAY, momentum=MOMENTUM)


def rest() -> Fault:
    """SGD for what `muon` leaves."""
    made: list[Optimizer] = []

    def step(_: int, model: nn.Sequential) -> None:
        if not made:
            others = [one for one in model.parameters() if one.dim() != 2]
            made.append(SGD(others, lr=RATE, momentum=MOMENTUM))
        made[0].step()
        made[0].zero_grad()

    return step


# ---- a run --------------------------------------------------------------------------------------
def followed(
    model: nn.Sequential,
    data: Dataset,
    order: Sequence[Int[Tensor, " batch"]],
    *,
    loss: Loss = cross_entropy,
    make: Callable[[nn.Module], Optimizer] = sgd,
    schedule: Callable[[Optimizer], LRScheduler] | None = None,
    fault: Fault | None = None,
    rule: Rule | None = None,
) -> LawReading:
    """Train a copy of the model on the batches of `order`; what the law of the sum says of it. A
    fault acts between the backward pass and the step."""
    model = copy.deepcopy(model).train()
    optimizer = make(model)
    plan = None if schedule is None else schedule(optimizer)
    law = HeadSum(model, optimizer, rule=rule, scheduler=plan)
    inputs, labels = data.loader("train")
    for step, rows in enumerate(order):
        optimizer.zero_grad()
        loss(model(inputs[rows]), labels[rows], model).backward()
        if fault is not None:
            fault(step, model)
        optimizer.step()
        law.waited()
        if plan is not None:
            plan.step()
    law.close()
    return law.reading()


def batches(data: Dataset, steps: int, size: int, seed: int) -> list[Int[Tensor, " batch"]]:
    """Shuffled batches, epoch after epoch, until there are enough."""
    generator = torch.Generator().manual_seed(seed)
    found: list[Tensor] = []
    while len(found) < steps:
        shuffled = torch.randperm(data.count("train"), generator=generator)
        found += [rows for rows in shuffled.split(size) if len(rows) == size]
    return found[:steps]
