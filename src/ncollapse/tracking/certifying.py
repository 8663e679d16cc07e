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
from torch import Tensor, nn

from ncollapse.collect.tap.taps import HEAD
from ncollapse.downstream.views import View, Watcher
from ncollapse.losses import NAMES, CrossEntropy, LogitLoss, Loss, named
from ncollapse.record.trace import CERTIFIED
from ncollapse.tasks import AUTO
from ncollapse.theory.solvers.convex import one_thread
from ncollapse.theory.subjects.floor import LossFloor, check_convex

CLASSES = "classification"
KEYS = CERTIFIED
LOSS, FLOOR, GAP, SPREAD, SHAPE, IDLE, TAU = KEYS
# Logits are formed for this many numbers at a time.
PIECE = 2**21
Sums = tuple[float, float, Tensor]


class Certify:
    """A watcher: the loss L of a head on the features of a split, and the least of any head and
    features with the same norms.

    ufm_loss: L, the mean loss of the logits W h + b, in eval mode. ufm_floor: a certified lower
    bound on φ(T), T = ‖W‖_F √(Σ‖h_i‖²/N), the least loss that norms allow (good to 1e-4 of it, with
    64 distinct counts or more to a few thousandths). ufm_gap in [0, 1]: (L - φ(T))/L, the share of
    the loss that is geometry not yet reached, 0 at the optimum; it is the sum of ufm_gap_spread,
    ufm_gap_shape and ufm_gap_norm (see above). ufm_tau: the fitted τ = √(N λ_W λ_H), at which the
    global optimum has these norms; (L - floor) is the gap of the objective with that decay too.

    loss: that of training: `nn.CrossEntropyLoss`, a loss of `ncollapse.losses`, or a name of one
    ("ce", "mse", …). Counts are those of the split that is looked at. Null where features are not
    finite.

    >>> tracker = nc.Tracker(model, train=…, certify=True)                     # doctest: +SKIP

    Raises ValueError for losses without theory or that are not convex; in `read` for labels that
    are no classes of the head and classes without a sample. Source: derived here.
    """

    reads_logits = False
    of_classes = True

    def __init__(self, loss: Any = "ce") -> None:
        if isinstance(loss, str) and loss not in NAMES:
            raise ValueError(
                f"certify={loss!r} is no loss that theory knows; one of {', '.join(NAMES)} is "
                "needed"
            )
        if not isinstance(loss, str | Loss | nn.CrossEntropyLoss):
            raise ValueError(
                f"certify={_named(loss)} is no loss that theory knows; pass True for cross-entropy,"
                " your nn.CrossEntropyLoss, a name ('mse' for squared errors of one-hot labels; "
                f"{', '.join(NAMES)}) or a loss of ncollapse.losses"
            )
        self.loss = loss
        trial = self._given(None)
        each = (getattr(trial, name, None) for name in ("weight", "scale", "shift"))
        check_convex(trial, max([2, *(len(one) for one in each if one is not None)]))
        self._floors: dict[tuple[tuple[int, ...], bool], tuple[LogitLoss, LossFloor]] = {}

    def _given(self, counts: tuple[int, ...] | None) -> Loss:
        """The loss of these counts; None: of any, to look at."""
        if isinstance(self.loss, str):
            return named(self.loss, counts or (1, 1))
        return self.loss if isinstance(self.loss, Loss) else _of_torch(self.loss, counts)

    def read(self, view: View) -> dict[str, float | None]:
        """KEYS of the head; nothing for other layers."""
        if view.layer != HEAD:
            return {}
        if view.weight is None:
            raise ValueError("certify needs the head's weight, and no head is read; pass head=…")
        largest, rows = int(view.labels.max()), len(view.weight)
        if largest >= rows:
            one = ", as of ordered grades or a regression" if rows == 1 else ""
            raise ValueError(
                f"certify needs a row of the head for every class; split {view.split!r} has class "
                f"{largest} and the head {rows} row{'s' * (rows != 1)}{one}: leave certify out, or "
                "pass head=…"
            )
        counts = torch.bincount(view.labels.cpu(), minlength=rows)
        loss, floor = self._floor(view.split, tuple(counts.tolist()), view.bias is not None)
        return _told(view, summed(view, loss), counts.double(), loss, floor)

    def _floor(
        self, split: str, counts: tuple[int, ...], bias: bool
    ) -> tuple[LogitLoss, LossFloor]:
        """Solutions are kept from look to look."""
        if (counts, bias) not in self._floors:
            if 0 in counts:
                raise ValueError(
                    f"certify needs every class, and class {counts.index(0)} has no sample in "
                    f"split {split!r}; pass samples of all {len(counts)} classes, or leave the "
                    "split out"
                )
            given = self._given(counts)
            found = LossFloor(counts, given, bias=bias)
            self._floors[counts, bias] = check_convex(given, len(counts)), found
        return self._floors[counts, bias]


