"""ncollapse predict --landscape: critical points, and the one that a run sits nearest to."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ncollapse.geometry import Geometry
    from ncollapse.theory.prediction import Prediction


def landscape_of(
    prediction: Prediction, measured: Geometry | None = None
) -> tuple[str, dict[str, Any]]:
    """A text, and what stands under `landscape` in the document."""
    found = prediction.landscape()
    text, section = str(found), found.to_dict()
    if measured is not None:
        near = found.nearest(measured)
        section["nearest"] = near.to_dict()
        lines = textwrap.wrap(near.sentence, 98, initial_indent=" ", subsequent_indent="   ")
        text = "\n".join([text, *lines])
    return text, section
