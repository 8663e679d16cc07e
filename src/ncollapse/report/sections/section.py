"""Section: one figure of the page, and what stands in its place where it cannot be drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from ncollapse.record.run import Run
from ncollapse.report.data import Data


@dataclass(frozen=True)
class Section:
    """A figure of the first screen. note: beside the title; empty: said where none is drawn; data:
    the numbers behind it."""

    title: str
    note: str
    figure: Markup | None
    empty: str
    data: Data | None = None

    @classmethod
    def of(
        cls, title: str, note: str, svg: str | None, empty: str = "", data: Data | None = None
    ) -> Section:
        """From SVG whose texts are escaped, which those of `ncollapse.report.plots` are."""
        return cls(title, note, None if svg is None else Markup(svg), empty, data)


@dataclass(frozen=True)
class Shown:
    """What sections are drawn of. predicted: class means of a theory, to be shown in the simplex's
    place; phase_step, phase_epoch: where the terminal phase begins."""

    run: Run
    predicted: Any = None
    phase_step: int | None = None
    phase_epoch: float | None = None
