"""Scores of rows against samples in float32, with near-ties settled in float64."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# A float32 score errs by a few ulps of |h|·|row|; gaps below this many are settled in float64.
TIE_ULPS = 16
# So many of the smallest margins of a slice are taken in float64.
SMALLEST = 16
EPS32 = torch.finfo(torch.float32).eps


class Scores:
    """Scores Rh + offset of rows R, with the float64 rows kept to settle near-ties."""

    def __init__(self, rows: Tensor, offset: Tensor | None) -> None:
        assert offset is not None
        self.rows, self.offset = rows, offset
        self.rows32, self.offset32 = rows.to(torch.float32), offset.to(torch.float32)
        self.largest = float(torch.linalg.vector_norm(rows, dim=1).max())
        self.offset_size = float(offset.abs().max())

    @property
    def tensors(self) -> list[Tensor]:
        return [self.rows, self.offset, self.rows32, self.offset32]

    def scored(self, work: Tensor) -> Tensor:
        """R h + offset, in the precision of `work`."""
        exact = work.dtype == torch.float64
        rows, offset = (self.rows, self.offset) if exact else (self.rows32, self.offset32)
        return torch.addmm(offset, work, rows.T)

    def decide(
        self,
        scores: Tensor,
        norms: Tensor,
        labels: Tensor | None,
        exact: Callable[[Tensor], Tensor],
        *,
        anew: Callable[[Tensor], Tensor] | None = None,
        lost: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """argmax of the scores and, given labels, margins z_y - max_{j≠y} z_j.

        exact: some samples in float64. anew: their scores, where those hold more than R h + offset;
        lost: what one score of each sample has lost.
        """
        if scores.dtype == torch.float64:
            return _settle(scores, labels)[:2]
        best, margins, top = _settle(scores, labels)
        slack = TIE_ULPS * EPS32 * (norms * self.largest + self.offset_size)
        if lost is not None:
            slack = slack + (TIE_ULPS * EPS32 * lost.abs()).to(slack.dtype)
        # A runner-up within the slack makes the decision unsafe in float32.
        unsafe = (scores > (top - slack)[:, None]).sum(1, dtype=torch.int32) > 1
        if margins is not None:
            # The smallest margins are reported, so they are settled too.
            smallest = margins.topk(min(SMALLEST, margins.numel()), largest=False).indices
            unsafe[smallest] = True
        rows = unsafe.nonzero().flatten()
        if rows.numel():
            chosen = None if labels is None else labels[rows]
            settled = self.scored(exact(rows)) if anew is None else anew(rows)
            best[rows], sure, _ = _settle(settled, chosen)
            if margins is not None and sure is not None:
                margins[rows] = sure
        return best, margins


def _settle(scores: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor]:
    """(argmax, margins z_y - max_{j≠y} z_j in float64 or None, best score) in one look.

    With labels, the best of the others is found with the label's own score set aside, so that
    decision and margin share the pass; `scores` is left as it was.
    """
    if labels is None:
        top, best = scores.max(1)
        return best, None, top
    column = labels[:, None]
    own = scores.gather(1, column)
    scores.scatter_(1, column, -torch.inf)
    rest, best = scores.max(1)
    scores.scatter_(1, column, own)
    own = own[:, 0]
    # Equal scores go to the lower class number, as argmax does.
    wins = (own > rest) | ((own == rest) & (labels < best))
    margins = own.to(torch.float64) - rest.to(torch.float64)
    return torch.where(wins, labels, best), margins, torch.maximum(own, rest)
