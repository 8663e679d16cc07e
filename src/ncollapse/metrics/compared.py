"""Readings with their comparators: what is at hand of one split and layer → a reading a row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ncollapse.metrics.catalog import METRICS
from ncollapse.metrics.drawn import drawn_pairs
from ncollapse.metrics.estimates import Estimate, estimates
from ncollapse.metrics.evidence import Evidence
from ncollapse.metrics.floors import floors
from ncollapse.metrics.gnc import crowded
from ncollapse.metrics.metric import Without
from ncollapse.metrics.null import nulls
from ncollapse.metrics.readings import read
from ncollapse.pairs.means import Progress
from ncollapse.record.readings import Null, Reading

ANGLES, RATIO = "nc2_maxangle_means", "nc2_angle_ratio"


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
    progress: Progress | None = None,
) -> tuple[dict[str, Reading], list[str]]:
    """Readings by key (all that apply, or those of `keys`), and why some have no value.

    note: stands behind each definition (how a layer was pooled). progress: is told how far nulls
    and intervals are.
    """
    wanted = evidence.keys
    if keys is not None:
        chosen = frozenset(keys)
        wanted = tuple(key for key in wanted if key in chosen)
    elif evidence.geometry is not None and not crowded(evidence.geometry):
        wanted = tuple(key for key in wanted if not METRICS[key].crowded)
    asked = wanted
    if RATIO in wanted and ANGLES not in wanted:
        wanted = (*wanted, ANGLES)
    values, notes = read(
        wanted,
        statistics=evidence.statistics,
        geometry=evidence.geometry,
        decisions=evidence.decisions,
        rays=evidence.rays,
        latent=evidence.latent,
        shares=evidence.shares,
        information=evidence.information,
        tags=evidence.tags,
        definition=definition,
    )
    seed = comparators.seed
    lows = floors(wanted, evidence, definition) if comparators.floor else {}
    noise = nulls(wanted, evidence, definition, seed, progress) if comparators.null else {}
    drawn = drawn_pairs(values, evidence, definition) if comparators.interval else {}
    best = estimates(wanted, evidence, definition, progress) if comparators.interval else {}
    _over_null(values, noise, best)
    found = {}
    for key in asked:
        known = best.get(key, Estimate()) if values[key] is not None else Estimate()
        found[key] = Reading(
            value=values[key],
            null=noise.get(key),
            floor=_floor(lows.get(key), known.floor if comparators.floor else None),
            interval=drawn.get(key, known.interval),
            ideal=METRICS[key].ideal,
            n=evidence.number(key),
            definition=METRICS[key].resolve(definition)[0] + note,
            estimate=known.value,
        )
    notes += _unknown({key: found for key, found in best.items() if values[key] is not None})
    return found, [said for said in notes if not _known(said, evidence)]


def _floor(rounding: float | None, sampling: float | None) -> float | None:
    """The larger one, for readings whose ideal is 0."""
    return rounding if sampling is None else max(rounding or 0.0, sampling)


def _over_null(
    values: dict[str, float | None], noise: dict[str, Null], best: dict[str, Estimate]
) -> None:
    """`nc2_angle_ratio` and all that stands beside it: those of the angles over their null."""
    base, angle = noise.get(ANGLES), values.get(ANGLES)
    if RATIO not in values or base is None or angle is None or base.mean <= 0:
        return
    values[RATIO] = angle / base.mean
    noise[RATIO] = Null(1.0, base.low / base.mean, base.high / base.mean)
    found = best.get(ANGLES)
    if found is not None and RATIO in best:
        best[RATIO] = Estimate(
            None if found.value is None else found.value / base.mean,
            None if found.interval is None else _scaled(found.interval, 1 / base.mean),
            None if found.floor is None else found.floor / base.mean,
            found.why,
        )


def _scaled(ends: tuple[float, float], factor: float) -> tuple[float, float]:
    return ends[0] * factor, ends[1] * factor


def _unknown(best: dict[str, Estimate]) -> list[str]:
    """Why some readings have no estimate or no interval, each reason once."""
    reasons: dict[str, list[str]] = {}
    for key, found in best.items():
        if found.why:
            reasons.setdefault(found.why, []).append(key)
    return [f"no interval of {', '.join(keys)}: {why}" for why, keys in reasons.items()]


def _known(note: str, evidence: Evidence) -> bool:
    """Whether a note says of a row what holds of every row of its kind past the pair budget."""
    geometry = evidence.geometry
    if geometry is None or geometry.pairs.exact:
        return False
    return isinstance(METRICS[note.partition(" ")[0]].large, Without)
