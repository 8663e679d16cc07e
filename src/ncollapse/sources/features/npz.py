""".npz files, streamed: the member `features` is read through the zip stream, never whole."""

from __future__ import annotations

import lzma
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from ncollapse.sources.features.claims import check_memory
from ncollapse.sources.features.given import as_tensor, floats
from ncollapse.sources.features.keys import Keys
from ncollapse.sources.features.store import Store

# A flipped byte may ask for an encrypted member or an unknown compression (RuntimeError and its
# NotImplementedError), or cut a header short (struct.error).
DAMAGE = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, struct.error,
    KeyError, OverflowError, UnicodeError,
)  # fmt: skip
# A head is a Python literal: what literal_eval and numpy.dtype raise on a damaged one.
HEADER_DAMAGE = (
    ValueError, TypeError, SyntaxError, KeyError, AttributeError, IndexError, RecursionError,
    MemoryError, tokenize.TokenError,
)  # fmt: skip
Header = tuple[tuple[int, ...], bool, np.dtype[Any]]
LONGEST_HEAD = 1 << 20
# What every file of scipy.sparse.save_npz holds.
SPARSE = {"format", "shape", "data"}


class NpzSource(Store):
    """Features of an .npz in row order. Arrays saved in Fortran order are loaded whole."""

    def __init__(self, path: Path, keys: Keys | None = None) -> None:
        try:
            with zipfile.ZipFile(path) as archive:
                names = _names(archive, path)
                if set(names) >= SPARSE:
                    raise ValueError(
                        f"{path} is a sparse matrix of scipy, which holds no labels: load it and "
                        "pass nc.measure_features(scipy.sparse.load_npz(…), labels)"
                    )
                super().__init__(path, names, keys)
                self._member = f"{self.called['features']}.npy"
                shape, fortran, dtype = _claimed(archive, self._member, path)
        except PermissionError:
            raise
        except DAMAGE:
            raise ValueError(
                f"{path} is no .npz archive (or it is cut short); save it with numpy.savez"
            ) from None
        if dtype.hasobject:
            raise ValueError(f"{path}: features hold Python objects; an array of floats is needed")
        self._numpy, self._fortran = dtype, fortran
        try:
            kind = as_tensor(np.empty(0, dtype=dtype.newbyteorder("="))).dtype
        except ValueError as error:
            raise ValueError(f"{path}: features: {error}") from None
        if fortran:
            check_memory(float(np.prod(shape)) * dtype.itemsize, f"{path}: features, taken whole,")
        self._finish(shape, kind)

    def read(self, name: str) -> Any:
        return load_arrays(self.path, name)[name]

    def rows(self, start: int, size: int) -> Iterator[Tensor]:
        if self._fortran:
            name = self.called["features"]
            whole = load_arrays(self.path, name)[name]
            for place in range(start, self.num_samples, size):
                yield floats(torch.from_numpy(np.ascontiguousarray(whole[place : place + size])))
            return
        width = self.num_features * self._numpy.itemsize
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(self._member) as stream:
                _header(stream, self.path)
                # A stored member seeks; a compressed one is read through, which zipfile does.
                stream.seek(stream.tell() + start * width)
                for place in range(start, self.num_samples, size):
                    wanted = min(size, self.num_samples - place) * width
                    data = _exactly(stream, wanted)
                    array = np.frombuffer(data, dtype=self._numpy).reshape(-1, self.num_features)
                    rows = array.astype(self._numpy.newbyteorder("="), copy=False)
                    yield floats(torch.from_numpy(rows))
        except DAMAGE as error:
            raise ValueError(
                f"{self.path} is damaged: {error or 'it ends too early'}; save it again"
            ) from None


def names_of(path: Path) -> tuple[str, ...]:
    """Names of the arrays in a file; none where it is no archive, which opening it tells."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (*DAMAGE, ValueError):
        return ()
    return tuple(name.removesuffix(".npy") for name in names if name.endswith(".npy"))


def load_arrays(path: Path, *names: str) -> dict[str, Any]:
    """Arrays of an .npz without unpickling; all of them when none is named."""
    try:
        with zipfile.ZipFile(path) as members:
            for name in names or _names(members, path):
                shape, _, dtype = _claimed(members, f"{name}.npy", path)
                check_memory(float(np.prod(shape)) * dtype.itemsize, f"{path}: {name}")
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in names or archive.files}
    except ValueError as error:
        if str(path) in str(error):
            raise
        if "pickle" in str(error).lower() or "object" in str(error).lower():
            raise ValueError(
                f"{path} holds Python objects, which are not loaded from files; save plain "
                "arrays, and names as texts: labels.astype(str)"
            ) from None
        raise ValueError(f"{path} is no .npz archive ({error}); save it with numpy.savez") from None
    except DAMAGE as error:
        raise ValueError(f"{path} is damaged: {error}; save it again") from None


def _names(archive: zipfile.ZipFile, path: Path) -> tuple[str, ...]:
    """Arrays of an archive. Raises ValueError for a name that stands there twice, and, of an array
    that is not asked for too, for one that is another in the archive's list."""
    members = [name for name in archive.namelist() if name.endswith(".npy")]
    names = [name.removesuffix(".npy") for name in members]
    for member in archive.namelist():
        # Opening compares the two: a name that was damaged in the list would be an array less.
        archive.open(member).close()
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{path} holds {', '.join(twice)} twice; save each array once")
    return tuple(names)


def _claimed(archive: zipfile.ZipFile, member: str, path: Path) -> Header:
    """What the head of an array says. Raises ValueError where the archive holds another number of
    bytes than that."""
    with archive.open(member) as stream:
        shape, fortran, dtype = _header(stream, path, member.removesuffix(".npy"))
        held = archive.getinfo(member).file_size - stream.tell()
    claimed = math.prod(shape) * dtype.itemsize
    if not dtype.hasobject and claimed != held:
        raise ValueError(
            f"{path} is damaged: {member.removesuffix('.npy')} of shape {shape} takes {claimed} "
            f"bytes and {held} are there; save it again"
        )
    return shape, fortran, dtype


def _header(stream: Any, path: Path, name: str = "features") -> Header:
    try:
        # Before numpy takes as much as the head says: the length stands in bytes 8 to 11.
        start = stream.read(12)
        if start[6:7] > b"\x01" and int.from_bytes(start[8:12], "little") > LONGEST_HEAD:
            raise ValueError("its head claims to be longer than any")
        stream.seek(0)
        version = npy.read_magic(stream)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(stream)
        if any(size < 0 for size in shape):
            raise ValueError(f"a shape of {shape}")
    except HEADER_DAMAGE as error:
        raise ValueError(f"{path}: the array {name} is damaged ({error}); save it again") from None
    return shape, fortran, dtype


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
