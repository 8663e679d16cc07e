"""Readings of regression with their comparators: nulls, floors, intervals.

Nulls. What is said of directions (NRC1 to NRC3, explained variance, alignment) is compared with
directions drawn alike in the span of the same features, so that columns that hold nothing change
nothing; what is said of targets with the same features under shuffled targets. Intervals are those
of all rows: ten blocks of the samples, left out one at a time. Both are formed of up to 8,192
samples; where there are more, what falls with the number of samples is scaled to all of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ncollapse.metrics import nrc
from ncollapse.metrics.catalog import METRICS
from ncollapse.metrics.compared import Comparators
from ncollapse.metrics.estimates import NOT_TOLD, STUDENT_9, TOO_FEW, WIDEST
from ncollapse.metrics.metric import Metric
from ncollapse.metrics.targets import TargetView
from ncollapse.record.readings import Null, Reading

BLOCKS, DRAWS = 10, 60
# Ten eigenproblems of a wider layer take longer than they are worth.
WIDEST_LAYER = 1024


@dataclass(frozen=True, eq=False)
class Rows:
    """Single samples: features (m, d) and targets (m, n) of `count`, and the bias of the head.
    epsilon: spacing at 1 of the dtype in which features are stored."""

    features: Tensor
    targets: Tensor
    count: int
    bias: Tensor | None
    epsilon: float

    @property
    def share(self) -> float:
        """m/N."""
        return len(self.features) / self.count


def readings(
    view: TargetView,
    rows: Rows | None,
    keys: Iterable[str],
    comparators: Comparators,
    note: str = "",
) -> tuple[dict[str, Reading], list[str]]:
    """By key, and why some have no value or no interval. rows: None where none were kept, and then
    neither nulls nor intervals are formed."""
    chosen = [METRICS[key] for key in keys]
    values: dict[str, float | None] = {}
    said: list[str] = []
    for row in chosen:
        found = _value(row, view)
        values[row.key] = None if isinstance(found, str) else found
        if isinstance(found, str):
            said.append(f"{row.key} is null: {found}")
    known = [row for row in chosen if values[row.key] is not None]
    noise: dict[str, Null] = {}
    parts: list[TargetView] = []
    whole = view
    if rows is not None and comparators.null:
        noise = nulls([row.key for row in known], view, rows, comparators.seed)
    if rows is not None and comparators.interval:
        parts, why = without_blocks(view, rows)
        said += [why] if why else []
        if parts and rows.share < 1:
            whole = TargetView.of_rows(rows.features, rows.targets, view.weight, rows.bias)
    result: dict[str, Reading] = {}
    reasons: dict[str, list[str]] = {}
    for row in chosen:
        value = values[row.key]
        best: tuple[float, tuple[float, float]] | None = None
        if value is not None and parts and isinstance(row.interval, str) and rows is not None:
            outcome = jackknife(row, value, whole, parts, rows.share)
            if isinstance(outcome, str):
                reasons.setdefault(outcome, []).append(row.key)
            else:
                best = outcome
        floor = None
        if comparators.floor and rows is not None and value is not None:
            floor = _floor(row, view, rows.epsilon)
        result[row.key] = Reading(
            value=value,
            null=noise.get(row.key),
            floor=floor,
            interval=None if best is None else best[1],
            ideal=row.ideal,
            n=view.summary.count,
            definition=row.resolve("macro")[0] + note,
            estimate=None if best is None else best[0],
        )
    said += [f"no interval of {', '.join(keys)}: {why}" for why, keys in reasons.items()]
    return result, said


def _value(row: Metric, view: TargetView) -> float | str:
    try:
        found = float(row.evaluate(targets=view))
    except ValueError as error:
        return str(error)
    return found if math.isfinite(found) else row.undefined


def _floor(row: Metric, view: TargetView, epsilon: float) -> float | None:
    """What rounding of stored features leaves of a share of squares: ε², of centred ones ε² times
    the square of their offset over their spread."""
    if row.floor != "rounding":
        return None
    centred = row.key == "nrc_noise" or bool(row.arguments.get("centred"))
    if not centred:
        return epsilon**2
    spread = view.summary.variance
    size = float((view.summary.mean**2).sum()) + spread
    return epsilon**2 * size / spread if spread > 0 else None


# ---- nulls --------------------------------------------------------------------------------------
def nulls(keys: Iterable[str], view: TargetView, rows: Rows, seed: int = 0) -> dict[str, Null]:
    """Of the rows that have one; none where only traces were kept."""
    mine: dict[object, list[str]] = {}
    for key in keys:
        mine.setdefault(METRICS[key].null, []).append(key)
    if view.principal is None or not bool(view.principal.values[0] > 0):
        return {}
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, list[float]] = {}
    if "span" in mine:
        found |= _directions(mine["span"], view, rows, generator)
    if "shuffled" in mine:
        found |= _shuffled(mine["shuffled"], view, rows, generator)
    return {key: _null(draws) for key, draws in found.items()}


def _null(draws: list[float]) -> Null:
    values = torch.tensor(draws, dtype=torch.float64)
    low, high = torch.quantile(values, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Null(float(values.mean()), low, high)


def _directions(
    keys: list[str], view: TargetView, rows: Rows, generator: torch.Generator
) -> dict[str, list[float]]:
    """n directions drawn alike in the span of the features, in place of principal ones and of the
    head's rows."""
    principal = view.spectrum
    rank, n = principal.rank, min(view.number, principal.rank)
    basis, values = principal.vectors[:, :rank], principal.values[:rank]
    raw = rows.features.to(torch.float64)
    centred = raw - view.summary.mean
    moments = {name: _unit_moments(part, basis) for name, part in (("", raw), ("_c", centred))}
    total, covariance = values.sum(), view.summary.target_covariance
    found: dict[str, list[float]] = {key: [] for key in keys}
    for _ in range(DRAWS):
        drawn = torch.randn(rank, n, generator=generator, dtype=torch.float64)
        frame, _ = torch.linalg.qr(drawn)
        held = float((values @ frame**2).sum() / total)
        for key in keys:
            if key in ("nrc_explained", "nrc_noise"):
                found[key].append(held if key == "nrc_explained" else 1 - held)
            elif key == "nrc_alignment":
                found[key].append(float(torch.linalg.svdvals(frame[:n]).mean()))
            elif key == "nrc3":
                found[key].append(float(nrc.nrc3(drawn.T @ drawn, covariance)) if n > 1 else 0.0)
            else:
                size, inside = moments["_c" if METRICS[key].arguments.get("centred") else ""]
                found[key].append(max(size - float((frame * (inside @ frame)).sum()), 0.0))
    return found


