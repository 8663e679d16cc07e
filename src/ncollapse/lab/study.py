"""Study: question, paper, settings, runs, and a bar for every claim.

No torch here: listing and showing studies stay fast. The work of a part stands in another module,
named as "package.module:function" and imported where it runs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from ncollapse.lab.claims import Claim, ids

SIZES = ("mini", "quick", "full")
Work = Callable[[Mapping[str, Any], int], Mapping[str, Any]]
Units = Mapping[str, Sequence[Mapping[str, Any]]]
# What a run is given, and what it gives back.
Plan = Mapping[str, Any]
Outcome = dict[str, Any]
Draw = str | Callable[[Units], Mapping[str, Any]]


def resolve(name: str | Callable[..., Any]) -> Callable[..., Any]:
    """A function by its name "package.module:function", or itself."""
    if not isinstance(name, str):
        return name
    module, _, function = name.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), function)
    return found


def outcome(values: Mapping[str, Any] | None = None, **data: Any) -> Outcome:
    """What the work of a part gives: numbers by claim id, and data for figures."""
    return {"values": values or {}, "data": data}


@dataclass(frozen=True)
class Part:
    """One kind of run: work(settings, seed) → {"values": {claim id: number}, "data": …}.

    claims: the ids that it gives numbers for. seeded: run once a seed, else once. given: settings
    of this part alone, laid over those of the study.
    """

    name: str
    work: str | Work
    claims: tuple[str, ...]
    seeded: bool = True
    given: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """A question that runs can answer.

    settings: by size, what the parts read; "seeds" is how many are run by default, "first_seed" the
    number of the first one (0): a claim that changed is judged on seeds that it has not seen.
    "mini" tries the machinery in seconds and judges nothing. combine: from the data of all finished
    runs of each part to numbers that need several seeds at once, {claim id: [values]}. draw: (units
    by part) → {name: (alt text, matplotlib figure)}. place: lists are in the order of this number.
    retired: ids of claims that are made no more, with the reason.
    Raises ValueError for a missing size, claims without a part, or names used twice.
    """

    name: str
    question: str
    paper: str
    claims: tuple[Claim, ...]
    settings: Mapping[str, Mapping[str, Any]]
    parts: tuple[Part, ...]
    combine: str | Callable[[Units], Mapping[str, Sequence[float]]] | None = None
    draw: Draw | None = None
    place: int = 1000
    retired: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        missing = [size for size in SIZES if size not in self.settings]
        if missing:
            raise ValueError(f"study {self.name!r} has no settings for {', '.join(missing)}")
        own = ids(self.claims)
        if len(set(own)) < len(own) or len({p.name for p in self.parts}) < len(self.parts):
            raise ValueError(f"study {self.name!r} uses the name of a claim or part twice")
        alive = sorted(set(own) & set(self.retired))
        if alive:
            raise ValueError(f"study {self.name!r}: {', '.join(alive)} is retired and claimed")
        given = {name for part in self.parts for name in part.claims}
        if given != set(own):
            odd = ", ".join(sorted(given ^ set(own)))
            raise ValueError(f"study {self.name!r}: {odd} has a part or a claim, not both")

    def units(self, size: str, seeds: int | None = None) -> list[Unit]:
        """The runs of a size. Raises ValueError for an unknown size or no seeds."""
        if size not in SIZES:
            raise ValueError(f"size {size!r} is unknown; one of {', '.join(SIZES)} is needed")
        settings = self.settings[size]
        count = int(settings.get("seeds", 1)) if seeds is None else seeds
        if count < 1:
            raise ValueError(f"seeds={count}; at least 1 is needed")
        first = int(settings.get("first_seed", 0))
        return [
            Unit(self.name, part, {**settings, **part.given}, first + seed)
            for part in self.parts
            for seed in range(count if part.seeded else 1)
        ]


@dataclass(frozen=True)
class Unit:
    """One run: a part of a study with its settings and seed."""

    study: str
    part: Part
    settings: Mapping[str, Any]
    seed: int

    @property
    def name(self) -> str:
        return f"{self.part.name}-{self.seed}"

    @property
    def fingerprint(self) -> str:
        """Equal for runs that must give equal numbers; resuming compares it."""
        work = self.part.work
        named = work if isinstance(work, str) else f"{work.__module__}:{work.__qualname__}"
        said = [self.study, self.part.name, named, dict(self.settings), self.seed]
        text = json.dumps(said, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class UnitResult:
    """What a run left: numbers by claim and data for figures, or the sentence of its failure."""

    part: str
    seed: int
    values: dict[str, float | None] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    error: str = ""

    @property
    def name(self) -> str:
        return f"{self.part}-{self.seed}"


def by_part(study: Study, units: Sequence[UnitResult]) -> dict[str, list[dict[str, Any]]]:
    """Data of finished runs under the name of their part."""
    found: dict[str, list[dict[str, Any]]] = {part.name: [] for part in study.parts}
    for unit in sorted(units, key=lambda unit: unit.seed):
        if not unit.error:
            found[unit.part].append({"seed": unit.seed, **unit.data})
    return found
