"""Populations of features whose class means, spreads and head are known, by family and seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ncollapse.geometry import Geometry
from ncollapse.lab.calibration import truth
from ncollapse.lab.data import geometric_counts

CLASSES, WIDTHS, COUNTS = (3, 4, 5, 8, 10, 20), (8, 16, 32, 64, 128), (10, 20, 50, 100, 200)
NOISES = ("isotropic", "few directions", "heavy tails")
HEADS = ("dual", "dual", "turned", "turned", "random", "moved")
RATIOS = (3e-3, 10.0)
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Sampled:
    """Features with labels, and the head that decides about them."""

    features: Float[Tensor, "samples dim"]
    labels: Int[Tensor, " samples"]
    weight: Float[Tensor, "classes dim"]
    bias: Float[Tensor, " classes"]

    @property
    def logits(self) -> Float[Tensor, "samples classes"]:
        return self.features @ self.weight.T + self.bias

    @property
    def counts(self) -> Int[Tensor, " classes"]:
        return torch.bincount(self.labels, minlength=len(self.weight))


@dataclass(frozen=True, eq=False)
class Population:
    """h = μ_c + σ_c A ε. means: μ. spread: σ. mixing: A (q, d). heavy: ε is Student's t with five
    degrees of freedom, else normal. counts: samples a class of the draw that is judged."""

    family: str
    means: Float[Tensor, "classes dim"]
    spread: Float[Tensor, " classes"]
    mixing: Float[Tensor, "noise dim"]
    heavy: bool
    weight: Float[Tensor, "classes dim"]
    bias: Float[Tensor, " classes"]
    counts: tuple[int, ...]

    def draw(self, counts: Sequence[int], seed: int) -> Sampled:
        """counts[c] samples of class c."""
        generator = torch.Generator().manual_seed(seed)
        labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
        shape = (len(labels), self.mixing.shape[0])
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        if self.heavy:
            chi = torch.randn((len(labels), 5), generator=generator, dtype=torch.float64)
            # Student's t with 5 degrees of freedom has variance 5/3.
            noise = noise / (chi**2).mean(1, keepdim=True).sqrt() * 0.6**0.5
        features = self.means[labels] + self.spread[labels, None] * (noise @ self.mixing)
        return Sampled(features, labels, self.weight, self.bias)

    def truths(self, samples: int, seed: int) -> dict[str, str]:
        """By question, from so many fresh samples a class."""
        fresh = self.draw((samples,) * len(self.means), seed)
        counts = torch.tensor(self.counts)
        share = truth.differing(fresh.features, fresh.labels, self.means, fresh.logits, counts)
        return {
            "collapsed": truth.collapsed(fresh.features, fresh.labels, seed),
            "frame": truth.frame(self.means),
            "dual": truth.dual(self.weight, self.means),
            "nearest": truth.nearest(share, share),
        }


def population(family: str, number: int) -> Population:
    """The population of a family and number; the same every time. Raises ValueError for an unknown
    family."""
    if family not in MAKERS:
        raise ValueError(f"family {family!r} is unknown; one of {', '.join(MAKERS)} is needed")
    generator = torch.Generator().manual_seed(1000 * sorted(MAKERS).index(family) + number)
    pick = _Pick(generator)
    K = pick.of(CLASSES)
    wide = pick.of([width for width in WIDTHS if width >= K])
    d = max(2, (K - 1) // 2) if family == "narrow" else wide
    means, spread = MAKERS[family](K, d, pick)
    if family != "orthogonal":
        # A shared shift, so that raw means are not orthogonal by chance.
        means = means + pick.of((0.0, 3.0)) * pick.normal(1, d) / d**0.5
    mixing = torch.eye(d, dtype=torch.float64)
    noise = pick.of(NOISES)
    if noise == "few directions":
        mixing = pick.normal(min(d, pick.of((3, 6, 8))), d)
    centred = means - means.mean(0)
    between = (centred**2).sum(1).mean()
    ratio = pick.between(*RATIOS)
    scale = (ratio * between / ((spread**2).median() * (mixing**2).sum())).sqrt()
    most = pick.of(COUNTS)
    fewest = max(3, most // 10) if pick.of((False, False, True)) else most
    weight, bias = _head(pick.of(HEADS), means, pick)
    counts = geometric_counts(most, fewest, K)
    heavy = noise == "heavy tails"
    return Population(family, means, spread * scale, mixing, heavy, weight, bias, counts)


class _Pick:
    """Choices by an own generator."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def of(self, values: Sequence[T]) -> T:
        return values[int(torch.randint(len(values), (1,), generator=self.generator))]

    def between(self, low: float, high: float) -> float:
        """Uniform in the logarithm."""
        share = float(torch.rand(1, generator=self.generator))
        return float(low * (high / low) ** share)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, dtype=torch.float64)


