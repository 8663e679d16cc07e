"""A training run looked at several times: features, head, error and epochs since it vanished."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ncollapse.lab.calibration.nets import SIGNED, dataset, network, shuffled
from ncollapse.lab.calibration.populations import Sampled
from ncollapse.lab.data import Dataset
from ncollapse.lab.models import penultimate
from ncollapse.lab.networks import head
from ncollapse.lab.train import Settings, Silent, State, train

BATCH = 256


@dataclass(frozen=True)
class Plan:
    """One line of the study's plan."""

    net: str
    data: str
    most: int
    fewest: int
    labels: str
    loss: str
    decay: float
    epochs: int

    @property
    def name(self) -> str:
        counts = f"{self.most}" if self.balanced else f"{self.most}-{self.fewest}"
        said = (self.net, self.data, counts, self.labels, self.loss, f"{self.decay:g}")
        return " ".join((*said, str(self.epochs)))

    @property
    def balanced(self) -> bool:
        return self.most == self.fewest

    @property
    def signed(self) -> bool:
        """Whether features may be negative."""
        return self.net in SIGNED


@dataclass(frozen=True, eq=False)
class Look:
    """A network after so many epochs. error: on the training split. since: the first epoch from
    which it was zero till now, None where it is not. sample: its training split."""

    plan: Plan
    epoch: int
    error: float
    since: int | None
    sample: Sampled
    inputs: Tensor


@dataclass
class Looking(Silent):
    """A callback that keeps a `Look` after each of some epochs; 0 is before training. fresh: data
    sets of which features are read as well, into `others`."""

    plan: Plan
    epochs: Sequence[int]
    fresh: tuple[Dataset, ...] = ()
    looks: list[Look] = field(default_factory=list)
    others: list[tuple[Sampled, ...]] = field(default_factory=list)

    def on_start(self, state: State) -> None:
        self._look(state)

    def on_epoch_end(self, state: State) -> None:
        self._look(state)

    def _look(self, state: State) -> None:
        if state.epoch not in self.epochs:
            return
        model, data = state.model, state.data
        assert isinstance(model, nn.Sequential) and isinstance(data, Dataset)
        sample = read(model, data)
        since = None
        for entry in reversed(state.history):
            if entry.train_error > 0:
                break
            since = entry.epoch
        error = float((sample.logits.argmax(1) != sample.labels).double().mean())
        self.looks.append(Look(self.plan, state.epoch, error, since, sample, data.train_x))
        self.others.append(tuple(read(model, data) for data in self.fresh))


def read(model: nn.Sequential, data: Dataset) -> Sampled:
    """Features of the training split and the head."""
    last = head(model)
    weight, bias = last.weight.detach().double().clone(), last.bias.detach().double().clone()
    return Sampled(penultimate(model, data.train_x).double(), data.train_y, weight, bias)


def run(plan: Plan, shares: Sequence[float], seed: int, fresh: tuple[Dataset, ...] = ()) -> Looking:
    """Train as planned (SGD with momentum, batches of 256, cosine schedule) and look at shares of
    the epochs."""
    data = dataset(plan.data, plan.most, plan.fewest, seed)
    if plan.labels == "shuffled":
        data = shuffled(data, seed)
    model = network(plan.net, data, seed)
    looking = Looking(plan, sorted({round(share * plan.epochs) for share in shares}), fresh)
    settings: dict[str, Any] = {"learning_rate": 0.02} if plan.net == "transformer" else {}
    rate = Settings(
        epochs=plan.epochs,
        batch_size=BATCH,
        weight_decay=plan.decay,
        loss=plan.loss,
        seed=seed,
        **settings,
    )
    train(model, data, rate, [looking])
    return looking


def moved(sample: Sampled) -> Sampled:
    """The same features with every row of the head given to the next class."""
    weight, bias = sample.weight.roll(1, 0), sample.bias.roll(1, 0)
    return Sampled(sample.features, sample.labels, weight, bias)


def centre_error(sample: Sampled) -> float:
    """The share of samples that the nearest class centre puts into a wrong class, each sample left
    out of its own centre."""
    features, labels, counts = sample.features, sample.labels, sample.counts
    K = len(counts)
    sums = torch.zeros((K, features.shape[1]), dtype=torch.float64).index_add_(0, labels, features)
    square = torch.cdist(features, sums / counts[:, None]) ** 2
    own = torch.arange(len(labels)), labels
    n = counts[labels].double()
    square[own] *= (n / (n - 1).clamp_min(1)) ** 2
    return float((square.argmin(1) != labels).double().mean())
