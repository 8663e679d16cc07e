"""Intervals of means over drawn pairs of classes: how well a mean over all pairs is known."""

from __future__ import annotations

from collections.abc import Mapping

from ncollapse.metrics.catalog import METRICS
from ncollapse.metrics.estimates import NORMAL
from ncollapse.metrics.evidence import Evidence
from ncollapse.metrics.readings import read
from ncollapse.pairs.means import SampledPairs


def drawn_pairs(
    values: Mapping[str, float | None], evidence: Evidence, definition: str = "macro"
) -> dict[str, tuple[float, float]]:
    """Of the rows that are read of drawn pairs, past the pair budget; empty below it."""
    geometry = evidence.geometry
    if geometry is None or not isinstance(geometry.pairs, SampledPairs):
        return {}
    keys = [key for key in values if METRICS[key].pairs == "sampled"]
    of_errors = geometry.with_pairs(geometry.pairs.errors)
    errors, _ = read(
        keys, statistics=evidence.statistics, geometry=of_errors, definition=definition
    )
    found = {}
    for key, error in errors.items():
        value = values[key]
        if value is not None and error is not None:
            found[key] = METRICS[key].within(value - NORMAL * error, value + NORMAL * error)
    return found
