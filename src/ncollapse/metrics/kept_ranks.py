"""What single classes keep of their effective rank along a trace. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from ncollapse.record.trace import CLASS_RANK, Trace


@dataclass(frozen=True)
class Kept:
    """The rank of one class: the largest before the last reading, with its step, the last one with
    its step. `share`: last over largest; above 1 where it grew."""

    index: int
    largest: float
    at: int
    last: float
    step: int

    @property
    def share(self) -> float:
        return self.last / self.largest


@dataclass(frozen=True)
class KeptRanks:
    """Classes, least share first; typical: the median share."""

    classes: tuple[Kept, ...]

    @property
    def typical(self) -> float:
        return float(median(one.share for one in self.classes))

    @property
    def against_others(self) -> float:
        """The least share over the median one: 1 where all classes lose directions alike."""
        return self.classes[0].share / self.typical


def kept_ranks(trace: Trace | None, split: str, layer: str) -> KeptRanks | None:
    """Of the classes whose rank the trace tells at two steps or more; None where there are none."""
    found: dict[int, list[tuple[int, float]]] = {}
    for row in () if trace is None else trace.rows:
        name = row.key.removeprefix(CLASS_RANK)
        mine = row.key.startswith(CLASS_RANK) and (row.split, row.layer) == (split, layer)
        if mine and name.isdecimal() and row.value is not None:
            found.setdefault(int(name), []).append((row.step, row.value))
    kept = []
    for index, readings in found.items():
        *before, (step, last) = sorted(readings)
        if before:
            at, largest = max(before, key=lambda reading: reading[1])
            kept.append(Kept(index, largest, at, last, step))
    return KeptRanks(tuple(sorted(kept, key=lambda one: one.share))) if kept else None
