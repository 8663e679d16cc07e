"""How to measure: the keywords of the verbs, checked once, and the plan that follows from them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypedDict

import torch

from ncollapse.collect.plan import Labelled, Plan, Progress
from ncollapse.metrics.catalog import DEFINITIONS, METRICS
from ncollapse.metrics.compared import Comparators
from ncollapse.metrics.named import find
from ncollapse.metrics.readings import within_weighting
from ncollapse.pairs.means import PAIR_BUDGET
from ncollapse.record.trace import Trace
from ncollapse.tasks import AUTO
from ncollapse.tasks.task import Asked, Task


class MeasureOptions(TypedDict, total=False):
    """Keywords of `measure`, `measure_features` and `measure_source`; see the last."""

    num_classes: int | None
    ignore_index: int | None
    weighting: str
    definition: str | None
    mode: str
    null: bool
    intervals: bool
    decisions: bool
    seed: int
    memory_budget: float
    snapshot: Path | str | None
    snapshot_every: float
    resume: bool
    progress: Progress | bool | None
    keys: Iterable[str] | None
    metrics: Iterable[str] | str | None
    min_count: int
    pair_budget: float
    task: str
    reference: str | None
    directional: bool
    class_ranks: bool


class SourceOptions(MeasureOptions, total=False):
    """Those of `measure_features` and `measure_source`, which have no model."""

    trace: Trace | None
    share: bool


@dataclass(frozen=True)
class Options:
    """The keywords with their defaults: see `measure_source` for what each means."""

    num_classes: int | None = None
    ignore_index: int | None = -100
    weighting: str = "macro"
    definition: str | None = None
    mode: str = "full"
    null: bool = True
    intervals: bool = True
    decisions: bool = True
    seed: int = 0
    memory_budget: float = 2e9
    snapshot: Path | str | None = None
    snapshot_every: float = 30.0
    resume: bool = False
    progress: Progress | bool | None = None
    keys: Iterable[str] | None = None
    min_count: int = 1
    pair_budget: float = PAIR_BUDGET
    task: str = AUTO
    reference: str | None = None
    directional: bool = False
    class_ranks: bool = False

    def __post_init__(self) -> None:
        self._check()
        if self.keys is not None:
            # It is gone through for every layer.
            object.__setattr__(self, "keys", tuple(self.keys))

    def _check(self) -> None:
        """Raise ValueError for values that no pass could use, before one is made."""
        for name in ("memory_budget", "pair_budget", "snapshot_every"):
            value = getattr(self, name)
            if not isinstance(value, Real) or not float(value) >= 0:
                raise ValueError(f"{name}={value!r}; {BUDGETS[name]}, 0 or more, are needed")
        if not isinstance(self.seed, Integral):
            raise ValueError(f"seed={self.seed!r}; a whole number is needed")
        if not (
            self.progress is None or isinstance(self.progress, bool) or callable(self.progress)
        ):
            raise ValueError(
                f"progress={self.progress!r}; True, False or a function of (what, done, total) is "
                "needed"
            )
        if self.resume and self.snapshot is None:
            raise ValueError(
                "resume=True goes on from a snapshot and none is named; pass snapshot=PATH too"
            )

    @property
    def asked(self) -> str:
        """The definition that readings have."""
        return self.definition or self.weighting

    def plan(
        self, source: Labelled, task: Task, *, num_classes: int | None = None, exact: bool = False
    ) -> Plan:
        """The plan for one source. Raises ValueError for an unknown definition and bad labels."""
        if self.asked not in DEFINITIONS:
            raise ValueError(
                f"definition {self.asked!r} is unknown; one of {', '.join(DEFINITIONS)} is needed"
            )
        if self.reference is not None and self.reference not in source.splits:
            raise ValueError(
                f"reference={self.reference!r} is no split; one of {', '.join(source.splits)} is "
                "needed"
            )
        if num_classes is None:
            num_classes = task.class_count(
                source, self.num_classes, self.ignore_index, self.reference
            )
        return Plan(
            num_classes=num_classes,
            weighting=within_weighting(self.asked),
            mode=self.mode,
            memory_budget=self.memory_budget,
            # Targets have no class number that could mean "skip".
            ignore_index=None if task.sees == "targets" else self.ignore_index,
            decisions=self.decisions,
            intervals=self.intervals,
            null=self.null,
            seed=self.seed,
            snapshot=None if self.snapshot is None else Path(self.snapshot),
            snapshot_every=self.snapshot_every,
            resume=self.resume,
            progress=self.told,
            exact=exact,
            reference=self.reference,
            min_count=self.min_count,
            predictions=self.keys is None
            or any("information" in METRICS[key].needs for key in chosen_keys(self.keys) or ()),
            kept=self.class_ranks,
            directions=self.directional
            or any("rays" in METRICS[key].needs for key in chosen_keys(self.keys) or ()),
        )

    @property
    def told(self) -> Progress | None:
        """Who is told of progress; bars stand in for True by then (`ncollapse.measuring.bars`)."""
        return None if isinstance(self.progress, bool) else self.progress

    def reading(self, pooling: str = "none") -> Asked:
        """What is to be read of a layer that was pooled so."""
        keys = chosen_keys(self.keys)
        return Asked(
            keys,
            self.asked,
            Comparators(self.null, self.null or keys is None, self.intervals, self.seed),
            self.pair_budget,
            self.told,
            "" if pooling == "none" else f", {pooling}",
        )


OF_MODELS = (
    "layers",
    "head",
    "pool",
    "unpack",
    "limit",
    "batch_size",
    "autocast",
    "tokens",
    "cache",
)
BUDGETS = {
    "memory_budget": "bytes",
    "pair_budget": "multiplications",
    "snapshot_every": "seconds",
}
SHOWN = 3
NAMES = tuple(field.name for field in fields(Options))


def options_of(verb: str, given: Mapping[str, Any], others: tuple[str, ...] = ()) -> Options:
    """The options that a verb was called with. others: its keywords that are no options.

    Raises TypeError for a keyword that the verb does not have, with the nearest that it has.
    """
    given = _same(given)
    for name in given:
        if name not in NAMES:
            known = (*others, *NAMES)
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(known)}"
            if name in OF_MODELS and verb != "measure":
                hint = "it belongs to nc.measure(model, data), which runs a model"
            raise TypeError(f"{verb}() has no keyword {name!r}; {hint}")
    return Options(**given)


def _same(given: Mapping[str, Any]) -> dict[str, Any]:
    """`metrics` under the name that it has here, `keys`; unknown ones are refused before a pass
    over the data is made."""
    found = {name: value for name, value in given.items() if name != "metrics"}
    asked = given.get("metrics")
    if asked is not None:
        if found.get("keys") is not None:
            raise ValueError("metrics and keys are one choice under two names; pass one of them")
        found["keys"] = (asked,) if isinstance(asked, str) else tuple(asked)
        chosen_keys(found["keys"])
    return found


def chosen_keys(keys: Iterable[str] | None) -> frozenset[str] | None:
    """Metrics to read, None for all. Raises ValueError for an unknown key."""
    if keys is None:
        return None
    unknown = sorted(set(keys) - set(METRICS))
    if unknown:
        raise ValueError(
            f"key {unknown[0]!r} is no metric; {_meant(unknown[0])}nc.list_metrics() and "
            "`ncollapse explain` list them"
        )
    return frozenset(keys)


def _meant(name: str) -> str:
    """Keys that a name may stand for: those of a family or an alias, else the nearest."""
    try:
        found = find(name).keys[:SHOWN]
    except ValueError:
        found = ()
    near = found or difflib.get_close_matches(name, METRICS, n=SHOWN, cutoff=0.5)
    return f"did you mean {' or '.join(near)}? " if near else ""


def as_dtype(name: str | torch.dtype | None) -> torch.dtype | None:
    """A dtype by name: float32 (None: no mixed precision), float16, bfloat16."""
    if name is None or isinstance(name, torch.dtype):
        return name
    known = {"float32": None, "float16": torch.float16, "bfloat16": torch.bfloat16}
    if name not in known:
        raise ValueError(f"dtype {name!r} is unknown; one of {', '.join(known)} is needed")
    return known[name]
