"""Exact merging across the processes of torch.distributed: two collectives, equal on every rank.

The first collective is a SUM of every rank's pilots with flags of who has one: their mean is a
pilot that all ranks know and that lies near each class. Every rank moves its own sums to it, which
is exact, and the second collective is a SUM of those. Ranks may be uneven, empty, or lack classes.
"""

from __future__ import annotations

import copy
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from ncollapse.collect.statistics.decisions import Decisions
from ncollapse.collect.statistics.forgetting import ForgettingMoments
from ncollapse.collect.statistics.sums import ClassSums

if TYPE_CHECKING:
    from ncollapse.collect.statistics.blocks import BlockMoments

M = TypeVar("M", bound=ClassSums | ForgettingMoments)
HEADER = 6
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
def all_merge(moments: M, group: Any = None) -> M:
    """Moments that hold the samples of all ranks; the same on every rank, in two collectives.

    With t = c - c̄ the way from a rank's pilot c to the common one c̄ (the mean of the pilots of
    the ranks that have seen the class): s̄ = s + n t, q̄ = q + 2 s·t + n ‖t‖², and for the scatter
    P̄ = P + sᵀt + tᵀs + n tᵀt, then one SUM. Equal to one process up to float64 rounding of sums.
    `moments` itself is left as it is and may go on; outside a process group a copy is returned.
    Moments with forgetting merge the same way, about their common weighted means.
    K and d must be the same on all ranks (backends may abort where they are not). Cost: two
    messages, of K d and of the state in float64. Source: Chan, Golub, LeVeque 1983.

    Raises ValueError on every rank when the ranks' moments were built with different arguments or
    one rank met labels or features that it cannot take in; RuntimeError when a rank is gone.
    """
    if not in_group(group):
        return copy.deepcopy(moments)
    if isinstance(moments, ForgettingMoments):
        return cast("M", _merge_fading(moments, group))
    return cast("M", _merge_sums(moments, group))


def _merge_sums(moments: ClassSums, group: Any) -> ClassSums:
    ranks = dist.get_world_size(group)
    fault = ""
    try:
        moments.flush()
    except ValueError as error:
        fault = str(error)
    pilots, header = _common_pilots(moments, bool(fault), group)
    digest = float(_digest(moments))
    if fault:
        raise ValueError(f"rank {dist.get_rank(group)}: {fault}")
    if header[2] > 0:
        raise ValueError(
            f"{int(header[2])} of {ranks} ranks met labels or features that cannot be taken in; "
            "their messages say which"
        )
    _check_alike(header, digest, ranks)
    merged = copy.copy(moments)
    merged._scatter = copy.copy(moments._scatter)
    merged._pending, merged._bad = [], moments._bad.clone()
    parts = _moved(moments, pilots)
    flat = torch.cat([part.to("cpu", torch.float64).reshape(-1) for part in parts])
    shapes = [part.shape for part in parts]
    del parts
    flat = total(flat, group)
    found = _split(flat, shapes)
    counts, sums, squares = (part.to(moments.device) for part in found[:3])
    merged._counts = counts.round().to(torch.int64)
    merged._sums, merged._squares = sums.to(moments.dtype), squares.to(moments.dtype)
    if merged._scatter is not None:
        merged._scatter.products = found[3].to(moments.device, moments.dtype)
    merged._pilots = pilots
    merged._seen = (merged._counts > 0) | (moments._given_pilots is not None)
    merged._all_seen = bool(merged._seen.all())
    merged._rows = round(float(header[5]))
    eps = torch.finfo(torch.float32 if header[4] > 0 else torch.float64).eps
    merged._resolution = max(moments._resolution, eps)
    return merged


@torch.no_grad()
def _merge_fading(moments: ForgettingMoments, group: Any) -> ForgettingMoments:
    """Weighted means over ranks first, then squares and products about them."""
    K, d = moments.num_classes, moments.num_features
    digest = float(_bits(repr(moments._config).encode()))
    weights, means = moments._weights.cpu().double(), moments._means.cpu().double()
    first = torch.tensor([digest, digest**2, float(moments._resolution > 0)], dtype=torch.float64)
    first = torch.cat([first, weights, (weights[:, None] * means).reshape(-1)])
    first = total(first, group)
    _check_alike(first[:3].tolist(), digest, dist.get_world_size(group))
    whole = first[3 : 3 + K]
    tiny = torch.finfo(torch.float64).tiny
    common = first[3 + K :].view(K, d) / whole.clamp_min(tiny)[:, None]
    step = torch.where(weights[:, None] > 0, means - common, 0.0)
    squares = moments._squares.cpu().double() + weights * (step**2).sum(1)
    parts = [squares, moments._square_weight.cpu().double(), moments._rejected.cpu().double()]
    if moments._products is not None:
        parts.append(moments._products.cpu().double() + (step.T * weights) @ step)
    found = total(torch.cat([part.reshape(-1) for part in parts]), group)
    parts = _split(found, [part.shape for part in parts])
    merged = copy.copy(moments)
    merged._weights, merged._means = (t.to(moments._means) for t in (whole, common))
    merged._squares, merged._square_weight = (t.to(moments._means) for t in parts[:2])
    merged._rejected = parts[2].round().to(moments._rejected)
    merged._products = None if moments._products is None else parts[3].to(moments._means)
    eps = torch.finfo(torch.float32).eps
    coarse = eps if float(first[2]) > 0 else 0.0
    merged._resolution = torch.full_like(moments._resolution, coarse)
    return merged


