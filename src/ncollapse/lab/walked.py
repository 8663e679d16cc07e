"""Samples on their way through a network of one width: trained on digits, read layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ncollapse.lab.data import Dataset, digits, long_tailed
from ncollapse.lab.full_batch import train_full_batch
from ncollapse.lab.networks import TEST_SHARE
from ncollapse.metrics.depth import SeparationLaw, separation_law
from ncollapse.metrics.geodesic import Geodesic, geodesic


@dataclass(frozen=True)
class Walk:
    """Layers against their geodesic, and the law of data separation along them."""

    path: Geodesic
    law: SeparationLaw

    def ratios(self, key: str) -> list[float]:
        """A measured metric of each layer over that of the layer before."""
        return [b / a for a, b in pairwise(self.path.measured[key])]

    def steps(self, key: str) -> list[float]:
        """The same as differences."""
        return [b - a for a, b in pairwise(self.path.measured[key])]

    def kept(self, key: str) -> float:
        """A measured metric of the last layer over that of the first."""
        return self.path.measured[key][-1] / self.path.measured[key][0]

    def to_dict(self) -> dict[str, Any]:
        return {"path": self.path.to_dict(), "law": self.law.to_dict()}


def some_digits(each: int, seed: int) -> Dataset:
    """Digits with `each` training samples a class."""
    whole = digits(TEST_SHARE, seed)
    return long_tailed(whole, (each,) * whole.num_classes, seed)


def walk(
    model: nn.Sequential, data: Dataset, settings: Mapping[str, Any], decay: float | None
) -> Walk:
    """The walk through a model after full-batch training (`steps` and `learning_rate` of the
    settings) at a decay; None: as it was drawn.

    Layers are the outputs of `entry` and of every block in `blocks` where the model has them, else
    those of its ReLUs. Data are balanced: D of the law is then K · PFC1.
    """
    if decay is not None:
        how = {name: settings[name] for name in ("steps", "learning_rate")}
        train_full_batch(model, data.train_x, data.train_y, decay, **how)
    with torch.no_grad():
        found = geodesic(_layers(model, data.train_x), data.train_y)
    return Walk(found, separation_law([data.num_classes * one for one in found.measured["pfc1"]]))


def _layers(model: nn.Sequential, inputs: Tensor) -> Sequence[Tensor]:
    parts = dict(model.named_children())
    if "blocks" in parts:
        path = [parts["entry"](inputs)]
        for block in parts["blocks"].children():
            path.append(block(path[-1]))
        return path
    path, h = [], inputs
    for part in parts.values():
        h = part(h)
        if isinstance(part, nn.ReLU):
            path.append(h)
    return path
