"""Problems of classes with counts: what they share, and what is checked of their fields."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from numbers import Real
from typing import Any, ClassVar

from ncollapse.losses import CrossEntropy, LogitLoss, Loss, SupervisedContrastive
from ncollapse.theory.assumptions import COLLAPSED, Premise
from ncollapse.theory.problems.problem import Problem

MEMORY = "[memory]"
# The loss unless one is passed.
PLAIN: LogitLoss = CrossEntropy()


@dataclass(frozen=True)
class Counted(Problem):
    """What all problems share: class counts n_k and the width d (None: as wide as needed).

    Raises ValueError for fewer than two classes, counts that are no positive whole numbers, and a
    width below 1.
    """

    counts: tuple[int, ...]
    num_features: int | None = field(default=None, kw_only=True)

    # Keywords of `predict` that the problem takes.
    settings: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        counts = tuple(as_counts(self.counts))
        if len(counts) < 2:
            raise ValueError(
                f"counts={list(counts)}: {len(counts)} class; at least 2 are needed, the samples "
                "of every class"
            )
        for k, count in enumerate(counts):
            if not (_number(count) and count > 0 and float(count).is_integer()):
                raise ValueError(
                    f"class {k} has count {count!r}; every class needs a positive whole number: "
                    "leave absent classes out"
                )
        object.__setattr__(self, "counts", tuple(int(count) for count in counts))
        if self.num_features is not None and self.num_features < 1:
            raise ValueError(f"num_features={self.num_features}; at least 1 is needed")

    @classmethod
    def made(
        cls, counts: Sequence[int], loss: Loss, num_features: int | None, **settings: Any
    ) -> Counted:
        """From what `predict` was given: a loss, and those of `settings` that were passed."""
        known: dict[str, Any] = {"loss": loss, "num_features": num_features, **settings}
        return cls(tuple(counts), **known)

    @classmethod
    def loss_parameters(cls, loss: str, passed: dict[str, Any]) -> dict[str, Any]:
        """Parameters of a loss named to `predict` without any, from its other keywords."""
        return {}

    # ---- answers to `Problem` -----------------------------------------------------------------
    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.counts)

    @property
    def balanced(self) -> bool:
        return len(set(self.counts)) == 1

    @property
    def loss(self) -> Loss:
        """Plain cross-entropy, unless a field or another property says otherwise."""
        return PLAIN

    def describe(self) -> dict[str, Any]:
        """Its class, every field and the sizes."""
        found: dict[str, Any] = {"model": type(self).__name__}
        for entry in fields(self):
            value = getattr(self, entry.name)
            found[entry.name] = _plain(value) if entry.name != "loss" else describe_loss(value)
        found["num_classes"] = self.num_classes
        found["num_samples"] = self.num_samples
        return found

    def sources(self) -> tuple[str, ...]:
        return ()

    def premises(self) -> tuple[Premise, ...]:
        return *super().premises(), COLLAPSED

    def required_width(self, rank: int) -> int:
        """The rank, at least 1; where the width binds, the optimum of a wider layer is not known,
        and rows that sum to zero need K - 1."""
        if self.num_features is not None and rank >= self.num_features:
            return max(rank, self.num_classes - 1)
        return super().required_width(rank)


def as_counts(counts: Any) -> Sequence[Any]:
    """Class counts as a sequence. Raises ValueError for one number, a text or a mapping."""
    if isinstance(counts, (str, Mapping)) or not isinstance(counts, Iterable):
        raise ValueError(
            f"counts={counts!r:.60}; a list is needed, the samples of every class, for example "
            "[5000] * 10"
        )
    return list(counts)


def _number(value: Any) -> bool:
    return isinstance(value, Real) or (hasattr(value, "item") and getattr(value, "ndim", 1) == 0)


def check_positive(problem: Counted, *names: str, advice: str = "") -> None:
    """ValueError for fields, unless None, that are no positive finite numbers."""
    for name in names:
        value = getattr(problem, name)
        if value is not None and not (_number(value) and value > 0 and math.isfinite(value)):
            raise ValueError(f"{name}={value!r}; a positive number is needed{advice}")


def check_loss(loss: Loss, num_classes: int, *, fixed: bool = False) -> LogitLoss:
    """The loss, if theory solves for it.

    ValueError when it is of no known kind, needs a fixed head (fixed=False), or has entries that
    do not match the classes.
    """
    if isinstance(loss, SupervisedContrastive):
        raise ValueError(
            "the supervised contrastive loss reads features, and theory solves for losses of "
            "logits; at equal counts its features collapse to the simplex of "
            'nc.predict(counts, model="normalized") with the default loss (Graf et al. 2021)'
        )
    if not isinstance(loss, LogitLoss):
        raise ValueError(
            f"theory does not predict for {getattr(loss, 'name', repr(loss))}; CrossEntropy (with "
            "smoothing, weight, scale, shift), MeanSquaredError, RescaledSquaredError, Focal or, "
            "for a fixed head, DotRegression of ncollapse.losses is needed "
            "(`ncollapse.losses.named` makes one from its short name)"
        )
    if not (loss.sees_others or fixed):
        raise ValueError(
            "dot regression sees own logits only: with a classifier that learns no geometry is "
            "singled out (a free bias alone reaches the minimum, and without one every positive "
            "semidefinite A = W Mᵀ diag(√π) with the right diagonal does); predict for a fixed one "
            'with model="fixed-head"'
        )
    for name in ("weight", "scale", "shift"):
        values = getattr(loss, name)
        if values is not None and len(values) != num_classes:
            raise ValueError(
                f"the loss's {name} has {len(values)} entries and there are {num_classes} classes; "
                "one entry a class, in the order of counts, is needed"
            )
    return loss


def describe_loss(loss: LogitLoss) -> dict[str, Any]:
    """Its name and every parameter that is set."""
    found: dict[str, Any] = {"name": loss.name}
    for entry in fields(loss):  # type: ignore[arg-type]
        value = _plain(getattr(loss, entry.name))
        if value not in (None, 0.0):
            found[entry.name] = value
    return found


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
