"""Products with a matrix that is no layer of its own: `h @ self.W`, `linear(h, self.embed.weight)`,
`linear(normalize(h), normalize(self.W))`.

No hook fires there, so the functions that multiply are heard while the model runs. That is done
where no layer makes the logits, around a forward pass of our own only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode

from ncollapse.collect.tap.used import tensors_in

# What was heard: name of the parameter, what entered, the bias that was passed, what was made, and
# the matrix that was multiplied with where it was made of the parameter, not that itself.
Product = Callable[[str, Tensor, Tensor | None, Tensor, Tensor | None], None]
PRODUCTS = {torch.matmul, torch.mm, Tensor.matmul, Tensor.mm, Tensor.__matmul__, torch.einsum}
SUMS = {torch.add, Tensor.add, Tensor.__add__, Tensor.__radd__}
COSINES = {functional.cosine_similarity, torch.cosine_similarity}
# So many tensors that were made of parameters alone are remembered, the last ones.
REMEMBERED = 256


def matrices(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers of floats with two axes, by name."""
    found: dict[str, Tensor] = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {
        name: one
        for name, one in found.items()
        if not is_lazy(one) and one.dim() == 2 and one.is_floating_point() and min(one.shape) > 0
    }


class Products(TorchFunctionMode):
    """Tells `heard` of every product of something (…, dim) with one of the named matrices, or with
    one that was made of it and of other tensors that are `constant` (weights divided by their
    lengths, adapters), and once more where a vector is added to what was just made."""

    def __init__(
        self, named: Mapping[str, Tensor], heard: Product, constant: Iterable[Tensor] = ()
    ) -> None:
        super().__init__()
        # By storage, which transposes and other views share: the name, or none of a constant.
        self._names: dict[int, str | None] = {_place(one): None for one in constant}
        self._names.update({_place(one): name for name, one in named.items()})
        self._names.pop(0, None)
        self._sizes = {name: sorted(one.shape) for name, one in named.items()}
        # Kept alive, for a place that is free again would be another tensor's.
        self._made: dict[int, Tensor] = {}
        self._heard = heard
        self._last: tuple[str, Tensor, Tensor, Tensor | None] | None = None

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
        elif func in COSINES or func is torch.cdist:
            self._compared(func, args, given, made)
            return made
        elif func in PRODUCTS:
            factors = [one for one in args if isinstance(one, Tensor)]
        elif func in SUMS and len(args) == 2 and not given and self._last is not None:
            name, entered, product, used = self._last
            added = [one for one in args if one is not product and isinstance(one, Tensor)]
            if len(added) == 1 and added[0].dim() == 1 and isinstance(made, Tensor):
                self._heard(name, entered, added[0], made, used)
                return made
        constant = self._remembered((args, given), made)
        if not constant and len(factors) == 2 and isinstance(made, Tensor):
            self._tell(factors, bias, made)
        return made

    def _remembered(self, given: Any, made: Any) -> bool:
        """Whether what was made is made of constants alone; it is known from here on."""
        places = [_place(one) for one in tensors_in(given)]
        if not places or not all(place in self._names for place in places):
            return False
        names = [found for place in places if (found := self._names[place]) is not None]
        for one in tensors_in(made):
            place = _place(one)
            if place and place not in self._names:
                alike = [name for name in names if self._sizes[name] == sorted(one.shape)]
                self._names[place] = next(iter(alike or names), None)
                self._made[place] = one
        for early in list(self._made)[:-REMEMBERED]:
            del self._made[early], self._names[early]
        return True

    def _compared(self, func: Any, args: Any, given: Mapping[str, Any], made: Any) -> None:
        """Cosines of something with a matrix, and distances, told as minus their squares."""
        pair = [*args, *(given[key] for key in ("x1", "x2") if key in given)][:2]
        if len(pair) < 2 or not isinstance(made, Tensor):
            return
        rows = [one.squeeze(0) if one.dim() == 3 and len(one) == 1 else one for one in pair]
        for entered, weight in (rows, rows[::-1]):
            name = self._names.get(_place(weight))
            if name is None or weight.dim() != 2:
                continue
            if func is torch.cdist:
                used = weight.detach().clone() if _place(weight) in self._made else None
                self._heard(name, entered, None, -made.square(), used)
                return
            entered = entered.squeeze(1) if entered.dim() == 3 else entered
            if entered.shape[:-1] == made.shape[:-1] and len(weight) == made.shape[-1]:
                entered, used = (functional.normalize(one, dim=-1) for one in (entered, weight))
                self._heard(name, entered, None, made, used.detach())
            return

    def _tell(self, factors: list[Tensor], bias: Any, made: Tensor) -> None:
        for entered, weight in (factors, factors[::-1]):
            place = _place(weight)
            name = self._names.get(place)
            fits = entered.is_floating_point() and entered.shape[:-1] == made.shape[:-1]
            if name is not None and weight.dim() == 2 and fits:
                used = weight.detach().clone() if place in self._made else None
                shift = bias if isinstance(bias, Tensor) and bias.dim() == 1 else None
                self._last = None if shift is not None else (name, entered, made, used)
                self._heard(name, entered, shift, made, used)
                return


def _place(value: Tensor) -> int:
    """Where a tensor's numbers lie; 0 for those that lie nowhere."""
    try:
        return value.untyped_storage().data_ptr()
    except (NotImplementedError, RuntimeError, ValueError):  # Sparse, lazy, of other backends.
        return 0