def _simplex(K: int, d: int, pick: _Pick) -> tuple[Tensor, Tensor]:
    found = Geometry.simplex_etf(K, d, seed=pick.of(range(1000))).means
    assert found is not None
    return found, torch.ones(K, dtype=torch.float64)


def _near(K: int, d: int, pick: _Pick) -> tuple[Tensor, Tensor]:
    means, spread = _simplex(K, d, pick)
    return means + pick.between(0.05, 1.0) * pick.normal(K, d) / d**0.5, spread


def _random(K: int, d: int, pick: _Pick) -> tuple[Tensor, Tensor]:
    return pick.normal(K, d) / d**0.5, torch.ones(K, dtype=torch.float64)


def _orthogonal(K: int, d: int, pick: _Pick) -> tuple[Tensor, Tensor]:
    rows = torch.linalg.qr(pick.normal(d, K)).Q.T
    return rows, torch.ones(K, dtype=torch.float64)


def _lengths(K: int, d: int, pick: _Pick) -> tuple[Tensor, Tensor]:
    means, spread = _simplex(K, d, pick)
    power = torch.linspace(0, 1, K, dtype=torch.float64)
    return means * pick.between(1.05, 4.0) ** power[:, None], spread


def _merged(K: int, d: int, pick: _Pick) -> tuple[Tensor, Tensor]:
    means, spread = _simplex(K, d, pick)
    means = means.clone()
    means[1] = means[0] + pick.of((0.0, 0.1, 0.3)) * (means[1] - means[0])
    return means, spread


def _one_wide(K: int, d: int, pick: _Pick) -> tuple[Tensor, Tensor]:
    means, spread = _simplex(K, d, pick)
    spread[0] = pick.between(2.0, 10.0)
    return means, spread


MAKERS = {
    "simplex": _simplex,
    "near": _near,
    "random": _random,
    "orthogonal": _orthogonal,
    "lengths": _lengths,
    "merged": _merged,
    "one-wide": _one_wide,
    "narrow": _random,
}


def _head(kind: str, means: Tensor, pick: _Pick) -> tuple[Tensor, Tensor]:
    """Rows on the centred means, turned by an angle, random or moved by one class; the bias that
    makes the dual one decide as nearest centres do."""
    middle = means.mean(0)
    M = means - middle
    norms = M.norm(dim=1, keepdim=True)
    weight = M.clone()
    if kind == "turned":
        side = pick.normal(*M.shape)
        side = side - (side * M).sum(1, keepdim=True) / norms**2 * M
        tangent = torch.tan(torch.deg2rad(torch.tensor(pick.between(5.0, 75.0))))
        weight = M + tangent * norms * torch.nn.functional.normalize(side, dim=1)
    elif kind == "random":
        weight = torch.nn.functional.normalize(pick.normal(*M.shape), dim=1) * norms
    elif kind == "moved":
        weight = M.roll(1, 0)
    return weight, -(norms[:, 0] ** 2) / 2 - weight @ middle
