"""Products of bfloat16 matrices on a processor that has no instructions for them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

PRODUCTS = (torch.ops.aten.mm.default, torch.ops.aten.addmm.default)


class WideProducts(TorchDispatchMode):
    """Within it, products of bfloat16 matrices on a processor are summed in float32 and rounded
    once, as such instructions do it. torch's own way without them takes 30 times as long."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        narrow = func in PRODUCTS and all(
            part.dtype == torch.bfloat16 and part.device.type == "cpu"
            for part in args
            if isinstance(part, Tensor)
        )
        if not narrow:
            return func(*args, **(kwargs or {}))
        wide = (part.float() if isinstance(part, Tensor) else part for part in args)
        return func(*wide, **(kwargs or {})).bfloat16()
