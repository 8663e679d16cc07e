"""The demo: train a small network on digits past zero error and follow its collapse."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ncollapse.measure import measure_features
from ncollapse.measurement import Measurement
from ncollapse.studies.data import Dataset, digits
from ncollapse.studies.models import mlp, penultimate
from ncollapse.studies.train import Settings, State, TrainResult, train
from ncollapse.trace import Trace

WIDTHS = (256, 256, 256)
KEYS = ("class_share", "nc1_fisher", "nc2_etf_means", "nc3_duality", "nc4_mismatch")
TRACE, CHECKPOINT, FEATURES = "trace.csv", "checkpoint.pt", "features.npz"
READINGS = 12


@dataclass(frozen=True, eq=False)
class Demo:
    """What the demo ends in: the measurement of both splits, the trace and the training."""

    measurement: Measurement
    trace: Trace
    training: TrainResult


def log_spaced(epochs: int, count: int = READINGS) -> list[int]:
    """About `count` epochs from 1 to `epochs`, evenly spaced in log time."""
    if epochs == 1:
        return [1]
    exponents = [math.log(epochs) * i / (count - 1) for i in range(count)]
    return sorted({round(math.exp(x)) for x in exponents})


@dataclass
class Follow:
    """Callback: reads train and test features at chosen epochs into a trace."""

    epochs: list[int]
    trace: Trace
    report: Callable[[State, dict[str, float | None]], None] | None = None
    progress: Callable[[str, int, int], None] | None = None
    seen: list[int] = field(default_factory=list)

    def on_start(self, state: State) -> None:
        """A resumed run keeps the readings of the epochs it has."""
        kept = self.trace.before(state.step + 1)
        if len(kept.rows) != len(self.trace.rows):
            self.trace.rows = kept.rows
            if self.trace.path is not None:
                kept.save(self.trace.path)

    def on_epoch_end(self, state: State) -> None:
        if self.progress is not None:
            self.progress("training", state.epoch, state.settings.epochs)
        if state.epoch not in self.epochs:
            return
        model = state.model
        assert isinstance(model, nn.Sequential)
        quick = measure_model(model, state.data, null=False, intervals=False)
        for split, layers in quick.results.items():
            values = {key: layers["head"][key].value for key in KEYS}
            values["accuracy"] = layers["head"]["accuracy"].value
            self.trace.append(state.step, values, split=split, epoch=state.epoch)
            if split == "train" and self.report is not None:
                self.report(state, values)

    def on_end(self, state: State) -> None:
        pass


def measure_model(
    model: nn.Sequential, data: Dataset, *, null: bool = True, intervals: bool = True, seed: int = 0
) -> Measurement:
    """Collapse of a study's network on both splits, at the features that enter its head."""
    arrays = head_features(model, data)
    return measure_features(
        arrays["features"],
        arrays["labels"],
        weight=arrays["weight"],
        bias=arrays["bias"],
        split=arrays["split"],
        class_names=data.class_names,
        null=null,
        intervals=intervals,
        seed=seed,
    )


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
    """Train, follow and measure. With `output` the run folder is written as it goes: trace.csv,
    checkpoint.pt, and at the end features.npz and the measurement."""
    data = digits(seed=seed)
    model = mlp(data.num_features, WIDTHS, data.num_classes, seed=seed)
    trace = Trace()
    checkpoint = None
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        checkpoint = output / CHECKPOINT
        path = output / TRACE
        if resume and path.exists():
            trace = Trace.load(path)
        elif path.exists():
            path.unlink()
        trace.path = path
    settings = Settings(epochs=epochs, seed=seed, checkpoint=checkpoint, resume=resume)
    follow = Follow(log_spaced(epochs), trace, report, progress)
    training = train(model, data, settings, [follow])
    measurement = measure_model(model, data, seed=seed)
    if output is not None:
        np.savez(output / FEATURES, **head_features(model, data))  # type: ignore[arg-type]
        measurement.save(output)
    return Demo(measurement, trace, training)
