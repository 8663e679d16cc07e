"""What loaders yield → inputs, labels and mask, with a clear word when that cannot be told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence
from torch.utils.data import DataLoader, Dataset, IterableDataset

from ncollapse.collect.tap.loaders import hugging_face, is_hugging_face
from ncollapse.sources.features.arrays import zeros_and_ones

LABELS = ("labels", "label", "target", "targets", "y")
MASKS = ("attention_mask", "mask")
HOW = (
    "pass unpack=lambda batch: (inputs, labels), for example "
    "unpack=lambda batch: (batch[0], batch[1])"
)
Unpack = Callable[[Any], tuple[Any, Any]]


@dataclass(frozen=True, eq=False)
class Tokens:
    """Which tokens are samples: positions (tokens) in the flattened (sequences · time)."""

    positions: Tensor
    sequences: int
    time: int


@dataclass(frozen=True, eq=False)
class Batch:
    """inputs: a tensor, or a mapping of keyword arguments. labels: (samples) int64, or numbers
    (samples) or (samples, n). mask: real tokens (samples, tokens), where known. tokens: where every
    token is a sample."""

    inputs: Any
    labels: Tensor
    mask: Tensor | None = None
    tokens: Tokens | None = None

    @property
    def rows(self) -> int:
        """Rows of the inputs: samples, or sequences of tokens."""
        return self.labels.shape[0] if self.tokens is None else self.tokens.sequences

    def taken(self, value: Any, rows: slice | Tensor) -> Any:
        """Some rows of what the batch holds; tensors that have no row a sample stay whole."""
        if isinstance(value, Tensor) and value.dim() and value.shape[0] == self.rows:
            return value[rows.to(value.device) if isinstance(rows, Tensor) else rows]
        if isinstance(value, Mapping):
            return {key: self.taken(item, rows) for key, item in value.items()}
        if isinstance(value, PackedSequence):
            return _packed_rows(value, rows) if rows_of(value) == self.rows else value
        if isinstance(value, (tuple, list)):
            return _like(value, [self.taken(item, rows) for item in value])
        return value

    def run(self, model: Callable[..., Any], device: torch.device) -> Any:
        """The model's output, inputs moved to its device."""
        if isinstance(self.inputs, Mapping):
            return model(**{key: _moved(value, device) for key, value in self.inputs.items()})
        return model(_moved(self.inputs, device))


@dataclass(frozen=True, eq=False)
class Slices:
    """Pairs of tensors, or arrays, in batches, in order, without a copy a sample."""

    inputs: Any
    labels: Tensor
    batch_size: int

    @property
    def dataset(self) -> Tensor:
        """What progress counts."""
        return self.labels

    def __iter__(self) -> Iterator[tuple[Any, Tensor]]:
        for start in range(0, self.labels.shape[0], self.batch_size):
            part = slice(start, start + self.batch_size)
            yield self.inputs[part], self.labels[part]


def as_loader(data: Any, batch_size: int) -> Iterable[Any]:
    """A loader as it is; a Dataset or a tuple (inputs, labels) of tensors, arrays or tables in
    batches, in order."""
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}; at least 1 sample a batch is needed")
    if isinstance(data, DataLoader):
        return data
    if isinstance(data, tuple) and len(data) == 2 and _is_array(data[0]):
        inputs = data[0] if isinstance(data[0], (Tensor, np.ndarray)) else data[0].to_numpy()
        labels = as_labels(data[1])
        if inputs.shape[0] != labels.shape[0]:
            raise ValueError(
                f"{inputs.shape[0]} inputs but {labels.shape[0]} labels were passed; one label a "
                "sample is needed"
            )
        return Slices(inputs, labels, batch_size)
    if is_hugging_face(data):
        return hugging_face(data, batch_size)
    if isinstance(data, IterableDataset) or (
        isinstance(data, Dataset) or (hasattr(data, "__getitem__") and hasattr(data, "features"))
    ):
        return DataLoader(data, batch_size=batch_size)
    if not isinstance(data, Iterable) or isinstance(data, (str, bytes, Mapping, Tensor)):
        raise ValueError(
            f"data is {_said(data)}; a DataLoader, a Dataset, a pair of tensors "
            f"(inputs, labels) or an iterable of batches is needed{_data_advice(data)}"
        )
    return data


