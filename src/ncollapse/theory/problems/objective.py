"""The sample-level objective of every problem: what training would minimise, feature by feature.

Solvers work on class means and lean on proofs; this file leans on nothing, so that it can check
them. A `Point` holds what is free; `Objective` maps a flat float64 vector of free variables to a
feasible point and gives value, gradient and Hessian-vector product of f in those variables. Which
variables there are, how they stand for a feasible point and what f is, the problem says.

With per_class=True a class has one feature that stands for its n_k samples: K rows instead of N.
That loses nothing where the problem `collapses`: for a given classifier all samples of a class
minimise one and the same function of their feature, H ≥ 0 or not, so that some minimiser gives them
one feature (derived; for a convex loss with decay every minimiser does, by Jensen's inequality).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.theory.problems.point import Point, class_labels
from ncollapse.theory.problems.problem import Problem

Flat = Float[Tensor, " variables"]


class Objective:
    """f of a problem as a function of a flat vector of free variables, float64.

    width: d, default the problem's `num_features`, else K and what constraints take away. Raises
    ValueError for a width below 1 or unlike the problem's, and for a problem whose classifier is no
    variable. per_class: one row a class (see the module's head); W and H are then held in the
    problem's `units`.
    """

    def __init__(
        self, problem: Problem, width: int | None = None, *, per_class: bool = False
    ) -> None:
        wanted, least = problem.num_features, 1 + problem.spare
        width = (wanted or problem.num_classes + problem.spare) if width is None else width
        if width < least:
            raise ValueError(f"width {width}; at least {least} is needed")
        if wanted is not None and width != wanted:
            raise ValueError(
                f"width {width} asked of a problem with num_features={wanted}; leave width out, or "
                "build the problem with num_features=None"
            )
        self.problem = problem
        self.width = width
        # Samples of each class that have a row of their own.
        self.rows = (1,) * len(problem.counts) if per_class else problem.counts
        self.labels = class_labels(self.rows)
        copies = torch.tensor(problem.counts, dtype=torch.float64) if per_class else None
        self.copies = copies
        self._units = None if copies is None else problem.units(copies)
        self.shapes = problem.shapes(sum(self.rows), width)
        self.has_bias, self.nonnegative = problem.has_bias, problem.nonnegative
        self.size = sum(math.prod(shape) for shape in self.shapes) + problem.slacks
        # What a sample weighs within its class.
        self._share = 1 / torch.tensor(self.rows, dtype=torch.float64)[self.labels]

    # ---- flat vectors -------------------------------------------------------------------------
    def start(self, seed: int = 0, scale: float = 0.3) -> Flat:
        """Independent normal entries of standard deviation `scale` from an own generator, bias 0.

        Softmax losses do not see the mean of a free bias; started at 0, it stays there.
        """
        generator = torch.Generator().manual_seed(seed)
        flat = scale * torch.randn(self.size, generator=generator, dtype=torch.float64)
        if self.has_bias:
            flat[-math.prod(self.shapes[-1]) :] = 0
        return torch.where(self.bounded, flat.abs(), flat)

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
        return torch.cat([flat, self.problem.slack(point, self._share)])

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
        point = self.split(flat)
        if self._units is not None:
            of_weight, of_features = self._units
            point = replace(
                point, weight=of_weight * point.weight, features=of_features * point.features
            )
        slack = flat[self.size - self.problem.slacks :]
        return self.problem.place(point, slack, self._share)

    # ---- the function -------------------------------------------------------------------------
    def losses(self, point: Point) -> Float[Tensor, " samples"]:
        """ℓ of every sample, decay left out."""
        return self.problem.losses(point.logits, self.labels)

    def at(self, point: Point) -> Tensor:
        """f at a point as it stands (no projection), a differentiable scalar."""
        value = self._mean(self.losses(point))
        for term in self.problem.decays(point, self.copies):
            value = value + term
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
        mean = self._mean(self.problem.losses(logits, self.labels))
        (found,) = torch.autograd.grad(mean, logits)
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
