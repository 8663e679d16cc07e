"""Products with a matrix that is no layer of its own: `h @ self.W`, `linear(h, self.embed.weight)`.

No hook fires there, so the functions that multiply are heard while the model runs. That is done
where no layer makes the logits, around a forward pass of our own only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode

# What was heard: name of the parameter, what entered, the bias that was passed, what was made.
Product = Callable[[str, Tensor, Tensor | None, Tensor], None]
PRODUCTS = {torch.matmul, torch.mm, Tensor.matmul, Tensor.mm, Tensor.__matmul__, torch.einsum}
SUMS = {torch.add, Tensor.add, Tensor.__add__, Tensor.__radd__}


def matrices(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters with two axes, by name."""
    found = dict(model.named_parameters())
    return {name: p for name, p in found.items() if not is_lazy(p) and p.dim() == 2}


class Products(TorchFunctionMode):
    """Tells `heard` of every product of something (…, dim) with one of the named matrices, and once
    more where a vector is added to what was just made."""

    def __init__(self, named: Mapping[str, nn.Parameter], heard: Product) -> None:
        super().__init__()
        # Transposes and other views share the parameter's memory.
        self._names = {p.untyped_storage().data_ptr(): name for name, p in named.items()}
        self._heard = heard
        self._last: tuple[str, Tensor, Tensor] | None = None

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        made = func(*args, **given)
        bias: Any = None
        factors: list[Any] = []
        if func is functional.linear:
            values = dict(zip(("input", "weight", "bias"), args, strict=False)) | given
            factors, bias = [values["input"], values["weight"]], values.get("bias")
        elif func is torch.addmm and len(args) == 3:
            bias, *factors = args
        elif func in PRODUCTS:
            factors = [one for one in args if isinstance(one, Tensor)]
        elif func in SUMS and len(args) == 2 and not given and self._last is not None:
            name, entered, product = self._last
            added = [one for one in args if one is not product and isinstance(one, Tensor)]
            if len(added) == 1 and added[0].dim() == 1 and isinstance(made, Tensor):
                self._heard(name, entered, added[0], made)
        if len(factors) == 2 and isinstance(made, Tensor):
            self._tell(factors, bias, made)
        return made

    def _tell(self, factors: list[Tensor], bias: Any, made: Tensor) -> None:
        for entered, weight in (factors, factors[::-1]):
            name = self._names.get(weight.untyped_storage().data_ptr())
            fits = entered.is_floating_point() and entered.shape[:-1] == made.shape[:-1]
            if name is not None and weight.dim() == 2 and fits:
                shift = bias if isinstance(bias, Tensor) and bias.dim() == 1 else None
                self._last = None if shift is not None else (name, entered, made)
                self._heard(name, entered, shift, made)
                return
