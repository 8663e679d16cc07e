"""Networks that fit long before they generalise: modular addition, digits from a large start."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ncollapse.downstream.delay import Delay, grokking_delay
from ncollapse.downstream.grokking import RNC1, rnc1_of
from ncollapse.downstream.views import View, Watcher
from ncollapse.geometry import Geometry
from ncollapse.lab.data import Dataset
from ncollapse.lab.models import mlp, penultimate
from ncollapse.lab.walked import some_digits
from ncollapse.metrics.interpolation import Split, checked
from ncollapse.metrics.nc2 import nc2_etf
from ncollapse.record.trace import Trace

HEAD, LOGITS = "head", "logits"
SPACING = 1.15
# How much larger than usual digits networks begin.
LARGE = 8.0
# What figures show: (split, key, layer) by name.
ACCURACY = {
    "training accuracy": ("train", "accuracy", HEAD),
    "test accuracy": ("test", "accuracy", HEAD),
}
NC1 = {
    f"{split} {layer}": (split, "nc1_ratio", layer)
    for layer in (HEAD, LOGITS)
    for split in ("train", "test")
}
SHARE = {f"{split} share": (split, "class_share", HEAD) for split in ("train", "test")}


class Square(nn.Module):
    """x²: with it two layers add modulo p exactly."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs**2


def addition(modulus: int, width: int, seed: int) -> tuple[nn.Sequential, Dataset]:
    """a + b mod p of one-hot pairs (a, b), half of the table to train on, drawn by `seed`, and two
    layers without biases with squares between them."""
    pairs = torch.cartesian_prod(torch.arange(modulus), torch.arange(modulus))
    inputs = functional.one_hot(pairs, modulus).flatten(1).float()
    labels = pairs.sum(1) % modulus
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(seed))
    known, unseen = order.tensor_split(2)
    names = tuple(map(str, range(modulus)))
    data = Dataset(inputs[known], labels[known], inputs[unseen], labels[unseen], names)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parts = OrderedDict[str, nn.Module](
            linear0=nn.Linear(2 * modulus, width, bias=False),
            square=Square(),
            head=nn.Linear(width, modulus, bias=False),
        )
    return nn.Sequential(parts), data


def large_digits(each: int, width: int, seed: int) -> tuple[nn.Sequential, Dataset]:
    """Digits with `each` training samples a class, and two hidden layers eight times as large as
    usual: they fit without learning features first."""
    data = some_digits(each, seed)
    model = mlp(data.num_features, (width, width), data.num_classes, batch_norm=False, seed=seed)
    with torch.no_grad():
        for part in model.parameters():
            part.mul_(LARGE)
    return model, data


@dataclass(frozen=True, eq=False)
class Followed:
    """A training and what was read of it: `trace` of layers "head", what enters the head, and
    "logits"; both have accuracy (the head's), class_share, nc1_ratio, rnc1, and the distance of
    class means from a simplex (nc2_etf_means)."""

    model: nn.Sequential
    trace: Trace

    def delay(self, layer: str = HEAD) -> Delay:
        return grokking_delay(self.trace, layer=layer)

    def last(self, split: str, key: str, layer: str = HEAD) -> float:
        return self.curve(split, key, layer)[1][-1]

    def curve(self, split: str, key: str, layer: str = HEAD) -> tuple[list[int], list[float]]:
        steps, values = self.trace.series(split, layer, key)
        return steps, [float("nan") if value is None else value for value in values]


def follow(
    model: nn.Sequential,
    data: Dataset,
    decay: float,
    *,
    steps: int,
    learning_rate: float,
    watch: Sequence[Watcher] = (),
) -> Followed:
    """AdamW on all samples at once, squared error of one-hot labels, in place; looks at log-spaced
    steps. Raises ValueError for fewer than one step."""
    if steps < 1:
        raise ValueError(f"steps={steps}; at least 1 is needed")
    trace = Trace()
    optimizer = torch.optim.AdamW(model.parameters(), learning_rate, weight_decay=decay, fused=True)
    targets = functional.one_hot(data.train_y, data.num_classes).float()
    due = 0
    for step in range(steps + 1):
        if step in (due, steps):
            due = max(step + 1, int(step * SPACING))
            for split in ("train", "test"):
                for layer, values in _look(model, data, split, watch).items():
                    trace.append(step, values, split=split, layer=layer)
        if step < steps:
            optimizer.zero_grad(set_to_none=True)
            functional.mse_loss(model(data.train_x), targets).backward()
            optimizer.step()
    return Followed(model, trace)


def _look(
    model: nn.Sequential, data: Dataset, split: str, watch: Sequence[Watcher]
) -> dict[str, dict[str, Any]]:
    inputs, labels = data.loader(split)
    features = penultimate(model, inputs)
    with torch.no_grad():
        logits = model.get_submodule("head")(features)
    accuracy = float((logits.argmax(1) == labels).double().mean())
    found: dict[str, dict[str, Any]] = {}
    for layer, rows in ((HEAD, features), (LOGITS, logits)):
        seen = Split.of(rows, checked([rows], labels))
        found[layer] = {"accuracy": accuracy, **_readings(seen)}
        view = View(split, layer, rows, labels, logits if layer == HEAD else None)
        for one in watch:
            found[layer] |= one.read(view)
    return found


def _readings(seen: Split) -> dict[str, float]:
    """Nothing to read but NaN where a network has died and all features agree."""
    if bool((seen.means == seen.means[0]).all()):
        return dict.fromkeys(("class_share", "nc1_ratio", "nc2_etf_means", RNC1), math.nan)
    counts = torch.bincount(seen.labels).double()
    K, N = len(counts), float(counts.sum())
    square = (seen.rest**2).sum(1)
    centred = seen.means - seen.means.mean(0)
    spread = (seen.means - counts @ seen.means / N).square().sum(1)
    within, between = float(square.sum()), float(counts @ spread)
    return {
        "class_share": 1 - (N - 1) / (N - K) * within / (within + between),
        "nc1_ratio": float((square / counts[seen.labels]).sum() / centred.square().sum()),
        "nc2_etf_means": float(nc2_etf(Geometry(seen.means))),
        RNC1: rnc1_of(seen),
    }


def curves_of(
    followed: Followed, keys: Mapping[str, tuple[str, str, str]]
) -> dict[str, list[float]]:
    """Steps and curves by name, for figures; keys: (split, key, layer) by name."""
    found: dict[str, list[float]] = {}
    for name, (split, key, layer) in keys.items():
        steps, found[name] = followed.curve(split, key, layer)
        found["steps"] = [float(step) for step in steps]
    return found


def late_digits(plan: Mapping[str, Any], decay: float, seed: int) -> dict[str, Any]:
    """Few digits from a large start at one decay, `times`/(η λ) steps: the delay, curves, and the
    distance of training class means from a simplex when test accuracy was at nine tenths of its end
    for the first time."""
    model, data = large_digits(plan["samples"], plan["width"], seed)
    rate = plan["learning_rate"]
    steps = math.ceil(plan["times"] / (rate * decay))
    found = follow(model, data, decay, steps=steps, learning_rate=rate)
    delay = found.delay()
    curves = curves_of(found, {**ACCURACY, **NC1, **SHARE})
    return {"decay": decay, "frame": _frame(found), "curves": curves, **delay.to_dict()}


def _frame(found: Followed) -> float:
    _, accuracy = found.curve("test", "accuracy")
    _, frame = found.curve("train", "nc2_etf_means")
    pairs = zip(accuracy, frame, strict=True)
    return next(gap for value, gap in pairs if value >= 0.9 * accuracy[-1])
