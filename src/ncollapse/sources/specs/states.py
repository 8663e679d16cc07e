"""Files of torch.save, read without running code from them, and checked before they are used."""

from __future__ import annotations

import argparse
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

BLOCK = 1 << 22
STATE = "save a state dict: torch.save(model.state_dict(), path), or use .safetensors"


def read_pt(path: Path, *, otherwise: str = STATE, mapped: bool = False) -> Any:
    """What torch.save wrote: tensors, arrays, plain values, and the settings of argparse that
    training scripts put beside them. Raises ValueError for anything else (the sentence ends with
    `otherwise`), and for a file that was cut or altered: torch writes checksums, but does not look
    at them. mapped: tensors stay in the file until they are read, where its form allows.
    """
    try:
        _check(path)
        held = mapped and zipfile.is_zipfile(path)
        with _harmless():
            return torch.load(path, map_location="cpu", weights_only=True, mmap=held)
    except PermissionError:
        raise
    except Exception as error:  # Its unpickler has no error of its own.
        raise ValueError(f"{path} cannot be read safely ({_reason(error)}); {otherwise}") from None


def _reason(error: Exception) -> str:
    said = " ".join(str(error).split())
    _, found, name = said.partition("Unsupported global: GLOBAL ")
    if found:
        return f"it holds a {name.split()[0]}, a Python object that runs code as it is loaded"
    if "TorchScript" in said:
        return "it is a TorchScript archive, whose layers cannot be tapped"
    return said[:200] or type(error).__name__


@contextmanager
def _harmless() -> Iterator[None]:
    """Within it plain arrays of numpy and a namespace of settings are read too: neither runs
    code."""
    allowed = getattr(torch.serialization, "safe_globals", None)
    if allowed is None:  # Of torch 2.4.
        yield
        return
    core = getattr(np, "_core", None) or np.core
    kinds = {type(np.dtype(code)) for code in "?bBhHiIlLqQefd"} | {np.dtypes.StrDType}
    rebuild = core.multiarray._reconstruct
    old = (rebuild, "numpy.core.multiarray._reconstruct")
    scalar = core.multiarray.scalar
    with allowed([argparse.Namespace, np.ndarray, np.dtype, rebuild, old, scalar, *kinds]):
        yield


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
