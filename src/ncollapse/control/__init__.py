"""Control: impose, encourage or discourage a geometry while a network trains.

Heads with a fixed frame and surgery that puts them into a model; losses with a known geometry;
regularisers that pull toward collapse or push against it; a thermostat that holds a chosen
severity; and two remedies against over-collapse. Names are loaded when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ncollapse.control.codes import CodeHead
    from ncollapse.control.frames import nearest_simplex, orthogonal_frame, simplex_frame
    from ncollapse.control.heads import FrameHead, GeometryHead, OrthogonalHead, SimplexHead
    from ncollapse.control.nearest import NearestFrameHead
    from ncollapse.control.surgery import Surgery, fix_head

_HOMES = {
    "codes": ("CodeHead",),
    "frames": ("nearest_simplex", "orthogonal_frame", "simplex_frame"),
    "heads": ("FrameHead", "GeometryHead", "OrthogonalHead", "SimplexHead"),
    "nearest": ("NearestFrameHead",),
    "surgery": ("Surgery", "fix_head"),
}
_NAMES = {name: f"ncollapse.control.{home}" for home, names in _HOMES.items() for name in names}

__all__ = [
    "CodeHead",
    "FrameHead",
    "GeometryHead",
    "NearestFrameHead",
    "OrthogonalHead",
    "SimplexHead",
    "Surgery",
    "fix_head",
    "nearest_simplex",
    "orthogonal_frame",
    "simplex_frame",
]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'ncollapse.control' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
