"""Phase diagram: over minority counts and decays, how far small classes stand apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ncollapse.losses import Loss, named
from ncollapse.theory.prediction import MERGED
from ncollapse.theory.problems.groups import Group
from ncollapse.theory.problems.ufm import UFM
from ncollapse.theory.subjects.imbalance import merge_value

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Grid = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PhaseDiagram:
    """Minority counts (rows) × decays (columns).

    classes: numbers of majority and minority classes. majority: their count. minority: counts (R).
    decays: λ = √(λ_W λ_H) (C). spread (R, C): difference Z_yy - Z_jy within the minority, in
    logits; 0 = merged. collapsed (R, C): merged minority classes. boundary (R): the exact λ from
    which on they merge, NaN where no formula is known. gap (R, C): relative gap of each solution.
    threshold: the formula of the boundary.
    """

    classes: tuple[int, int]
    majority: int
    minority: tuple[int, ...]
    decays: tuple[float, ...]
    spread: Grid
    collapsed: NDArray[np.int64]
    boundary: Grid
    gap: Grid
    loss: str
    bias: str
    threshold: str = "n w²(1-ε)²"

    def to_frame(self) -> pd.DataFrame:
        """minority, decay, spread, collapsed, boundary, relative_gap: one row a cell."""
        import pandas as pd

        rows = [
            (
                count,
                decay,
                self.spread[i, j],
                int(self.collapsed[i, j]),
                self.boundary[i],
                self.gap[i, j],
            )
            for i, count in enumerate(self.minority)
            for j, decay in enumerate(self.decays)
        ]
        names = ("minority", "decay", "spread", "collapsed", "boundary", "relative_gap")
        return pd.DataFrame(rows, columns=list(names))

    def plot(self) -> Figure:
        """Heat map of the spread with the exact boundary; a figure of its own, no pyplot."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6.4, 4.6), layout="constrained")
        axes = figure.subplots()
        counts, decays = np.array(self.minority, float), np.array(self.decays)
        shown = np.ma.masked_where(self.collapsed > 0, self.spread)
        axes.set_facecolor("#d9dce1")
        mesh = axes.pcolormesh(
            _edges(decays), _edges(counts), shown, cmap="viridis", vmin=0, rasterized=True
        )
        figure.colorbar(mesh, ax=axes, label="logit spread within the minority")
        known = np.isfinite(self.boundary)
        if known.any():
            axes.plot(
                self.boundary[known], counts[known], color="#c2590b", linewidth=2,
                label=f"exact threshold: N²λ_Wλ_H = {self.threshold}",
            )  # fmt: skip
        axes.fill_between([], [], color="#d9dce1", label="merged")
        axes.set(xscale="log", yscale="log")
        axes.set_xlim(float(_edges(decays)[0]), float(_edges(decays)[-1]))
        axes.set_ylim(float(_edges(counts)[0]), float(_edges(counts)[-1]))
        axes.set_xlabel("decay λ = √(λ_W λ_H)")
        axes.set_ylabel("samples in each minority class")
        axes.set_title(
            f"{self.classes[0]} classes of {self.majority}, {self.classes[1]} small ones · "
            f"{self.loss} · bias {self.bias}",
            fontsize=10,
        )
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
        return figure


def phase_diagram(
    classes: tuple[int, int] = (5, 5),
    majority: int = 5000,
    minority: Sequence[int] | None = None,
    decays: Sequence[float] | None = None,
    *,
    loss: str | Loss = "ce",
    bias: str | float = "free",
    tolerance: float = 1e-6,
    **loss_parameters: Any,
) -> PhaseDiagram:
    """Solve a grid of minority counts × decays; the logits depend on λ_W λ_H alone.

    classes: how many large and how many small classes, the small ones at least 2. minority:
    counts, default 12 from 1 to `majority`. decays: λ = √(λ_W λ_H), default 16 about the
    boundaries. loss, bias: as in `predict`; a loss named by its counts is made anew for each row.
    Raises ValueError for fewer than two small classes, counts or decays out of range.
    """
    large, small = classes
    if large < 1 or small < 2:
        raise ValueError(
            f"classes={classes}; at least one large class and two small ones (that can merge) are "
            "needed"
        )
    if minority is None:
        minority = sorted({round(v) for v in np.geomspace(1, majority, 12)})
    counts = tuple(int(count) for count in minority)
    problems = []
    for count in counts:
        sizes = (majority,) * large + (count,) * small
        made = named(loss, sizes, **loss_parameters) if isinstance(loss, str) else loss
        problems.append(UFM(sizes, loss=made, bias=bias))
    boundary = np.array([_boundary(problem, large) for problem in problems])
    if decays is None:
        # The pull at logits 0 has the right size where the one at the merged point is unknown.
        guesses = np.array([_boundary(problem, large, 0.0) for problem in problems])
        known = boundary if np.isfinite(boundary).any() else guesses
        finite = known[np.isfinite(known)]
        low, high = (finite.min(), finite.max()) if finite.size else (1e-5, 1e-2)
        decays = np.geomspace(low / 4, high * 2.5, 16).tolist()
    grid = tuple(float(decay) for decay in decays)
    shape = (len(counts), len(grid))
    spread, gap = np.full(shape, np.nan), np.full(shape, np.nan)
    merged = np.zeros(shape, dtype=np.int64)
    for i, problem in enumerate(problems):
        for j, decay in enumerate(grid):
            spread[i, j], merged[i, j], gap[i, j] = _cell(problem, decay, large, tolerance)
    shown = problems[0].logit_loss
    return PhaseDiagram(
        (large, small), majority, counts, grid, spread, merged, boundary, gap, shown.name,
        str(bias), f"n w²{shown.pull_squared}",
    )  # fmt: skip


def _boundary(problem: UFM, first: int, logit: float | None = None) -> float:
    """λ = √value / N of the minority group, NaN without a formula (or a guess at its logit)."""
    index = tuple(range(first, problem.num_classes))
    weight = problem.class_weights[first]
    scales = problem.logit_loss.scale or (1.0,) * problem.num_classes
    group = Group(index, problem.counts[first], weight, scales[first])
    value = merge_value(problem, group, logit=logit)
    return math.nan if value is None else math.sqrt(value) / problem.num_samples


def _cell(problem: UFM, decay: float, first: int, tolerance: float) -> tuple[float, int, float]:
    """Spread in logits, number of merged minority classes, relative gap."""
    from dataclasses import replace

    from ncollapse.theory.solve import solve

    solution = solve(replace(problem, weight_decay=decay, feature_decay=decay), tolerance=tolerance)
    if not solution.spreads or solution.spreads[first] is None:
        return math.nan, 0, _number(solution.relative_gap)
    root = math.sqrt(problem.counts[first] / problem.num_samples)
    spread = float(solution.spreads[first] or 0.0) / root
    largest = float(solution.spectrum[0]) if len(solution.spectrum) else 0.0
    merged = spread <= MERGED * largest / math.sqrt(max(problem.counts) / problem.num_samples)
    size = problem.num_classes - first
    return (0.0 if merged else spread), (size if merged else 0), _number(solution.relative_gap)


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _edges(values: Grid) -> Grid:
    """Cell edges halfway between neighbours on a log axis."""
    logs = np.log(values)
    if len(logs) == 1:
        return np.exp(np.array([logs[0] - 0.5, logs[0] + 0.5]))
    middle = (logs[1:] + logs[:-1]) / 2
    ends = [2 * logs[0] - middle[0]], [2 * logs[-1] - middle[-1]]
    return np.exp(np.concatenate([ends[0], middle, ends[1]]))
