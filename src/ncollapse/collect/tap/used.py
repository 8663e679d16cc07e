"""Which parameters and buffers of a model a forward pass has read so far."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


class Used(TorchFunctionMode):
    """Hears, while it is entered, every function of torch that is given a tensor of the model.

    That tells what modules read of one another's (the projection of an attention is used, and never
    called), and needs no gradients. Functions that are called inside TorchScript are not heard.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._known = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
        self._seen: set[int] = set()

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        for tensor in tensors_in((args, given)):
            if id(tensor) in self._known:
                self._seen.add(id(tensor))
        return func(*args, **given)

    def seen(self) -> frozenset[int]:
        """Identities of the tensors that were read until now."""
        return frozenset(self._seen)


def unused(model: nn.Module, seen: frozenset[int], kept: str = "") -> dict[str, nn.Module]:
    """The largest modules that hold parameters or buffers of which none was seen, by name; never
    one that holds the module called `kept`, nor that one."""
    found: dict[str, nn.Module] = {}

    def walk(module: nn.Module, prefix: str) -> None:
        for name, child in module.named_children():
            path = f"{prefix}{name}"
            tensors = [*child.parameters(), *child.buffers()]
            around = kept == path or kept.startswith(f"{path}.")
            if tensors and not around and not any(id(tensor) in seen for tensor in tensors):
                found[path] = child
            else:
                walk(child, f"{path}.")

    walk(model, "")
    return found


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in tuples, lists and mappings."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from tensors_in(item)
