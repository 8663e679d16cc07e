"""What a problem is to everyone who asks it: predictions, solvers, descent, subjects.

A problem is a frozen dataclass in a file of its own and owns all that is said of it; nobody tests
which one it is. It knows its solvers by name only, so that solvers may import problems.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast, runtime_checkable

import torch
from torch import Tensor

from ncollapse.losses import Labels, LogitLoss, Logits, Loss, PerSample
from ncollapse.theory.assumptions import FREE, OPTIMAL, Premise
from ncollapse.theory.proof import Certificate

if TYPE_CHECKING:
    from ncollapse.theory.problems.point import Point

Shapes = list[tuple[int, ...]]


@dataclass(frozen=True)
class Ask:
    """What was asked of `solve` beside the problem.

    insisted: the solver was named, not "auto". options: of descent or flow (seed, …).
    """

    tolerance: float = 1e-8
    max_iterations: int = 5000
    insisted: bool = False
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Solver:
    """A solver by name; its code is loaded when it is first asked.

    name: one of `solve.SOLVERS`. path: "file:function" below `ncollapse.theory.solvers`, which
    gives a `Solution`, or None where this solver has no answer and the next one is asked. It is
    called with the problem and an `Ask`; a formula with the problem alone.
    """

    name: str
    path: str

    def __call__(self, problem: Problem, ask: Ask) -> Any:
        return by_name(self.path)(problem, ask)


@dataclass(frozen=True)
class Formula(Solver):
    """A closed form, which nothing but the problem decides."""

    name: str = field(default="closed form", init=False)

    def __call__(self, problem: Problem, ask: Ask) -> Any:
        return by_name(self.path)(problem)


def by_name(path: str) -> Callable[..., Any]:
    """The function at "file:function" below `ncollapse.theory.solvers`."""
    file, _, function = path.partition(":")
    found: Callable[..., Any] = getattr(import_module(f"ncollapse.theory.solvers.{file}"), function)
    return found


@runtime_checkable
class Found(Protocol):
    """What a problem reads of its solution when it says what a reader must know."""

    @property
    def status(self) -> str: ...
    @property
    def rank(self) -> int: ...
    @property
    def required_width(self) -> int: ...


DESCENT = Solver("descent", "descent:trained")


@runtime_checkable
class Problem(Protocol):
    """What theory asks of a problem, with the answers of most. A problem of classes derives from
    `counted.Counted`, another one from here."""

    # "file:class" below `ncollapse.theory` of what `predict` returns for it.
    prediction: ClassVar[str] = "prediction:Prediction"

    # ---- sizes and loss -----------------------------------------------------------------------
    if TYPE_CHECKING:
        # A dataclass cannot set a field without a default where a property stands above it.
        @property
        def counts(self) -> tuple[int, ...]:
            """n_k, how many samples share a mean; ones where no two do."""
            ...

    @property
    def num_classes(self) -> int:
        """K, the rows of W."""
        ...

    @property
    def num_features(self) -> int | None:
        """d; None: as wide as needed."""
        ...

    @property
    def loss(self) -> Loss: ...

    @property
    def num_samples(self) -> int:
        """N."""
        return sum(self.counts)

    @property
    def logit_loss(self) -> LogitLoss:
        """`loss`, checked when the problem was made, with what theory asks of it."""
        return cast(LogitLoss, self.loss)

    # ---- what is said of it -------------------------------------------------------------------
    def describe(self) -> dict[str, Any]:
        """Plain data for `predict --json`."""
        ...

    def sources(self) -> tuple[str, ...]:
        """Who stated what, each marked: derived here and checked numerically, from memory of a
        paper whose text was not readable to us, or conjecture."""
        ...

    def premises(self) -> tuple[Premise, ...]:
        """What a prediction rests on, the width left out."""
        return FREE, OPTIMAL

    def notes(self, found: Found) -> list[str]:
        """What a reader must know beside the numbers of a solution."""
        return []

    # ---- how it is solved ---------------------------------------------------------------------
    @property
    def solvers(self) -> tuple[Solver, ...]:
        """In the order in which "auto" asks them; the last one it reaches always answers."""
        return (DESCENT,)

    def refusal(self, solver: str) -> str:
        """Why a solver has no answer, and what to do."""
        kind = type(self).__name__
        if solver != "closed form":
            return f'solver "{solver}" does not apply to {kind}; use "auto"'
        shown = f"{list(self.counts[:6])}{'…' if len(self.counts) > 6 else ''}"
        return f'no closed form is known for this {kind} (counts {shown}); use solver="auto"'

    def required_width(self, rank: int) -> int:
        """Smallest d that loses nothing, from the rank of the optimum at the problem's width."""
        return max(rank, 1)

    # ---- thresholds ---------------------------------------------------------------------------
    @property
    def decay_product(self) -> float | None:
        """N² λ_W λ_H, the unit of thresholds; None where there are none."""
        return None

    def zero_threshold(self) -> float | None:
        """The decay product from which on only the zero solution is optimal; None if unknown."""
        return None

    def merging_thresholds(self, members: Sequence[int]) -> list[float | None]:
        """The decay products from which on the groups of these classes merge, by a search; None
        where none is found."""
        return [None] * len(members)

    def rank_rule(self) -> tuple[int, int] | None:
        """The conjectured range of the optimum's rank, None where there is none."""
        return None

    # ---- descent: what is free, and how it stands for a feasible point --------------------------
    @property
    def attained(self) -> bool:
        """Whether a minimiser exists that descent can end at."""
        return True

    @property
    def collapses(self) -> bool:
        """Whether one feature a class loses nothing: samples are apart from each other given the
        classifier, or share an energy under a convex loss."""
        return True

    @property
    def smooth(self) -> bool:
        """Whether f has second derivatives wherever descent may end, as Newton's steps ask."""
        return True

    @property
    def nonnegative(self) -> bool:
        """H ≥ 0."""
        return False

    @property
    def has_bias(self) -> bool:
        return False

    @property
    def spare(self) -> int:
        """Dimensions of the features that a constraint takes away."""
        return 0

    @property
    def slacks(self) -> int:
        """How many free variables beside the point's own entries a constraint needs."""
        return 0

    def shapes(self, rows: int, width: int) -> Shapes:
        """Of W, H, inner factors and bias, for that many rows of features."""
        return [(self.num_classes, width), (rows, width)]

    def place(self, point: Point, slack: Tensor, share: Tensor) -> Point:
        """The feasible point that free variables stand for. share: 1/n of each row's class."""
        return point

    def slack(self, point: Point, share: Tensor) -> Tensor:
        """The slack of a feasible point, (slacks)."""
        return torch.zeros(0, dtype=torch.float64)

    def units(self, copies: Tensor) -> tuple[float, Tensor] | None:
        """What W and H are held in multiples of when a row stands for `copies` samples (K)."""
        return None

    def losses(self, logits: Logits, labels: Labels) -> PerSample:
        """ℓ of every row, decay left out. labels: the class (or the sample) of each."""
        return self.loss(logits, labels)

    def decays(self, point: Point, copies: Tensor | None) -> Iterable[Tensor]:
        """The terms of f beside the mean loss, in the order in which they are added."""
        return ()

    def certify(self, point: Point, labels: Labels, copies: Tensor | None) -> Certificate:
        """A lower bound from a single point, where one is known."""
        return Certificate(
            None, "none", "No lower bound is known for a single point of this problem."
        )
