"""How a model is called with what a loader yields: arrays as tensors, keys under the names that its
forward pass has."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ncollapse.collect.tap.batches import Batch

log = logging.getLogger("ncollapse")
# What the one input of a sample is called in mappings, in the order in which it is looked for.
INPUTS = (
    "pixel_values", "image", "images", "img", "input", "inputs", "x", "data", "features",
    "input_ids", "input_values", "input_features", "audio", "signal",
)  # fmt: skip
NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Calls:
    """Fits the inputs of batches to one model.

    Arrays and lists of numbers become tensors, floats of them in the dtype of the model's
    parameters; tensors stay as they are. Keys of a mapping that the forward pass has no name for
    are left out; where it lacks one input, and the mapping has one that is an input by its name or
    as the only tensor, that is passed. What was done is logged once.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        floats = (p.dtype for p in model.parameters() if p.is_floating_point())
        self._dtype = next(floats, None)
        self._said = False

    def fitted(self, batch: Batch) -> Batch:
        """The batch with inputs that the model takes."""
        inputs = tensors_of(batch.inputs, self._dtype, rows=batch.rows)
        if isinstance(inputs, Mapping):
            inputs = self._named(dict(inputs))
        if inputs is batch.inputs:
            return batch
        return Batch(inputs, batch.labels, batch.mask, batch.tokens)

    def _named(self, inputs: dict[str, Any]) -> Any:
        try:
            found = inspect.signature(self._model.forward).parameters
        except (TypeError, ValueError):
            return inputs
        kinds = {parameter.kind for parameter in found.values()}
        names = [name for name, parameter in found.items() if parameter.kind in NAMED]
        every = inspect.Parameter.VAR_KEYWORD in kinds
        taken = {key: value for key, value in inputs.items() if every or key in names}
        lacking = [
            name
            for name in names
            if found[name].default is inspect.Parameter.empty and name not in inputs
        ]
        free = {key: value for key, value in inputs.items() if key not in names}
        chosen = _one_input(free)
        if len(lacking) == 1 and chosen is not None:
            taken.pop(chosen, None)
            taken = {lacking[0]: free[chosen], **taken}
            self._say(f"{chosen!r} is passed as {lacking[0]!r}", inputs, taken, chosen)
            return taken
        if not taken and not lacking and chosen is not None:
            self._say(f"{chosen!r} is passed alone", inputs, taken, chosen)
            return free[chosen]  # To parameters that have no name.
        if not taken or len(taken) == len(inputs) or lacking:
            return inputs
        self._say("", inputs, taken, None)
        return taken

    def _say(
        self, what: str, inputs: Mapping[str, Any], taken: Mapping[str, Any], chosen: str | None
    ) -> None:
        if self._said:
            return
        self._said = True
        left = [repr(key) for key in inputs if key not in taken and key != chosen]
        aside = f"{', '.join(left)} not, as the model has no such input" if left else ""
        log.info("batch  %s", "; ".join(part for part in (what, aside) if part))


def tensors_of(value: Any, dtype: torch.dtype | None, *, rows: int | None = None) -> Any:
    """Arrays, tables and lists of numbers as tensors, floats in `dtype` where that is given; all
    else as it is.

    A list of as many vectors as there are columns, each with a number a sample, is what torch's own
    loader makes of lists: those stand side by side again (rows: of the batch).
    """
    if isinstance(value, Tensor):
        return value
    if isinstance(value, Mapping):
        return {key: tensors_of(item, dtype, rows=rows) for key, item in value.items()}
    if hasattr(value, "to_numpy") and not isinstance(value, np.ndarray):
        value = value.to_numpy()
    if isinstance(value, (list, tuple)) and value:
        if all(isinstance(one, Tensor) for one in value):
            columns = rows is not None and all(one.shape == (rows,) for one in value)
            if type(value) is not list or not columns:
                return value
            stacked = torch.stack(value, 1)
            return _cast(stacked, dtype)
        value = _array(value)
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        return _cast(torch.from_numpy(np.ascontiguousarray(value).copy()), dtype)
    return value


def _cast(value: Tensor, dtype: torch.dtype | None) -> Tensor:
    return value.to(dtype) if dtype is not None and value.is_floating_point() else value


def _array(value: Any) -> Any:
    """A list of numbers, or of lists or arrays of them, as an array; others as they are."""
    first = value[0]
    while isinstance(first, (list, tuple)) and first:
        first = first[0]
    if not isinstance(first, (int, float, np.number, np.ndarray)):
        return value
    try:
        found = np.asarray(value)
    except ValueError:  # Of several lengths.
        return value
    return found if found.dtype.kind in "fiub" else value


def _one_input(inputs: Mapping[str, Any]) -> str | None:
    """The key of the one input of a sample."""
    tensors = [key for key, value in inputs.items() if isinstance(value, Tensor)]
    by_name = next((key for key in INPUTS if key in tensors), None)
    return by_name if by_name is not None else tensors[0] if len(tensors) == 1 else None
