"""A row of the catalog: what a metric is, what it is compared with, and where it is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from ncollapse.collect.statistics.decisions import Decisions
    from ncollapse.collect.statistics.directions import Rays
    from ncollapse.collect.statistics.summary import ClassStatistics
    from ncollapse.geometry import Geometry
    from ncollapse.metrics.information import Information
    from ncollapse.metrics.onc import Latent
    from ncollapse.metrics.population.sample import Sample
    from ncollapse.metrics.shares import VarianceShares

# What a null draws, by the one word that stands beside its number.
NULLS = {
    "shuffled": "the same features under shuffled labels, or targets",
    "directions": "random directions with the span and spectrum of the same features",
    "span": "random directions, alike in the span of the same features",
    "guesses": "decisions drawn independently with the class frequencies",
}
# What an interval is of: the population value of this network over draws of its data.
INTERVALS = {
    "samples": "draws of the data, the network fixed: leaving out one of ten blocks at a time",
    "influences": "draws of the data, the network fixed: influences of single samples",
    "shares": "draws of the data, the network fixed: Wilson's formula",
}
# Where the jackknife works: on θ, log θ, θ² (means of squares), means |a| of signed numbers, or the
# least, the greatest size, or the largest of many numbers.
SCALES = ("plain", "log", "square", "folded", "least", "greatest", "largest")
PAIRS = ("none", "exact", "sampled")
UNITS = ("number", "percent")

# Why nothing can vary within classes, unless nothing varies at all.
ALONE = "every sample is a class of its own, so nothing varies within classes"


@dataclass(frozen=True)
class Without:
    """Why a row has no comparator of a kind, in a clause that follows "none:"."""

    why: str


@dataclass(frozen=True)
class Place:
    """A place where a reading is shown: its title there, and its rank among the others."""

    title: str
    rank: int


@dataclass(frozen=True)
class Metric:
    """A row of the catalog.

    `needs` lists what is read: means, trace (per-class spread), full (Σ_W), head (weight),
    decisions (a second look at the features), decided (what the model decides of each sample,
    known at every layer of a model that has a head), reads (what the weight behind the features
    looks at), rays (directions and lengths, collected where a key asks for them), or what another
    task has. `takes` orders the function's arguments. `definitions` maps the name of a published
    variant to the keyword arguments that give it; `weighted` metrics have the definitions macro and
    micro as well.

    Comparators. null: one of `NULLS`. floor: "rounding" (what the dtype of the features leaves) or
    the path of a function of (num_classes, num_features); of a crowded row the directions that its
    rows span are its features. interval: one of `INTERVALS`, formed on
    `scale`. pairs: none; exact, a mean over pairs of classes that d × d sums give; sampled, one
    that is taken over drawn pairs past the pair budget, and to which the metric is proportional.
    large: "same" where the function reads any number of classes. estimate: the path of a function
    of a `metrics.population.Sample` that gives the population value, for the definitions
    `estimated`. Each may be a `Without`.

    crowded: True of a row that is read by itself only where more classes are present than a simplex
    can hold (named in keys it always is), False of one that is not shown there, None of the others.

    uncentred: whether rows are read as they are. least_classes: with fewer the value is set by
    construction and says nothing. directions: whose rows' directions are read ("means" centred,
    "raw", "weight"): a zero row has none.

    Places. terminal: in the table of the terminal; alone: in that of a classifier without features.
    strip, curve, layers, along (a panel over training): in the report. followed: read along
    training unless other keys are asked for. undefined: why a value may not be finite. aliases:
    what papers and users call it.
    """

    key: str
    function: str
    title: str
    family: str
    needs: tuple[str, ...]
    takes: tuple[str, ...]
    formula: str
    meaning: str
    source: str
    null: str | Without
    floor: str | Without
    interval: str | Without
    estimate: str | Without = Without("it is read exactly")
    estimated: tuple[str, ...] = ("default", "macro", "micro")
    crowded: bool | None = None
    uncentred: bool = False
    least_classes: int = 2
    directions: tuple[str, ...] = ()
    ideal: float | None = 0.0
    direction: str | None = "down"
    lower: float | None = 0.0
    upper: float | None = None
    cost: str = "K d"
    unit: str = "number"
    scale: str = "plain"
    pairs: str = "none"
    large: str | Without = "same"
    task: str = "classification"
    arguments: Mapping[str, Any] = field(default_factory=dict)
    definitions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    terminal: Place | None = None
    alone: Place | None = None
    strip: Place | None = None
    curve: Place | None = None
    layers: Place | None = None
    along: Place | None = None
    followed: bool = False
    undefined: str = (
        "two class means coincide or nothing varies, so the quotient has no finite value"
    )
    aliases: tuple[str, ...] = ()

    @property
    def of_head(self) -> bool:
        """Whether it reads the classifier's rows and nothing else."""
        return self.needs == ("head",)

    def resolve(self, definition: str) -> tuple[str, dict[str, Any]]:
        """The definition used when `definition` is asked for, with its keyword arguments.

        A name this metric does not know falls back to macro (its default).
        """
        for name in (definition, "macro"):
            if name in self.definitions:
                return name, {**self.arguments, **self.definitions[name]}
        return "default", dict(self.arguments)

    def within(self, low: float, high: float) -> tuple[float, float]:
        """Two ends kept inside the metric's range."""
        low = low if self.lower is None else max(low, self.lower)
        return low, high if self.upper is None else min(high, self.upper)

    def population(self, sample: Sample) -> Tensor:
        """What the row's `estimate` reads of a sample. Raises `CannotTellError`."""
        assert isinstance(self.estimate, str)
        module, name = self.estimate.split(":")
        found: Tensor = getattr(import_module(module), name)(sample)
        return found

    def shown(self, found: Tensor) -> Tensor:
        """What `population` gives, on the scale of the values."""
        if self.scale == "square":
            return found.clamp_min(0).sqrt()
        if self.scale == "folded":
            return found[..., 0]
        if self.scale == "greatest":
            return found.abs().max(-1).values
        if self.scale == "largest":
            return found.max(-1).values
        return found.min(-1).values if self.scale == "least" else found

    def evaluate(
        self,
        *,
        statistics: ClassStatistics | None = None,
        geometry: Geometry | None = None,
        decisions: Decisions | None = None,
        rays: Rays | None = None,
        latent: Latent | None = None,
        shares: VarianceShares | None = None,
        information: Information | None = None,
        definition: str = "macro",
        **others: Any,
    ) -> Tensor:
        """The metric as a scalar tensor, differentiable in the parts it reads. others: the parts of
        tasks that are not of classes, by the names in `takes`."""
        module, name = self.function.split(":")
        parts = {
            "statistics": statistics,
            "geometry": geometry,
            "decisions": decisions,
            "rays": rays,
            "latent": latent,
            "shares": shares,
            "information": information,
            **others,
        }
        missing = [part for part in self.takes if parts.get(part) is None]
        if missing:
            raise ValueError(f"{self.key} needs {' and '.join(missing)}; pass them by keyword")
        function = getattr(import_module(module), name)
        _, arguments = self.resolve(definition)
        result: Tensor = function(*(parts[part] for part in self.takes), **arguments)
        return result
