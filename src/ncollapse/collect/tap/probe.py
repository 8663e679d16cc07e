"""The matrix of a layer that keeps none as such, by what it makes of unit vectors.

Adapters on a head (LoRA and its kin), weights of few bits with their scales, weights that are made
anew at each call: whatever a module holds, an affine one is known by its images of 0 and of the
unit vectors.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from ncollapse.collect.tap.head_layers import Matrix
from ncollapse.collect.tap.preserve import evaluating

# So many unit vectors go through the layer at once.
ROWS = 1024


def may_be_probed(module: nn.Module) -> bool:
    """Whether a layer may make something else than its own weight says."""
    plain = type(module).forward is nn.Linear.forward and "forward" not in vars(module)
    scripted = isinstance(module, torch.jit.ScriptModule)
    return not plain and not scripted and not isinstance(module, (_ConvNd, nn.Embedding))


@torch.no_grad()
def probed(module: nn.Module, dim: int, classes: int | None, axes: int = 2) -> list[Matrix]:
    """The matrix (weight (classes, dim), bias) by which a module maps vectors, if it is affine;
    none where it takes no vectors of that size, or makes others. axes: of what it is called with.
    """
    floats = [one for one in (*module.parameters(), *module.buffers()) if one.is_floating_point()]
    dtype = floats[0].dtype if floats else torch.get_default_dtype()
    device = floats[0].device if floats else torch.device("cpu")
    shape = (1,) * (axes - 2)

    def image(rows: Tensor) -> Tensor:
        made = module(rows.view(*shape, *rows.shape))
        if not isinstance(made, Tensor) or made.shape[:-1] != (*shape, len(rows)):
            raise ValueError("no vectors of classes")
        return made.view(len(rows), -1)

    try:
        with evaluating(module), torch.autocast(device.type, enabled=False):
            zero = image(torch.zeros(1, dim, dtype=dtype, device=device))
            columns = []
            for start in range(0, dim, ROWS):
                unit = torch.zeros(min(ROWS, dim - start), dim, dtype=dtype, device=device)
                unit[:, start:].fill_diagonal_(1)
                columns.append(image(unit) - zero)
    except Exception:  # Whatever a module of others does not like.
        return []
    if classes not in (None, zero.shape[1]):
        return []
    return [(torch.cat(columns).T.contiguous(), zero[0] if bool(zero.any()) else None)]
