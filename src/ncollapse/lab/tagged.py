"""Several labels a sample in studies: free features by descent, and overlaid digits."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import ncollapse as nc
from ncollapse.control import PickAllLabelsLoss
from ncollapse.lab.data import digits
from ncollapse.theory.solvers.multilabel import PickAll, pick_all

KEYS = ("ml_nc1", "ml_nc2", "ml_nc2_weights", "ml_nc3", "ml_tag_cosine", "ml_tag_other")


def all_sets(classes: int, repeats: Mapping[int, int]) -> Tensor:
    """Labels (N, K): every set of m labels `repeats[m]` times."""
    rows = []
    for m, times in sorted(repeats.items()):
        for chosen in itertools.combinations(range(classes), m):
            row = torch.zeros(classes, dtype=torch.int64)
            row[list(chosen)] = 1
            rows += [row] * times
    return torch.stack(rows)


def by_size(labels: Tensor) -> dict[int, int]:
    """Samples by number of labels."""
    sizes, counts = labels.sum(1).unique(return_counts=True)
    return {int(m): int(n) for m, n in zip(sizes, counts, strict=True) if m > 0}


def predicted(labels: Tensor, decay: float) -> PickAll:
    """Theory for mean pick-all-labels loss + decay/2 (‖W‖² + mean ‖h‖²)."""
    return pick_all(by_size(labels), labels.shape[1], decay, decay / len(labels))


def descended(
    labels: Tensor, width: int, decay: float, seed: int, iterations: int
) -> tuple[float, Tensor, Tensor]:
    """(objective, W, H) where L-BFGS on a free W and H ends, without a bias."""
    from scipy.optimize import minimize

    N, K = labels.shape
    loss = PickAllLabelsLoss()

    def f(values: Any) -> tuple[float, Any]:
        t = torch.tensor(values, dtype=torch.float64, requires_grad=True)
        W, H = t[: K * width].view(K, width), t[K * width :].view(N, width)
        value = loss(H @ W.T, labels) + decay / 2 * (W.square().sum() + H.square().sum() / N)
        value.backward()
        assert t.grad is not None
        return value.item(), t.grad.numpy()

    start = np.random.default_rng(seed).normal(size=(K + N) * width) / 2
    options = {"maxiter": iterations, "maxfun": 2 * iterations, "ftol": 1e-16, "gtol": 1e-9}
    found = minimize(f, start, jac=True, method="L-BFGS-B", options=options)
    x = torch.from_numpy(found.x)
    return float(found.fun), x[: K * width].view(K, width), x[K * width :].view(N, width)


def readings(features: Tensor, labels: Tensor, weight: Tensor) -> dict[str, Any]:
    """Values of the rows of several labels, and C_m of every m there is."""
    measured = nc.measure_features(
        features, labels, weight=weight, null=False, intervals=False, task="multilabel"
    )
    found: dict[str, Any] = {key: measured.value(key) for key in KEYS}
    found["scales"] = measured.document.config["details"]["train"]["scales"]
    return found


def overlaid(repeats: Mapping[int, int], seed: int) -> tuple[Tensor, Tensor]:
    """Images (N, 64), labels (N, 10): of every set of m digits so many images, each the brightest
    pixel of one training image a digit, drawn by an own generator."""
    data, generator = digits(), np.random.default_rng(seed)
    pixels, y = data.train_x.flatten(1), data.train_y
    own = [(y == k).nonzero().flatten() for k in range(10)]
    labels = all_sets(10, repeats)
    images = []
    for row in labels:
        drawn = [int(generator.choice(own[k])) for k in row.nonzero().flatten().tolist()]
        images.append(pixels[drawn].max(0).values)
    return torch.stack(images), labels


def trained(
    images: Tensor,
    labels: Tensor,
    *,
    widths: Sequence[int],
    steps: int,
    batch: int,
    rate: float,
    decay: float,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """(features, weight) of a network with linear last features and no bias in its head, trained on
    mean pick-all-labels loss + decay/2 (‖W‖² + mean ‖h‖²) by Adam, its rate a half cosine."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        sizes = [images.shape[1], *widths]
        for a, b in itertools.pairwise(sizes):
            layers += [nn.Linear(a, b), nn.ReLU()]
        body = nn.Sequential(*layers[:-1])
        head = nn.Linear(widths[-1], labels.shape[1], bias=False)
    optimizer = torch.optim.Adam([*body.parameters(), *head.parameters()], lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator, loss = torch.Generator().manual_seed(seed), PickAllLabelsLoss()
    for _ in range(steps):
        part = torch.randint(len(images), (batch,), generator=generator)
        features = body(images[part])
        value = loss(head(features), labels[part])
        value = value + decay / 2 * (head.weight.square().sum() + features.square().sum(1).mean())
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return body(images), head.weight.detach()
