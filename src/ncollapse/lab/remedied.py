"""Networks that are pushed against collapse as they train, or tuned after it."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from typing import Any

from torch import nn

from ncollapse.control.regularizers import CodingRate, KoLeo
from ncollapse.control.thermostat import Thermostat
from ncollapse.downstream.probes import fitted
from ncollapse.errors import NCollapseWarning
from ncollapse.lab.control_parts import Dial, penalised
from ncollapse.lab.data import Dataset
from ncollapse.lab.held_out import Transfer, source_network
from ncollapse.lab.models import mlp
from ncollapse.lab.networks import WIDTHS
from ncollapse.lab.onward import layers_of, onward
from ncollapse.lab.study import Plan
from ncollapse.lab.train import Loss, Settings, train

ARMS = ("koleo", "coding", "thermostat")
LAST = len(WIDTHS) - 1
BLOCK = (f"linear{LAST}", f"norm{LAST}", "head")


def source(
    digits: Transfer, degree: Sequence[Any], settings: Plan, seed: int, arm: str = ""
) -> tuple[nn.Sequential, dict[str, Any]]:
    """A network trained on the seen digits and what it reads on the others (`onward`). degree:
    epochs and weight decay; arm: what is pushed against collapse, with the weights or the set point
    of the settings."""
    epochs, decay = degree
    model = source_network(digits, seed)
    loss: str | Loss = "ce"
    if arm == "koleo":
        loss = penalised(model, KoLeo(settings["koleo"]))
    elif arm == "coding":
        loss = penalised(model, CodingRate(settings["coding"]))
    elif arm:
        loss = Dial(model, Thermostat(settings["point"])).loss
    how = Settings(epochs=epochs, weight_decay=decay, loss=loss, seed=seed)
    with warnings.catch_warnings():
        # A set point out of reach is a result here.
        warnings.simplefilter("ignore", NCollapseWarning)
        last = train(model, digits.seen, how).history[-1]
    found = {"epochs": epochs, "decay": decay, "source": 1 - last.test_error}
    return model, {**found, **read(model, digits, settings, seed)}


def read(model: nn.Sequential, digits: Transfer, settings: Plan, seed: int) -> dict[str, Any]:
    """`onward` with the settings of a study."""
    return onward(model, digits, draws=settings["draws"], seed=seed, around=settings["around"])


def probes(model: nn.Sequential, few: Dataset) -> dict[str, float]:
    """Test accuracy of a linear probe of the training samples, by layer."""
    fit, test = layers_of(model, few.train_x), layers_of(model, few.test_x)
    decided = {
        name: fitted(fit[name].double(), few.train_y, test[name].double()).argmax(1) for name in fit
    }
    return {name: float((d == few.test_y).double().mean()) for name, d in decided.items()}


def tuned(
    model: nn.Sequential, few: Dataset, plan: Plan, seed: int, parts: Collection[str] = ()
) -> float:
    """Test accuracy after training on the samples of `few` from these weights, with a new head for
    its classes; parts: what is trained, all where none is named."""
    fresh = mlp(few.num_features, WIDTHS, few.num_classes, seed=seed)
    known = {key: value for key, value in model.state_dict().items() if "head" not in key}
    fresh.load_state_dict(known, strict=False)
    for name, part in fresh.named_children():
        part.requires_grad_(not parts or name in parts)
    last = train(fresh, few, Settings.of(plan, weight_decay=0.0, seed=seed)).history[-1]
    return 1 - last.test_error
