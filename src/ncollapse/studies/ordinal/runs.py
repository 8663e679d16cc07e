"""Runs of the ordinal study: positions of trained networks, the phase transition, rare grades."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ncollapse.collect.statistics.classes import ClassMoments
from ncollapse.control.ordinal import OrdinalHead, OrdinalLoss
from ncollapse.lab.data import digits
from ncollapse.lab.models import mlp
from ncollapse.lab.study import Outcome, Plan, outcome
from ncollapse.links import named_grades, spaced
from ncollapse.metrics.nc1 import nc1_ratio
from ncollapse.metrics.onc import Latent, onc2_rank, onc3, onc3_order
from ncollapse.theory.problems.ordinal import OrdinalUFM
from ncollapse.theory.solve import solve
from ncollapse.theory.subjects.rare_grade import merging_ratio, rare_grade

# Shares of the samples below which each cut between grades lies.
CUTS = (0.1, 0.3, 0.6, 0.85)
GRADES = len(CUTS) + 1
LINKS = ("logit", "probit", "cloglog")
RARE = 2


# ---- networks -------------------------------------------------------------------------------------
def diabetes(settings: Plan, seed: int) -> Outcome:
    """Progression of diabetes in five grades."""
    from sklearn.datasets import load_diabetes

    data = load_diabetes(scaled=False)
    inputs = torch.tensor(data.data, dtype=torch.float32)
    inputs = (inputs - inputs.mean(0)) / inputs.std(0)
    target = torch.tensor(data.target, dtype=torch.float32)
    return _network(settings, seed, inputs, _graded(target), "diabetes")


def ink(settings: Plan, seed: int) -> Outcome:
    """Digits in five grades of how much ink they hold."""
    data = digits(seed=0)
    inputs = torch.cat([data.train_x, data.test_x])
    return _network(settings, seed, inputs, _graded(inputs.sum(1)), "ink")


def _graded(values: Tensor) -> Tensor:
    return torch.bucketize(values, values.quantile(torch.tensor(CUTS)))


def _network(settings: Plan, seed: int, x: Tensor, y: Tensor, name: str) -> Outcome:
    model = train(x, y, settings, seed)
    found = read(model, x, y)
    values = {
        f"ordinal-{name}-places": found["places"],
        f"ordinal-{name}-line": found["line"],
        f"ordinal-{name}-order": found["order"],
    }
    return outcome(values, **found)


def train(x: Tensor, y: Tensor, settings: Plan, seed: int, learn: bool = False) -> nn.Sequential:
    """MLP with a linear last layer under an `OrdinalHead`, AdamW with decay on weights (not on
    thresholds), a cosine schedule."""
    model = mlp(x.shape[1], settings["widths"], 1, batch_norm=False, last_relu=False, seed=seed)
    head = OrdinalHead(settings["widths"][-1], GRADES, learn_thresholds=learn, seed=seed)
    model.head = head
    others = [p for n, p in model.named_parameters() if n != "head.increments"]
    groups: list[dict[str, Any]] = [{"params": others, "weight_decay": settings["decay"]}]
    if head.increments is not None:
        groups.append({"params": [head.increments], "weight_decay": 0.0, "lr": settings["pace"]})
    optimizer = torch.optim.AdamW(groups, lr=2e-3)
    steps = settings["steps"]
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    loss, generator = OrdinalLoss(head), torch.Generator().manual_seed(seed)
    for _ in range(steps):
        rows = torch.randint(len(x), (settings["batch"],), generator=generator)
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


# ---- the phase transition ---------------------------------------------------------------------------
def phases(settings: Plan, seed: int) -> Outcome:
    """Free features by descent from a random start, at multiples of C, for three links."""
    counts, ends = tuple(settings["counts"]), tuple(settings["ends"])
    rows = []
    for link in LINKS:
        C = OrdinalUFM(counts, link=link, thresholds=ends).zero_threshold()
        for factor in settings["factors"]:
            problem = OrdinalUFM(
                counts, link=link, thresholds=ends, weight_decay=factor * C, feature_decay=1.0
            )
            norm = descended(problem, settings["width"], settings["iterations"], seed)
            predicted = float(solve(problem).extra["weight_norm"])
            rows.append([link, factor, norm, predicted])
    below = [row for row in rows if row[1] < 1]
    values = {
        "ordinal-phase-below": max(abs(row[2] / row[3] - 1) for row in below),
        "ordinal-phase-above": max(row[2] for row in rows if row[1] > 1),
    }
    return outcome(values, rows=rows)


def descended(problem: OrdinalUFM, width: int, iterations: int, seed: int) -> float:
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


# ---- a rare grade -----------------------------------------------------------------------------------
def solver(settings: Plan, seed: int) -> Outcome:
    """The middle of five grades made rarer, thresholds learned and fixed, by the solver."""
    ratios = settings["ratios"]
    free = [rare_grade(GRADES, RARE, r, learn=True) for r in ratios]
    held = [rare_grade(GRADES, RARE, r, learn=False) for r in ratios]
    merges = merging_ratio(GRADES, RARE, learn=True)
    before, last = free[-2:]
    slope = math.log(last.width / before.width) / math.log(last.ratio / before.ratio)
    values = {
        "ordinal-rare-width": slope,
        "ordinal-rare-fixed": max(abs(found.position) / found.width for found in held),
    }
    return outcome(
        values,
        ratios=ratios,
        widths=[found.width for found in free],
        fixed=[found.width for found in held],
        merging=merges,
    )


def rare(settings: Plan, seed: int) -> Outcome:
    """Digits by ink with most of the middle grade left out: the network's learned thresholds
    against the solver's, and a second network whose thresholds stay."""
    data = digits(seed=0)
    x = torch.cat([data.train_x, data.test_x])
    y = _graded(x.sum(1))
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    others = torch.bincount(y, minlength=GRADES).double()
    others[RARE] = 0
    few = max(1, round(float(others.sum()) / (GRADES - 1) / settings["rarity"]))
    middle = order[y[order] == RARE][:few]
    kept = torch.cat([order[y[order] != RARE], middle])
    x, y = x[kept], y[kept]
    counts = tuple(torch.bincount(y, minlength=GRADES).tolist())
    found: dict[str, dict[str, Any]] = {}
    for name, learn in (("learned", True), ("fixed", False)):
        model = train(x, y, settings, seed, learn)
        head = model.head
        assert isinstance(head, OrdinalHead)
        ends = head.thresholds.detach().double()
        with torch.no_grad():
            right = head.decide(model(x[y == RARE])) == RARE
        found[name] = {
            "width": float(ends[RARE + 1] - ends[RARE]),
            "named": named_grades(head.link, ends)[RARE],
            "recall": float(right.double().mean()),
            "thresholds": ends,
        }
    problem = OrdinalUFM(counts, thresholds=spaced(GRADES), learn_thresholds=True)
    ends = solve(problem).extra["ends"]
    predicted = float(ends[RARE + 1] - ends[RARE])
    values = {
        "ordinal-rare-network": found["learned"]["width"] / predicted,
        "ordinal-rare-recall-learned": found["learned"]["recall"],
        "ordinal-rare-recall-fixed": found["fixed"]["recall"],
    }
    return outcome(values, counts=list(counts), predicted=predicted, **found)
