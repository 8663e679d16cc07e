"""Initialisers of an .onnx file, and which of them make its outputs; read by the onnx library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ncollapse.sources.heads.checkpoint import Checkpoint, Entry
from ncollapse.sources.specs.optional import optional

PRODUCTS = ("Gemm", "MatMul")
# What may stand between a classifier and the output: it keeps one column a class.
BETWEEN = ("Add", "Softmax", "LogSoftmax", "Sigmoid", "Identity", "Cast", "Flatten", "Reshape",
           "Squeeze", "Mul", "Div")  # fmt: skip
STEPS = 8


def open_onnx(path: Path) -> Checkpoint:
    """Matrices and vectors of floats among the initialisers; matrices that a MatMul or a Gemm
    takes from the right are (dim, classes) there and turned here.

    Raises ValueError without the library, for a file it cannot parse, and for data outside the
    file's folder.
    """
    onnx = optional("onnx")
    try:
        # Weights that lie in files of their own stay there until one is read.
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # Its parser has errors of its own kind.
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"{path} is no valid .onnx file ({said}); export it again") from None
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    turned, ends = _uses(model.graph, tensors)
    entries: dict[str, Entry] = {}
    for name, tensor in tensors.items():
        dtype = _dtype(onnx, tensor.data_type)
        if dtype is None:
            continue
        shape = tuple(int(size) for size in tensor.dims)
        flip = name in turned and len(shape) == 2
        entries[name] = Entry(name, shape[::-1] if flip else shape, dtype, flip)

    def fetch(name: str) -> Tensor:
        tensor = tensors[name]
        _check_place(onnx, tensor, path)
        array = onnx.numpy_helper.to_array(tensor, str(path.parent))
        return torch.from_numpy(array.astype("float32" if array.itemsize < 4 else array.dtype))

    return Checkpoint(path.name, entries, fetch, ordered=True, ends=ends)


def _dtype(onnx: Any, kind: int) -> torch.dtype | None:
    kinds = onnx.TensorProto
    known = {
        kinds.FLOAT: torch.float32,
        kinds.DOUBLE: torch.float64,
        kinds.FLOAT16: torch.float16,
        kinds.BFLOAT16: torch.bfloat16,
    }
    return known.get(kind)


def _uses(graph: Any, tensors: dict[str, Any]) -> tuple[set[str], tuple[str, ...]]:
    """Names of matrices that are stored (dim, classes), and of those behind which nothing but
    biases, scales and squashing comes before an output."""
    turned: set[str] = set()
    for node in graph.node:
        if node.op_type not in PRODUCTS or len(node.input) < 2 or node.input[1] not in tensors:
            continue
        across = any(a.name == "transB" and a.i == 1 for a in node.attribute)
        if not across:
            turned.add(node.input[1])
    makers = {out: node for node in graph.node for out in node.output}
    ends: list[str] = []
    for output in graph.output:
        waiting = [output.name]
        for _ in range(STEPS):
            nodes = [makers[name] for name in waiting if name in makers]
            waiting = []
            for node in nodes:
                if node.op_type in PRODUCTS:
                    ends += [name for name in node.input[1:2] if name in tensors]
                elif node.op_type in BETWEEN:
                    waiting += [name for name in node.input if name not in tensors]
    return turned, tuple(dict.fromkeys(ends))


def _check_place(onnx: Any, tensor: Any, path: Path) -> None:
    """Refuse data of a tensor that lie outside the file's folder."""
    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return
    for entry in tensor.external_data:
        if entry.key != "location":
            continue
        place = Path(entry.value)
        if place.is_absolute() or ".." in place.parts:
            raise ValueError(f"{path} keeps {tensor.name!r} at {entry.value!r}, outside its folder")
        if not (path.parent / place).is_file():
            raise ValueError(f"{path.parent / place} is missing, where {path.name} keeps weights")
