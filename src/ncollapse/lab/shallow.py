"""Small ReLU networks trained to the end on data of means and noise, or by flow on rays of data."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ncollapse.collect.statistics.classes import ClassMoments
from ncollapse.collect.statistics.directions import Directions
from ncollapse.geometry import Geometry
from ncollapse.metrics.catalog import METRICS

# Logarithm of odds that no longer change 1 + odds.
TINY_ODDS = -40.0


@dataclass(frozen=True, eq=False)
class Blobs:
    """Unit Gaussian noise about class means of norm `signal` in random directions: balanced
    inputs (N, d) with labels, and as many samples a class to test on as asked for."""

    inputs: Float[Tensor, "samples dim"]
    labels: Int[Tensor, " samples"]
    test: Float[Tensor, "tests dim"]
    test_labels: Int[Tensor, " tests"]


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


# ---- flow from small weights on orthogonally separable data -------------------------------------
def separable(
    classes: int, dim: int, each: int, noise: float, seed: int
) -> tuple[Float[Tensor, "samples dim"], Int[Tensor, " samples"]]:
    """Inputs whose cosines are positive within classes and negative across: the vertices of a
    simplex with Gaussian noise of length `noise`, at lengths of .8 to 1.2. Noise is halved until
    all signs are right. Raises ValueError where dim < classes - 1."""
    generator = torch.Generator().manual_seed(seed)
    frame = Geometry.simplex_etf(classes, dim, seed=seed).means
    assert frame is not None
    labels = torch.arange(classes).repeat_interleave(each)
    drawn = torch.randn(len(labels), dim, generator=generator, dtype=torch.float64)
    size = 0.8 + 0.4 * torch.rand(len(labels), 1, generator=generator, dtype=torch.float64)
    same = labels[:, None] == labels
    while True:
        rows = frame[labels] + noise / math.sqrt(dim) * drawn
        unit = rows / rows.norm(dim=1, keepdim=True)
        cosines = unit @ unit.T
        if float(cosines[same].min()) > 0 > float(cosines[~same].max()):
            return size * unit, labels
        noise /= 2


def flow(
    inputs: Float[Tensor, "samples dim"],
    labels: Int[Tensor, " samples"],
    width: int,
    *,
    scale: float,
    steps: int,
    rate: float = 0.01,
    dealt: bool = True,
    seed: int = 0,
) -> tuple[Float[Tensor, "samples units"], Float[Tensor, "classes units"]]:
    """Features and head of V s(Wᵀx) under cross-entropy, by gradient descent with steps over the
    loss and, past 1, over ‖V‖², so that margins grow alike every step. Neurons start with weights
    and outputs of length `scale`: dealt among classes along a sample's direction and its label less
    the mean of labels, or else in random directions."""
    generator = np.random.default_rng(seed)
    X, y = inputs.numpy(), labels.numpy()
    K, N = int(y.max()) + 1, len(y)
    if dealt:
        chosen = generator.choice(N, size=width, replace=width > N)
        W, out = X[chosen], (np.eye(K) - 1 / K)[y[chosen]]
    else:
        W, out = generator.normal(size=(width, X.shape[1])), generator.normal(size=(width, K))
    W = scale * W / np.linalg.norm(W, axis=1, keepdims=True)
    V = scale * (out / np.linalg.norm(out, axis=1, keepdims=True)).T
    own = np.arange(N), y
    for _ in range(steps):
        H = np.maximum(X @ W.T, 0)
        Z = H @ V.T
        odds = Z - Z[own][:, None]
        odds[own] = -np.inf
        top = odds.max()
        # Where all are below rounding of 1 their common size drops out of gradient over loss.
        tiny = top < TINY_ODDS
        odds = np.exp(odds - (top if tiny else 0))
        rest = odds.sum(1)
        whole = np.ones(N) if tiny else 1 + rest
        loss = rest.mean() if tiny else np.log1p(rest).mean()
        # Softmax less one-hot, the label's entry as a sum, so that it is right when it is tiny.
        G = odds / whole[:, None]
        G[own] = -rest / whole
        G /= N * loss
        back = (G @ V) * (H > 0)
        step = rate / max(1.0, (V**2).sum())
        V -= step * (G.T @ H)
        W -= step * (back.T @ X)
    H = np.maximum(X @ W.T, 0)
    return torch.from_numpy(H), torch.from_numpy(V)


def readings(
    features: Float[Tensor, "samples units"],
    labels: Int[Tensor, " samples"],
    keys: tuple[str, ...],
    head: Float[Tensor, "classes units"] | None = None,
) -> dict[str, float]:
    """Values of rows of the catalog on features and labels."""
    number, width = int(labels.max()) + 1, features.shape[1]
    moments, rays = ClassMoments(number, width), Directions(number, width)
    for statistic in (moments, rays):
        statistic.update(features, labels)
    moments.flush()
    parts: dict[str, Any] = {
        "statistics": moments.statistics(),
        "geometry": moments.geometry(head),
        "rays": rays.result(),
    }
    return {key: float(METRICS[key].evaluate(**parts)) for key in keys}