def _of_torch(module: nn.CrossEntropyLoss, counts: tuple[int, ...] | None) -> CrossEntropy:
    """torch's cross-entropy as it averages over samples of these counts, whatever its reduction."""
    if module.weight is None:
        return CrossEntropy(module.label_smoothing)
    if module.label_smoothing:
        raise ValueError(
            "torch's cross-entropy with weight and label_smoothing weighs smoothed labels class by "
            "class, which theory does not know; certify knows each of the two alone"
        )
    weight = module.weight.detach().double().cpu()
    if counts is not None and len(counts) == len(weight):
        # torch divides by the weights of the samples, theory by their number.
        each = torch.tensor(counts, dtype=torch.float64)
        weight = weight * each.sum() / (weight @ each)
    return CrossEntropy(weight=tuple(weight.tolist()))


def _named(loss: Any) -> str:
    """What was passed, as its owner writes it."""
    if isinstance(loss, int | float):
        return repr(loss)
    return str(getattr(loss, "__name__", type(loss).__name__))


def summed(view: View, loss: LogitLoss) -> Sums:
    """Σ ℓ, Σ ‖h‖² and the sums of features by class (classes, dim).

    Logits are the one product that costs: on a CPU it is made in the dtype of the features, whose
    rounding is that of the network's own logits, and on a CUDA device, where the head is, in double
    precision. All that follows is in double precision.
    """
    assert view.weight is not None
    device = view.weight.device if view.weight.is_cuda else torch.device("cpu")
    exact = view.weight.is_cuda or torch.get_float32_matmul_precision() != "highest"
    kind = torch.float64 if exact or view.features.dtype == torch.float64 else torch.float32
    W = view.weight.detach().to(device, kind)
    b = None if view.bias is None else view.bias.detach().to(device, torch.float64)
    total, square = 0.0, 0.0
    sums = torch.zeros(W.shape, dtype=torch.float64)
    piece = max(1, PIECE // max(W.shape))
    for start in range(0, len(view.labels), piece):
        rows = view.features[start : start + piece]
        mine = view.labels[start : start + piece].to(device)
        logits = (rows.to(device, kind) @ W.T).double()
        total += float(loss(logits if b is None else logits.add_(b), mine).sum())
        doubled = rows.cpu().double()
        square += float(doubled.square().sum())
        sums.index_add_(0, mine.cpu(), doubled)
    return total, square, sums


def _told(
    view: View, found: Sums, counts: Tensor, loss: LogitLoss, floor: LossFloor
) -> dict[str, float | None]:
    """KEYS of a head, of the sums over its samples."""
    assert view.weight is not None
    total, square, sums = found
    W = view.weight.detach().double().cpu()
    b = None if view.bias is None else view.bias.detach().double().cpu()
    number = float(counts.sum())
    L, size = total / number, float(W.norm()) * math.sqrt(square / number)
    if not (math.isfinite(L) and math.isfinite(size)):
        return dict.fromkeys(KEYS)
    means = sums / counts[:, None]
    Z = W @ means.T
    Z = Z if b is None else Z + b[:, None]
    at_means = float((loss(Z.T, torch.arange(len(W))) * counts).sum()) / number
    with one_thread():
        shown = _nuclear(W, means, (counts / number).sqrt(), b is not None, loss.softmax)
        shown = min(shown, size)
        for one in (size, shown):
            floor.at(one, beside=L)
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
        TAU: floor.fitted(size) or None,
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
    if certify is False or certify is None:
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
