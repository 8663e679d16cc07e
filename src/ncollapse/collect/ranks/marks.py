"""A mark for every sample of a batch: by it a pass that goes on knows its inputs again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


def sample_marks(inputs: Any, rows: int) -> Tensor:
    """64 bits (rows) of the sha256 of what each sample's inputs are.

    Tensors and lists with an entry a sample count by that entry; whatever else the inputs hold is
    of every sample. The same sample in a batch of another size has the same mark.
    """
    common = hashlib.sha256()
    parts: list[Any] = []
    _deal(inputs, rows, common, parts)
    found = np.empty(rows, dtype=np.int64)
    for row in range(rows):
        digest = common.copy()
        for part in parts:
            digest.update(part[row])
        found[row] = int.from_bytes(digest.digest()[:8], "little", signed=True)
    return torch.from_numpy(found)


def enter(value: Any, digest: Any) -> None:
    """All that a batch holds, into a digest."""
    if isinstance(value, Tensor):
        digest.update(repr((value.dtype, tuple(value.shape))).encode())
        digest.update(_bytes(value, 1))
    elif isinstance(value, Mapping) or hasattr(value, "items"):
        for key in value:
            digest.update(repr(key).encode())
            enter(value[key], digest)
    elif isinstance(value, (tuple, list)):
        for item in value:
            enter(item, digest)
    else:
        digest.update(_said(value))


def _deal(value: Any, rows: int, common: Any, parts: list[Any]) -> None:
    """What has an entry a sample to `parts`, all else into `common`."""
    if isinstance(value, Tensor):
        if value.dim() and value.shape[0] == rows:
            common.update(repr((value.dtype, tuple(value.shape[1:]))).encode())
            parts.append(_bytes(value, rows))
        else:
            enter(value, common)
    elif isinstance(value, Mapping) or hasattr(value, "items"):
        for key in value:
            common.update(repr(key).encode())
            _deal(value[key], rows, common, parts)
    elif isinstance(value, (tuple, list)):
        if len(value) == rows and not any(isinstance(item, (Tensor, Mapping)) for item in value):
            parts.append([_said(item) for item in value])
            return
        for item in value:
            _deal(item, rows, common, parts)
    else:
        enter(value, common)


def _bytes(value: Tensor, rows: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    plain = value.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    return plain.view(torch.uint8).numpy().reshape(rows, -1)


def _said(value: Any) -> bytes:
    said = repr(value)
    # One that is no more than an address is another in every process.
    return (type(value).__qualname__ if said == object.__repr__(value) else said).encode()
