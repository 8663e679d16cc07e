"""Ordered grades in studies: two data sets cut into grades, a network under an ordinal head, and
descent on free features."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ncollapse.collect.statistics.classes import ClassMoments
from ncollapse.control.ordinal import OrdinalHead, OrdinalLoss
from ncollapse.lab.data import digits
from ncollapse.lab.models import mlp
from ncollapse.lab.study import Plan
from ncollapse.links import named_grades
from ncollapse.metrics.nc1 import nc1_ratio
from ncollapse.metrics.onc import Latent, onc2_rank, onc3, onc3_order
from ncollapse.theory.problems.ordinal import OrdinalUFM

# Shares of the samples below which each cut between grades lies.
CUTS = (0.1, 0.3, 0.6, 0.85)
GRADES = len(CUTS) + 1
# Of training: samples a step, decay on weights, and the learning rate of thresholds.
BATCH, DECAY, PACE = 128, 0.1, 0.02


def graded(values: Tensor) -> Tensor:
    """Grades of values, cut at their quantiles."""
    return torch.bucketize(values, values.quantile(torch.tensor(CUTS)))


def diabetes() -> tuple[Tensor, Tensor]:
    """Standardised inputs of the diabetes data, and progression in five grades."""
    from sklearn.datasets import load_diabetes

    data = load_diabetes(scaled=False)
    inputs = torch.tensor(data.data, dtype=torch.float32)
    target = torch.tensor(data.target, dtype=torch.float32)
    return (inputs - inputs.mean(0)) / inputs.std(0), graded(target)


def ink() -> tuple[Tensor, Tensor]:
    """All digits, and how much ink they hold in five grades."""
    data = digits(seed=0)
    inputs = torch.cat([data.train_x, data.test_x])
    return inputs, graded(inputs.sum(1))


DATA = {"diabetes": diabetes, "ink": ink}


def thinned(x: Tensor, y: Tensor, grade: int, rarity: float, seed: int) -> tuple[Tensor, Tensor]:
    """Samples with those of one grade left out until it is `rarity` times rarer than the others in
    the mean; which ones stay is drawn by an own generator."""
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    others = order[y[order] != grade]
    few = max(1, round(len(others) / (GRADES - 1) / rarity))
    kept = torch.cat([others, order[y[order] == grade][:few]])
    return x[kept], y[kept]


def train(x: Tensor, y: Tensor, settings: Plan, seed: int, learn: bool = False) -> nn.Sequential:
    """MLP with a linear last layer under an `OrdinalHead`, AdamW with decay on weights (not on
    thresholds), a cosine schedule."""
    model = mlp(x.shape[1], settings["widths"], 1, batch_norm=False, last_relu=False, seed=seed)
    head = OrdinalHead(settings["widths"][-1], GRADES, learn_thresholds=learn, seed=seed)
    model.head = head
    others = [p for n, p in model.named_parameters() if n != "head.increments"]
    groups: list[dict[str, Any]] = [{"params": others, "weight_decay": DECAY}]
    if head.increments is not None:
        groups.append({"params": [head.increments], "weight_decay": 0.0, "lr": PACE})
    optimizer = torch.optim.AdamW(groups, lr=2e-3)
    steps = settings["steps"]
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    loss, generator = OrdinalLoss(head), torch.Generator().manual_seed(seed)
    for _ in range(steps):
        rows = torch.randint(len(x), (BATCH,), generator=generator)
        optimizer.zero_grad()
        loss(model(x[rows]), y[rows]).backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def read(model: nn.Sequential, x: Tensor, y: Tensor) -> dict[str, Any]:
    """Mean positions against theory's places (largest difference, in mean gaps), ONC numbers."""
    head = model.head
    assert isinstance(head, OrdinalHead)
    with torch.no_grad():
        features = model[:-1](x)
        thresholds = head.thresholds.double()
    moments = ClassMoments(GRADES, head.in_features)
    moments.update(features, y)
    geometry, statistics = moments.geometry(), moments.statistics()
    latent = Latent(head.weight.detach()[0].double(), thresholds)
    assert geometry.means is not None and latent.limits is not None
    z = latent.positions(geometry.means)
    gap = float(thresholds.diff().mean())
    return {
        "z": z,
        "limits": latent.limits,
        "thresholds": thresholds,
        "places": float((z - latent.limits).abs().max()) / gap,
        "line": float(onc2_rank(geometry)),
        "order": float(onc3_order(geometry, latent)),
        "onc1": float(nc1_ratio(statistics, geometry, weighting="micro")),
        "onc3": float(onc3(statistics, geometry, latent)),
    }


def decided(model: nn.Sequential, x: Tensor, y: Tensor, grade: int) -> dict[str, Any]:
    """The interval of a grade, whether it is named at some score, and the share of its samples
    whose most likely grade it is."""
    head = model.head
    assert isinstance(head, OrdinalHead)
    ends = head.thresholds.detach().double()
    with torch.no_grad():
        right = head.decide(model(x[y == grade])) == grade
    return {
        "width": float(ends[grade + 1] - ends[grade]),
        "named": named_grades(head.link, ends)[grade],
        "recall": float(right.double().mean()),
        "thresholds": ends,
    }


def descended(problem: OrdinalUFM, seed: int, width: int, iterations: int) -> float:
    """‖w‖ after descent on w and all features, by L-BFGS from a random start."""
    from scipy.optimize import minimize

    y = torch.repeat_interleave(torch.arange(problem.num_classes), torch.tensor(problem.counts))
    N = len(y)

    def f(values: Any) -> tuple[float, Any]:
        t = torch.tensor(values, dtype=torch.float64, requires_grad=True)
        w, H = t[:width], t[width:].view(N, width)
        loss = problem.loss(H @ w, y).mean()
        loss = loss + problem.feature_decay / (2 * N) * H.square().sum()
        loss = loss + problem.weight_decay / 2 * w.square().sum()
        loss.backward()
        assert t.grad is not None
        return loss.item(), t.grad.numpy()

    generator = torch.Generator().manual_seed(seed)
    start = 0.7 * torch.randn(width * (N + 1), generator=generator, dtype=torch.float64)
    options = {"maxiter": iterations, "maxfun": 2 * iterations, "ftol": 1e-16, "gtol": 1e-11}
    found = minimize(
        f, start.numpy(), jac=True, method="L-BFGS-B", options={**options, "maxcor": 30}
    )
    return float(torch.tensor(found.x[:width]).norm())
