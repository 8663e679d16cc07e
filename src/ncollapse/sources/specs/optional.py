"""Libraries that are imported when used: one sentence with the command when one is missing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

EXTRAS = {
    "torchvision": "vision",
    "timm": "vision",
    "transformers": "transformers",
    "datasets": "transformers",
    "tokenizers": "transformers",
    "torchmetrics": "torchmetrics",
    "lightning": "lightning",
    "ignite": "ignite",
    "keras": "keras",
    "ot": "ot",
    "art": "attacks",
    "pytorch_ood": "ood",
    "onnx": "onnx",
}
# These import torchvision wherever it is installed.
IMPORT_TORCHVISION = (
    "torchvision", "timm", "transformers", "torchmetrics", "lightning", "pytorch_ood",
)  # fmt: skip
# Kept alive: operators vanish with the library object that defined them.
_placeholders: list[Any] = []


def optional(name: str) -> Any:
    """The module `name`. Raises ValueError that says how to install it."""
    if name.partition(".")[0] in IMPORT_TORCHVISION:
        _prepare_torchvision()
    try:
        return import_module(name)
    except ImportError as error:
        extra = EXTRAS.get(name.partition(".")[0], name)
        raise ValueError(
            f"{name} is needed here and could not be imported ({error}); pip install "
            f"'ncollapse[{extra}]' (from a checkout: pip install '.[{extra}]')"
        ) from None
    except RuntimeError as error:
        raise ValueError(
            f"{name} does not import beside this torch ({error}); install builds of one source, "
            "for example both from https://download.pytorch.org/whl/cpu"
        ) from None


def _prepare_torchvision() -> None:
    """A torchvision built for CUDA declares its operators in a library that a CPU torch cannot
    load, and then fails to import. Two declarations are enough for models and transforms; the
    detection operators themselves stay absent."""
    import torch

    if torch.version.cuda is not None or torch.version.hip is not None or _placeholders:
        return
    try:
        import_module("torchvision")
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _placeholders.append(library)
    except ImportError:
        return
