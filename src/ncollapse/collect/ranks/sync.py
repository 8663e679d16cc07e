"""Exact merging across the processes of torch.distributed: two collectives, equal on every rank.

What a statistic is made of it knows itself (`Statistic`); here its named tensors travel. Ranks may
be uneven, empty, or lack classes.
"""

from __future__ import annotations

import copy
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from ncollapse.collect.statistics.protocol import Statistic

S = TypeVar("S", bound=Statistic)
LOST = "another process of the group ended"


def in_group(group: Any = None) -> bool:
    """Whether this process is one of several in an initialised process group."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size(group) > 1


@contextmanager
def explained(what: str) -> Iterator[None]:
    """A collective that fails says that another process is gone, not which socket closed."""
    try:
        yield
    except RuntimeError as error:
        reason = (str(error).strip().splitlines() or ["no reason given"])[0][:200]
        raise RuntimeError(
            f"{what} failed on rank {dist.get_rank()}: {LOST}, hangs past the group's timeout, or "
            f"holds moments of another size ({reason}); look at the first error of the other "
            "ranks, and build the moments alike everywhere"
        ) from error


def device_of(group: Any = None) -> torch.device:
    """Where tensors must lie for this group's collectives."""
    backend = str(dist.get_backend(group))
    if "gloo" in backend or "mpi" in backend:
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())


def total(values: Tensor, group: Any = None, *, smallest: bool = False) -> Tensor:
    """SUM (or MIN) of a tensor over all ranks, on the tensor's own device: one collective.

    Raises RuntimeError when another rank is gone or does not answer within the group's timeout.
    """
    moved = values.to(device_of(group)).contiguous()
    moved = moved.clone() if moved.data_ptr() == values.data_ptr() else moved
    with explained("a sum over ranks"):
        dist.all_reduce(moved, dist.ReduceOp.MIN if smallest else dist.ReduceOp.SUM, group=group)
    return moved.to(values.device)


@torch.no_grad()
def all_merge(statistic: S, group: Any = None) -> S:
    """A statistic of the samples of all ranks; the same on every rank, in two collectives.

    The first is a SUM of what makes the parts comparable (of class moments: every rank's pilots,
    with flags of who has one, whose mean is a pilot that all ranks know and that lies near each
    class), the second a SUM of the states about it. Equal to one process up to float64 rounding of
    sums. `statistic` itself is left as it is and may go on; outside a process group a copy is
    returned. K and d must be the same on all ranks (backends may abort where they are not). Cost:
    two messages, for class moments of K d and of the state in float64. Source: Chan, Golub,
    LeVeque 1983.

    Raises ValueError on every rank when the ranks' statistics were built with different arguments
    or one rank met labels or features that it cannot take in; RuntimeError when a rank is gone.
    """
    return merge_all([statistic], group)[0]


@torch.no_grad()
def merge_all(statistics: Sequence[S], group: Any = None) -> list[S]:
    """As `all_merge`, of several statistics at once: in two sums, and one minimum where a statistic
    keeps minima."""
    if not in_group(group):
        return [copy.deepcopy(statistic) for statistic in statistics]
    fault = ""
    for statistic in statistics:
        try:
            statistic.flush()
        except ValueError as error:
            fault = fault or str(error)
    digest = float(_bits("".join(s.identity for s in statistics).encode()))
    header = torch.tensor([digest, digest**2, bool(fault)], dtype=torch.float64)
    offered = [statistic.centres() for statistic in statistics]
    said, *centres = _summed([{"header": header}, *offered], group)
    _check(said["header"].tolist(), digest, fault, group)
    del offered
    pairs = list(zip(statistics, centres, strict=True))
    summed = _summed([statistic.summands(common) for statistic, common in pairs], group)
    lowest = [statistic.minima() for statistic in statistics]
    if any(lowest):
        lowest = _summed(lowest, group, smallest=True)
    result = []
    for (statistic, common), sums, minima in zip(pairs, summed, lowest, strict=True):
        merged = copy.copy(statistic)
        merged.load(common, sums, minima)
        result.append(merged)
    return result


def _summed(
    parts: Sequence[Mapping[str, Tensor]], group: Any, *, smallest: bool = False
) -> list[dict[str, Tensor]]:
    """Named float64 tensors of several statistics, added up over ranks in one message."""
    tensors = [tensor for part in parts for tensor in part.values()]
    if not tensors:
        return [{} for _ in parts]
    flat = torch.cat([tensor.to("cpu", torch.float64).reshape(-1) for tensor in tensors])
    flat = total(flat, group, smallest=smallest)
    found = iter(flat.split([tensor.numel() for tensor in tensors]))
    return [
        {name: next(found).view(tensor.shape) for name, tensor in part.items()} for part in parts
    ]


def _check(header: list[float], digest: float, fault: str, group: Any) -> None:
    ranks = dist.get_world_size(group)
    if fault:
        raise ValueError(f"rank {dist.get_rank(group)}: {fault}")
    if header[2] > 0:
        raise ValueError(
            f"{int(header[2])} of {ranks} ranks met labels or features that cannot be taken in; "
            "their messages say which"
        )
    # Only equal numbers have a mean of squares that is the square of their mean.
    if header[0] != ranks * digest or header[1] != ranks * digest**2:
        raise ValueError(
            "the ranks' moments differ in num_classes, num_features, mode, scatter, weighting, "
            "counts, half-life or seed; build them with the same arguments on every rank (counts "
            "are those of all ranks together)"
        )


def _bits(said: bytes) -> int:
    """20 bits of how statistics were built: sums of their squares are exact in float64."""
    return zlib.crc32(said) & 0xFFFFF
