"""Networks and data that the settings of a study name: `model`, `data`, `image_size`, `workers`.

Names are "mlp" and "conv", made for digits, and the specs of `ncollapse measure`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ncollapse.lab.data import Data, Dataset
from ncollapse.lab.models import conv, mlp
from ncollapse.lab.networks import WIDTHS
from ncollapse.lab.place import checkpoint
from ncollapse.lab.samples import open_data
from ncollapse.lab.study import Plan
from ncollapse.lab.train import Callback, Settings, TrainResult, train
from ncollapse.sources.specs.models import load_model

OWN = ("mlp", "conv")


def listed(names: str | Sequence[str]) -> list[str]:
    """Names of a setting that takes one or a list of them."""
    return [names] if isinstance(names, str) else list(names)


def data_for(name: str, settings: Plan, seed: int) -> Data:
    """The data of a model, through the model's own transform where it has one. Raises ValueError
    for a model made for digits and other data."""
    size = settings["image_size"]
    transform = None if name in OWN else load_model(name, image_size=size).transform
    data = open_data(
        settings["data"],
        seed=seed,
        transform=transform,
        image_size=size,
        workers=settings["workers"],
    )
    if name in OWN and not isinstance(data, Dataset):
        raise ValueError(
            f"model {name!r} is made for digits and the data is {settings['data']!r}; name a model "
            "too, for example --set model=torchvision:resnet18"
        )
    return data


def build(name: str, settings: Plan, seed: int, data: Data) -> nn.Module:
    """The model, untrained, for the classes of the data."""
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


def train_by_name(
    name: str,
    settings: Plan,
    seed: int,
    data: Data,
    *,
    label: str,
    callbacks: Sequence[Callback] = (),
) -> TrainResult:
    """Train the model as the settings say, with cross-entropy where they name no loss; label: of
    its checkpoint within the run."""
    how = Settings.of(settings, seed=seed, **checkpoint(label))
    return train(build(name, settings, seed, data), data, how, callbacks)
