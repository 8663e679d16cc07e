"""Runs of the terminal-phase study: networks past zero error, and networks on random labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ncollapse.collect.ranks.ranks import Ranks
from ncollapse.lab.data import Data, Dataset
from ncollapse.lab.looks import FEATURE_NORM, WEIGHT_NORM, Features, Looks, features_of
from ncollapse.lab.models import conv, mlp
from ncollapse.lab.networks import WIDTHS
from ncollapse.lab.place import checkpoint
from ncollapse.lab.samples import open_data, relabelled, subset, train_labels
from ncollapse.lab.study import Units
from ncollapse.lab.train import Settings, TrainResult, train
from ncollapse.measuring.measure import measure_features
from ncollapse.metrics.phase import Phase, terminal_phase
from ncollapse.record.readings import Null
from ncollapse.record.trace import Trace
from ncollapse.sources.specs.models import load_model

NC1 = ("nc1_fisher",)
NC2 = ("nc2_equinorm_means", "nc2_equinorm_weights", "nc2_etf_means", "nc2_etf_weights")
NC3 = ("nc3_duality",)
FALLING = NC1 + NC2 + NC3
KEYS = (*FALLING, "nc4_mismatch", "accuracy", "margin_min")
OWN = ("mlp", "conv")
# Training on random labels counts as collapsed below this.
COLLAPSED = 0.1
LABELLINGS = 20


# ---- models and data of a run -----------------------------------------------------------------
def _names(settings: Mapping[str, Any]) -> list[str]:
    wanted = settings["model"]
    return [wanted] if isinstance(wanted, str) else list(wanted)


def _data(settings: Mapping[str, Any], seed: int, name: str) -> Data:
    """The data of a model, through the model's own transform where it has one."""
    transform = None
    if name not in OWN:
        transform = load_model(name, image_size=settings["image_size"]).transform
    data = open_data(
        settings["data"],
        seed=seed,
        transform=transform,
        image_size=settings["image_size"],
        workers=settings["workers"],
    )
    if name in OWN and not isinstance(data, Dataset):
        raise ValueError(
            f"model {name!r} is made for digits and the data is {settings['data']!r}; name a model "
            "too, for example --model torchvision:resnet18"
        )
    return data


def _model(settings: Mapping[str, Any], seed: int, name: str, data: Data) -> nn.Module:
    if isinstance(data, Dataset) and name == "mlp":
        return mlp(data.num_features, WIDTHS, data.num_classes, seed=seed)
    if name == "conv":
        return conv(data.num_classes, seed=seed)
    size = settings["image_size"]
    return redrawn(load_model(name, num_classes=data.num_classes, image_size=size).model, seed)


@torch.no_grad()
def redrawn(model: nn.Module, seed: int) -> nn.Module:
    """Another start for every seed: the entries of each parameter in another order.

    Libraries draw the entries of a parameter alike and independently, each in its own way; a
    shuffle keeps that way and the global random state. Seed 0 keeps the model as it was built.
    """
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters() if seed else ():
        order = torch.randperm(parameter.numel(), generator=generator)
        parameter.copy_(parameter.flatten()[order].view_as(parameter))
    return model


def _trained(
    settings: Mapping[str, Any],
    seed: int,
    name: str,
    data: Data,
    loss: str,
    label: str,
    looks: Looks | None = None,
) -> TrainResult:
    chosen = Settings(
        epochs=settings["epochs"],
        batch_size=settings["batch_size"],
        learning_rate=settings["learning_rate"],
        weight_decay=settings["weight_decay"],
        schedule=settings["schedule"],
        device=settings["device"],
        loss=loss,
        seed=seed,
        **checkpoint(label),
    )
    return train(_model(settings, seed, name, data), data, chosen, [looks] if looks else [])


