"""What is passed in the place of a model, said before anything looks for its layers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn


def module_of(model: Any) -> nn.Module:
    """The model as it is. Raises ValueError for what is no module, with what would be one."""
    if isinstance(model, nn.Module):
        return model
    raise ValueError(f"the model is {_said(model)}; a torch.nn.Module is needed{_hint(model)}")


def _said(model: Any) -> str:
    if isinstance(model, type):
        return f"the class {model.__name__}"
    if isinstance(model, (str, Path)):
        return f"the text {str(model)!r}"
    if model is None:
        return "None"
    if callable(model):
        return f"the function {getattr(model, '__name__', type(model).__name__)}"
    return f"a {type(model).__name__}"


def _hint(model: Any) -> str:
    if isinstance(model, type):
        return f": pass an instance, {model.__name__}(…)"
    if isinstance(model, (str, Path)):
        return f": nc.load_model({str(model)!r}) builds one"
    if isinstance(model, Mapping):
        return ": build the model, then model.load_state_dict(…)"
    if isinstance(model, Tensor) or hasattr(model, "__array__"):
        return "; features and labels go to nc.measure_features(features, labels)"
    if callable(model):
        return ": pass the module that it calls"
    return ""
