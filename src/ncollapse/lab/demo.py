"""The demo: train a small network on digits past zero error and follow its collapse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ncollapse.lab.data import Dataset, digits
from ncollapse.lab.models import mlp, penultimate
from ncollapse.lab.train import Settings, Silent, State, TrainResult, train
from ncollapse.measuring.measurement import Measurement
from ncollapse.tracking.tracker import Tracker

WIDTHS = (256, 256, 256)
KEYS = ("class_share", "nc1_fisher", "nc2_etf_means", "nc3_duality", "nc4_mismatch")
CHECKPOINT, FEATURES = "checkpoint.pt", "features.npz"
FILM_CLASSES = (0, 1, 2, 3)


@dataclass(frozen=True, eq=False)
class Demo:
    """What the demo ends in: the measurement of both splits (with its trace) and the training."""

    measurement: Measurement
    training: TrainResult


@dataclass
class Follow(Silent):
    """Callback of `train`: a tracker that looks at every epoch, and says so."""

    tracker: Tracker
    report: Callable[[State, dict[str, float | None]], None] | None = None
    progress: Callable[[str, int, int], None] | None = None

    def on_start(self, state: State) -> None:
        """A resumed run keeps the readings of the epochs it has."""
        self.tracker.resume(state.step, state.epoch)

    def on_epoch_end(self, state: State) -> None:
        self.tracker.steps = state.step
        self.tracker.end_epoch(train_error=state.history[-1].train_error)
        if self.progress is not None:
            self.progress("training", state.epoch, state.settings.epochs)
        latest = self.tracker.latest
        if self.report is not None and latest is not None:
            self.report(state, {key: latest.value(key) for key in KEYS})


def head_features(model: nn.Sequential, data: Dataset) -> dict[str, np.ndarray]:
    """The arrays of a feature file: features, labels, weight, bias, split, class_names."""
    head = model.get_submodule("head")
    assert isinstance(head, nn.Linear)
    features = torch.cat([penultimate(model, data.train_x), penultimate(model, data.test_x)])
    split = ["train"] * data.train_y.numel() + ["test"] * data.test_y.numel()
    return {
        "features": features.numpy(),
        "labels": torch.cat([data.train_y, data.test_y]).numpy(),
        "weight": head.weight.detach().numpy(),
        "bias": head.bias.detach().numpy(),
        "split": np.array(split),
        "class_names": np.array(data.class_names),
    }


def run(
    *,
    epochs: int = 200,
    seed: int = 0,
    output: Path | None = None,
    resume: bool = False,
    report: Callable[[State, dict[str, float | None]], None] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Demo:
    """Train, follow every epoch and measure. With `output` the run folder is written as it goes:
    trace.csv, frames.safetensors, checkpoint.pt, and at the end features.npz, the measurement and
    report.html."""
    data = digits(seed=seed)
    model = mlp(data.num_features, WIDTHS, data.num_classes, seed=seed)
    checkpoint = None
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        checkpoint = output / CHECKPOINT
    tracker = Tracker(
        model,
        train=(data.train_x, data.train_y),
        test=(data.test_x, data.test_y),
        batch_size=2048,
        class_names=data.class_names,
        description="digits · MLP 64-256-256-256",
        film=FILM_CLASSES,
        output=output,
        resume=resume,
        seed=seed,
    )
    settings = Settings(epochs=epochs, seed=seed, checkpoint=checkpoint, resume=resume)
    training = train(model, data, settings, [Follow(tracker, report, progress)])
    if progress is not None:
        progress("measuring", 0, 1)
    measurement = tracker.finish()
    if progress is not None:
        progress("measuring", 1, 1)
    if output is not None:
        np.savez(output / FEATURES, **head_features(model, data))  # type: ignore[arg-type]
        measurement.save(output)
    return Demo(measurement, training)
