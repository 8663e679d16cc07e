"""The sample-level objective of every problem: what training would minimise, feature by feature.

Solvers work on class means and lean on proofs; this file leans on nothing, so that it can check
them. A `Point` holds what is free; `Objective` maps a flat float64 vector of free variables to a
feasible point and gives value, gradient and Hessian-vector product of f in those variables:

- UFM, ULPM, DeepLinearUFM: the variables are the point's own entries (H ≥ 0 by bounds).
- NormalizedUFM: rows are divided by their norm; GUFM centres features over their entries first.
- LPM: each ball is the shadow of a sphere with one slack more, W = √(K E_W) X / √(‖X‖² + s²):
  smooth, and the inside can be reached as well as the boundary.

With per_class=True a class has one feature that stands for its n_k samples: K rows instead of N.
That loses nothing where `collapses` says so: for a given classifier all samples of a class minimise
one and the same function of their feature, H ≥ 0 or not, so that some minimiser gives them one
feature (derived; for a convex loss with decay every minimiser does, by Jensen's inequality).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from ncollapse.geometry import Geometry
from ncollapse.losses import CrossEntropy, Focal, Loss, MeanSquaredError
from ncollapse.theory.problems.problem import (
    GUFM,
    LPM,
    UFM,
    DeepLinearUFM,
    FixedHead,
    NormalizedUFM,
    Problem,
)

Flat = Float[Tensor, " variables"]


@dataclass(frozen=True, eq=False)
class Point:
    """weight (K, d), features (N, d) or (K, d), bias (K) or None; all float64.

    inner: W_1, …, W_{M-1} of a deep linear problem, each (d, d), from the features up; `weight` is
    then the last factor W_M.
    """

    weight: Float[Tensor, "classes dim"]
    features: Float[Tensor, "samples dim"]
    bias: Float[Tensor, " classes"] | None = None
    inner: tuple[Tensor, ...] = ()

    @property
    def classifier(self) -> Float[Tensor, "classes dim"]:
        """W_M ⋯ W_1, the whole linear map above the features; `weight` unless deep."""
        found = self.weight
        for factor in reversed(self.inner):
            found = found @ factor
        return found

    @property
    def entering(self) -> Float[Tensor, "samples dim"]:
        """Features as they enter `weight`: W_{M-1} ⋯ W_1 h; `features` unless deep."""
        found = self.features
        for factor in self.inner:
            found = found @ factor.T
        return found

    @property
    def logits(self) -> Float[Tensor, "samples classes"]:
        found = self.features @ self.classifier.T
        return found if self.bias is None else found + self.bias

    @property
    def parts(self) -> tuple[Tensor, ...]:
        """All free tensors in the order of the flat vector."""
        found = (self.weight, self.features, *self.inner)
        return found if self.bias is None else (*found, self.bias)

    def widened(self, width: int) -> Point:
        """The same logits and norms with zero columns appended up to d = width.

        Critical points stay critical: every gradient in a zero column is a product with a zero
        column. Raises ValueError when width is below d or the point is deep.
        """
        extra = width - self.weight.shape[1]
        if extra < 0 or self.inner:
            raise ValueError(
                f"width {width} asked of a point of width {self.weight.shape[1]} with "
                f"{len(self.inner)} inner factors; a larger width and no inner factor are needed"
            )
        return Point(
            functional.pad(self.weight, (0, extra)),
            functional.pad(self.features, (0, extra)),
            self.bias,
        )

    def geometry(self, counts: tuple[int, ...]) -> Geometry:
        """Weight, class means of what enters it, bias and counts of this point."""
        return Geometry(
            class_means(self.entering, counts),
            self.weight,
            self.bias,
            torch.tensor(counts, dtype=torch.int64),
        )


def class_labels(counts: tuple[int, ...]) -> Int[Tensor, " samples"]:
    """n_0 zeros, n_1 ones, …: the order of samples in every `Point`."""
    return torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))


def class_means(
    features: Float[Tensor, "samples dim"], counts: tuple[int, ...]
) -> Float[Tensor, "classes dim"]:
    """Mean feature of each class, samples ordered by class."""
    return torch.stack([block.mean(0) for block in features.split(list(counts))])


def within_class_share(
    features: Float[Tensor, "samples dim"], counts: tuple[int, ...]
) -> float | None:
    """tr Σ_W / tr Σ_B, each an average over samples; 0 at collapse. None where Σ_B vanishes."""
    means = class_means(features, counts)[class_labels(counts)]
    within = float(((features - means) ** 2).sum())
    between = float(((means - features.mean(0)) ** 2).sum())
    return within / between if between > 1e-24 else None


def collapses(problem: Problem) -> bool:
    """Whether one feature a class loses nothing: samples are apart from each other given the
    classifier, or share the energy of a layer-peeled model under a convex loss."""
    if isinstance(problem, LPM):
        return not isinstance(problem.loss, Focal)
    return isinstance(problem, UFM | DeepLinearUFM | NormalizedUFM | GUFM)


class Objective:
    """f of a problem as a function of a flat vector of free variables, float64.

    width: d, default the problem's `num_features`, else K (K + 1 for GUFM, whose features lose one
    dimension to centring). Raises ValueError for a width below 1 or unlike the problem's, and for a
    FixedHead, whose classifier is no variable. per_class: one row a class (see the module's head);
    W and H of a UFM are then held in units in which f has only π_k, τ and λ_b in it.
    """

    def __init__(
        self, problem: Problem, width: int | None = None, *, per_class: bool = False
    ) -> None:
        if isinstance(problem, FixedHead):
            raise ValueError(
                "a fixed head leaves every class a small convex problem; solve it with "
                "ncollapse.theory.solve instead of descent"
            )
        wanted = problem.num_features
        spare = 1 if isinstance(problem, GUFM) else 0
        width = (wanted or problem.num_classes + spare) if width is None else width
        if width < 1 + spare:
            raise ValueError(f"width {width}; at least {1 + spare} is needed")
        if wanted is not None and width != wanted:
            raise ValueError(
                f"width {width} asked of a problem with num_features={wanted}; leave width out, or "
                "build the problem with num_features=None"
            )
        self.problem = problem
        self.width = width
        K, N = problem.num_classes, problem.num_samples
        # Samples of each class that have a row of their own.
        self.rows = (1,) * K if per_class else problem.counts
        self.labels = class_labels(self.rows)
        copies = torch.tensor(problem.counts, dtype=torch.float64) if per_class else None
        self.copies = copies
        self._units = None if copies is None else _units(problem, copies)
        self.shapes: list[tuple[int, ...]] = [(K, width), (K if per_class else N, width)]
        if isinstance(problem, DeepLinearUFM):
            self.shapes += [(width, width)] * (len(problem.weight_decays) - 1)
        self.has_bias = isinstance(problem, UFM) and problem.bias_decay is not None
        if self.has_bias:
            self.shapes.append((K,))
        self.slacks = 2 if isinstance(problem, LPM) else 0
        self.size = sum(math.prod(shape) for shape in self.shapes) + self.slacks
        self._loss: Loss = getattr(problem, "loss", CrossEntropy())
        if isinstance(problem, DeepLinearUFM):
            self._loss = MeanSquaredError()
        # LPM weighs a sample by 1/n of its class.
        self._share = 1 / torch.tensor(self.rows, dtype=torch.float64)[self.labels]

    # ---- flat vectors -------------------------------------------------------------------------
    def start(self, seed: int = 0, scale: float = 0.3) -> Flat:
        """Independent normal entries of standard deviation `scale` from an own generator, bias 0.

        Softmax losses do not see the mean of a free bias; started at 0, it stays there.
        """
        generator = torch.Generator().manual_seed(seed)
        flat = scale * torch.randn(self.size, generator=generator, dtype=torch.float64)
        if self.has_bias:
            flat[-self.problem.num_classes :] = 0
        return torch.where(self.bounded, flat.abs(), flat)

    @property
    def nonnegative(self) -> bool:
        return isinstance(self.problem, UFM) and self.problem.nonnegative

    @property
    def bounded(self) -> Tensor:
        """True for the variables that must not be negative."""
        found = torch.zeros(self.size, dtype=torch.bool)
        if self.nonnegative:
            first = math.prod(self.shapes[0])
            found[first : first + math.prod(self.shapes[1])] = True
        return found

    def pack(self, point: Point) -> Flat:
        """The variables of a feasible point. Raises ValueError when shapes disagree."""
        if self._units is not None and len(point.features) == len(self._units[1]):
            of_weight, of_features = self._units
            point = replace(
                point, weight=point.weight / of_weight, features=point.features / of_features
            )
        shapes = [tuple(part.shape) for part in point.parts]
        if shapes != self.shapes:
            raise ValueError(f"the point has shapes {shapes}; {self.shapes} are needed")
        flat = torch.cat([part.detach().to(torch.float64).reshape(-1) for part in point.parts])
        if isinstance(self.problem, LPM):
            used = torch.stack([point.weight.square().sum(), self._feature_energy(point.features)])
            flat = torch.cat([flat, (self._radii**2 - used).clamp_min(0).sqrt()])
        return flat

    def split(self, flat: Flat) -> Point:
        """A flat vector cut into tensors as it stands; right for gradients and directions."""
        parts, at = [], 0
        for shape in self.shapes:
            size = math.prod(shape)
            parts.append(flat[at : at + size].reshape(shape))
            at += size
        bias = parts.pop() if self.has_bias else None
        return Point(parts[0], parts[1], bias, tuple(parts[2:]))

    def unpack(self, flat: Flat) -> Point:
        """The feasible point of a flat vector."""
        point, problem = self.split(flat), self.problem
        if isinstance(problem, NormalizedUFM):
            return Point(_unit(point.weight), _unit(point.features))
        if isinstance(problem, GUFM):
            centred = point.features - point.features.mean(1, keepdim=True)
            return Point(point.weight, _unit(centred))
        if isinstance(problem, LPM):
            slack = flat[-2:].square()
            used = torch.stack([point.weight.square().sum(), self._feature_energy(point.features)])
            scale = self._radii / (used + slack).sqrt()
            return Point(scale[0] * point.weight, scale[1] * point.features)
        if self._units is not None:
            of_weight, of_features = self._units
            return replace(
                point, weight=of_weight * point.weight, features=of_features * point.features
            )
        return point

    @property
    def _radii(self) -> Tensor:
        assert isinstance(self.problem, LPM)
        energies = (self.problem.weight_energy, self.problem.feature_energy)
        return (self.problem.num_classes * torch.tensor(energies, dtype=torch.float64)).sqrt()

    def _feature_energy(self, features: Tensor) -> Tensor:
        return (features.square().sum(1) * self._share).sum()

    # ---- the function -------------------------------------------------------------------------
    def losses(self, point: Point) -> Float[Tensor, " samples"]:
        """ℓ of every sample, decay left out."""
        heat = self.problem.temperature if isinstance(self.problem, NormalizedUFM) else 1.0
        return self._loss(heat * point.logits, self.labels)

    def at(self, point: Point) -> Tensor:
        """f at a point as it stands (no projection), a differentiable scalar."""
        problem = self.problem
        value = self._mean(self.losses(point))
        if isinstance(problem, UFM | GUFM):
            value = value + problem.weight_decay / 2 * point.weight.square().sum()
        if isinstance(problem, UFM | DeepLinearUFM):
            squares = point.features.square().sum(1)
            total = squares.sum() if self.copies is None else self.copies @ squares
            value = value + problem.feature_decay / 2 * total
        if isinstance(problem, DeepLinearUFM):
            factors = (*point.inner, point.weight)
            for decay, factor in zip(problem.weight_decays, factors, strict=True):
                value = value + decay / 2 * factor.square().sum()
        if isinstance(problem, UFM) and problem.bias_decay and point.bias is not None:
            value = value + problem.bias_decay / 2 * point.bias.square().sum()
        return value

    def _mean(self, losses: Float[Tensor, " rows"]) -> Tensor:
        if self.copies is None:
            return losses.mean()
        return self.copies @ losses / self.problem.num_samples

    def value(self, flat: Flat) -> float:
        with torch.no_grad():
            return float(self.at(self.unpack(flat)))

    def value_and_gradient(self, flat: Flat) -> tuple[float, Flat]:
        """f and its gradient in the variables."""
        leaf = flat.detach().clone().requires_grad_(True)
        value = self.at(self.unpack(leaf))
        (gradient,) = torch.autograd.grad(value, leaf)
        return float(value.detach()), gradient

    def hessian_product(self, flat: Flat, direction: Flat) -> Flat:
        """∇²f · direction, by differentiating ⟨∇f, direction⟩."""
        leaf = flat.detach().clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(self.at(self.unpack(leaf)), leaf, create_graph=True)
        (found,) = torch.autograd.grad(gradient @ direction, leaf)
        return found

    def loss_gradient(self, point: Point) -> Float[Tensor, "classes samples"]:
        """G = ∇_Z of the mean loss, (K, rows): the gradient without that of decay."""
        logits = point.logits.detach().requires_grad_(True)
        heat = self.problem.temperature if isinstance(self.problem, NormalizedUFM) else 1.0
        (found,) = torch.autograd.grad(self._mean(self._loss(heat * logits, self.labels)), logits)
        return found.T

    def stationarity(self, flat: Flat, gradient: Flat | None = None) -> float:
        """Largest entry of the gradient; at a bound only the part that could still descend."""
        if gradient is None:
            _, gradient = self.value_and_gradient(flat)
        held = self.bounded & (flat <= 0) & (gradient > 0)
        return float(torch.where(held, torch.zeros_like(gradient), gradient).abs().max())

    # ---- Newton -------------------------------------------------------------------------------
    def polish(self, flat: Flat, steps: int = 30, goal: float = 1e-13) -> Flat:
        """Newton steps near a minimiser until no entry of the gradient exceeds `goal`.

        Quasi-Newton methods stop when f stops changing in float64, at gradients near 1e-8;
        a step is kept here only if the gradient shrinks, so rounding in f does not matter.
        Rotations of a point leave f alone: MINRES takes the shortest solution of the singular
        system. Variables held at a bound stay there.
        """
        from scipy.sparse.linalg import LinearOperator, minres

        _, gradient = self.value_and_gradient(flat)
        for _ in range(steps):
            size = self.stationarity(flat, gradient)
            if size <= goal:
                break
            held = self.bounded & (flat <= 1e-12) & (gradient > -goal)
            free = (~held).to(flat.dtype)

            def product(vector: Any, flat: Tensor = flat, free: Tensor = free) -> Any:
                inside = torch.from_numpy(np.ascontiguousarray(vector).reshape(-1)) * free
                return (self.hessian_product(flat, inside) * free).numpy()

            hessian = LinearOperator((self.size, self.size), matvec=product, dtype=np.float64)
            step, _ = minres(hessian, -(gradient * free).numpy(), rtol=1e-10, maxiter=self.size)
            for shrink in (1.0, 0.5, 0.25):
                moved = flat + shrink * torch.from_numpy(step)
                moved = torch.where(self.bounded, moved.clamp_min(0), moved)
                _, there = self.value_and_gradient(moved)
                if self.stationarity(moved, there) < size:
                    flat, gradient = moved, there
                    break
            else:
                break
        return flat


def _units(problem: Problem, copies: Tensor) -> tuple[float, Tensor] | None:
    """What the variables W and H (one row a class) are multiples of: W = c V, h_k = g_k/(c √π_k)
    with c⁴ = N λ_H/λ_W turn f into Σ π_k ℓ(V g_k/√π_k + b) + τ/2 (‖V‖² + ‖G‖²) + λ_b/2 ‖b‖², the
    same for any N. Deep linear features: h_k = g_k √(K/N)/√π_k, of the size of h for equal counts.
    """
    total = problem.num_samples
    lift = (total / copies).sqrt()[:, None]
    if isinstance(problem, UFM):
        gain = (total * problem.feature_decay / problem.weight_decay) ** 0.25
        return gain, lift / gain
    if isinstance(problem, DeepLinearUFM):
        return 1.0, lift / math.sqrt(problem.num_classes)
    return None


def _unit(rows: Tensor) -> Tensor:
    return rows / rows.norm(dim=1, keepdim=True)
