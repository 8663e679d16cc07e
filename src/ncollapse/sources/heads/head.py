"""The head of a checkpoint: weight (classes, dim), bias, class names, and how it was found."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ncollapse.sources.heads.checkpoint import Checkpoint
from ncollapse.sources.heads.guess import Found, find_head


@dataclass(frozen=True, eq=False)
class StoredHead:
    """weight (K, d) and bias (K) as stored; found: which tensor it is, and why."""

    weight: Tensor
    bias: Tensor | None
    class_names: tuple[str, ...] | None
    found: Found | None
    description: str

    @property
    def fingerprint(self) -> str:
        """Of the numbers, whatever file they lie in."""
        digest = hashlib.sha256()
        for part in (self.weight, self.bias):
            if part is not None:
                digest.update(str(tuple(part.shape)).encode())
                digest.update(part.to(torch.float64).contiguous().numpy().tobytes())
        return digest.hexdigest()


def stored_head(checkpoint: Checkpoint, head: str | None = None) -> StoredHead:
    """Find the head and read it, and nothing else. Raises what `find_head` raises."""
    found = find_head(checkpoint, head)
    weight = checkpoint.read(found.guess.name).reshape(found.guess.shape)
    bias = None if found.guess.bias is None else checkpoint.read(found.guess.bias)
    names = names_of(checkpoint.config, len(weight))
    return StoredHead(weight, bias, names, found, checkpoint.description)


def names_of(config: Mapping[str, Any], classes: int) -> tuple[str, ...] | None:
    """Class names that a config.json gives; None where it gives none, or as many as it has not."""
    known = config.get("id2label")
    if isinstance(known, Mapping):
        named = {str(key): str(value) for key, value in known.items()}
        if set(named) == {str(k) for k in range(classes)}:
            return tuple(named[str(k)] for k in range(classes))
    for key in ("label_names", "class_names"):
        listed = config.get(key)
        if isinstance(listed, list) and len(listed) == classes:
            return tuple(str(name) for name in listed)
    return None
