"""How far the loss was from its certified floor along training, and what lies between, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ncollapse.record.readings import HEAD
from ncollapse.record.trace import CERTIFIED, Trace, TraceRow
from ncollapse.report.spark import sparkline

LOSS, FLOOR, GAP, SPREAD, SHAPE, IDLE, TAU = CERTIFIED
PARTS = {
    SPREAD: "is spread within classes",
    SHAPE: "the shape of the class-mean logits",
    IDLE: "norm that makes no logits",
}
# A gap below this, of the loss, is none: the floor is not known better.
REACHED = 1e-3
# Floors below this, of the loss, are not told apart.
NOTHING = 1e-4
# Places of the curve in a terminal.
WIDE = 16


@dataclass(frozen=True)
class Certified:
    """The rows of one split, by step; a look whose loss was not finite is None in every key."""

    split: str
    rows: list[TraceRow]

    @property
    def looks(self) -> tuple[list[int], dict[str, list[float]]]:
        """Steps at which all but the fitted τ is known, and the values there by key."""
        at: dict[int, dict[str, float]] = {}
        for row in self.rows:
            if row.value is not None:
                at.setdefault(row.step, {})[row.key] = row.value
        whole = {step: found for step, found in at.items() if found.keys() >= {*CERTIFIED[:-1]}}
        return list(whole), {key: [v[key] for v in whole.values()] for key in CERTIFIED[:-1]}

    @property
    def sentence(self) -> str:
        """The loss, its floor, and shares of what lies between."""
        values = self.looks[1]
        loss, least, gap = (values[key][-1] for key in (LOSS, FLOOR, GAP))
        said = f"On {self.split} the loss is {loss:.3g}"
        if gap < REACHED:
            return (
                f"{said}, within {100 * max(gap, 1e-4):.1g} % of the least that any head and "
                "features of the same norms can have: the geometry is reached."
            )
        parts = [f"{_percent(values[key][-1] / gap)} {name}" for key, name in PARTS.items()]
        first = values[GAP][:-1][:1]
        before = f", at the first look {_percent(first[0])}" if first else ""
        floor = (
            f"it is certified that no head and features of the same norms can have less than "
            f"{least:.3g}"
            if least > NOTHING * loss
            else "the certified floor of its norms is below 0.01 % of that"
        )
        return (
            f"{said}; {floor}. {_percent(gap)} of the loss is geometry that is not reached"
            f"{before}. Of this gap {parts[0]}, {parts[1]} and {parts[2]}."
        )

    @property
    def line(self) -> str:
        """The same in a line of a terminal: the gap along training, and its parts now."""
        values = self.looks[1]
        curve = values[GAP]
        if len(curve) > WIDE:
            curve = [curve[round(i * (len(curve) - 1) / (WIDE - 1))] for i in range(WIDE)]
        drawn = f" {sparkline(curve)}" if len(curve) > 1 else ""
        gap, *parts = (f"{100 * values[key][-1]:.0f}" for key in (GAP, *PARTS))
        return (
            f"Loss above its floor{drawn} {gap} %: spread {parts[0]}, shape {parts[1]}, "
            f"norm {parts[2]}"
        )

    def to_dict(self) -> dict[str, Any]:
        """The sentence and the values at the last look, ready for JSON."""
        steps, values = self.looks
        last = {key: value[-1] for key, value in values.items()}
        return {"step": steps[-1], **last, "sentence": self.sentence}


def certified(trace: Trace | None, split: str, most: int = 2) -> list[Certified]:
    """What a trace holds of it, the given split first; nothing where nothing was certified."""
    kept = () if trace is None else trace.rows
    rows = [row for row in kept if row.layer == HEAD and row.key in CERTIFIED]
    splits = dict.fromkeys(row.split for row in rows)
    names = sorted(splits, key=lambda name: name != split)
    found = [Certified(name, [row for row in rows if row.split == name]) for name in names]
    return [one for one in found if one.looks[0]][:most]


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.0095 or share == 0 else f"{100 * share:.1g} %"
