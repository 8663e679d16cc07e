"""Optimal transport between clouds of samples: W2, straightness of a path, who goes to whom.

    W2² = min_π Σ_ij π_ij ‖x_i - y_j‖²,  π ≥ 0 with row sums a and column sums b

Two clouds of one size and equal weights have an optimal π that is a permutation, found exactly by
scipy's assignment; all else goes through POT, which is imported when it is needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.sources.specs.optional import optional

# Up to here clouds are transported exactly; the cost of an assignment grows like N³.
EXACT = 2000
# Entropic regularisation over the mean cost, and the most iterations: the log domain is slow, and
# POT's stabilised one returns plans of no mass where it does not converge.
BLUR, ITERATIONS = 0.02, 300

TINY = float(np.finfo(np.float64).tiny)
Above = Literal["sample", "sinkhorn"]


@dataclass(frozen=True)
class Transport:
    """squared: W2², in squared units of the features. route: how it was found, in words. samples:
    how many of each cloud were transported."""

    squared: float
    route: str
    samples: tuple[int, int]

    @property
    def distance(self) -> float:
        """W2."""
        return math.sqrt(self.squared)


@dataclass(frozen=True)
class Pairing:
    """How good the pairing i → i of two clouds is as a transport plan.

    optimality: (1/N) Σ ‖y_i - x_i‖²/W2² ≥ 1, 1 iff no plan is cheaper (infinite where the clouds
    coincide but for their order). matched: share of samples that an optimal plan leaves paired
    with themselves, in [0, 1]; of several optimal plans it is the one found.
    """

    optimality: float
    matched: float
    squared: float


def wasserstein2(
    first: Tensor,
    second: Tensor,
    weights: tuple[Tensor, Tensor] | None = None,
    *,
    exact: int = EXACT,
    above: Above = "sample",
    seed: int = 0,
) -> Transport:
    """W2 between two clouds (samples, features); `route` of the result says how it was found.

    weights: masses of the samples of either cloud, each scaled to total 1; equal by default.
    Clouds of at most `exact` samples are transported exactly: one size and no weights by
    assignment, else by POT's network simplex. Larger ones by `above`: "sample" transports `exact`
    samples drawn by `seed` (without replacement, the same numbers in both clouds where they have
    one size; by mass and with replacement where there are weights), which reads high on average
    since W2² is convex; "sinkhorn" takes the cost of POT's entropic plan (blur 2 % of the mean
    cost), its marginals made exact: an upper bound, some per cent high.

    Range ≥ 0, ideal 0 for equal clouds. Raises ValueError for widths that differ, empty or
    non-finite clouds, weights that are no masses, and where POT is needed and missing. Source:
    Villani 2009 (remembered, not read).
    """
    x, y = _cloud(first, "first"), _cloud(second, "second")
    if x.shape[1] != y.shape[1]:
        raise ValueError(
            f"clouds of {x.shape[1]} and {y.shape[1]} features; a transport needs one width"
        )
    if exact < 1:
        raise ValueError(f"exact={exact}; at least 1 sample has to be transported")
    if above not in ("sample", "sinkhorn"):
        raise ValueError(f"above={above!r} is unknown; sample or sinkhorn is needed")
    a, b = _masses(weights, len(x), len(y))
    most = max(len(x), len(y))
    drawn = most > exact and above == "sample"
    if drawn:
        x, y = x[_drawn(a, len(x), exact, seed)], y[_drawn(b, len(y), exact, seed)]
        a = b = None
    sizes = (len(x), len(y))
    said = f" of {sizes[0]} and {sizes[1]} samples drawn by seed {seed}" if drawn else ""
    if a is None and len(x) == len(y) and (drawn or most <= exact):
        return Transport(assigned(x, y)[0], "exact assignment" + said, sizes)
    squared, words = _by_pot(x, y, a, b, entropic=most > exact and not drawn)
    return Transport(squared, words + said, sizes)


def assigned(x: Float[Tensor, "rows dim"], y: Float[Tensor, "rows dim"]) -> tuple[float, Tensor]:
    """W2² of two float64 clouds of one size, and the partner of every row of x.

    Costs for the assignment come from one matrix product; the value is summed from the
    differences of partners, so that it is exact where clouds nearly coincide.
    """
    from scipy.optimize import linear_sum_assignment

    _, columns = linear_sum_assignment(_costs(x, y).numpy())
    partner = torch.from_numpy(np.asarray(columns, dtype=np.int64))
    return float(((x - y[partner]) ** 2).sum() / len(x)), partner


def pairing(x: Tensor, y: Tensor) -> Pairing:
    """How good it is to leave every sample with itself, clouds (samples, features); see `Pairing`.

    Raises ValueError for sizes or widths that differ.
    """
    first, second = _cloud(x, "first"), _cloud(y, "second")
    if first.shape != second.shape:
        raise ValueError(
            f"clouds of shapes {tuple(first.shape)} and {tuple(second.shape)}; a pairing needs "
            "the same samples at one width"
        )
    squared, partner = assigned(first, second)
    own = float(((first - second) ** 2).sum() / len(first))
    matched = float((partner == torch.arange(len(first))).to(torch.float64).mean())
    return Pairing(_over(own, squared), matched, squared)


def straightness(steps: Sequence[float], whole: float) -> float:
    """Σ_l W2(l, l+1)/W2(0, L) ≥ 1, 1 iff the clouds lie on one W2 geodesic; infinite where the
    path returns to where it began. Not differentiable."""
    return _over(sum(steps), whole)


def draw(count: int, most: int, seed: int) -> Tensor:
    """Numbers of at most `most` of `count` samples without replacement, ascending."""
    if count <= most:
        return torch.arange(count)
    rng = np.random.default_rng(seed)
    return torch.from_numpy(np.sort(rng.choice(count, most, replace=False)))


def _drawn(mass: Tensor | None, count: int, most: int, seed: int) -> Tensor:
    if mass is None:
        return draw(count, most, seed)
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.choice(count, most, p=mass.numpy()))


def _over(value: float, bound: float) -> float:
    if bound == 0:
        return 1.0 if value == 0 else math.inf
    return value / bound


def _costs(x: Tensor, y: Tensor) -> Tensor:
    centre = (x.mean(0) + y.mean(0)) / 2
    x, y = x - centre, y - centre
    return ((x**2).sum(1)[:, None] + (y**2).sum(1) - 2 * x @ y.T).clamp_min(0)


def _by_pot(
    x: Tensor, y: Tensor, a: Tensor | None, b: Tensor | None, *, entropic: bool
) -> tuple[float, str]:
    ot: Any = optional("ot")
    cost = _costs(x, y).numpy()
    masses = [
        np.full(len(z), 1 / len(z)) if mass is None else mass.numpy()
        for z, mass in ((x, a), (y, b))
    ]
    if not entropic:
        return float(ot.emd2(*masses, cost, numItermax=10_000_000)), "exact plan (POT)"
    scale = float(cost.mean()) or 1.0
    plan = ot.sinkhorn(
        *masses,
        cost,
        BLUR * scale,
        method="sinkhorn_log",
        numItermax=ITERATIONS,
        stopThr=1e-6,
        warn=False,
    )
    words = f"Sinkhorn plan (POT, blur {BLUR:g} of the mean cost), an upper bound"
    return float((_feasible(plan, *masses) * cost).sum()), words


def _feasible(plan: Any, rows: Any, columns: Any) -> Any:
    """The plan with exact marginals: shrunk to them, what is missing spread as a product."""
    plan = plan * np.minimum(rows / np.maximum(plan.sum(1), TINY), 1)[:, None]
    plan = plan * np.minimum(columns / np.maximum(plan.sum(0), TINY), 1)
    left, right = rows - plan.sum(1), columns - plan.sum(0)
    return plan + np.outer(left, right) / max(left.sum(), TINY)


def _cloud(rows: Tensor, name: str) -> Tensor:
    if rows.dim() != 2 or not rows.shape[0]:
        raise ValueError(
            f"the {name} cloud has shape {tuple(rows.shape)}; (samples, features) with at least "
            "one sample is needed"
        )
    cloud = rows.detach().to(device="cpu", dtype=torch.float64)
    if not bool(torch.isfinite(cloud).all()):
        raise ValueError(f"the {name} cloud has NaN or infinite features; finite ones are needed")
    return cloud


def _masses(
    weights: tuple[Tensor, Tensor] | None, rows: int, others: int
) -> tuple[Tensor | None, Tensor | None]:
    if weights is None:
        return None, None
    found = []
    for mass, size in zip(weights, (rows, others), strict=True):
        mass = mass.detach().to(device="cpu", dtype=torch.float64)
        if mass.shape != (size,) or not bool((mass >= 0).all()) or not float(mass.sum()) > 0:
            raise ValueError(
                f"weights of shape {tuple(mass.shape)} for {size} samples; one mass ≥ 0 a sample "
                "with a positive total is needed"
            )
        found.append(mass / mass.sum())
    return found[0], found[1]
