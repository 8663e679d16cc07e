"""What whatever can be drawn and written as plain data has in common.

Pictures and notebook pages belong to a higher room (`ncollapse.report`), which is loaded when one
is asked for.
"""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Figures:
    """plot and save_figures for what gives its `_parts`: the names that
    `ncollapse.report.axes.Parts` has, as far as they are known."""

    def _parts(self) -> dict[str, Any]:
        raise NotImplementedError

    def plot(self, kind: str | None = None, *, ax: Axes | None = None) -> Axes:
        """Draw one figure on `ax`, or on a new one, and return it.

        kind: "gram" (cosines of the class means), "strip" (every reading between noise and the
        ideal), "classes" (spread against distance), "layers" (readings over layers), "spectrum"
        (of the class means) or "training" (readings over time). Without one, the first that can be
        drawn here. Colours and sizes are those of the reader's matplotlib.

        Raises ValueError for a kind that is unknown or needs what is not here; it names those that
        can be drawn.
        """
        found: Axes = _axes().plot(self._parts(), type(self).__name__, kind, ax)
        return found

    def save_figures(self, folder: Path | str, *, format: str = "svg") -> list[Path]:
        """Write every figure that can be drawn here into `folder` (made if missing), as `svg`,
        `pdf` or `png`; returns their paths. Raises ValueError for another format."""
        found: list[Path] = _axes().save(self._parts(), type(self).__name__, folder, format)
        return found


class Shown(Figures):
    """As `Figures`, with its table, or what `_shown` names, for notebooks."""

    _shown: ClassVar[str] = "render_frame"

    def _repr_html_(self) -> str:
        found: str = getattr(import_module("ncollapse.report.notebook"), self._shown)(self)
        return found


def as_json(data: Any) -> str:
    """Plain data as JSON; null stands for NaN and infinity already."""
    return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)


def _axes() -> Any:
    return import_module("ncollapse.report.axes")
