"""What a model decides about every sample of a split, in eval mode, shared among ranks."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from ncollapse.collect.ranks.ranks import Ranks
from ncollapse.collect.tap.batches import Batch, unpack_batch
from ncollapse.collect.tap.preserve import evaluating
from ncollapse.lab.data import Data
from ncollapse.lab.parallel import interleaved


def logits_of(model: nn.Module, batch: Batch, device: torch.device) -> Tensor:
    """Logits (samples, classes) of a batch; of libraries that return more than a tensor, too."""
    found: Any = batch.run(model, device)
    found = getattr(found, "logits", found)
    return found if isinstance(found, Tensor) else torch.as_tensor(found[0])


@torch.no_grad()
def decisions(
    model: nn.Module, data: Data, split: str, ranks: Ranks | None = None
) -> tuple[Int[Tensor, " samples"], float]:
    """The class decided for each sample of a split, in its own order, and the share that is wrong.

    The model's mode is restored. In a process group the call is collective and every rank gets the
    whole.
    """
    device = next(model.parameters()).device
    total = data.count(split)
    mine = torch.arange(total)
    if ranks is not None:
        mine = mine[ranks.rank :: ranks.size]
    decided, wrong = [torch.empty(0, dtype=torch.int64)], 0
    parts = [part for part in mine.split(data.evaluation_batch) if part.numel()]
    with evaluating(model):
        for raw in data.batches(split, parts):
            batch = unpack_batch(raw)
            found = logits_of(model, batch, device).argmax(1).cpu()
            wrong += int((found != batch.labels.cpu()).sum())
            decided.append(found)
    whole = torch.cat(decided)
    if ranks is not None:
        shared = ranks.gather((whole, wrong))
        whole = interleaved([part for part, _ in shared], total)
        wrong = sum(count for _, count in shared)
    return whole, wrong / total
