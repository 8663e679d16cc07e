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


@dataclass(frozen=True)
class Relation:
    """logits = made · scale, then what `words` says (with {made} in it). rank: 0 for the plainest;
    among layers that could be the head, a plainer one is taken."""

    words: str
    scale: float = 1.0
    rank: int = 0


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
    scale = _scale(a, b)
    if scale > 0 and close(scale * a, b, size, logits.dtype):
        return Relation(f"{scale:.4g} · {{made}} = logits", scale, rank=3)
    if wide:
        free = _scale(_centred(a), _centred(b))
        if free > 0 and close(free * _centred(a), _centred(b), size, logits.dtype):
            words = f"{free:.4g} · {{made}} = logits up to a constant a sample (log-softmax)"
            return Relation(words, free, rank=3)
        if _probabilities(b) and bool((b > 0).all()):
            free = _scale(_centred(a), _centred(b.log()))
            if free > 0 and close((free * a).softmax(-1), b, size, logits.dtype):
                words = f"softmax of {free:.4g} · {{made}} = what the model returns"
                return Relation(words, free, rank=3)
    cap = _soft_cap(a, b)
    if cap is not None and close(cap * (a / cap).tanh(), b, size, logits.dtype):
        return Relation(f"{cap:.4g} · tanh({{made}} / {cap:.4g}) = logits (soft cap)", rank=3)
    return None


def followed_scale(made: Tensor, logits: Tensor, known: Relation) -> float:
    """The scale of a relation that has one, as it is now: it may be learned."""
    fresh = relation(made, logits)
    return known.scale if fresh is None or fresh.rank != known.rank else fresh.scale


def gap(made: Tensor, logits: Tensor) -> float:
    """The largest difference of two (samples, K), up to a constant a sample."""
    found = made.double() - logits.double()
    return float(
        (found - found.mean(-1, keepdim=True) if found.shape[-1] > 1 else found).abs().max()
    )


def close(
    a: Tensor, b: Tensor, scale: Tensor | None = None, dtype: torch.dtype | None = None
) -> bool:
    """Whether two tensors agree to what the dtype can tell, at the size of the second."""
    if a.shape != b.shape:
        return False
    tolerance = DTYPE_TOLERANCE.get(dtype or b.dtype, 3e-2)
    size = b.double().abs().max() if scale is None else scale
    return bool((a.double() - b.double()).abs().max() <= tolerance * size.clamp_min(1e-6))


def _centred(value: Tensor) -> Tensor:
    return value - value.mean(-1, keepdim=True)


def _scale(a: Tensor, b: Tensor) -> float:
    """The multiple of a that is nearest to b."""
    return float((a * b).sum() / (a * a).sum().clamp_min(1e-300))


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
