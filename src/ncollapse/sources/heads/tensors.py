"""Tensors of a file by name and shape; a tensor is read when it is asked for, no other is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from ncollapse.sources.features.tensors import damage
from ncollapse.sources.heads.checkpoint import Checkpoint, Entry
from ncollapse.sources.heads.onnx import open_onnx
from ncollapse.sources.specs.models import read_state

SAFE, PICKLED, ONNX = (".safetensors",), (".pt", ".pth", ".bin", ".ckpt"), (".onnx",)
FORMS = ".safetensors, .pt, .pth, .bin, .onnx, or a folder with config.json and weights"
# Numbers of a safetensors header that a classifier may be stored in.
DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip


def open_file(path: Path) -> Checkpoint:
    """The tensors of a file. Of .safetensors only the header is read, of .pt and .pth
    (`weights_only`, mapped into memory) only what is asked for.

    Raises ValueError for what does not exist, is of another form, or is damaged.
    """
    if not path.is_file():
        raise ValueError(f"{path} does not exist; a checkpoint is needed ({FORMS})")
    suffix = path.suffix.lower()
    if suffix in SAFE:
        return open_safetensors(path)
    if suffix in PICKLED:
        return of_state(read_state(path, mapped=True), path.name)
    if suffix in ONNX:
        return open_onnx(path)
    raise ValueError(f"{path} is of no form that is read here; one of {FORMS} is needed")


def open_safetensors(path: Path) -> Checkpoint:
    """A .safetensors file by its header."""
    entries: dict[str, Entry] = {}
    with damage(path), safe_open(path, framework="pt") as handle:
        for name in handle.keys():  # noqa: SIM118
            part = handle.get_slice(name)
            dtype = DTYPES.get(part.get_dtype())
            if dtype is not None:
                entries[name] = Entry(name, tuple(part.get_shape()), dtype)

    def fetch(name: str) -> Tensor:
        with damage(path), safe_open(path, framework="pt") as handle:
            found: Tensor = handle.get_tensor(name)
            return found

    return Checkpoint(path.name, entries, fetch)


def of_state(state: Mapping[str, Tensor], description: str) -> Checkpoint:
    """A state dict, in the order in which the model registered its parameters."""
    entries = {
        name: Entry(name, tuple(value.shape), value.dtype)
        for name, value in state.items()
        if value.is_floating_point()
    }
    return Checkpoint(description, entries, lambda name: state[name].detach(), ordered=True)
