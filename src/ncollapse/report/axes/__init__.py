"""Figures on a reader's own Axes, in the colours of their matplotlib: one kind, one function.

The page draws its own (`ncollapse.report.plots`), to the pixel and in the colours of the page; both
read the same numbers.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ncollapse.record.document import Document
from ncollapse.record.readings import ClassRow
from ncollapse.record.trace import Trace
from ncollapse.report.axes.classes import classes
from ncollapse.report.axes.lines import layers, training
from ncollapse.report.axes.means import gram, spectrum
from ncollapse.report.axes.strip import strip

FORMATS = ("svg", "pdf", "png")


@dataclass(frozen=True)
class Parts:
    """What figures are drawn of, as far as it is known: a measurement's document and class rows (of
    one split and layer), class means (K, d), classifier rows (K, d), counts (K), readings over
    time."""

    document: Document | None = None
    classes: list[ClassRow] | None = None
    means: Any = None
    weight: Any = None
    counts: Any = None
    trace: Trace | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Parts:
        known = [entry.name for entry in fields(cls)]
        return cls(**{name: value for name, value in given.items() if name in known})

    @property
    def rows(self) -> Any:
        """Class means, or the classifier's rows where there are none."""
        return self.weight if self.means is None else self.means

    @property
    def several(self) -> bool:
        """Whether more than one layer was measured."""
        found = () if self.document is None else self.document.results.values()
        return any(len(layers) > 1 for layers in found)


@dataclass(frozen=True)
class Kind:
    """A figure. can: whether it can be drawn of what is known; needs: what it lacks else."""

    draw: Callable[[Parts, Axes], None]
    can: Callable[[Parts], bool]
    needs: str


KINDS = {
    "gram": Kind(gram, lambda parts: parts.rows is not None, "class means"),
    "strip": Kind(strip, lambda parts: parts.document is not None, "readings with comparators"),
    "classes": Kind(classes, lambda parts: bool(parts.classes), "rows of classes"),
    "layers": Kind(layers, lambda parts: parts.several, 'several layers, as layers="*" measures'),
    "training": Kind(
        training, lambda parts: bool(parts.trace and parts.trace.rows), "readings over time"
    ),
    "spectrum": Kind(spectrum, lambda parts: parts.rows is not None, "class means"),
}


def plot(given: Mapping[str, Any], owner: str, kind: str | None, ax: Axes | None) -> Axes:
    """One figure of what an `owner` gives: see `ncollapse.figures.Figures.plot`."""
    parts = Parts.of(given)
    kind = _checked(parts, owner, kind)
    if ax is None:
        from matplotlib import pyplot

        _, ax = pyplot.subplots(layout="constrained")
    KINDS[kind].draw(parts, ax)
    return ax


def save(given: Mapping[str, Any], owner: str, folder: Path | str, format: str) -> list[Path]:
    """Every figure that an `owner` has as a file: see `ncollapse.figures.Figures.save_figures`."""
    if format not in FORMATS:
        raise ValueError(f"format={format!r} is unknown; one of {', '.join(FORMATS)} is needed")
    parts, place = Parts.of(given), Path(folder)
    _checked(parts, owner, None)
    place.mkdir(parents=True, exist_ok=True)
    written = []
    for name in drawable(parts):
        figure = Figure(layout="constrained")
        KINDS[name].draw(parts, figure.subplots())
        written.append(place / f"{name}.{format}")
        figure.savefig(written[-1], format=format, dpi=200)
    return written


def drawable(parts: Parts) -> list[str]:
    """The kinds that can be drawn."""
    return [name for name, kind in KINDS.items() if kind.can(parts)]


def _checked(parts: Parts, owner: str, kind: str | None) -> str:
    """The kind, by default the first there is; ValueError says which there are."""
    there = drawable(parts)
    said = f"this {owner} can draw {', '.join(there) or 'nothing yet'}"
    if kind is None:
        if not there:
            raise ValueError(f"nothing can be drawn: {said}; follow or measure a model first")
        return there[0]
    if kind not in KINDS:
        near = difflib.get_close_matches(kind, there, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"plot({kind!r}) is unknown; {hint}{said}")
    if kind not in there:
        raise ValueError(f"plot({kind!r}) needs {KINDS[kind].needs}; {said}")
    return kind