def _digest(moments: ClassSums) -> int:
    said = (
        moments.num_classes,
        moments.num_features,
        moments.mode,
        moments.scatter_form,
        moments.weighting,
        moments._seed,
    )
    expected = b"" if moments._expected is None else moments._expected.cpu().numpy().tobytes()
    return _bits(repr(said).encode() + expected)


def _bits(said: bytes) -> int:
    """20 bits of how moments were built: sums of their squares are exact in float64."""
    return zlib.crc32(said) & 0xFFFFF


def _check_alike(header: list[float], digest: float, ranks: int) -> None:
    # Only equal numbers have a mean of squares that is the square of their mean.
    if header[0] != ranks * digest or header[1] != ranks * digest**2:
        raise ValueError(
            "the ranks' moments differ in num_classes, num_features, mode, scatter, weighting, "
            "counts, half-life or seed; build them with the same arguments on every rank (counts "
            "are those of all ranks together)"
        )


def _common_pilots(moments: ClassSums, failed: bool, group: Any) -> tuple[Tensor, list[float]]:
    """Collective one: pilots (K, d) that all ranks share, and the sums of the header."""
    K, d = moments.num_classes, moments.num_features
    flat = torch.zeros(HEADER + K + K * d, dtype=torch.float64)
    seen = moments._seen.cpu()
    digest = float(_digest(moments))
    pilots = moments._pilots
    single = moments._resolution > torch.finfo(torch.float64).eps
    double = pilots is not None and pilots.dtype == torch.float64
    said = [digest, digest**2, failed, double, single, moments._rows]
    flat[:HEADER] = torch.tensor(said, dtype=torch.float64)
    flat[HEADER : HEADER + K] = seen
    if pilots is not None:
        flat[HEADER + K :] = (pilots.cpu().to(torch.float64) * seen[:, None]).reshape(-1)
    flat = total(flat, group)
    header = flat[:HEADER].tolist()
    number = flat[HEADER : HEADER + K].clamp_min(1)
    common = flat[HEADER + K :].view(K, d).div_(number[:, None])
    # Later batches subtract pilots in their own dtype, so a pilot must be exact in it.
    dtype = torch.float64 if header[3] > 0 else torch.float32
    return common.to(moments.device, dtype), header


def _moved(moments: ClassSums, pilots: Tensor) -> list[Tensor]:
    """Counts, sums, squares and products of this rank about the common pilots."""
    counts, sums, squares = moments._counts, moments._sums, moments._squares
    number = counts.to(moments.dtype)
    if moments._pilots is None:
        step = torch.zeros_like(sums)
    else:
        step = (moments._pilots.to(moments.dtype) - pilots.to(moments.dtype)) * (
            moments._seen & (counts > 0)
        )[:, None]
    result = [
        counts,
        sums + number[:, None] * step,
        squares + 2 * (sums * step).sum(1) + number * (step**2).sum(1),
    ]
    if moments._scatter is not None:
        result.append(moments._scatter.moved(sums, number, step))
    return result


def _split(flat: Tensor, shapes: list[torch.Size]) -> list[Tensor]:
    """Views of a flat tensor in the given shapes."""
    return [
        part.view(shape)
        for part, shape in zip(flat.split([s.numel() for s in shapes]), shapes, strict=True)
    ]


@torch.no_grad()
def merge_decisions(decisions: Decisions, group: Any = None) -> Decisions:
    """Add the decisions of all ranks, in place: a SUM of counts and a MIN of the margins."""
    names = Decisions.SUMS
    parts = [getattr(decisions, name).to(torch.float64) for name in names]
    flat = total(torch.cat([*parts, decisions.margin_sum.reshape(1)]), group)
    for name, part in zip(names, flat[:-1].chunk(len(names)), strict=True):
        setattr(decisions, name, part.round().to(torch.int64))
    decisions.margin_sum = flat[-1]
    decisions.margin_min = total(decisions.margin_min.reshape(1), group, smallest=True)[0]
    return decisions


@torch.no_grad()
def merge_blocks(blocks: BlockMoments, group: Any = None) -> BlockMoments:
    """Add the jackknife blocks of all ranks, in place, in one SUM: their pilots are common."""
    tensors: list[Tensor] = []
    for part in blocks.parts:
        part.flush()
        tensors += [part._counts, part._sums, part._squares]
        tensors += [] if part._scatter is None else [part._scatter.products]
    flat = total(torch.cat([t.to(torch.float64).reshape(-1) for t in tensors]), group)
    for tensor, summed in zip(tensors, _split(flat, [t.shape for t in tensors]), strict=True):
        tensor.copy_(summed.round() if tensor.dtype == torch.int64 else summed)
    single = torch.finfo(torch.float32).eps
    coarse = torch.tensor([float(blocks.parts[0]._resolution >= single)], dtype=torch.float64)
    if float(total(coarse, group)) > 0:
        for part in blocks.parts:
            part._resolution = single
    return blocks
