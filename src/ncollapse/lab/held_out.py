"""What a network is not trained on: folds of all digits, and classes that it never sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ncollapse.lab.data import Dataset, digits
from ncollapse.lab.models import mlp, penultimate
from ncollapse.lab.networks import WIDTHS
from ncollapse.lab.readings import RATIO, few_shot, reading
from ncollapse.lab.study import Plan
from ncollapse.lab.train import Epoch, Settings, train


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
    for rest, test in split.split(inputs.numpy(), labels.numpy()):
        one, other = torch.as_tensor(rest), torch.as_tensor(test)
        found.append(Dataset(inputs[one], labels[one], inputs[other], labels[other], names))
    return found


def on_folds(
    build: Callable[[str, int], nn.Module], arms: Sequence[str], plan: Plan, count: int, seed: int
) -> list[dict[str, Any]]:
    """For each fold accuracy, training error and NC1 by arm, of networks build(arm, seed of the
    fold) that train as the plan says: the same batches for every arm."""
    rows = []
    for fold, data in enumerate(folds(count, seed)):
        number = seed * count + fold
        row: dict[str, Any] = {"fold": fold, "accuracy": {}, "nc1": {}, "train_error": {}}
        for arm in arms:
            model = build(arm, number)
            last = train(model, data, Settings.of(plan, seed=number)).history[-1]
            row["accuracy"][arm] = 1 - last.test_error
            row["train_error"][arm] = last.train_error
            row["nc1"][arm] = reading(model, data.loader("train"))
        rows.append(row)
    return rows


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


def source_network(digits: Transfer, seed: int) -> nn.Sequential:
    """A network for the seen digits, not yet trained."""
    return mlp(digits.seen.num_features, WIDTHS, digits.seen.num_classes, seed=seed)


def transferred(
    model: nn.Sequential, digits: Transfer, last: Epoch, *, draws: int, seed: int
) -> dict[str, float]:
    """What a trained source network reads: 5-shot accuracy on the unseen digits, training error,
    and nc1_ratio of the seen ones."""
    features = penultimate(model, digits.unseen_x)
    return {
        "unseen": few_shot(features, digits.unseen_y, draws=draws, seed=seed),
        "train_error": last.train_error,
        "nc1_ratio": reading(model, digits.seen.loader("train"), RATIO),
    }
