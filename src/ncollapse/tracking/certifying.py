"""Certify: how much of a network's loss is geometry that it has not reached, at every look.

What no head and features of the same norms can undercut is `theory.subjects.floor`, with the
proof. What the loss has above that is split in three, none of them negative:

    L - φ(T) = [L - L̄] + [L̄ - φ(|A|_*)] + [φ(|A|_*) - φ(T)]

spread of features within classes; the shape of the class-mean logits A against the best of their
size; and norm of head and features that makes no logits (rows that do not point to their means, an
offset of all features, a sum of the rows).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ncollapse.collect.tap.taps import HEAD
from ncollapse.downstream.views import View, Watcher
from ncollapse.losses import NAMES, LogitLoss, Loss, named
from ncollapse.tasks import AUTO
from ncollapse.theory.problems.counted import check_loss
from ncollapse.theory.solvers.convex import one_thread
from ncollapse.theory.subjects.floor import LossFloor

CLASSES = "classification"
# What the trace bears.
LOSS, FLOOR, GAP = "ufm_loss", "ufm_floor", "ufm_gap"
SPREAD, SHAPE, IDLE, TAU = "ufm_gap_spread", "ufm_gap_shape", "ufm_gap_norm", "ufm_tau"
KEYS = (LOSS, FLOOR, GAP, SPREAD, SHAPE, IDLE, TAU)
# Logits are formed for this many numbers at a time.
PIECE = 2**21


class Certify:
    """A watcher: the loss L of a head on the features of a split, and the least of any head and
    features with the same norms.

    ufm_loss: L, the mean loss of the logits W h + b, in eval mode. ufm_floor: a certified lower
    bound on φ(T), T = ‖W‖_F √(Σ‖h_i‖²/N), the least loss that norms allow (good to 1e-4 of it, with
    64 distinct counts or more to a few thousandths). ufm_gap in [0, 1]: (L - φ(T))/L, the share of
    the loss that is geometry not yet reached, 0 at the optimum; it is the sum of ufm_gap_spread,
    ufm_gap_shape and ufm_gap_norm (see above). ufm_tau: the fitted τ = √(N λ_W λ_H), at which the
    global optimum has these norms; (L - floor) is the gap of the objective with that decay too.

    loss: "ce", "mse", another name of `ncollapse.losses`, or a loss of it, as in training. Counts
    are those of the split that is looked at. Null where features are not finite.

    >>> tracker = nc.Tracker(model, train=…, certify=True)                     # doctest: +SKIP

    Raises ValueError for losses without theory or that are not convex; in `read` for labels that
    are no classes and classes without a sample. Source: derived here.
    """

    reads_logits = False

    def __init__(self, loss: Any = "ce") -> None:
        if isinstance(loss, str) and loss not in NAMES:
            raise ValueError(
                f"certify={loss!r} is no loss that theory knows; one of {', '.join(NAMES)} is "
                "needed"
            )
        if not isinstance(loss, str | Loss):
            raise ValueError(
                f"theory does not predict for certify={type(loss).__name__}; True, a name or a "
                "loss of ncollapse.losses is needed"
            )
        if not isinstance(loss, str):
            check_loss(loss, len(loss.weight) if loss.weight is not None else 2)
        self.loss = loss
        self._floors: dict[tuple[tuple[int, ...], bool], tuple[LogitLoss, LossFloor]] = {}

    def read(self, view: View) -> dict[str, float | None]:
        """KEYS of the head; nothing for other layers."""
        if view.layer != HEAD:
            return {}
        if view.weight is None:
            raise ValueError("certify needs the head's weight, and no head is read; pass head=…")
        W = view.weight.detach().double().cpu()
        b = None if view.bias is None else view.bias.detach().double().cpu()
        counts = torch.bincount(view.labels.cpu(), minlength=len(W))
        loss, floor = self._floor(view.split, tuple(counts.tolist()), b is not None)
        with one_thread():
            return _read(view.features, view.labels.cpu(), W, b, counts.double(), loss, floor)

    def _floor(
        self, split: str, counts: tuple[int, ...], bias: bool
    ) -> tuple[LogitLoss, LossFloor]:
        """Solutions are kept from look to look."""
        if (counts, bias) not in self._floors:
            if 0 in counts:
                raise ValueError(
                    f"certify needs every class, and class {counts.index(0)} has no sample in "
                    f"split {split!r}"
                )
            given = named(self.loss, counts) if isinstance(self.loss, str) else self.loss
            found = LossFloor(counts, given, bias=bias)
            self._floors[counts, bias] = check_loss(given, len(counts)), found
        return self._floors[counts, bias]


def _read(
    features: Tensor,
    labels: Tensor,
    W: Tensor,
    b: Tensor | None,
    counts: Tensor,
    loss: LogitLoss,
    floor: LossFloor,
) -> dict[str, float | None]:
    total, square = 0.0, 0.0
    sums = torch.zeros(len(W), W.shape[1], dtype=torch.float64)
    piece = max(1, PIECE // max(W.shape))
    for start in range(0, len(labels), piece):
        rows = features[start : start + piece].cpu().double()
        mine = labels[start : start + piece]
        logits = rows @ W.T if b is None else torch.addmm(b, rows, W.T)
        total += float(loss(logits, mine).sum())
        square += float(rows.square().sum())
        sums.index_add_(0, mine, rows)
    number = float(counts.sum())
    L, size = total / number, float(W.norm()) * math.sqrt(square / number)
    if not (math.isfinite(L) and math.isfinite(size)):
        return dict.fromkeys(KEYS)
    means = sums / counts[:, None]
    Z = W @ means.T
    Z = Z if b is None else Z + b[:, None]
    at_means = float((loss(Z.T, torch.arange(len(W))) * counts).sum()) / number
    shown = min(_nuclear(W, means, (counts / number).sqrt(), b is not None, loss.softmax), size)
    whole = floor.at(size)
    shape = floor.at(shown)
    # Bounds of all lines that are known by now, so that parts do not fall below 0.
    least, best = min(floor.lower(size), L), min(floor.lower(shown), at_means)
    share = 1 / L if L > 0 else 0.0
    return {
        LOSS: L,
        FLOOR: least,
        GAP: (L - least) * share,
        SPREAD: max(L - at_means, 0.0) * share,
        SHAPE: max(min(at_means, L) - best, 0.0) * share,
        IDLE: max(best - least, 0.0) * share,
        TAU: (whole if least > 0 else shape).tau or None,
    }


def _nuclear(W: Tensor, means: Tensor, root: Tensor, bias: bool, softmax: bool) -> float:
    """|A|_* of the class-mean logits, A = W Mᵀ diag(√π), without what a free bias can hold, and
    without what softmax does not see; by the factors, whose width may be below K."""
    left = W - W.mean(0) if softmax else W
    right = means * root[:, None]
    if bias:
        right = right - root[:, None] * (root @ right)[None]
    if min(W.shape) == len(W):
        values = np.linalg.svd((left @ right.T).numpy(), compute_uv=False)
    else:
        # U1 R1 (U2 R2)ᵀ has the singular values of R1 R2ᵀ.
        first, second = torch.linalg.qr(left, "r").R, torch.linalg.qr(right, "r").R
        values = np.linalg.svd((first @ second.T).numpy(), compute_uv=False)
    return float(values.sum())


def with_certificate(
    watch: Sequence[Any],
    certify: Any,
    *,
    alone: bool,
    head: Any,
    task: str,
    tokens: str | None,
) -> tuple[Any, ...]:
    """The watchers of a tracker, `Certify` with them where it is asked for.

    Raises ValueError where there are no samples, no head or no classes to certify.
    """
    if certify is False:
        return tuple(watch)
    if alone:
        raise ValueError("certify needs samples to look at; pass train=…")
    if head is False:
        raise ValueError("certify compares losses of a head, and head=False leaves it out")
    if task not in (AUTO, CLASSES) or tokens is not None:
        said = "tokens" if tokens is not None else f"task {task!r}"
        raise ValueError(
            f"certify knows the global optimum of classes only, not of {said}; leave it out"
        )
    found: Watcher = Certify("ce" if certify is True else certify)
    return (*watch, found)
