"""Files of torch.save, read without running code from them, and checked before they are used."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch

BLOCK = 1 << 22


def read_pt(path: Path, *, mapped: bool = False) -> Any:
    """What torch.save wrote. Raises ValueError for anything else, and for a file that was cut or
    altered: torch writes checksums, but does not look at them. mapped: tensors stay in the file
    until they are read, where its form allows.
    """
    try:
        _check(path)
        held = mapped and zipfile.is_zipfile(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=held)
    except PermissionError:
        raise
    except Exception as error:  # Its unpickler has no error of its own.
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(
            f"{path} cannot be read safely ({said}); save a state dict: "
            "torch.save(model.state_dict(), path), or use .safetensors"
        ) from None


def _check(path: Path) -> None:
    """Raise ValueError where a member is not what its checksum was made of; files of old versions
    are no archives, and torch.serialization.set_crc32_options(False) leaves zeros."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        known = [member for member in archive.infolist() if member.CRC]
        for member in known:
            with archive.open(member) as stream:
                _read_through(stream, member.filename)


def _read_through(stream: Any, name: str) -> None:
    try:
        while stream.read(BLOCK):
            pass
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{name} is damaged: {error}") from None
