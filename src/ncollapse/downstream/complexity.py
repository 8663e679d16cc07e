"""Geometric complexity: how fast features move with inputs, and what that leaves of CDNV.

    GC(f) = (1/n) Σ_i ‖∂f/∂x (x_i)‖_F² = (1/n) Σ_i E_v ‖J(x_i)ᵀv‖²,   v of random signs (Hutchinson)

Where a class obeys Poincaré's inequality with constant c (a Gaussian one does with c = λ_max of its
covariance), the variance of f within it is at most c times its complexity, so

    CDNV_ij ≤ (c_i GC_i + c_j GC_j)/(2 ‖μ_i - μ_j‖²)

with equality for linear f and round classes. Complexity has the units of (feature/input)²: two
networks compare only after division by the variance of their features (`scaled`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ncollapse.collect.tap.preserve import evaluating
from ncollapse.pairs.sums import squared_distances

Function = Callable[[Tensor], Tensor]
# Up to so many features the Jacobian is formed row by row; past them it is probed.
EXACT, PROBES, BLOCK = 32, 64, 256


@dataclass(frozen=True, eq=False)
class Complexity:
    """Of n samples: `value` ± 1.96 standard errors (low, high) over samples and probes; `each` (n)
    by sample; probes: how many, 0 where Jacobians are exact. variance: of the features."""

    value: float
    low: float
    high: float
    each: Float[Tensor, " samples"]
    probes: int
    variance: float

    @property
    def exact(self) -> bool:
        """Whether Jacobians were formed; the interval is then over samples alone."""
        return self.probes == 0

    @property
    def scaled(self) -> float:
        """Value over the variance of the features: free of their scale."""
        return self.value / self.variance if self.variance > 0 else math.nan


def geometric_complexity(
    embed: nn.Module | Function,
    inputs: Float[Tensor, "samples ..."],
    *,
    probes: int = PROBES,
    exact: bool | None = None,
    seed: int = 0,
) -> Complexity:
    """Geometric complexity of `embed`, which maps inputs (n, …) to features (n, …), sample by
    sample: modules run in eval mode (batch normalisation would mix samples) and are put back.

    exact: Jacobians row by row (default: up to 32 features); else `probes` vectors of random signs
    for every sample, drawn by an own generator. A backward pass each. Raises ValueError for inputs
    that are no floats, no samples, no probes, and a function without a derivative.
    Source: Dherin et al. 2022; Munn, Dherin, Gonzalvo 2024 (abstract read).
    """
    if not inputs.is_floating_point() or inputs.dim() < 2 or inputs.shape[0] == 0:
        raise ValueError(
            f"inputs have shape {tuple(inputs.shape)} and dtype {inputs.dtype}; at least one "
            "sample of real numbers is needed: texts and token numbers have no derivative"
        )
    if probes < 1:
        raise ValueError(f"probes={probes}; at least 1 is needed")
    generator = torch.Generator().manual_seed(seed)
    if not isinstance(embed, nn.Module):
        return _complexity(embed, inputs, probes, exact, generator)
    with evaluating(embed):
        return _complexity(embed, inputs, probes, exact, generator)


def _complexity(
    embed: Function, inputs: Tensor, probes: int, exact: bool | None, generator: torch.Generator
) -> Complexity:
    each: list[Tensor] = []
    features: list[Tensor] = []
    used = probes
    for start in range(0, inputs.shape[0], BLOCK):
        # Also where a caller has switched gradients off.
        with torch.enable_grad():
            rows = inputs[start : start + BLOCK].detach().clone().requires_grad_(True)
            made = embed(rows).flatten(1)
            if not made.requires_grad:
                raise ValueError(
                    "the features have no derivative by the inputs; a function of torch that keeps "
                    "its graph is needed (no torch.no_grad, no detach)"
                )
            if exact is None:
                exact = made.shape[1] <= EXACT
            number = made.shape[1] if exact else probes
            total = torch.zeros(rows.shape[0], dtype=torch.float64)
            for turn in range(number):
                if exact:
                    v = torch.zeros_like(made)
                    v[:, turn] = 1
                else:
                    signs = torch.randint(2, made.shape, generator=generator)
                    v = (2 * signs - 1).to(made)
                (slope,) = torch.autograd.grad(made, rows, v, retain_graph=turn + 1 < number)
                total += slope.detach().flatten(1).to("cpu", torch.float64).square().sum(1)
        each.append(total if exact else total / probes)
        features.append(made.detach().to("cpu", torch.float64))
        used = 0 if exact else probes
    found, held = torch.cat(each), torch.cat(features)
    value, n = float(found.mean()), found.numel()
    error = float(found.std()) / math.sqrt(n) if n > 1 else math.nan
    variance = float((held - held.mean(0)).square().sum(1).mean())
    return Complexity(value, value - 1.96 * error, value + 1.96 * error, found, used, variance)


def poincare_gaussian(
    inputs: Float[Tensor, "samples ..."], labels: Int[Tensor, " samples"]
) -> Float[Tensor, " classes"]:
    """λ_max of the covariance (divisor n) of each class present, ascending: the Poincaré constant
    of a Gaussian with that covariance. Data that are not Gaussian may have a larger one."""
    flat = inputs.detach().flatten(1).to("cpu", torch.float64)
    found = []
    for label in labels.unique():
        mine = flat[labels == label]
        mine = mine - mine.mean(0)
        found.append(torch.linalg.matrix_norm(mine, 2) ** 2 / len(mine))
    return torch.stack(found)


@dataclass(frozen=True)
class Bounded:
    """CDNV of features and what their complexity allows it to be, both means over pairs. It is a
    bound where the constants are those of the classes' laws; `geometric` leaves them out (c = 1),
    the published "geometric collapse"."""

    cdnv: float
    bound: float
    geometric: float


def complexity_bound(
    embed: nn.Module | Function,
    inputs: Float[Tensor, "samples ..."],
    labels: Int[Tensor, " samples"],
    constants: Sequence[float] | Float[Tensor, " classes"] | None = None,
    *,
    probes: int = PROBES,
    exact: bool | None = None,
    seed: int = 0,
) -> Bounded:
    """CDNV against (c_i GC_i + c_j GC_j)/(2 ‖μ_i - μ_j‖²), means over pairs of classes.

    constants: Poincaré constants of the classes in ascending order; those of Gaussians with the
    classes' covariances by default. Raises ValueError for one class, for constants that are not one
    a class, and as `geometric_complexity` does. Source: derived here; geometric collapse of Munn,
    Dherin, Gonzalvo 2024.
    """
    present = labels.unique()
    if present.numel() < 2:
        raise ValueError(f"labels hold {present.numel()} class; CDNV needs at least two")
    given = poincare_gaussian(inputs, labels) if constants is None else constants
    c = torch.as_tensor(given, dtype=torch.float64)
    if c.shape != present.shape:
        raise ValueError(
            f"{c.numel()} constants for {present.numel()} classes; one a class is needed"
        )
    each = geometric_complexity(embed, inputs, probes=probes, exact=exact, seed=seed).each
    features = _features(embed, inputs)
    means, spreads, rates = [], [], []
    for label in present:
        mine = labels == label
        means.append(features[mine].mean(0))
        spreads.append((features[mine] - means[-1]).square().sum(1).mean())
        rates.append(each[mine].mean())
    centres, v, rate = torch.stack(means), torch.stack(spreads), torch.stack(rates)
    square = squared_distances(centres - centres.mean(0))

    def over_pairs(values: Tensor) -> float:
        term = (values[:, None] + values) / (2 * square)
        off = ~torch.eye(len(values), dtype=torch.bool)
        return float(term[off].mean())

    return Bounded(over_pairs(v), over_pairs(c * rate), over_pairs(rate))


def _features(embed: nn.Module | Function, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        if isinstance(embed, nn.Module):
            with evaluating(embed):
                made = embed(inputs)
        else:
            made = embed(inputs)
    return made.flatten(1).to("cpu", torch.float64)
