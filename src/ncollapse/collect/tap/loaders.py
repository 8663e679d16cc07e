"""Data sets of Hugging Face as loaders, and the names of classes that data sets know."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, default_collate

LABELS = ("labels", "label", "target", "targets", "y", "fine_label")
SKIPPED = -100


def is_hugging_face(data: Any) -> bool:
    """Whether this is a data set of the library datasets, streamed or not."""
    return type(data).__module__.partition(".")[0] == "datasets" and hasattr(data, "with_format")


def hugging_face(data: Any, batch_size: int) -> DataLoader[Any]:
    """Batches of a data set in torch's format, whatever format it was left in; sequences of several
    lengths are padded, with a mask."""
    made = getattr(data, "format", None) or {}
    if made.get("type") not in ("torch", "custom"):
        data = data.with_format("torch")
    return DataLoader(data, batch_size=batch_size, collate_fn=padded)


def padded(rows: list[Any]) -> Any:
    """A batch of mappings: sequences of numbers of several lengths are padded by zeros, labels by
    -100; where there is no attention mask one says which tokens are real."""
    if not rows or not isinstance(rows[0], Mapping):
        return default_collate(rows)
    batch: dict[str, Any] = {}
    for key in rows[0]:
        values = [row[key] for row in rows]
        if all(isinstance(one, Tensor) and one.dim() == 1 for one in values) and len(
            {one.shape[0] for one in values}
        ) > 1:  # fmt: skip
            batch[key] = pad_sequence(
                values, batch_first=True, padding_value=SKIPPED if key in LABELS else 0
            )
            if key == "input_ids" and "attention_mask" not in rows[0]:
                ones = [torch.ones(one.shape[0], dtype=torch.int64) for one in values]
                batch["attention_mask"] = pad_sequence(ones, batch_first=True)
        elif all(isinstance(one, (str, type(None))) for one in values):
            batch[key] = values
        else:
            batch[key] = default_collate(values)
    return batch


def class_names_in(loaders: Iterable[Any], count: int) -> tuple[str, ...] | None:
    """The names of `count` classes that a data set knows: `classes` of torchvision's, or the
    features of Hugging Face's; None where none knows as many."""
    for loader in loaders:
        names = _names(loader)
        if names is not None and len(names) == count:
            return names
    return None


def _names(data: Any) -> tuple[str, ...] | None:
    seen = 0
    while data is not None and seen < 8:
        classes = getattr(data, "classes", None)
        if isinstance(classes, (list, tuple)) and all(isinstance(one, str) for one in classes):
            return tuple(classes)
        features = getattr(data, "features", None)
        if isinstance(features, Mapping):
            kinds = [features[key] for key in LABELS if key in features]
            named = [getattr(kind, "names", None) for kind in kinds]
            return next((tuple(map(str, one)) for one in named if one), None)
        data, seen = getattr(data, "dataset", None), seen + 1
    return None
