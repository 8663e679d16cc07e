"""What models return → the tensors in it, and which of them are the logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

Path = tuple[int | str, ...]


def logits_of(output: Any, place: Path | None = None) -> Tensor | None:
    """Logits in what a model returned: what stands at `place` where that is known, else the tensor
    itself, `.logits`, ["logits"], or the first tensor."""
    if place is not None:
        return dict(outputs_of(output)).get(place)
    if isinstance(output, Tensor):
        return output
    found = _named(output)
    if found is not None:
        return found
    if isinstance(output, (tuple, list)) and output:
        return logits_of(output[0])
    return None


def outputs_of(output: Any) -> list[tuple[Path, Tensor]]:
    """All tensors that may be logits, with their places: the one called logits alone where there is
    one, else those of tuples and mappings, two deep."""
    return _outputs(output, (), 2)


def _outputs(output: Any, place: Path, depth: int) -> list[tuple[Path, Tensor]]:
    if isinstance(output, Tensor):
        return [(place, output)] if output.is_floating_point() and output.dim() else []
    found = _named(output)
    if found is not None:
        return [((*place, "logits"), found)]
    items: Any = ()
    if isinstance(output, Mapping):
        items = output.items()
    elif isinstance(output, (tuple, list)):
        items = enumerate(output)
    if not depth:
        return []
    return [one for key, item in items for one in _outputs(item, (*place, key), depth - 1)]


def place_named(place: Path) -> str:
    """A place in words: output 1, output 'features'."""
    return "output " + ".".join(
        repr(part) if isinstance(part, str) else str(part) for part in place
    )


def unnested(value: Tensor) -> tuple[Tensor, Tensor | None]:
    """A tensor without nesting, and the mask (samples, tokens) of what is real in it; None where
    all is.

    In eval mode torch's own encoder hands sequences of several lengths from layer to layer as a
    nested tensor, which has no padding and tells no shape.
    """
    if not value.is_nested:
        return value, None
    lengths = torch.tensor([row.shape[0] for row in value.unbind()], device=value.device)
    places = torch.arange(int(lengths.max()), device=value.device)
    return value.to_padded_tensor(0.0), places[None] < lengths[:, None]


def _named(output: Any) -> Tensor | None:
    found = output.get("logits") if isinstance(output, Mapping) else None
    found = getattr(output, "logits", None) if found is None else found
    return found if isinstance(found, Tensor) else None
