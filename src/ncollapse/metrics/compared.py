"""Readings with their comparators: what is at hand of one split and layer → a reading a row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ncollapse.metrics.catalog import METRICS
from ncollapse.metrics.evidence import Evidence
from ncollapse.metrics.floors import floors
from ncollapse.metrics.intervals import intervals
from ncollapse.metrics.metric import Without
from ncollapse.metrics.null import nulls
from ncollapse.metrics.readings import read
from ncollapse.record.readings import Reading


@dataclass(frozen=True)
class Comparators:
    """Which comparators are formed beside the values; seed: of their own generators."""

    null: bool = True
    floor: bool = True
    interval: bool = True
    seed: int = 0


def compared(
    evidence: Evidence,
    keys: Iterable[str] | None = None,
    *,
    definition: str = "macro",
    comparators: Comparators = Comparators(),
    note: str = "",
) -> tuple[dict[str, Reading], list[str]]:
    """Readings by key (all that apply, or those of `keys`), and why some have no value.

    note: stands behind each definition (how a layer was pooled).
    """
    wanted = evidence.keys
    if keys is not None:
        chosen = frozenset(keys)
        wanted = tuple(key for key in wanted if key in chosen)
    values, notes = read(
        wanted,
        statistics=evidence.statistics,
        geometry=evidence.geometry,
        decisions=evidence.decisions,
        definition=definition,
    )
    seed = comparators.seed
    lows = floors(wanted, evidence, definition) if comparators.floor else {}
    noise = nulls(wanted, evidence, definition, seed) if comparators.null else {}
    spans = intervals(values, evidence, definition, seed) if comparators.interval else {}
    found = {
        key: Reading(
            value=values[key],
            null=noise.get(key),
            floor=lows.get(key),
            interval=spans.get(key),
            ideal=METRICS[key].ideal,
            n=evidence.number(key),
            definition=METRICS[key].resolve(definition)[0] + note,
        )
        for key in wanted
    }
    return found, [said for said in notes if not _known(said, evidence)]


def _known(note: str, evidence: Evidence) -> bool:
    """Whether a note says of a row what holds of every row of its kind past the pair budget."""
    geometry = evidence.geometry
    if geometry is None or geometry.pairs.exact:
        return False
    return isinstance(METRICS[note.partition(" ")[0]].large, Without)
