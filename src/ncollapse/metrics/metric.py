"""What the catalog says of one metric, and how it is evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from ncollapse.collect.statistics.decisions import Decisions
    from ncollapse.collect.statistics.summary import ClassStatistics
    from ncollapse.geometry import Geometry


@dataclass(frozen=True)
class Metric:
    """A row of the catalog.

    `needs` lists what is read: means, trace (per-class spread), full (Σ_W), head (weight),
    decisions (a second look at the features). `takes` orders the function's arguments.
    `definitions` maps the name of a published variant to the keyword arguments that give it;
    `weighted` metrics have the definitions macro and micro as well.
    """

    key: str
    function: str
    title: str
    needs: tuple[str, ...]
    takes: tuple[str, ...]
    formula: str
    meaning: str
    source: str
    ideal: float | None = 0.0
    direction: str | None = "down"
    lower: float | None = 0.0
    upper: float | None = None
    cost: str = "K d"
    task: str = "classification"
    arguments: Mapping[str, Any] = field(default_factory=dict)
    definitions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def resolve(self, definition: str) -> tuple[str, dict[str, Any]]:
        """The definition used when `definition` is asked for, with its keyword arguments.

        A name this metric does not know falls back to macro (its default).
        """
        for name in (definition, "macro"):
            if name in self.definitions:
                return name, {**self.arguments, **self.definitions[name]}
        return "default", dict(self.arguments)

    def evaluate(
        self,
        *,
        statistics: ClassStatistics | None = None,
        geometry: Geometry | None = None,
        decisions: Decisions | None = None,
        definition: str = "macro",
    ) -> Tensor:
        """The metric as a scalar tensor, differentiable in the parts it reads."""
        module, name = self.function.split(":")
        parts = {"statistics": statistics, "geometry": geometry, "decisions": decisions}
        missing = [part for part in self.takes if parts[part] is None]
        if missing:
            raise ValueError(f"{self.key} needs {' and '.join(missing)}; pass them by keyword")
        function = getattr(import_module(module), name)
        _, arguments = self.resolve(definition)
        result: Tensor = function(*(parts[part] for part in self.takes), **arguments)
        return result