def _unit_moments(rows: Tensor, basis: Tensor) -> tuple[float, Tensor]:
    """(share of rows that have a direction, mean of h̃ h̃ᵀ in the basis)."""
    lengths = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    unit = torch.where(lengths > 0, rows / torch.where(lengths > 0, lengths, 1), 0) @ basis
    return float((lengths > 0).double().mean()), unit.T @ unit / len(rows)


def _shuffled(
    keys: list[str], view: TargetView, rows: Rows, generator: torch.Generator
) -> dict[str, list[float]]:
    """The same samples with their targets dealt anew. What chance tells of targets falls as 1/N."""
    features = rows.features.to(torch.float64) - view.summary.mean
    targets = rows.targets - view.summary.target_mean
    number, summary, principal = len(features), view.summary, view.spectrum
    covariance, variance = summary.covariance, summary.target_covariance
    assert covariance is not None
    total = float(variance.trace()) / view.number
    made = None
    if view.weight is not None:
        made = rows.features.to(torch.float64) @ view.weight.T - summary.target_mean
        made = made if rows.bias is None else made + rows.bias.to(torch.float64)
    found: dict[str, list[float]] = {key: [] for key in keys}
    for _ in range(DRAWS):
        dealt = targets[torch.randperm(number, generator=generator)]
        cross = features.T @ dealt / number
        for key in keys:
            if key == "nrc_cka":
                found[key].append(float(nrc.linear_cka(covariance, cross, variance)) * rows.share)
            elif key == "nrc_linear_error":
                error = float(
                    nrc.linear_error(principal.values, principal.vectors, cross, variance)
                )
                found[key].append(total - (total - error) * rows.share)
            elif made is not None:
                found[key].append(float(((made - dealt) ** 2).mean()))
    return found


# ---- intervals ----------------------------------------------------------------------------------
def without_blocks(view: TargetView, rows: Rows) -> tuple[list[TargetView], str]:
    """Views without each of ten blocks, dealt by place; none with why."""
    number = len(rows.features)
    if number < 2 * BLOCKS:
        return [], f"no intervals: {number} samples are too few to leave out a tenth of them"
    if view.width > WIDEST_LAYER:
        return [], (
            f"no intervals: leaving out blocks of {view.width} features takes ten eigenproblems of "
            f"that size, which is done up to {WIDEST_LAYER}"
        )
    if view.principal is None:
        return [], ""
    block = torch.arange(number) % BLOCKS
    features, targets = rows.features.to(torch.float64), rows.targets
    return [
        TargetView.of_rows(features[kept], targets[kept], view.weight, rows.bias)
        for kept in (block != left_out for left_out in range(BLOCKS))
    ], ""


def jackknife(
    row: Metric, value: float, whole: TargetView, parts: list[TargetView], share: float
) -> tuple[float, tuple[float, float]] | str:
    """(estimate, 95 % interval), or why there is none: the delete-a-group jackknife on the row's
    scale. whole: the samples that `parts` leave blocks out of, `share` of all; bias and variance
    are scaled to all."""
    found = [_value(row, part) for part in (whole, *parts)]
    why = next((one for one in found if isinstance(one, str)), None)
    if why is not None:
        return f"without a tenth of the samples {why}"
    log = row.scale == "log"
    read = torch.tensor([value, *(float(one) for one in found)], dtype=torch.float64)
    if log and not bool(read.any()):
        return 0.0, (0.0, 0.0)
    if log and float(read.min()) <= 0:
        return NOT_TOLD
    value, full, *_ = (read.log() if log else read).tolist()
    samples = (read.log() if log else read)[2:]
    number = len(parts)
    mean = samples.mean()
    error = float(((number - 1) / number * ((samples - mean) ** 2).sum() * share).sqrt())
    if log and error > WIDEST:
        return TOO_FEW
    centre = value + float((number - 1) * (full - mean)) * share
    low, high = centre - STUDENT_9 * error, centre + STUDENT_9 * error
    if log:
        centre, low, high = math.exp(centre), math.exp(low), math.exp(high)
    least, most = row.within(centre, centre)
    return min(least, most), row.within(low, high)


def keys_of(view: TargetView, keys: frozenset[str] | None, rows: Mapping[str, Metric]) -> list[str]:
    """Rows that can be asked of a view, all or those of `keys`."""
    head = view.weight is not None
    return [
        key
        for key, row in rows.items()
        if (head or "head" not in row.needs) and (keys is None or key in keys)
    ]
