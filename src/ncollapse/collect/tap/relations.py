"""How a model's logits follow from what its head makes: equal, shifted, scaled, capped, squashed.

What is affine in the head's output changes the head that is read; what only keeps the order of the
logits (softmax, a soft cap) leaves it as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

DTYPE_TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-4}
# Fewer free numbers than this fit a scale whatever they are.
ENOUGH = 4


@dataclass(frozen=True, eq=False)
class Relation:
    """logits = made · scale + shift, then what `words` says (with {made} in it). rank: 0 for the
    plainest; among layers that could be the head, a plainer one is taken. shift: a constant a class
    (classes), where there is one."""

    words: str
    scale: float = 1.0
    rank: int = 0
    shift: Tensor | None = None


def relation(made: Tensor, logits: Tensor) -> Relation | None:
    """How logits (samples, K) follow from made (samples, K), the plainest way; None for none."""
    if made.shape != logits.shape or made.numel() == 0:
        return None
    if close(made, logits):
        return Relation("{made} = logits")
    a, b = made.double(), logits.double()
    size = b.abs().max()
    wide = a.shape[-1] > 1
    if wide and close(_centred(a), _centred(b), a.abs().max(), made.dtype):
        return Relation("{made} = logits up to a constant a sample (log-softmax)", rank=1)
    if _probabilities(b) and close(a.softmax(-1), b, size, logits.dtype):
        return Relation("softmax of {made} = what the model returns", rank=2)
    if _within(b, 0, 1) and close(a.sigmoid(), b, size, logits.dtype):
        return Relation("sigmoid of {made} = what the model returns", rank=2)
    if a.numel() - (a.shape[0] if wide else 0) < ENOUGH:
        return None
    scale = multiple(a, b)
    if scale > 0 and close(scale * a, b, size, logits.dtype):
        return Relation(f"{scale:.4g} · {{made}} = logits", scale, rank=3)
    if wide:
        free = multiple(_centred(a), _centred(b))
        if free > 0 and close(free * _centred(a), _centred(b), size, logits.dtype):
            words = f"{free:.4g} · {{made}} = logits up to a constant a sample (log-softmax)"
            return Relation(words, free, rank=3)
        if _probabilities(b) and bool((b > 0).all()):
            free = multiple(_centred(a), _centred(b.log()))
            if free > 0 and close((free * a).softmax(-1), b, size, logits.dtype):
                words = f"softmax of {free:.4g} · {{made}} = what the model returns"
                return Relation(words, free, rank=3)
    shift = _shift(a, b, logits.dtype)
    if shift is not None:
        return Relation("{made} + a constant a class = logits", rank=3, shift=shift)
    cap = _soft_cap(a, b)
    if cap is not None and close(cap * (a / cap).tanh(), b, size, logits.dtype):
        return Relation(f"{cap:.4g} · tanh({{made}} / {cap:.4g}) = logits (soft cap)", rank=3)
    return None


def followed(made: Tensor, logits: Tensor, known: Relation) -> Relation:
    """A relation that has a scale or a shift, as it is now: those may be learned."""
    fresh = relation(made, logits)
    if fresh is None or fresh.rank != known.rank:
        return known
    moved = abs(fresh.scale - known.scale) > 1e-6 * known.scale
    if fresh.shift is not None and known.shift is not None:
        moved |= not torch.allclose(fresh.shift, known.shift, rtol=1e-5, atol=1e-6)
    return fresh if moved else known


def gap(made: Tensor, logits: Tensor) -> float:
    """The largest difference of two (samples, K), up to a constant a sample."""
    found = made.double() - logits.double()
    return float(
        (found - found.mean(-1, keepdim=True) if found.shape[-1] > 1 else found).abs().max()
    )


def close(
    a: Tensor,
    b: Tensor,
    scale: Tensor | None = None,
    dtype: torch.dtype | None = None,
    *,
    tolerance: float | None = None,
) -> bool:
    """Whether two tensors agree to what the dtype can tell, or to `tolerance`, at the size of the
    second, or at `scale`."""
    if a.shape != b.shape:
        return False
    tolerance = tolerance or DTYPE_TOLERANCE.get(dtype or b.dtype, 3e-2)
    size = b.double().abs().max() if scale is None else scale
    return bool((a.double() - b.double()).abs().max() <= tolerance * size.clamp_min(1e-6))


def _centred(value: Tensor) -> Tensor:
    return value - value.mean(-1, keepdim=True)


def multiple(a: Tensor, b: Tensor) -> float:
    """The multiple of a that is nearest to b."""
    return float((a * b).sum() / (a * a).sum().clamp_min(1e-300))


def _shift(a: Tensor, b: Tensor, dtype: torch.dtype) -> Tensor | None:
    """c (classes) with a + c = b, where enough samples differ by more than rounding to tell."""
    free, size = (a.shape[0] - 1) * a.shape[1], b.abs().max()
    spread = (b - b.mean(0)).abs().max()
    if free < ENOUGH or spread <= 1e-3 * size:
        return None
    shift = (b - a).mean(0)
    return shift if close(a + shift, b, spread, dtype) else None


def _within(value: Tensor, low: float, high: float) -> bool:
    return bool(((value >= low) & (value <= high)).all())


def _probabilities(value: Tensor) -> bool:
    total = value.sum(-1)
    return value.shape[-1] > 1 and _within(value, 0, 1) and bool(((total - 1).abs() < 2e-2).all())


def _soft_cap(a: Tensor, b: Tensor) -> float | None:
    """c with c · tanh(a / c) = b where a is largest: what falls with 1/c, so bisected."""
    place = int(a.abs().argmax())
    top, capped = float(a.flatten()[place]), float(b.flatten()[place])
    if top * capped <= 0 or abs(capped) >= abs(top):
        return None
    top, capped = abs(top), abs(capped)
    low, high = capped, 1e6 * top
    for _ in range(200):
        middle = (low * high) ** 0.5
        value = middle * torch.tensor(top / middle, dtype=torch.float64).tanh().item()
        low, high = (middle, high) if value < capped else (low, middle)
    return high