def unpack_batch(batch: Any, unpack: Unpack | None = None, *, numbers: bool = False) -> Batch:
    """Pairs (input, label), mappings with labels, or what `unpack` makes of anything else.

    numbers: whether real-valued targets of a regression are taken as well. Raises ValueError that
    says what was found and how to map it.
    """
    if unpack is not None:
        try:
            found = unpack(batch)
        except Exception as error:
            raise ValueError(
                f"unpack failed on a batch of {describe(batch)} ({type(error).__name__}: {error}); "
                "a function that returns (inputs, labels) of such a batch is needed"
            ) from error
        if not isinstance(found, (tuple, list)) or len(found) != 2:
            raise ValueError(
                f"unpack returned {describe(found)}; a pair (inputs, labels) is needed, as of "
                "unpack=lambda batch: (batch[0], batch[1])"
            )
        return _checked(found[0], found[1], numbers)
    if isinstance(batch, Mapping):
        name = next((key for key in LABELS if key in batch), None)
        if name is None:
            raise ValueError(
                f"the loader yields a mapping with {describe(batch)} and no labels; name them "
                f"'labels', or {HOW}"
            )
        inputs = {k: v for k, v in batch.items() if k != name}
        if not inputs:
            raise ValueError(
                f"the loader yields a mapping with {describe(batch)} alone; what the model takes "
                f"is needed beside it, by the names of its arguments: {HOW}"
            )
        return _checked(inputs, batch[name], numbers)
    if isinstance(batch, (tuple, list)) and len(batch) == 2:
        return _checked(batch[0], batch[1], numbers)
    raise ValueError(
        f"the loader yields {describe(batch)}; pairs (input, label) or mappings with 'labels' are "
        f"needed: {HOW}"
    )


def _checked(inputs: Any, labels: Any, numbers: bool) -> Batch:
    try:
        value = as_labels(labels)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(
            f"the labels are {describe(labels)}; class numbers are needed"
            f"{_named_advice(inputs, labels) or ', one a sample: ' + HOW}"
        ) from None
    if value.dim() == 2 and value.shape[1] == 1:
        value = value[:, 0]
    if value.dim() == 1 and value.is_floating_point() and bool(((value == 0) | (value == 1)).all()):
        value = value.to(torch.int64)  # As losses of one logit want them.
    if numbers and _tags(value):
        value = value.to(torch.float32)
    whole = value.dim() == 1 and not value.is_floating_point() and not value.is_complex()
    if not whole and not (numbers and _numbers(value)):
        raise ValueError(
            f"the labels are {describe(value)}; one integer class number a sample is needed"
            f"{_advice(inputs, value)}"
        )
    mask = None
    if isinstance(inputs, Mapping):
        mask = next((inputs[key] for key in MASKS if isinstance(inputs.get(key), Tensor)), None)
    if isinstance(mask, Tensor) and mask.dim() != 2:
        mask = None
    return Batch(inputs, value if value.is_floating_point() else value.to(torch.int64), mask)


def _numbers(labels: Tensor) -> bool:
    """Whether these are targets of a regression: real numbers, but no shares of classes."""
    if not labels.is_floating_point() or labels.dim() not in (1, 2) or labels.shape[-1] == 0:
        return False
    if _tags(labels):
        return True  # Several labels a sample; that all have one is known at the end.
    shares = labels.dim() == 2 and bool((labels >= 0).all())
    return not (shares and bool(((labels.sum(1) - 1).abs() < 1e-3).all()))


def _advice(inputs: Any, labels: Tensor) -> str:
    """What labels that are no class numbers may be, and what measures those."""
    whole = not labels.is_floating_point() and not labels.is_complex()
    if labels.dim() != 1 and isinstance(inputs, Tensor) and inputs.dim() == 1:
        return ": inputs and labels seem to be swapped: pass unpack=lambda b: (b[1], b[0])"
    if _tags(labels) and not _one_hot(labels):
        return (
            "; several labels a sample are read by nc.measure, and have no classes to be followed"
            "; labels of tokens by tokens='same' (or tokens=True, for the next token)"
        )
    if labels.dim() == 2 and whole and not _one_hot(labels):
        return (
            "; if these are labels of tokens, pass tokens='same' (or tokens=True, for models that "
            "predict the next token)"
        )
    if labels.dim() == 2 and not bool((labels >= 0).all()):
        return (
            "; targets of a regression are read by nc.measure, and have no classes; of scores of "
            "classes pass their argmax by unpack=…"
        )
    if labels.dim() == 2:
        rows = "(b[0], b[1].argmax(1))"
        if isinstance(inputs, Mapping):
            rows = "({k: v for k, v in b.items() if k != 'labels'}, b['labels'].argmax(1))"
        return f"; one-hot or mixed labels: pass unpack=lambda b: {rows}"
    if labels.dim() > 2 and whole:
        return "; labels of pixels are read by nc.measure_pixels; here pass the class of each image"
    if labels.dim() == 1 and labels.is_floating_point():
        return (
            "; targets of a regression are read by nc.measure, and have no classes to be followed: "
            "pass bins of them by unpack=…"
        )
    return f": {HOW}"


