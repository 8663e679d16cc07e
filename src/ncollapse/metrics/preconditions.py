"""What theory of collapse assumes and language models seldom have: each condition with its number.

The theory of simplex frames is of balanced classes, no more than d + 1 of them, whose samples a
network can map to one point each, trained on past zero error. Thresholds are this library's: where
a condition is crossed, a reading far from its ideal says nothing against the model.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from ncollapse.metrics.successors import SuccessorShares

RATIO, EXPONENT, CONTEXT, SEVERAL, ERROR, EPOCHS = 2.0, 0.5, 0.5, 0.05, 0.0, 100.0


@dataclass(frozen=True)
class Precondition:
    """name: a stable word. value: its number, None where it is not known. threshold: where it is
    crossed. holds: None where the value is not known. sentence: what the number says."""

    name: str
    value: float | None
    threshold: float
    holds: bool | None
    sentence: str


def preconditions(
    counts: Int[Tensor, " classes"],
    num_features: int,
    *,
    context_share: float | None = None,
    successors: SuccessorShares | None = None,
    train_error: float | None = None,
    epochs: float | None = None,
) -> tuple[Precondition, ...]:
    """The seven conditions, of samples a class (zeros are left out) and what else is known.

    context_share: of the variance, corrected (`metrics.shares`). train_error: share of training
    tokens that are predicted wrongly. epochs: passes over the training text. Raises ValueError for
    fewer than two classes with samples, and shares outside 0..1.
    """
    present = counts[counts > 0].to(torch.float64)
    if len(present) < 2:
        raise ValueError(f"{len(present)} class has samples; at least two are needed")
    if train_error is not None and not 0 <= train_error <= 1:
        raise ValueError(f"train_error={train_error}; a share from 0 to 1 is needed")
    if epochs is not None and not epochs >= 0:
        raise ValueError(f"epochs={epochs}; a number of passes, 0 or more, is needed")
    K, width = len(present), num_features + 1
    share = None if successors is None else successors.share
    order = None if successors is None else successors.order
    return (
        _most(
            "zipf_exponent",
            zipf_exponent(counts),
            EXPONENT,
            lambda s: f"token counts fall as rank^-{s:.2f}; balanced classes have exponent 0",
        ),
        _most(
            "count_ratio",
            float(present.max() / present.min()),
            RATIO,
            lambda r: (
                f"the most frequent token occurs {r:.3g} times as often as the rarest seen; "
                "balanced classes have ratio 1"
            ),
        ),
        _most(
            "classes_per_dimension",
            K / width,
            1.0,
            lambda r: (
                f"{K} tokens against d + 1 = {width}: "
                + ("a simplex frame fits" if r <= 1 else "no simplex frame fits")
            ),
        ),
        _most(
            "context_share",
            context_share,
            CONTEXT,
            lambda s: (
                f"{100 * s:.0f} % of the features' variance is context within a token; "
                "collapse leaves 0"
            ),
        ),
        _most(
            "several_successors",
            share,
            SEVERAL,
            lambda s: (
                f"{100 * s:.0f} % of repeated contexts of {order} tokens have more than one "
                "successor, so that their predictions cannot be certain"
            ),
        ),
        _most(
            "train_error",
            train_error,
            ERROR,
            lambda s: (
                f"{100 * s:.1f} % of training tokens are predicted wrongly; collapse sets in "
                "past zero error"
            ),
        ),
        _least(
            "epochs",
            epochs,
            EPOCHS,
            lambda n: f"{n:.3g} passes over the training text; collapse is known from hundreds",
        ),
    )


def zipf_exponent(counts: Int[Tensor, " classes"]) -> float:
    """s ≥ 0 of p_r ∝ r⁻ˢ over the K ranks of classes with samples, most likely for these counts.

    The likelihood is concave, and at its maximum the mean logarithm of the rank is that of the
    counts; bisection to 1e-9. Raises ValueError for fewer than two classes with samples.
    """
    found = counts[counts > 0].to(torch.float64).sort(descending=True).values
    if len(found) < 2:
        raise ValueError(f"{len(found)} class has samples; an exponent needs at least two")
    logs = torch.arange(1, len(found) + 1, dtype=torch.float64).log()
    goal = float(found @ logs / found.sum())

    def mean_log(s: float) -> float:
        return float(torch.softmax(-s * logs, 0) @ logs)

    low, high = 0.0, 1.0
    if mean_log(0.0) <= goal:
        return 0.0
    while mean_log(high) > goal:
        low, high = high, 2 * high
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if mean_log(middle) > goal else (low, middle)
    return (low + high) / 2


def _most(
    name: str, value: float | None, threshold: float, say: Callable[[float], str]
) -> Precondition:
    return _made(name, value, threshold, say, lambda known: known <= threshold)


def _least(
    name: str, value: float | None, threshold: float, say: Callable[[float], str]
) -> Precondition:
    return _made(name, value, threshold, say, lambda known: known >= threshold)


def _made(
    name: str,
    value: float | None,
    threshold: float,
    say: Callable[[float], str],
    rule: Callable[[float], bool],
) -> Precondition:
    if value is None or not math.isfinite(value):
        return Precondition(name, None, threshold, None, "not known")
    return Precondition(name, value, threshold, rule(value), say(value))
