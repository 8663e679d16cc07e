"""Training in several processes: one device each, gradients averaged, the same numbers on all."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ncollapse.collect.ranks.ranks import Ranks


def device_here(asked: str, ranks: Ranks | None) -> torch.device:
    """The device of this process: ranks on one machine take one accelerator each.

    Raises ValueError where it cannot be used.
    """
    name = asked
    if ranks is not None and asked == "cuda" and torch.cuda.is_available():
        local = int(os.environ.get("LOCAL_RANK", ranks.rank))
        name = f"cuda:{local % torch.cuda.device_count()}"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {asked!r} cannot be used here ({reason}); name another") from None
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def distributed(model: nn.Module, device: torch.device, ranks: Ranks | None) -> nn.Module:
    """The model as it is, or wrapped so that gradients are averaged over ranks and all start from
    the weights of rank 0."""
    if ranks is None:
        return model
    group = None
    if device.type == "cuda" and "nccl" not in str(dist.get_backend()):
        # Statistics travel through the CPU; gradients should not.
        group = dist.new_group(backend="nccl")
    return nn.parallel.DistributedDataParallel(
        model,
        device_ids=[device] if device.type == "cuda" else None,
        process_group=group,
    )


def share(part: Tensor, ranks: Ranks | None) -> Tensor:
    """The samples of a batch that this rank takes."""
    return part if ranks is None else part[ranks.rank :: ranks.size]


def weight_of(mine: Tensor, part: Tensor, ranks: Ranks | None) -> float:
    """What a rank's mean loss counts for, so that the average of gradients over ranks is the
    gradient of the mean over the whole batch, even where ranks hold unequal numbers."""
    return 1.0 if ranks is None else mine.numel() * ranks.size / part.numel()


@torch.no_grad()
def share_buffers(model: nn.Module, ranks: Ranks | None) -> None:
    """Every rank takes rank 0's buffers: batch statistics run apart during an epoch."""
    if ranks is None:
        return
    for buffer in model.buffers():
        moved = buffer.cpu()
        dist.broadcast(moved, src=0)
        buffer.copy_(moved)


def split_batches(
    count: int, size: int, generator: torch.Generator, least: int = 2
) -> list[Tensor]:
    """A shuffled epoch in batches; a last one smaller than `least` is joined to the one before it
    (batch normalisation needs two samples on every rank)."""
    parts = list(torch.randperm(count, generator=generator).split(size))
    if len(parts) > 1 and parts[-1].numel() < least:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def interleaved(parts: Sequence[Tensor], total: int) -> Tensor:
    """Rank r's values stand at places r, r + size, r + 2 size, …: the whole in order."""
    whole = torch.empty(total, dtype=parts[0].dtype)
    for rank, part in enumerate(parts):
        whole[rank :: len(parts)] = part
    return whole
