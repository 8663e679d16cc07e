"""Where the spread lives along training: rows of the catalog that have a panel, and class ranks."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

from ncollapse.metrics.catalog import USUAL, shown
from ncollapse.metrics.kept_ranks import kept_ranks
from ncollapse.record.readings import HEAD
from ncollapse.record.trace import CLASS_RANK, Trace
from ncollapse.report.plots.curves import time_axis
from ncollapse.report.plots.watched import Watched

Line = tuple[list[float], list[float]]
CLASSES = "effective rank of classes"


def spread_panels(
    trace: Trace | None,
    split: str,
    layer: str = HEAD,
    names: Mapping[int, str] | None = None,
    task: str = USUAL,
) -> tuple[str, list[Watched]]:
    """The unit of time and a panel a row that has one, by split; of classes the median rank and
    that of the class that keeps least. Nothing where no reading was taken twice, nor where
    one panel is all there is, which the curve of training shows."""
    if trace is None or not trace.rows:
        return "", []
    unit, at = time_axis(trace.rows)
    splits = list(dict.fromkeys([split, *(row.split for row in trace.rows)]))[:2]

    def line(of: str, key: str) -> Line:
        steps, values = trace.series(of, layer, key)
        kept = [(at[s], v) for s, v in zip(steps, values, strict=True) if v is not None]
        return [x for x, _ in kept], [y for _, y in kept]

    found = []
    for row, place in shown("along", task):
        lines = {of: line(of, row.key) for of in splits}
        found.append(Watched(place.title, lines))
    found.append(Watched(CLASSES, _classes(trace, split, layer, names or {}, at)))
    kept = [
        Watched(one.key, {of: xy for of, xy in one.series.items() if len(xy[0]) > 1})
        for one in found
    ]
    kept = [one for one in kept if one.series]
    return unit, kept if len(kept) > 1 else []


def _classes(
    trace: Trace, split: str, layer: str, names: Mapping[int, str], at: Mapping[int, float]
) -> dict[str, Line]:
    ranks = kept_ranks(trace, split, layer)
    if ranks is None:
        return {}
    by_step: dict[int, list[float]] = {}
    lowest: Line = ([], [])
    worst = ranks.classes[0].index
    for row in trace.rows:
        if (row.split, row.layer) != (split, layer) or row.value is None:
            continue
        if row.key.startswith(CLASS_RANK):
            by_step.setdefault(row.step, []).append(row.value)
        if row.key == f"{CLASS_RANK}{worst}":
            lowest[0].append(at[row.step])
            lowest[1].append(row.value)
    middle = [at[step] for step in by_step], [median(values) for values in by_step.values()]
    name = names.get(worst, str(worst))
    return {"median": middle, f"class {name}" if name.isdecimal() else name: lowest}
