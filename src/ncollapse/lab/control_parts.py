"""What the studies of control share: folds and held-out classes of digits, losses that read
features, few-shot accuracy, and NC1 as `measure` reads it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from ncollapse.collect.tap.listener import Listener, in_training
from ncollapse.control.thermostat import Thermostat
from ncollapse.lab.data import Dataset, digits
from ncollapse.lab.train import Loss, State
from ncollapse.measuring.measure import measure, measure_features
from ncollapse.measuring.measurement import Measurement

Penalty = Callable[[Tensor, Tensor], Tensor]
# What the claims read, and the ratio of traces beside it: nc1_fisher sees spread within classes
# only along the differences of class means, nc1_ratio sees all of it.
NC1, RATIO = "nc1_fisher", "nc1_ratio"


# ---- data -------------------------------------------------------------------------------------
def everything() -> tuple[Float[Tensor, "samples dim"], Int[Tensor, " samples"]]:
    """All 1,797 digits with their labels."""
    data = digits(seed=0)
    return torch.cat([data.train_x, data.test_x]), torch.cat([data.train_y, data.test_y])


def folds(count: int, seed: int) -> list[Dataset]:
    """All digits in `count` stratified folds, drawn by `seed`: the dataset k tests on fold k and
    trains on the rest. Raises ValueError for fewer than two folds."""
    if count < 2:
        raise ValueError(f"count={count}; cross-validation needs at least 2 folds")
    from sklearn.model_selection import StratifiedKFold

    inputs, labels = everything()
    names = digits(seed=0).class_names
    split = StratifiedKFold(count, shuffle=True, random_state=seed)
    found = []
    for train, test in split.split(inputs.numpy(), labels.numpy()):
        one, other = torch.as_tensor(train), torch.as_tensor(test)
        found.append(Dataset(inputs[one], labels[one], inputs[other], labels[other], names))
    return found


@dataclass(frozen=True, eq=False)
class Transfer:
    """Digits split by class. seen: training and test samples of the source classes, relabelled
    0..; unseen_x, unseen_y: all samples of the others; classes: the digits that were seen."""

    seen: Dataset
    unseen_x: Float[Tensor, "samples dim"]
    unseen_y: Int[Tensor, " samples"]
    classes: tuple[int, ...]


def transfer(count: int, seed: int) -> Transfer:
    """`count` digits to train on, drawn by `seed`, as are the training samples among them; the
    other digits are never trained on. Raises ValueError unless both sides have two classes."""
    data = digits(seed=seed)
    K = data.num_classes
    if not 2 <= count <= K - 2:
        raise ValueError(f"count={count} of {K} classes; 2 to {K - 2} leave two on each side")
    order = torch.randperm(K, generator=torch.Generator().manual_seed(seed))
    chosen = order[:count].sort().values
    place = torch.full((K,), -1).index_copy(0, chosen, torch.arange(count))
    train, test = place[data.train_y], place[data.test_y]
    names = tuple(data.class_names[int(c)] for c in chosen)
    seen = Dataset(
        data.train_x[train >= 0],
        train[train >= 0],
        data.test_x[test >= 0],
        test[test >= 0],
        names,
    )
    inputs = torch.cat([data.train_x[train < 0], data.test_x[test < 0]])
    labels = torch.cat([data.train_y[train < 0], data.test_y[test < 0]])
    return Transfer(seen, inputs, labels, tuple(int(c) for c in chosen))


# ---- losses that read features ------------------------------------------------------------------
class Tap:
    """Keeps what enters `model.head` in a training step, with its graph."""

    def __init__(self, model: nn.Sequential) -> None:
        self.model = model
        self._found: Tensor | None = None
        listener = Listener(model, in_training, gradients=True)
        listener.entering(model.get_submodule("head"), self._keep)

    def _keep(self, entered: Tensor, _: object) -> None:
        self._found = entered

    def take(self) -> Tensor:
        """The features of the last training step. Raises ValueError where there was none."""
        if self._found is None:
            raise ValueError("no training step went through the head; run the model first")
        found, self._found = self._found, None
        return found


def penalised(model: nn.Sequential, penalty: Penalty) -> Loss:
    """Cross-entropy plus penalty(features, labels)."""
    tap = Tap(model)

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(logits, labels) + penalty(tap.take(), labels)

    return loss


@dataclass
class Dial:
    """A thermostat in training: its loss, and as a callback of `train` what each epoch left.

    readings: the thermostat's metric on the training split in eval mode; online: median of its own
    readings over the epoch's batches; weights: its last weight. Without a thermostat the loss is
    cross-entropy, and `readings` of `nc1_fisher` alone are kept.
    """

    model: nn.Sequential
    thermostat: Thermostat | None
    readings: list[float] = field(default_factory=list)
    online: list[float] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._tap = Tap(self.model)
        self._batches: list[float] = []

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy plus the thermostat's penalty."""
        value = functional.cross_entropy(logits, labels)
        features = self._tap.take()
        if self.thermostat is None:
            return value
        self._batches.append(self.thermostat.observe(features, labels))
        return value + self.thermostat.penalty().to(value.dtype)

    def on_start(self, state: State) -> None:
        pass

    def on_epoch_end(self, state: State) -> None:
        key = NC1 if self.thermostat is None else self.thermostat.metric
        self.readings.append(reading(state.model, state.data.loader("train"), key))
        if self.thermostat is not None:
            self.online.append(float(np.median(self._batches)))
            self.weights.append(self.thermostat.weight)
            self._batches = []

    def on_end(self, state: State) -> None:
        pass


