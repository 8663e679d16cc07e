"""Flow of a two-layer ReLU network on separable data, and readings of the rays it ends on."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ncollapse.collect.statistics.classes import ClassMoments
from ncollapse.collect.statistics.directions import Directions
from ncollapse.geometry import Geometry
from ncollapse.metrics.catalog import METRICS
from ncollapse.theory.subjects.rays import NormLaw

# Logarithm of odds that no longer change 1 + odds.
TINY_ODDS = -40.0


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


def predicted_nc1(
    law: NormLaw, features: Float[Tensor, "samples units"], labels: Int[Tensor, " samples"]
) -> float:
    """nc1_ratio of rays along orthogonal directions with lengths s_k ⟨u_k, x_i⟩, s_k that of the
    measured mean length."""
    size = features.norm(dim=1)
    rays = torch.zeros(len(labels), len(law.margins), dtype=torch.float64)
    for k in range(len(law.margins)):
        mine = labels == k
        rays[mine, k] = law.projections[mine] * (size[mine].mean() / law.projections[mine].mean())
    return readings(rays, labels, ("nc1_ratio",))["nc1_ratio"]
