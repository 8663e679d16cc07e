"""All metrics of one measurement, with what stops a metric from being computed said in words."""

from __future__ import annotations

from collections.abc import Iterable

from ncollapse.collect.statistics.decisions import Decisions
from ncollapse.collect.statistics.directions import Rays
from ncollapse.collect.statistics.summary import ClassStatistics
from ncollapse.geometry import Geometry
from ncollapse.metrics.catalog import METRICS, of_task
from ncollapse.metrics.information import Information
from ncollapse.metrics.metric import ALONE, Metric, Without
from ncollapse.metrics.onc import Latent
from ncollapse.metrics.shares import VarianceShares
from ncollapse.metrics.tags import Tags


def applicable(
    *,
    means: bool = True,
    head: bool = False,
    decisions: bool = False,
    decided: bool | None = None,
    reads: bool = False,
    rays: bool = False,
    latent: bool = False,
    shares: bool = False,
    information: bool = False,
    tags: bool = False,
    task: str = "classification",
) -> tuple[str, ...]:
    """Keys of a task that can be asked of what is at hand; Σ_W may still be missing. decided:
    whether it is known what the model decides of each sample, by default where its head is; reads:
    whether the weight behind the features is known."""
    held = {"means": means, "trace": means, "full": means, "head": head, "decisions": decisions}
    held["reads"] = reads
    held["decided"] = head and decisions if decided is None else decided
    held["rays"] = rays
    held |= {"latent": latent, "shares": shares, "information": information, "tags": tags}
    rows = of_task(task).items()
    return tuple(key for key, row in rows if all(held[need] for need in row.needs))


def read(
    keys: Iterable[str],
    *,
    statistics: ClassStatistics | None = None,
    geometry: Geometry | None = None,
    decisions: Decisions | None = None,
    rays: Rays | None = None,
    latent: Latent | None = None,
    shares: VarianceShares | None = None,
    information: Information | None = None,
    tags: Tags | None = None,
    definition: str = "macro",
) -> tuple[dict[str, float | None], list[str]]:
    """Values by key and warnings; a metric that cannot be read is None with a sentence."""
    values: dict[str, float | None] = {}
    warnings = []
    for key in keys:
        row = METRICS[key]
        why = None if geometry is None else _meaningless(row, geometry)
        if why is not None:
            values[key] = None
            warnings.append(f"{key} is null: {why}")
            continue
        try:
            value = float(
                row.evaluate(
                    statistics=statistics,
                    geometry=geometry,
                    decisions=decisions,
                    rays=rays,
                    latent=latent,
                    shares=shares,
                    information=information,
                    tags=tags,
                    definition=definition,
                ).detach()
            )
        except ValueError as error:
            values[key] = None
            warnings.append(f"{key} is null: {error}")
            continue
        if value - value == 0:
            values[key] = value
        else:
            values[key] = None
            warnings.append(f"{key} is null: {_reason(row, statistics, definition)}")
    return values, warnings


def _meaningless(row: Metric, geometry: Geometry) -> str | None:
    """Why a value would say nothing: too few classes, drawn pairs, or a row without a direction."""
    if isinstance(row.large, Without) and not geometry.pairs.exact:
        return row.large.why
    if geometry.num_classes < row.least_classes:
        return f"{geometry.num_classes} class means always form a simplex"
    for name in row.directions:
        if (geometry.weight if name == "weight" else geometry.means) is None:
            continue
        zero = geometry.pointless(name)
        if zero is not None:
            return f"{zero}, and a zero vector has no direction"
    return None


def _reason(row: Metric, statistics: ClassStatistics | None, definition: str) -> str:
    if statistics is not None and "full" in row.needs:
        _, arguments = row.resolve(definition)
        weighting = arguments.get("within") or arguments.get("weighting", "macro")
        if statistics.span is not None:
            return "it needs all of Σ_W, of which the span of the class means was kept"
        if statistics.scatter(weighting) is None and statistics.sketch is None:
            return (
                f"the within-class scatter in {weighting} weighting was not kept; use mode full "
                "with a larger memory budget, pass the class counts, or ask for micro weighting"
            )
    if row.undefined == ALONE and statistics is not None and int(statistics.counts.max()) > 1:
        return "all features are alike, so nothing varies, neither within classes nor between them"
    return row.undefined


def within_weighting(definition: str) -> str:
    """The weighting of Σ_W that `definition` reads: macro or micro."""
    _, arguments = METRICS["nc1_fisher"].resolve(definition)
    return str(arguments["within"])
