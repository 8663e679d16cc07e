"""Networks under other optimizers than SGD: where they end, and what becomes of the head's sum."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Muon, Optimizer

from ncollapse.lab.bfloat16 import WideProducts
from ncollapse.lab.data import Dataset, digits
from ncollapse.lab.facts import Looks
from ncollapse.lab.head_sums import head_of
from ncollapse.lab.models import mlp
from ncollapse.lab.train import Settings, train

MOMENTUM = 0.9


class SGDW(SGD):
    """SGD whose decay stays outside momentum: w ← (1 - η λ) w, then a step without decay."""

    def __init__(self, params: Any, lr: float, *, decay: float) -> None:
        super().__init__(params, lr=lr, momentum=MOMENTUM)
        self.decay = decay

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.mul_(1 - group["lr"] * self.decay)
        return super().step(closure)


class MuonAndSGDW(Optimizer):
    """torch's Muon for matrices and SGDW of the same rate and decay for all else. Its groups are
    theirs, so that a schedule reaches both."""

    def __init__(self, model: nn.Module, lr: float, *, decay: float) -> None:
        flat = [part for part in model.parameters() if part.dim() == 2]
        rest = [part for part in model.parameters() if part.dim() != 2]
        self.both: tuple[Optimizer, ...] = (
            Muon(flat, lr=lr, weight_decay=decay, momentum=MOMENTUM),
            SGDW(rest, lr, decay=decay),
        )
        super().__init__(model.parameters(), {})
        self.param_groups = [group for one in self.both for group in one.param_groups]

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        with WideProducts():  # type: ignore[no-untyped-call]
            for one in self.both:
                one.step()


MAKERS: dict[str, Callable[[nn.Module, float], Optimizer]] = {
    "SGD": lambda m, decay: SGD(m.parameters(), 0.05, MOMENTUM, weight_decay=decay),
    "SGDW": lambda m, decay: SGDW(m.parameters(), 0.05, decay=decay),
    "Adam": lambda m, decay: Adam(m.parameters(), 1e-3, weight_decay=decay, fused=True),
    "AdamW": lambda m, decay: AdamW(m.parameters(), 1e-3, weight_decay=decay, fused=True),
    "Muon": lambda m, decay: MuonAndSGDW(m, 0.02, decay=decay),
}


def ended(
    name: str, decay: float, model: nn.Sequential, data: Dataset, settings: Settings, every: int
) -> dict[str, Any]:
    """A network trained by an optimizer of `MAKERS` on a cosine schedule: `facts` at its end, its
    errors, `looks` along the way, and `off_law`: how far Wᵀ1 ends from (Π (1 - η_t λ)) Wᵀ1 at the
    start, the law of decoupled decay, over its size there."""
    start = head_of(model).weight.detach().double().sum(0)
    rate = float(MAKERS[name](model, decay).param_groups[0]["lr"])
    looks = Looks(every)
    last = train(model, data, settings, [looks], lambda live: MAKERS[name](live, decay)).history[-1]
    steps = last.step // settings.epochs
    left = math.prod(
        (1 - rate * settings.factor(epoch) * decay) ** steps for epoch in range(settings.epochs)
    )
    end = head_of(model).weight.detach().double().sum(0)
    return {
        "optimiser": name,
        "decay": decay,
        **looks.rows[-1],
        "train_error": last.train_error,
        "test_error": last.test_error,
        "off_law": float((end - left * start).norm() / start.norm()),
        "looks": looks.rows,
    }


def swept(
    decays: Mapping[str, Sequence[float]], widths: Sequence[int], settings: Settings, every: int
) -> dict[str, list[dict[str, Any]]]:
    """`ended` on digits from one start, for every optimizer and each of its decays."""
    data, K = digits(seed=settings.seed), 10
    found: dict[str, list[dict[str, Any]]] = {}
    for name, some in decays.items():
        models = [mlp(data.num_features, widths, K, seed=settings.seed) for _ in some]
        found[name] = [
            ended(name, decay, model, data, settings, every)
            for decay, model in zip(some, models, strict=True)
        ]
    return found


# ---- what many of them say ----------------------------------------------------------------------
def numbers(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, float]:
    """Of networks by optimizer under a weak, a middle and a strong decay, the strong ones at one
    training loss: the numbers of the study by claim."""
    equal = {name: found[-1] for name, found in rows.items()}
    adamw, sgd, middle = equal["AdamW"], equal["SGD"], rows["SGD"][1]
    losses = [row["loss"] for row in equal.values()]
    others = [row["nc1"] for name, row in equal.items() if name != "AdamW"]
    cancelled = [row["nc0"] for name in ("SGDW", "Muon") for row in rows[name][1:]]
    return {
        "optimisers-equal": max(losses) / min(losses),
        "optimisers-adamw-nc1": adamw["nc1"] / middle["nc1"],
        "optimisers-adamw-nc1-equal": adamw["nc1"] / sgd["nc1"],
        "optimisers-adamw-nc3": adamw["nc3"] / middle["nc3"],
        "optimisers-adamw-nc3c": adamw["nc3c"] / middle["nc3c"],
        "optimisers-adamw-nc3c-equal": adamw["nc3c"] / sgd["nc3c"],
        "optimisers-adamw-unseen": unseen(adamw),
        "optimisers-adamw-seen": unseen(rows["AdamW"][1]),
        "optimisers-deepest": adamw["nc1"] / min(others),
        "optimisers-adam": equal["Adam"]["nc3"] / adamw["nc3"],
        "optimisers-decoupled": max(map(_apart, rows["SGD"], rows["SGDW"])),
        "optimisers-muon-nc1": equal["Muon"]["nc1"] / sgd["nc1"],
        "optimisers-law-sgdw": max(row["off_law"] for row in rows["SGDW"]),
        "optimisers-nc0": max(cancelled),
        "optimisers-nc0-adamw": min(row["nc0"] for row in rows["AdamW"]),
    }


def unseen(row: Mapping[str, Any]) -> float:
    """1 - NC3c²/NC3²: the share of NC3² that is gone when the head's rows are centred."""
    return 1 - float(row["nc3c"] / row["nc3"])


def _apart(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """The largest factor between two rows' NC1, angles and NC3², either way."""
    ratios = [one[key] / other[key] for key in ("nc1", "angle", "nc3")]
    return float(max(*ratios, *(1 / ratio for ratio in ratios)))
