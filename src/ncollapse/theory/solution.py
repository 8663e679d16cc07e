"""Solution: the point a solver ended at, what is proven of it, and advice where nothing is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ncollapse.geometry import Geometry
from ncollapse.theory.problems.problem import Problem
from ncollapse.theory.proof import Certificate, relative_gap

STATUSES = ("optimal", "not certified", "not converged")
RANK_CUT = 1e-6


@dataclass(frozen=True, eq=False)
class Solution:
    """A point with its certificate.

    status: optimal (gap within the tolerance), not certified (no bound, or it stays open), not
    converged. advice: what to try, empty when optimal. spectrum: singular values of
    A = Z diag(√π), the class-mean logits weighted by their shares (bias left out), descending.
    build: makes the geometry when first asked. spreads: per class, how far the classes of its
    group stand apart in A (α ≥ 0; 0 = merged; None for classes alone in their group).
    """

    problem: Problem
    status: str
    objective: float
    certificate: Certificate
    spectrum: NDArray[np.float64]
    build: Callable[[], Geometry] = field(repr=False)
    solver: str
    advice: str = ""
    spreads: tuple[float | None, ...] = ()
    iterations: int = 0
    seconds: float = 0.0
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"status {self.status!r}; one of {', '.join(STATUSES)} is needed")

    @cached_property
    def geometry(self) -> Geometry:
        """Class means (K, d), weight (K, d), bias (K) or None, counts (K)."""
        return self.build()

    @property
    def gap(self) -> float | None:
        """Objective minus lower bound, never negative; None without a bound."""
        bound = self.certificate.lower_bound
        return None if bound is None else max(self.objective - bound, 0.0)

    @property
    def relative_gap(self) -> float | None:
        """gap over the absolute objective, however small that is; None without a bound."""
        return None if self.gap is None else relative_gap(self.gap, self.objective)

    @property
    def rank(self) -> int:
        """Singular values above 1e-6 of the largest; 0 for the zero solution."""
        if not len(self.spectrum) or self.spectrum[0] <= 1e-12:
            return 0
        return int((self.spectrum > RANK_CUT * self.spectrum[0]).sum())

    @property
    def required_width(self) -> int:
        """Smallest d that loses nothing against a wider layer: what the solver found, else what the
        problem says of the rank."""
        known = self.extra.get("required_width")
        return self.problem.required_width(self.rank) if known is None else int(known)

    @cached_property
    def logits(self) -> Tensor:
        """Z (K, K): column y holds the logits of a sample of class y, bias included."""
        g = self.geometry
        assert g.weight is not None and g.means is not None
        found = g.weight @ g.means.T
        return found if g.bias is None else found + g.bias[:, None]

    @cached_property
    def margins(self) -> Tensor:
        """Per class y: Z_yy - max_{j≠y} Z_jy."""
        others = self.logits.clone()
        others.fill_diagonal_(-torch.inf)
        return self.logits.diagonal() - others.max(0).values
