"""What the rows of a classifier look like at a critical point: alike, zero, simplexes apart."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

Blocks = tuple[tuple[int, ...], ...]
# Rows point one way from this cosine on, are orthogonal below the other, and are zero below the
# last share of the longest one.
ONE_WAY, ORTHOGONAL, VANISHED = 0.999, 1e-4, 1e-4


def shape_of(weight: Tensor) -> dict[str, Any]:
    """blocks, frames and zero of a classifier that is not zero."""
    norms = weight.norm(dim=1)
    alive = norms > VANISHED * norms.max()
    unit = weight / norms.clamp_min(1e-300)[:, None]
    cosines = torch.where(alive[:, None] & alive[None], unit @ unit.T, 0.0)
    found: dict[str, Any] = {
        "blocks": tuple(b for b in _linked(cosines >= ONE_WAY, alive) if len(b) > 1),
        "zero": tuple((~alive).nonzero().flatten().tolist()),
        "frames": (),
    }
    parts = _linked(cosines.abs() > ORTHOGONAL, alive)
    simplexes = [part for part in parts if len(part) > 1 and _simplex(cosines, part)]
    whole = len(simplexes) == 1 and len(simplexes[0]) == len(weight)
    if len(simplexes) == len(parts) and not whole and not found["blocks"]:
        found["frames"] = tuple(simplexes)
    return found


def _simplex(cosines: Tensor, part: tuple[int, ...]) -> bool:
    inside = cosines[list(part)][:, list(part)]
    off = inside[~torch.eye(len(part), dtype=torch.bool)]
    return bool((off + 1 / (len(part) - 1)).abs().max() <= ORTHOGONAL)


def _linked(near: Tensor, alive: Tensor) -> Blocks:
    """Connected parts of the classes that are alive."""
    left = set(alive.nonzero().flatten().tolist())
    parts = []
    while left:
        part, edge = set(), {min(left)}
        while edge:
            part |= edge
            reached = near[sorted(edge)].any(0).nonzero().flatten().tolist()
            edge = (set(reached) & left) - part
        left -= part
        parts.append(tuple(sorted(part)))
    return tuple(parts)


def listed(classes: tuple[int, ...]) -> str:
    """'3, 5, 8', or '0 to 9' for a run of more than three."""
    if len(classes) > 3 and classes[-1] - classes[0] == len(classes) - 1:
        return f"{classes[0]} to {classes[-1]}"
    text = ", ".join(str(k) for k in classes[:10])
    return text if len(classes) <= 10 else f"{text}, … ({len(classes)} of them)"
