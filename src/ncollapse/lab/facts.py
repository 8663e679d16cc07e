"""What studies of training itself read at a look: loss, feature norm, NC1, angles, NC3 and NC0."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from ncollapse.collect.statistics.classes import ClassMoments
from ncollapse.geometry import Geometry
from ncollapse.lab.data import Data
from ncollapse.lab.models import penultimate
from ncollapse.lab.train import Silent, State
from ncollapse.metrics.catalog import METRICS

# By metric key what a row says; duality is squared, as 1 - NC3²/2 = √(1 - NC0) (1 - NC3c²/2) is.
READ = {
    "nc1": "nc1_fisher",
    "ratio": "nc1_ratio",
    "angle": "nc2_maxangle_means",
    "nc3": "nc3_duality",
    "nc3c": "nc3_duality_centred",
    "nc0": "nc0",
}


@torch.no_grad()
def facts(model: nn.Sequential, data: Data, *, sphere: bool = False) -> dict[str, float]:
    """Of the training split in eval mode: cross-entropy `loss`, mean feature `norm`, and the
    metrics of `READ`, NC3 squared, NaN where there is none. sphere: of features h/‖h‖, which are
    what a head on the sphere multiplies."""
    inputs, labels = data.loader("train")
    head, features = model.get_submodule("head"), penultimate(model, inputs)
    rows = functional.normalize(features, dim=1) if sphere else features
    weight = head.weight
    assert isinstance(weight, Tensor)
    moments = ClassMoments(data.num_classes, weight.shape[1])
    moments.update(rows, labels)
    counts = torch.bincount(labels, minlength=data.num_classes)
    geometry = Geometry(moments.geometry().means, weight.detach().double(), counts=counts)
    statistics = moments.statistics()
    found = {}
    for name, key in READ.items():
        value = METRICS[key].evaluate(statistics=statistics, geometry=geometry)
        found[name] = math.nan if value is None else float(value)
    return {
        "loss": float(functional.cross_entropy(head(features), labels)),
        "norm": float(features.double().norm(dim=1).mean()),
        **found,
        "nc3": found["nc3"] ** 2,
        "nc3c": found["nc3c"] ** 2,
    }


@dataclass
class Looks(Silent):
    """Callback of `train`: a row of `facts` with epoch and step every `every` epochs, from the
    first epoch to the last."""

    every: int = 1
    rows: list[dict[str, float]] = field(default_factory=list)

    def on_epoch_end(self, state: State) -> None:
        if (state.epoch - 1) % self.every == 0 or state.epoch == state.settings.epochs:
            assert isinstance(state.model, nn.Sequential)
            seen = facts(state.model, state.data)
            self.rows.append({"epoch": state.epoch, "step": state.step, **seen})