# ---- readings -----------------------------------------------------------------------------------
def reading(model: nn.Module, split: tuple[Tensor, Tensor], key: str = NC1) -> float:
    """`nc1_fisher`, or another metric, of a model on inputs and labels, in eval mode, by
    `nc.measure`; the mode is restored."""
    return _value(measure(model, train=split, null=False, intervals=False, keys=(key,)), key)


def reading_of(features: Tensor, labels: Tensor, key: str = NC1) -> float:
    """The same of features; labels need not count from 0."""
    _, place = labels.unique(return_inverse=True)
    return _value(measure_features(features, place, null=False, intervals=False, keys=(key,)), key)


def _value(found: Measurement, key: str) -> float:
    value = found.results["train"]["head"][key].value
    return math.nan if value is None else float(value)


def along_means(
    features: Float[Tensor, "samples dim"], labels: Int[Tensor, " samples"]
) -> tuple[list[float], float]:
    """Where nc1_fisher comes from: variance within classes over variance between them along each
    principal direction of the class means (their mean over classes is nc1_fisher), largest first,
    and the share of all variance within classes that lies along these directions. Classes weigh
    alike."""
    _, place = labels.unique(return_inverse=True)
    count = torch.bincount(place).double()
    K, wide = count.numel(), features.double()
    means = torch.zeros(K, wide.shape[1], dtype=torch.float64).index_add(0, place, wide)
    means = means / count[:, None]
    rest = (wide - means[place]) * (1 / (K * count[place])).sqrt()[:, None]
    between = (means - means.mean(0)) / K**0.5
    _, values, rows = torch.linalg.svd(between, full_matrices=False)
    within = (rest @ rows[: K - 1].T).square().sum(0)
    ratios = (within / values[: K - 1].square()).sort(descending=True).values
    return ratios.tolist(), float(within.sum() / rest.square().sum())


def few_shot(
    features: Float[Tensor, "samples dim"],
    labels: Int[Tensor, " samples"],
    *,
    shots: int = 5,
    draws: int = 100,
    seed: int = 0,
) -> float:
    """Accuracy of nearest centroids of `shots` samples a class on all other samples, the mean over
    `draws` by an own generator. Raises ValueError where a class has no sample left to decide."""
    classes, place = labels.unique(return_inverse=True)
    wide = features.double()
    if int(torch.bincount(place).min()) <= shots:
        raise ValueError(f"shots={shots}; every class needs more samples than that")
    generator = torch.Generator().manual_seed(seed)
    members = [(place == k).nonzero().flatten() for k in range(classes.numel())]
    total = 0.0
    for _ in range(draws):
        rest = torch.ones(place.numel(), dtype=torch.bool)
        centres = []
        for there in members:
            drawn = there[torch.randperm(there.numel(), generator=generator)[:shots]]
            rest[drawn] = False
            centres.append(wide[drawn].mean(0))
        nearest = torch.cdist(wide[rest], torch.stack(centres)).argmin(1)
        total += float((nearest == place[rest]).double().mean())
    return total / draws


def recalls(decided: Int[Tensor, " samples"], labels: Int[Tensor, " samples"]) -> list[float]:
    """Share of each class's samples that are decided for it."""
    return [float((decided[labels == k] == k).double().mean()) for k in labels.unique()]


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Of the least-squares line through the points."""
    return float(np.polyfit(np.asarray(x), np.asarray(y), 1)[0])