def _said(data: Any) -> str:
    if isinstance(data, str):
        return f"the text {data!r}"
    if isinstance(data, type):
        return f"the class {data.__name__}"
    return f"a {type(data).__name__}"


def _data_advice(data: Any) -> str:
    """How what was passed for data becomes data."""
    if isinstance(data, str):
        return f": nc.load_data({data!r}) makes loaders of what the command line calls so"
    if isinstance(data, Tensor):
        return ": pass the labels beside it"
    return f": make one, {data.__name__}(…)" if isinstance(data, type) else ""


def _named_advice(inputs: Any, labels: Any) -> str:
    """What to do with names in the place of class numbers."""
    entries = labels.tolist() if isinstance(labels, np.ndarray) else labels
    if not isinstance(entries, (list, tuple)) or not all(isinstance(one, str) for one in entries):
        return ""
    how = "(b[0], [NAMES.index(name) for name in b[1]])"
    if isinstance(inputs, Mapping):
        how = "(b, [NAMES.index(name) for name in b['label']])"
    return (
        f", the place of each name (the first is '{entries[0]}') among the model's classes: pass "
        f"unpack=lambda b: {how}"
    )


def _tags(labels: Tensor) -> bool:
    """Whether rows mark the labels that each sample has, and some sample has one."""
    return zeros_and_ones(labels) and bool(labels.any())


def _one_hot(labels: Tensor) -> bool:
    return bool(((labels == 0) | (labels == 1)).all()) and bool((labels.sum(1) == 1).all())


def describe(value: Any) -> str:
    """A batch in words: tuple of 3 (tensor [32, 3, 8, 8] float32, tensor [32] int64, list)."""
    if isinstance(value, Tensor):
        return f"tensor {list(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key!r}: {describe(item)}" for key, item in value.items()) or "no keys"
    if isinstance(value, (tuple, list)):
        if len(value) > 6:
            return f"a {type(value).__name__} of {len(value)}"
        inner = ", ".join(describe(item) for item in value)
        return f"a {type(value).__name__} of {len(value)} ({inner})"
    return "None" if value is None else type(value).__name__


def rows_of(value: Any) -> int | None:
    """How many samples the inputs of a forward pass hold: by the first tensor in them that has an
    axis; None where there is none."""
    if isinstance(value, PackedSequence):
        return int(value.batch_sizes[0])
    if isinstance(value, Tensor):
        return value.shape[0] if value.dim() else None
    items = value.values() if isinstance(value, Mapping) else value
    if not isinstance(items, Iterable) or isinstance(items, (str, bytes)):
        return None
    return next((rows for rows in map(rows_of, items) if rows is not None), None)


def as_labels(value: Any) -> Tensor:
    """Labels as a tensor. Raises TypeError, ValueError or RuntimeError for what is no numbers."""
    if hasattr(value, "to_numpy"):
        value = value.to_numpy()
    if isinstance(value, np.ndarray) and (
        not value.flags.writeable or any(stride < 0 for stride in value.strides)
    ):
        value = value.copy()  # torch knows no steps backwards.
    return torch.as_tensor(value)


def _is_array(value: Any) -> bool:
    return isinstance(value, (Tensor, np.ndarray)) or (
        hasattr(value, "to_numpy") and hasattr(value, "shape")
    )


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, PackedSequence):
        return value.to(device, non_blocking=True)  # type: ignore[arg-type]  # Its stub knows dtypes.
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, Mapping):
        return {key: _moved(item, device) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return _like(value, [_moved(item, device) for item in value])
    return value


def _like(value: Any, items: list[Any]) -> Any:
    """Items in a list or tuple of the same kind; named tuples take theirs one by one."""
    return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)


def _packed_rows(value: PackedSequence, rows: slice | Tensor) -> PackedSequence:
    padded, lengths = pad_packed_sequence(value, batch_first=True)
    kept = rows.cpu() if isinstance(rows, Tensor) else rows
    return pack_padded_sequence(
        padded[kept], lengths[kept], batch_first=True, enforce_sorted=value.sorted_indices is None
    )
