"""Small ReLU networks trained to the end on means and noise, against what they can reach."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ncollapse.lab.rays import readings
from ncollapse.lab.study import Plan
from ncollapse.theory.subjects.shallow import Feasible, nc_feasible, shallow_bound


@dataclass(frozen=True, eq=False)
class Blobs:
    """Unit Gaussian noise about class means of norm `signal` in random directions: balanced
    inputs (N, d) with labels, and as many samples a class to test on as asked for."""

    inputs: Float[Tensor, "samples dim"]
    labels: Int[Tensor, " samples"]
    test: Float[Tensor, "tests dim"]
    test_labels: Int[Tensor, " tests"]

    def through(self, width: int, seed: int) -> Blobs:
        """The data as a random first layer of that width gives it on, s(A x)."""
        generator = torch.Generator().manual_seed(seed)
        dim = self.inputs.shape[1]
        A = torch.randn(width, dim, generator=generator, dtype=torch.float64) * math.sqrt(2 / dim)
        inputs, test = ((rows @ A.T).relu() for rows in (self.inputs, self.test))
        return Blobs(inputs, self.labels, test, self.test_labels)


def blobs(dim: int, signal: float, classes: int, each: int, seed: int, *, tests: int = 0) -> Blobs:
    """Drawn by an own generator of that seed."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    means = normal(classes, dim)
    means = signal * means / means.norm(dim=1, keepdim=True)
    labels, others = (torch.arange(classes).repeat_interleave(n) for n in (each, tests))
    inputs = means[labels] + normal(len(labels), dim)
    return Blobs(inputs, labels, means[others] + normal(len(others), dim), others)


@dataclass(frozen=True, eq=False)
class Trained:
    """Features (N, m), head (K, m), the risk that was minimised, and the network as a function."""

    features: Float[Tensor, "samples units"]
    head: Float[Tensor, "classes units"]
    risk: float
    network: Callable[[Tensor], Tensor]


def fit_two_layers(
    inputs: Float[Tensor, "samples dim"],
    labels: Int[Tensor, " samples"],
    width: int,
    *,
    decay: float,
    on_features: bool = True,
    steps: int = 4000,
    polish: int = 150,
    seed: int = 0,
) -> Trained:
    """Minimise (1/2N) ‖W₂ s(W₁ X) - Y‖² + λ/2 ‖W₂‖² + λ/2 ‖s(W₁ X)‖², with ‖W₁‖² in the place of
    the features unless `on_features`: Adam from small weights (cosine schedule), then L-BFGS."""
    generator = torch.Generator().manual_seed(seed)
    number, dim = inputs.shape
    classes = int(labels.max()) + 1
    target = torch.eye(classes, dtype=inputs.dtype)[labels]

    def small(*shape: int) -> Tensor:
        drawn = torch.randn(*shape, generator=generator, dtype=inputs.dtype)
        return (0.1 * drawn / math.sqrt(shape[1])).requires_grad_()

    first, head = small(width, dim), small(classes, width)

    def risk() -> Tensor:
        features = (inputs @ first.T).relu()
        loss = ((features @ head.T - target) ** 2).sum() / (2 * number)
        held = features if on_features else first
        return loss + decay / 2 * ((head**2).sum() + (held**2).sum())

    adam = torch.optim.Adam([first, head], lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps, 1e-5)
    for _ in range(steps):
        adam.zero_grad(set_to_none=True)
        risk().backward()
        adam.step()
        schedule.step()
    newton = torch.optim.LBFGS(
        [first, head], max_iter=polish, history_size=50, line_search_fn="strong_wolfe",
        tolerance_grad=1e-12, tolerance_change=0.0,
    )  # fmt: skip

    def closure() -> float:
        newton.zero_grad(set_to_none=True)
        value = risk()
        value.backward()
        return float(value.detach())

    newton.step(closure)
    W1, W2 = first.detach(), head.detach()

    def network(rows: Tensor) -> Tensor:
        return (rows @ W1.T).relu() @ W2.T

    return Trained((inputs @ W1.T).relu(), W2, float(risk().detach()), network)


def excess(found: Feasible, data: Blobs, decay: float) -> float:
    """Risk of the network that the linear programs make, over the least there is, less 1."""
    W1, W2 = found.network(decay, decay)
    features = (data.inputs @ W1.T).relu()
    target = torch.eye(len(W2), dtype=torch.float64)[data.labels]
    loss = ((features @ W2.T - target) ** 2).sum() / (2 * len(target))
    risk = loss + decay / 2 * ((W2**2).sum() + (features**2).sum())
    return float(risk) / shallow_bound(found.counts, decay, decay) - 1


def trained_row(
    plan: Plan, data: Blobs, width: int, seed: int, on_features: bool = True
) -> dict[str, Any]:
    """A network trained as the plan says: its nc1_ratio, risk above the bound of free features,
    accuracies, and whether its data can collapse."""
    found = fit_two_layers(
        data.inputs,
        data.labels,
        width,
        decay=plan["decay"],
        on_features=on_features,
        steps=plan["steps"],
        polish=plan["polish"],
        seed=seed,
    )
    bound = shallow_bound([plan["each"]] * plan["classes"], plan["decay"], plan["decay"])

    def accuracy(inputs: Tensor, labels: Tensor) -> float:
        return float((found.network(inputs).argmax(1) == labels).to(torch.float64).mean())

    return {
        "nc1": readings(found.features, data.labels, ("nc1_ratio",))["nc1_ratio"],
        "excess": found.risk - bound,
        "accuracy": accuracy(data.test, data.test_labels),
        "train": accuracy(data.inputs, data.labels),
        "feasible": bool(nc_feasible(data.inputs, data.labels)),
    }
