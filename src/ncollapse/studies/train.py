"""The training core of every study: SGD past zero error, with callbacks, checkpoint and resume.

A resumed run gives the same weights, bit for bit, as one that was never stopped: checkpoints hold
model, optimiser, schedule, the generator that shuffles, and the history.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional

from ncollapse.losses import named
from ncollapse.studies.data import Dataset

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
    """What callbacks see: the live model and data, and the history so far."""

    model: nn.Module
    data: Dataset
    settings: Settings
    history: list[Epoch] = field(default_factory=list)
    step: int = 0

    @property
    def epoch(self) -> int:
        """Finished epochs."""
        return len(self.history)


@runtime_checkable
class Callback(Protocol):
    """Called while training; a callback may read the model but leaves its mode as it was."""

    def on_start(self, state: State) -> None: ...

    def on_epoch_end(self, state: State) -> None: ...

    def on_end(self, state: State) -> None: ...


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
    data: Dataset,
    settings: Settings,
    callbacks: Sequence[Callback] = (),
) -> TrainResult:
    """Train `model` in place and return it with its history.

    Batches are shuffled by an own generator; a last batch of one sample is joined to the one
    before it (batch normalisation needs two). With `settings.checkpoint` a checkpoint is written
    every `checkpoint_every` epochs, at the end and on Ctrl-C (of the last whole epoch).
    Raises ValueError for a checkpoint made with other settings.
    """
    device = torch.device(settings.device)
    model.to(device)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )
    generator = torch.Generator().manual_seed(settings.seed)
    state = State(model, data, settings)
    loss = LOSSES[settings.loss] if isinstance(settings.loss, str) else settings.loss
    inputs, labels = data.train_x.to(device), data.train_y.to(device)
    if settings.resume:
        _restore(settings, state, optimizer, generator)
    for callback in callbacks:
        callback.on_start(state)
    saved = _capture(state, optimizer, generator)
    try:
        for epoch in range(state.epoch, settings.epochs):
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * settings.factor(epoch)
            model.train()
            total = 0.0
            for batch in _batches(labels.numel(), settings.batch_size, generator):
                optimizer.zero_grad(set_to_none=True)
                value = loss(model(inputs[batch]), labels[batch])
                value.backward()
                optimizer.step()
                total += float(value.detach()) * batch.numel()
                state.step += 1
            state.history.append(
                Epoch(
                    epoch + 1,
                    state.step,
                    total / labels.numel(),
                    error(model, data.train_x, data.train_y),
                    error(model, data.test_x, data.test_y),
                )
            )
            for callback in callbacks:
                callback.on_epoch_end(state)
            last = epoch + 1 == settings.epochs
            if settings.checkpoint is not None:
                saved = _capture(state, optimizer, generator)
                if last or (epoch + 1) % settings.checkpoint_every == 0:
                    _write(settings.checkpoint, saved)
    except KeyboardInterrupt:
        if settings.checkpoint is not None:
            _write(settings.checkpoint, saved)
        raise
    for callback in callbacks:
        callback.on_end(state)
    model.eval()
    return TrainResult(model, tuple(state.history))


def error(model: nn.Module, inputs: Tensor, labels: Tensor, batch: int = 4096) -> float:
    """Share of samples classified wrongly, in eval mode; the mode is restored."""
    training = model.training
    model.eval()
    device = next(model.parameters()).device
    wrong = 0
    with torch.inference_mode():
        for start in range(0, labels.numel(), batch):
            part = slice(start, start + batch)
            decided = model(inputs[part].to(device)).argmax(1)
            wrong += int((decided != labels[part].to(device)).sum())
    model.train(training)
    return wrong / labels.numel()


def _batches(count: int, size: int, generator: torch.Generator) -> list[Tensor]:
    parts = list(torch.randperm(count, generator=generator).split(size))
    if len(parts) > 1 and parts[-1].numel() == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def _identity(settings: Settings) -> dict[str, Any]:
    """The settings that a checkpoint must agree with; how long and where to are free."""
    loss = settings.loss if isinstance(settings.loss, str) else settings.loss.__qualname__
    free = ("checkpoint", "checkpoint_every", "resume", "device", "loss")
    return {**{k: v for k, v in vars(settings).items() if k not in free}, "loss": loss}


def _capture(
    state: State, optimizer: torch.optim.Optimizer, generator: torch.Generator
) -> dict[str, Any]:
    """A copy of everything a run needs to go on."""
    import copy

    if state.settings.checkpoint is None:
        return {}
    return {
        "settings": _identity(state.settings),
        "model": copy.deepcopy(state.model.state_dict()),
        "optimizer": copy.deepcopy(optimizer.state_dict()),
        "generator": generator.get_state(),
        "history": [asdict(entry) for entry in state.history],
        "step": state.step,
    }


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as handle:
            torch.save(content, handle)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _restore(
    settings: Settings,
    state: State,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
) -> None:
    path = settings.checkpoint
    assert path is not None
    if not path.exists():
        return
    found = torch.load(path, weights_only=True, map_location="cpu")
    mine = _identity(settings)
    if found["settings"] != mine:
        keys = sorted(key for key in mine if found["settings"].get(key) != mine[key])
        raise ValueError(
            f"the checkpoint {path} was made with another {', '.join(keys)}; resume with the same "
            "settings, or train anew"
        )
    state.model.load_state_dict(found["model"])
    optimizer.load_state_dict(found["optimizer"])
    generator.set_state(found["generator"])
    state.history = [Epoch(**entry) for entry in found["history"]]
    state.step = int(found["step"])
