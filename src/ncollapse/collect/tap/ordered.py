"""A head of ordered grades among the layers of a model: one latent score, cut by thresholds."""

from __future__ import annotations

from torch import Tensor, nn


def thresholds_of(model: nn.Module, head: str) -> tuple[Tensor, str] | None:
    """Thresholds (grades + 1, float64) and link of the module that the layer `head` stands in,
    where it has both, as `ncollapse.control.OrdinalHead` does; None for any other."""
    if head not in dict(model.named_modules()):
        return None
    parent = model.get_submodule(head.rpartition(".")[0])
    thresholds, link = getattr(parent, "thresholds", None), getattr(parent, "link", None)
    if not isinstance(thresholds, Tensor) or not isinstance(link, str):
        return None
    return thresholds.detach().double().cpu(), link
