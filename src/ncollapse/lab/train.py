"""The training core of every study: SGD past zero error, with callbacks, checkpoint and resume.

A resumed run gives the same weights, bit for bit, as one that was never stopped: checkpoints hold
model, optimiser, schedule, the generator that shuffles, the history and what callbacks gathered.
In an initialised process group ranks share every batch, and all end with the same model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Optimizer

from ncollapse.collect.ranks.ranks import Ranks
from ncollapse.collect.tap.batches import unpack_batch
from ncollapse.lab import checkpoint
from ncollapse.lab.data import Data
from ncollapse.lab.evaluate import decisions, logits_of
from ncollapse.lab.parallel import (
    device_here,
    distributed,
    share,
    share_buffers,
    split_batches,
    weight_of,
)
from ncollapse.losses import named

SCHEDULES = ("cosine", "constant", "step")
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Settings:
    """How to train. loss: "ce", "mse" (½ ‖z - onehot(y)‖²), "ls" (label smoothing 0.1), "focal"
    (γ = 2) or a function of (logits, labels). schedule: cosine, constant, or step (tenfold drops
    after 1/2 and 3/4 of the epochs)."""

    epochs: int = 200
    batch_size: int = 128
    learning_rate: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-3
    schedule: str = "cosine"
    loss: str | Loss = "ce"
    seed: int = 0
    device: str = "cpu"
    checkpoint: Path | None = None
    checkpoint_every: int = 10
    resume: bool = False

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2:
            raise ValueError(
                f"epochs={self.epochs}, batch_size={self.batch_size}; at least 1 epoch and "
                "batches of 2 are needed"
            )
        if self.learning_rate <= 0 or self.weight_decay < 0 or not 0 <= self.momentum < 1:
            raise ValueError(
                f"learning_rate={self.learning_rate}, weight_decay={self.weight_decay}, "
                f"momentum={self.momentum}; positive, not negative, and in [0, 1) are needed"
            )
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule {self.schedule!r} is unknown; {', '.join(SCHEDULES)}")
        if isinstance(self.loss, str) and self.loss not in LOSSES:
            raise ValueError(f"loss {self.loss!r} is unknown; {', '.join(LOSSES)} or a function")
        if self.resume and self.checkpoint is None:
            raise ValueError("resume=True needs checkpoint=PATH, the file to continue from")

    @classmethod
    def of(cls, settings: Mapping[str, Any], **more: Any) -> Settings:
        """Those settings of a study that say how to train, and more."""
        known = {entry.name for entry in fields(cls)}
        return cls(**{key: settings[key] for key in settings if key in known}, **more)

    def factor(self, epoch: int) -> float:
        """Learning rate of an epoch over the first one."""
        if self.schedule == "cosine":
            return float(0.5 * (1 + torch.cos(torch.tensor(epoch / self.epochs * torch.pi))))
        if self.schedule == "step":
            return 0.1 ** ((epoch >= self.epochs // 2) + (epoch >= 3 * self.epochs // 4))
        return 1.0


def _average(name: str) -> Loss:
    """The mean over samples of a loss that theory predicts for."""
    per_sample = named(name)
    return lambda logits, labels: per_sample(logits, labels).mean()


LOSSES: dict[str, Loss] = {
    "ce": functional.cross_entropy,
    **{name: _average(name) for name in ("mse", "ls", "focal")},
}


@dataclass(frozen=True)
class Epoch:
    """What one epoch left: number (from 1), step, mean training loss, and errors in eval mode."""

    epoch: int
    step: int
    train_loss: float
    train_error: float
    test_error: float


@dataclass
class State:
    """What callbacks see: the live model and data, the history so far, and what the model decides
    about every test sample now (samples)."""

    model: nn.Module
    data: Data
    settings: Settings
    history: list[Epoch] = field(default_factory=list)
    step: int = 0
    decisions: Int[Tensor, " test"] | None = None
    ranks: Ranks | None = None

    @property
    def epoch(self) -> int:
        """Finished epochs."""
        return len(self.history)


@runtime_checkable
class Callback(Protocol):
    """Called while training, on every rank; a callback may read the model but leaves its mode as
    it was. One with `state_dict` and `load_state_dict` (tensors and plain values) is kept in
    checkpoints."""

    def on_start(self, state: State) -> None: ...

    def on_epoch_end(self, state: State) -> None: ...

    def on_end(self, state: State) -> None: ...


class Silent:
    """A callback that does nothing; others are derived from it."""

    def on_start(self, state: State) -> None:
        pass

    def on_epoch_end(self, state: State) -> None:
        pass

    def on_end(self, state: State) -> None:
        pass


@dataclass(frozen=True, eq=False)
class TrainResult:
    """The trained model (eval mode) and its history."""

    model: nn.Module
    history: tuple[Epoch, ...]

    @property
    def zero_error_epoch(self) -> int | None:
        """First epoch of zero training error that stays zero to the end, if there is one."""
        found = None
        for entry in self.history:
            if entry.train_error > 0:
                found = None
            elif found is None:
                found = entry.epoch
        return found


def train(
    model: nn.Module,
    data: Data,
    settings: Settings,
    callbacks: Sequence[Callback] = (),
    make: Callable[[nn.Module], Optimizer] | None = None,
) -> TrainResult:
    """Train `model` in place and return it with its history.

    `make` gives another optimizer than SGD: its own rates take the place of `learning_rate`, and
    its own decay and momentum those of the settings; the schedule is the settings'.

    `data` is a `Dataset` of tensors or anything else with its methods (`Data`), such as
    `Samples`. Batches are shuffled by an own generator; a last batch of one sample is joined to
    the one before it (batch normalisation needs two). With `settings.checkpoint` a checkpoint is
    written every `checkpoint_every` epochs, at the end and on Ctrl-C (of the last whole epoch).

    In an initialised process group the call is collective: each rank runs its share of every
    batch of `batch_size` samples on its own device, gradients are averaged
    (DistributedDataParallel), batch statistics stay a rank's own within an epoch and are rank 0's
    at its end, the history is the same on all ranks, and rank 0 writes checkpoints. How many
    ranks there are may differ when a run is resumed.

    Raises ValueError for a checkpoint made with other settings, a device that cannot be used, and
    fewer than two samples a rank and batch.
    """
    ranks = Ranks.current()
    device = device_here(settings.device, ranks)
    least = 2 if ranks is None else 2 * ranks.size
    if settings.batch_size < least:
        raise ValueError(
            f"batch_size={settings.batch_size} for {least // 2} processes; at least {least} is "
            "needed, two samples each"
        )
    model.to(device)
    optimizer = _sgd(model, settings) if make is None else make(model)
    rates = [group["lr"] for group in optimizer.param_groups]
    generator = torch.Generator().manual_seed(settings.seed)
    state = State(model, data, settings, ranks=ranks)
    loss = LOSSES[settings.loss] if isinstance(settings.loss, str) else settings.loss
    kept = [] if settings.checkpoint is None else list(callbacks)
    if settings.resume:
        found = checkpoint.read(settings, ranks)
        if found is not None:
            checkpoint.restore(found, model, optimizer, generator, kept)
            state.history = [Epoch(**entry) for entry in found["history"]]
            state.step = int(found["step"])
    running = distributed(model, device, ranks)
    for callback in callbacks:
        callback.on_start(state)

    def capture() -> dict[str, object]:
        if settings.checkpoint is None:
            return {}
        history = [asdict(entry) for entry in state.history]
        progress = {"history": history, "step": state.step}
        return checkpoint.capture(settings, model, optimizer, generator, progress, kept)

    def save(content: dict[str, object]) -> None:
        if settings.checkpoint is not None and (ranks is None or ranks.rank == 0):
            checkpoint.write(settings.checkpoint, content)

    saved = capture()
    try:
        for epoch in range(state.epoch, settings.epochs):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * settings.factor(epoch)
            model.train()
            parts = split_batches(data.count("train"), settings.batch_size, generator, least)
            shares = [share(part, ranks) for part in parts]
            total = 0.0
            batches = zip(parts, shares, data.batches("train", shares), strict=True)
            for part, mine, raw in batches:
                batch = unpack_batch(raw)
                optimizer.zero_grad(set_to_none=True)
                value = loss(logits_of(running, batch, device), batch.labels.to(device))
                (value * weight_of(mine, part, ranks)).backward()
                optimizer.step()
                total += float(value.detach()) * mine.numel()
                state.step += 1
            share_buffers(model, ranks)
            if ranks is not None:
                total = float(ranks.total(torch.tensor(total, dtype=torch.float64)))
            _, train_error = decisions(model, data, "train", ranks)
            state.decisions, test_error = decisions(model, data, "test", ranks)
            mean = total / data.count("train")
            state.history.append(Epoch(epoch + 1, state.step, mean, train_error, test_error))
            for callback in callbacks:
                callback.on_epoch_end(state)
            saved = capture()
            if epoch + 1 == settings.epochs or (epoch + 1) % settings.checkpoint_every == 0:
                save(saved)
    except KeyboardInterrupt:
        save(saved)
        raise
    for callback in callbacks:
        callback.on_end(state)
    model.eval()
    return TrainResult(model, tuple(state.history))


def _sgd(model: nn.Module, settings: Settings) -> Optimizer:
    return SGD(
        model.parameters(),
        lr=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )
