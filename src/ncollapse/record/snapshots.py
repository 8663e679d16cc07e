"""Accumulators on disk: safetensors with a checked JSON header, two generations, never half one."""

from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ncollapse.errors import NCollapseWarning
from ncollapse.record.atomic import replacing, set_aside

FORMAT = "1"


def previous(path: Path) -> Path:
    """Where the generation before the newest lies."""
    return path.with_name(path.name + ".previous")


def save_snapshot(path: Path, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    """Write a snapshot: temporary file, fsync, rename; the one before it is kept beside it.

    What stands in one of the two places and is no snapshot gets another name and stays.
    """
    for place in (path, previous(path)):
        if not is_snapshot(place):
            set_aside(place)
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = json.dumps(header, sort_keys=True)
    content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {"format": FORMAT, "header": plain, "checksum": _checksum(content, plain)}
    data = save(content, metadata=metadata)
    with replacing(path, keep=previous(path)) as handle:
        handle.write(data)


def load_snapshot(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The newest valid generation; a cut or altered one is passed over with a warning.

    Raises ValueError when no generation is valid.
    """
    problems = []
    for place in (path, previous(path)):
        if not place.exists():
            continue
        try:
            found = _read(place)
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            problems.append(f"{place}: {error}")
            continue
        if problems:
            warnings.warn(
                f"snapshot damaged, the one before it is used ({problems[0]})",
                NCollapseWarning,
                stacklevel=2,
            )
        return found
    raise ValueError(
        f"no valid snapshot at {path} ({'; '.join(problems) or 'no file'}); start without resume"
    )


def is_snapshot(path: Path) -> bool:
    """Whether `save_snapshot` wrote this file."""
    try:
        with safe_open(path, framework="pt") as handle:
            return {"format", "header", "checksum"} <= set(handle.metadata() or {})
    except (SafetensorError, OSError):
        return False


def remove_snapshot(path: Path) -> None:
    """Delete both generations; whatever else stands there stays."""
    for place in (path, previous(path)):
        if is_snapshot(place):
            place.unlink()


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    with safe_open(path, framework="pt") as handle:
        metadata = handle.metadata() or {}
        tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    if metadata.get("format") != FORMAT:
        raise ValueError(f"snapshot format {metadata.get('format')!r}, {FORMAT} was expected")
    if _checksum(tensors, metadata["header"]) != metadata["checksum"]:
        raise ValueError("the checksum does not match")
    header: dict[str, Any] = json.loads(metadata["header"])
    return tensors, header


def _checksum(tensors: dict[str, Tensor], header: str) -> str:
    digest = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
