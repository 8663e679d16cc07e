"""How often the same context is followed by different tokens, counted over token ids alone.

A context is the last `order` tokens, the current one among them, of one sequence. Only contexts
that occur twice or more can show more than one successor: shares are of those. The share falls with
the order, as longer contexts tell more: a share of 0 at an order says that the tokens that follow
are a function of that context in this text, and a large one that no function of it can be right.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

ORDER = 3
# Pairs of context and successor that are kept; past it half of all contexts are let go.
LIMIT = 20_000_000
ENOUGH = 1 << 20
# Odd 64-bit factors of a multiplicative hash.
FACTORS = (-7046029254386353131, -4417276706812531889)


@dataclass(frozen=True)
class SuccessorShares:
    """contexts: different ones. repeated: those that occur at least twice. share: of these, those
    with more than one successor; position_share: the same over their positions; NaN where no
    context repeats. kept: the share of all contexts that was looked at, drawn by hash."""

    order: int
    contexts: int
    repeated: int
    share: float
    position_share: float
    kept: float


class Successors:
    """Counts of (context, successor) over batches of ids (sequences, time); merging is exact.

    Contexts are told by 64-bit hashes. Past `limit` pairs only contexts whose hash ends in a zero
    bit are kept, then two, and so on: a random part of the contexts, the same in all parts that are
    merged. Raises ValueError for an order below 1.
    """

    def __init__(self, order: int = ORDER, limit: int = LIMIT) -> None:
        if order < 1:
            raise ValueError(f"order={order}; a context has at least one token")
        self.order, self.limit, self.level = order, limit, 0
        empty = torch.zeros(0, dtype=torch.int64)
        # By pair: its hash (sorted), that of its context, and how often it occurs.
        self._pairs, self._contexts, self._counts = empty, empty, empty
        self._waiting: list[tuple[Tensor, Tensor]] = []

    def update(
        self,
        ids: Int[Tensor, "sequences time"],
        mask: Bool[Tensor, "sequences time"] | None = None,
    ) -> None:
        """Add sequences; a window counts where the mask holds at its tokens and its successor."""
        span = self.order + 1
        if ids.shape[1] < span:
            return
        windows = ids.to("cpu", torch.int64).unfold(1, span, 1).reshape(-1, span)
        if mask is not None:
            windows = windows[mask.cpu().unfold(1, span, 1).all(2).flatten()]
        contexts = torch.zeros(len(windows), dtype=torch.int64)
        for place in range(self.order):
            contexts = _mixed(contexts, windows[:, place])
        # All is sorted anew when as much waits, so that many small batches cost no more than one.
        self._waiting.append((_mixed(contexts, windows[:, -1]), contexts))
        if sum(len(pairs) for pairs, _ in self._waiting) > max(len(self._pairs), ENOUGH):
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            pairs, contexts = (torch.cat(parts) for parts in zip(*self._waiting, strict=True))
            self._waiting = []
            self._join(pairs, contexts, torch.ones_like(contexts))

    def merge(self, other: Successors) -> Successors:
        """Add what `other` has seen. Raises ValueError where the orders differ."""
        if other.order != self.order:
            raise ValueError(f"contexts of {other.order} tokens cannot join those of {self.order}")
        self._flush()
        other._flush()
        self.level = max(self.level, other.level)
        self._join(other._pairs, other._contexts, other._counts)
        return self

    def _join(self, pairs: Tensor, contexts: Tensor, counts: Tensor) -> None:
        pairs, contexts = torch.cat([self._pairs, pairs]), torch.cat([self._contexts, contexts])
        counts = torch.cat([self._counts, counts])
        while True:
            kept = (contexts & ((1 << self.level) - 1)) == 0
            pairs, contexts, counts = pairs[kept], contexts[kept], counts[kept]
            pairs, place = pairs.unique(return_inverse=True)
            counts = torch.zeros_like(pairs).index_add_(0, place, counts)
            contexts = torch.zeros_like(pairs).index_copy_(0, place, contexts)
            if len(pairs) <= self.limit:
                break
            self.level += 1
        self._pairs, self._contexts, self._counts = pairs, contexts, counts

    def result(self) -> SuccessorShares:
        self._flush()
        found, place = self._contexts.unique(return_inverse=True)
        kinds = torch.bincount(place, minlength=len(found))
        positions = torch.zeros_like(found).index_add_(0, place, self._counts)
        again = positions > 1
        several = again & (kinds > 1)
        repeated, total = int(again.sum()), int(positions[again].sum())
        return SuccessorShares(
            self.order,
            len(found),
            repeated,
            int(several.sum()) / repeated if repeated else float("nan"),
            int(positions[several].sum()) / total if total else float("nan"),
            0.5**self.level,
        )


def _mixed(state: Tensor, value: Tensor) -> Tensor:
    """A hash of a hash and a number; products wrap around."""
    state = (state + value + 1) * FACTORS[0]
    state = (state ^ ((state >> 32) & 0xFFFFFFFF)) * FACTORS[1]
    return state ^ ((state >> 29) & 0x7FFFFFFFF)
