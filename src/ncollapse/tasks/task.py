"""Task: what the labels mean, and what follows from it for collecting, reading and asking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from ncollapse.collect.collector import Collector, Split, Wanted
from ncollapse.collect.plan import Labelled
from ncollapse.geometry import Geometry
from ncollapse.metrics.compared import Comparators, compared
from ncollapse.metrics.evidence import Evidence
from ncollapse.record.readings import ClassRow, Reading


@dataclass(frozen=True)
class Asked:
    """What a caller wants read: keys (None for all), the definition, comparators, how many pairs of
    classes at most, and who is told of progress. note: stands behind each definition."""

    keys: frozenset[str] | None
    definition: str
    comparators: Comparators
    pair_budget: float
    progress: Any = None
    note: str = ""

    def compared(self, evidence: Evidence) -> tuple[dict[str, Reading], list[str]]:
        """The readings asked for with their comparators, and why some have no value."""
        return compared(
            evidence,
            self.keys,
            definition=self.definition,
            comparators=self.comparators,
            note=self.note,
            progress=self.progress,
        )


@dataclass(frozen=True)
class Found:
    """What a task reads of one split and layer. notes: said among the warnings; spectrum: of the
    means, for the config, and details: whatever else of plain data a report draws from."""

    readings: dict[str, Reading]
    num_samples: int
    geometry: Geometry | None = None
    classes: tuple[ClassRow, ...] = ()
    notes: tuple[str, ...] = ()
    spectrum: Mapping[str, Any] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Task(Wanted, Protocol):
    """One frozen object a task. Its rows of the catalog are those that name it.

    name: as in `measure(task=…)`. sees: "labels", or "targets" (N, n); integer labels are numbers
    to a task of targets. counted: what `num_classes` counts, in a word. Its questions are those of
    `ncollapse.answers` that name it, its figures those of the file of that name in
    `ncollapse.report.sections`.
    """

    name: str
    sees: str
    counted: str

    def recognised(self, source: Labelled) -> str | None:
        """Why these labels and this head are of the task; None where they are not."""
        ...

    def class_count(
        self,
        source: Labelled,
        asked: int | None,
        ignore_index: int | None,
        reference: str | None = None,
    ) -> int:
        """K, or the number of targets. Raises ValueError for labels that the task cannot have."""
        ...

    def read(self, collector: Collector, split: Split, asked: Asked, layer: str) -> Found:
        """Readings of one split with their comparators, and what is said beside them."""
        ...
