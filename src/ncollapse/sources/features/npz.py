""".npz files, streamed: the member `features` is read through the zip stream, never whole."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from ncollapse.sources.features.store import Store

DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError)
MEMBER = "features.npy"


class NpzSource(Store):
    """Features of an .npz in row order. Arrays saved in Fortran order are loaded whole."""

    def __init__(self, path: Path) -> None:
        try:
            with zipfile.ZipFile(path) as archive:
                names = tuple(n.removesuffix(".npy") for n in archive.namelist())
                super().__init__(path, names)
                self._require()
                with archive.open(MEMBER) as stream:
                    shape, fortran, dtype = _header(stream, path)
        except zipfile.BadZipFile:
            raise ValueError(
                f"{path} is no .npz archive (or it is cut short); save it with numpy.savez"
            ) from None
        if dtype.hasobject:
            raise ValueError(f"{path}: features hold Python objects; an array of floats is needed")
        self._numpy, self._fortran = dtype, fortran
        kind = torch.from_numpy(np.empty(0, dtype=dtype.newbyteorder("="))).dtype
        self._finish(shape, kind)

    def read(self, name: str) -> Any:
        return load_arrays(self.path, name)[name]

    def rows(self, start: int, size: int) -> Iterator[Tensor]:
        if self._fortran:
            whole = load_arrays(self.path, "features")["features"]
            for place in range(start, self.num_samples, size):
                yield torch.from_numpy(np.ascontiguousarray(whole[place : place + size]))
            return
        width = self.num_features * self._numpy.itemsize
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(MEMBER) as stream:
                _header(stream, self.path)
                # A stored member seeks; a compressed one is read through, which zipfile does.
                stream.seek(stream.tell() + start * width)
                for place in range(start, self.num_samples, size):
                    wanted = min(size, self.num_samples - place) * width
                    data = _exactly(stream, wanted)
                    array = np.frombuffer(data, dtype=self._numpy).reshape(-1, self.num_features)
                    yield torch.from_numpy(array.astype(self._numpy.newbyteorder("="), copy=False))
        except DAMAGE as error:
            raise ValueError(
                f"{self.path} is damaged: {error or 'it ends too early'}; save it again"
            ) from None


def load_arrays(path: Path, *names: str) -> dict[str, Any]:
    """Arrays of an .npz without unpickling; all of them when none is named."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in names or archive.files}
    except ValueError as error:
        if "pickle" in str(error).lower() or "object" in str(error).lower():
            raise ValueError(
                f"{path} holds Python objects, which are not loaded from files; save plain arrays"
            ) from None
        raise ValueError(f"{path} is no .npz archive ({error}); save it with numpy.savez") from None
    except DAMAGE as error:
        raise ValueError(f"{path} is damaged: {error}; save it again") from None


def _header(stream: Any, path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = npy.read_magic(stream)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        return read(stream)
    except ValueError as error:
        raise ValueError(
            f"{path}: the array features is damaged ({error}); save it again"
        ) from None


def _exactly(stream: Any, wanted: int) -> bytearray:
    data = bytearray(wanted)
    view, done = memoryview(data), 0
    while done < wanted:
        part = stream.read(min(wanted - done, 1 << 24))
        if not part:
            raise EOFError("features end too early")
        view[done : done + len(part)] = part
        done += len(part)
    return data