# ---- the terminal phase -----------------------------------------------------------------------
def cross_entropy(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Every model with cross-entropy, from the first epoch to the last."""
    return _networks(settings, seed, "ce")


def squared_error(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Every model with mean squared error."""
    return _networks(settings, seed, "mse")


def _networks(settings: Mapping[str, Any], seed: int, loss: str) -> dict[str, Any]:
    rows = []
    for number, name in enumerate(_names(settings)):
        data = subset(_data(settings, seed, name), settings["samples"], seed)
        looks = Looks(KEYS, settings["every"], f"{name} {loss} seed {seed}")
        _trained(settings, seed, name, data, loss, f"{number}-{loss}", looks)
        rows.append({"model": name, "loss": loss, **phase_of(looks)})
    bars = {
        "nc1": max,
        "nc2": max,
        "nc3": max,
        "slopes": max,
        "margin": min,
        "decisions": max,
        "decisions-kept": max,
        "nc4": max,
    }
    values = {
        f"terminal-phase-{key}": worst(row["numbers"][key] for row in rows)
        for key, worst in bars.items()
    }
    return {"values": values, "data": {"rows": rows}}


def phase_of(looks: Looks) -> dict[str, Any]:
    """What the looks of one network say: a number for each claim, curves, both splits' readings.

    The terminal phase begins at the first look from which training error stays zero; numbers are
    nan where it did not end there. margin_normalised: margin_min over
    the mean norm of features times the Frobenius norm of the classifier, so that it cannot grow
    by scale alone.
    """
    trace = looks.trace
    steps, errors = trace.series("train", "head", "train_error")
    epochs = [row.epoch for row in trace.rows if row.key == "train_error"]
    changed = looks.changed()
    phase = terminal_phase(trace, keys=(*FALLING, "margin_min"))
    start = None if phase is None or phase.start is None else steps.index(phase.start.step)
    found: dict[str, Any] = {
        "zero_error_epoch": None if start is None else epochs[start],
        "readings": _ends(trace, start),
        "curves": {
            "epoch": epochs,
            "train_error": errors,
            "changed": changed,
            "margin_normalised": normalised_margin(trace),
            **{key: trace.series("train", "head", key)[1] for key in KEYS},
        },
        "test_accuracy": trace.series("test", "head", "accuracy")[1][-1],
    }
    found["numbers"] = _numbers(looks, phase, start, changed)
    found["since_first_zero"] = _since_first(looks, [error == 0 for error in errors])
    return found


def _since_first(looks: Looks, zeros: Sequence[bool]) -> dict[str, float | int] | None:
    """The same ratios from the first look at zero training error, after which it may come back:
    the other reading of where the terminal phase begins. No claim is judged by it."""
    if True not in zeros:
        return None
    first = list(zeros).index(True)

    def ratio(values: Sequence[float | None]) -> float:
        before, after = values[first], values[-1]
        return math.nan if not before or after is None else after / before

    def largest(keys: Sequence[str]) -> float:
        return max(ratio(looks.trace.series("train", "head", key)[1]) for key in keys)

    return {
        "look": first,
        "later_errors": list(zeros)[first:].count(False),
        "nc1": largest(NC1),
        "nc2": largest(NC2),
        "nc3": largest(NC3),
        "margin": largest(("margin_min",)),
        "margin_normalised": ratio(normalised_margin(looks.trace)),
        "decisions-kept": 100
        * float((looks.decisions[first] != looks.decisions[-1]).double().mean()),
    }


def _ends(trace: Trace, start: int | None) -> dict[str, Any]:
    """Every reading at zero error and at the end by split, with its slope in training."""
    found: dict[str, Any] = {}
    for split in ("train", "test"):
        phase = terminal_phase(trace, split="train", keys=KEYS) if split == "train" else None
        for key in KEYS:
            values = trace.series(split, "head", key)[1]
            change = None if phase is None else phase.changes.get(key)
            found.setdefault(split, {})[key] = {
                "zero": None if start is None else values[start],
                "end": values[-1],
                "slope": None if change is None else change.slope,
                "error": None if change is None else change.error,
            }
    margins = normalised_margin(trace)
    found["train"]["margin_normalised"] = {
        "zero": None if start is None else margins[start],
        "end": margins[-1],
        "slope": None,
        "error": None,
    }
    return found


def normalised_margin(trace: Trace) -> list[float]:
    """margin_min / (mean ‖h‖ · ‖W‖_F) of the training split at every look."""
    columns = [
        trace.series("train", "head", key)[1] for key in ("margin_min", FEATURE_NORM, WEIGHT_NORM)
    ]
    table = np.array(columns, dtype=np.float64)
    return [float(value) for value in table[0] / (table[1] * table[2])]


def _numbers(
    looks: Looks, phase: Phase | None, start: int | None, changed: Sequence[float]
) -> dict[str, float]:
    if phase is None or start is None or len(changed) - start < 4:
        keys = ("nc1", "nc2", "nc3", "slopes", "margin", "decisions", "decisions-kept")
        nc4 = looks.trace.series("train", "head", "nc4_mismatch")[1][-1]
        return {**dict.fromkeys(keys, math.nan), "nc4": 100 * (math.nan if nc4 is None else nc4)}
    changes = phase.changes

    def ratio(keys: Sequence[str]) -> float:
        return max(changes[key].last / changes[key].first for key in keys)

    upper = [
        math.nan if change.slope is None or change.error is None else change.slope + change.error
        for change in (changes[key] for key in FALLING)
    ]
    late = changed[start + 1 :]
    mismatch = looks.trace.series("train", "head", "nc4_mismatch")[1][-1]
    return {
        "nc1": ratio(NC1),
        "nc2": ratio(NC2),
        "nc3": ratio(NC3),
        "slopes": max(upper),
        "margin": changes["margin_min"].last / changes["margin_min"].first,
        "decisions": 100 * max(late[-max(1, len(late) // 4) :]),
        "decisions-kept": looks.differ(start),
        "nc4": 100 * (math.nan if mismatch is None else mismatch),
    }


# ---- random labels ----------------------------------------------------------------------------
def random_labels(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """One network on shuffled labels of some samples, and one on the true labels of the same.

    Held-out samples are looked at twice: under random labels, which is the law that the first
    network was trained on, and under their true labels.
    """
    plan = settings["random"]
    name = _names(settings)[0] if isinstance(settings["model"], str) else plan["model"]
    whole = _data(settings, seed, name)
    data = subset(whole, plan["samples"], seed)
    true = train_labels(data)
    generator = torch.Generator().manual_seed(seed + 1)
    mixed = relabelled(data, true[torch.randperm(true.numel(), generator=generator)])
    found: dict[str, Any] = {}
    held: dict[str, Features] = {}
    for label, chosen in (("random", mixed), ("true", data)):
        result = _trained(settings, seed, name, chosen, "ce", label)
        inside = features_of(result.model, chosen, "train", Ranks.current())
        held[label] = features_of(result.model, chosen, "test", Ranks.current())
        found[label] = {
            "train_error": result.history[-1].train_error,
            "train_nc1": _read(inside, inside.labels)["nc1"],
            "held_out": _read(held[label], held[label].labels),
        }
    labellings = []
    for _ in range(LABELLINGS):
        order = torch.randperm(held["random"].labels.numel(), generator=generator)
        labellings.append(_read(held["random"], held["random"].labels[order]))
    mean = {key: float(np.mean([row[key] for row in labellings])) for key in labellings[0]}
    classes = data.num_classes
    random, real = found["random"], found["true"]
    fits = random["train_error"] == 0
    both = fits and max(random["train_nc1"], real["train_nc1"]) <= COLLAPSED
    held_true = random["held_out"]
    values = {
        "nc1": random["train_nc1"] if fits else math.nan,
        "null": mean["nc1"] / mean["null"],
        "accuracy": mean["accuracy"] * classes,
        "apart": mean["nc1"] / real["held_out"]["nc1"] if both else math.nan,
        "true-accuracy": held_true["accuracy"] * classes,
        "true-nc1": held_true["nc1"] / held_true["null"],
    }
    return {
        "values": {f"terminal-phase-random-{key}": value for key, value in values.items()},
        "data": {**found, "labellings": labellings},
    }


def _read(seen: Features, labels: Tensor) -> dict[str, float]:
    """nc1_fisher with the mean of its null for shuffled labels, and accuracy."""
    found = measure_features(
        seen.features,
        labels,
        weight=seen.weight,
        bias=seen.bias,
        keys=("nc1_fisher", "accuracy"),
        intervals=False,
    ).results["train"]["head"]
    null = found["nc1_fisher"].null
    assert isinstance(null, Null)
    return {
        "nc1": float(found["nc1_fisher"].value or math.nan),
        "null": float(null.mean),
        "accuracy": float(found["accuracy"].value or 0.0),
    }


# ---- figures ----------------------------------------------------------------------------------
def draw(units: Units) -> dict[str, Any]:
    """NC readings, margins and changed decisions along training; NC1 on random labels."""
    from ncollapse.studies.terminal_phase.figures import figures

    return figures(units)
