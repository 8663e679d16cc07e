"""What a dial held: its reading against the target, and how hard it pulled or pushed."""

from __future__ import annotations

from dataclasses import dataclass

from ncollapse.record.readings import HEAD
from ncollapse.record.trace import DIAL, SATURATED, TARGET, WEIGHT, Trace
from ncollapse.report.plots.curves import time_axis
from ncollapse.report.plots.ink import (
    FAINT,
    INK,
    LINE,
    MARK,
    TEST,
    TRAIN,
    beside,
    canvas,
    place,
    plain,
    style,
    to_svg,
)

WIDTH, HEIGHT = 1150.0, 300.0
# Readings within this factor of the target count as held, as the thermostat counts them.
CLOSE = 1.25
# Marks of the logarithmic axis in a decade.
STEPS = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)


@dataclass(frozen=True)
class Held:
    """A dial's series over `x` (epochs, or steps): reading of `key`, target, weight, saturated."""

    key: str
    unit: str
    x: list[float]
    reading: list[float | None]
    target: list[float | None]
    weight: list[float | None]
    saturated: list[float | None]

    @property
    def sentence(self) -> str:
        """How the last reading lies to its target, and whether a bound was reached."""
        reading, target = self.reading[-1], self.target[-1]
        if reading is None or target is None:
            return f"The dial of {self.key} has no reading yet."
        close = target / CLOSE <= reading <= target * CLOSE
        said = (
            f"{self.key} reads {reading:.3g} at the last look; the target is {target:.3g}, "
            f"{'held within a quarter' if close else 'not within a quarter'}."
        )
        stuck = sum(1 for side in self.saturated if side)
        if stuck:
            said += f" At {stuck} of {len(self.x)} looks the dial was at its bound, out of reach."
        return said


def held(trace: Trace | None) -> Held | None:
    """The dial of a trace, None where it has none (or one without a reading or target)."""
    if trace is None:
        return None
    rows = [row for row in trace.rows if (row.split, row.layer) == (DIAL, HEAD)]
    keys = [row.key for row in rows if row.key not in (TARGET, WEIGHT, SATURATED)]
    if not keys or all(row.key != TARGET for row in rows):
        return None
    unit, at = time_axis(rows)
    known = {(row.step, row.key): row.value for row in rows}
    series = [
        [known.get((step, key)) for step in at] for key in (keys[0], TARGET, WEIGHT, SATURATED)
    ]
    return Held(keys[0], unit, list(at.values()), *series)


def dial_curve(found: Held) -> str | None:
    """Reading and target on a logarithmic axis, the weight below; None below two readings."""
    read = [(x, y) for x, y in zip(found.x, found.reading, strict=True) if y is not None and y > 0]
    aims = [(x, y) for x, y in zip(found.x, found.target, strict=True) if y is not None]
    weights = [(x, y) for x, y in zip(found.x, found.weight, strict=True) if y is not None]
    if len(read) < 2:
        return None
    with style("dial"):
        figure = canvas(WIDTH, HEIGHT)
        upper = place(figure, 60, 130, WIDTH - 60 - 110, HEIGHT - 130 - 14)
        lower = place(figure, 60, 40, WIDTH - 60 - 110, 70)
        for axes in (upper, lower):
            axes.grid(axis="y")
            axes.set_axisbelow(True)
            axes.set_xlim(found.x[0], found.x[-1])
            axes.spines["bottom"].set_color(LINE)
        upper.tick_params(labelbottom=False)
        at, aim = [x for x, _ in aims], [y for _, y in aims]
        upper.fill_between(
            at, [y / CLOSE for y in aim], [y * CLOSE for y in aim], color=MARK, alpha=0.12, lw=0
        )
        upper.plot(at, aim, color=MARK, linewidth=1.2)
        upper.plot(*zip(*read, strict=True), color=TRAIN, marker="o", markersize=3)
        upper.set_ylabel(plain(found.key))
        upper.set_yscale("log")
        low, high = upper.get_ylim()
        marks = [m * 10.0**e for e in range(-12, 7) for m in STEPS if low <= m * 10.0**e <= high]
        marks = marks[:: -(-len(marks) // 8)] if marks else aim[-1:]
        upper.set_yticks(marks, [f"{mark:g}" for mark in marks])
        upper.set_yticks([], minor=True)
        lower.axhline(0, color=LINE)
        if weights:
            lower.plot(*zip(*weights, strict=True), color=INK, linewidth=1.3)
            bound = 1.1 * max(abs(y) for _, y in weights) or 1.0
            lower.set_ylim(-bound, bound)
        stuck = [(x, s) for x, s in zip(found.x, found.saturated, strict=True) if s]
        if stuck:
            lower.plot([x for x, _ in stuck], [0.0] * len(stuck), "x", color=TEST, markersize=5)
        lower.set_ylabel("weight")
        lower.set_xlabel(found.unit, labelpad=3)
        for axes, height, text, colour in (
            (upper, 0.95, "● reading", TRAIN),
            (upper, 0.80, "— target ± a quarter", MARK),
            (lower, 0.85, "↑ pulls together", FAINT),
            (lower, 0.15, "↓ pushes apart", FAINT),
        ):
            beside(axes, height, text, colour)
        return to_svg(figure, "dial", found.sentence)
