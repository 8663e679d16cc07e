"""A classifier without features: its rows read by the catalog, beside random rows of their size.

No sample enters, so readings have no interval: the rows are known. What they are compared with are
K rows of independent normal numbers in as many columns as hold anything: directions that know of
no class. (The nulls of a measurement draw from the features instead, which are not at hand here.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from ncollapse.geometry import LARGEST_GRAM, Geometry
from ncollapse.metrics.catalog import METRICS
from ncollapse.metrics.gnc import occupied
from ncollapse.metrics.metric import Metric
from ncollapse.metrics.null import PAIR_CLASSES, draws_for, null_of, together
from ncollapse.metrics.population.sample import Sample
from ncollapse.metrics.readings import read
from ncollapse.pairs.means import PAIR_BUDGET, Progress, pairs_of
from ncollapse.record.readings import Null, Reading

# Multiplications K² d of a null that looks at all pairs of random rows, past which it is left out.
NULL_COST = 2e11
# Numbers that draws of random rows and their Gram matrices may hold at once.
AT_ONCE = 2e7
# The largest cosine is read of any number of classes: by it rows that coincide are seen.
CLOSEST = "gnc_cosine_weights"


@dataclass(frozen=True)
class Bare:
    """Readings by key; what could not be read, in words; rank: directions that the rows span;
    columns: those that are not zero throughout; closest: of every row the other row of the largest
    cosine and that cosine, None where not all pairs were looked at."""

    readings: dict[str, Reading]
    notes: list[str]
    rank: int
    columns: int
    closest: tuple[Tensor, Tensor] | None


def read_head(
    weight: Tensor,
    *,
    dtype: torch.dtype = torch.float32,
    null: bool = True,
    seed: int = 0,
    pair_budget: float = PAIR_BUDGET,
    progress: Progress | None = None,
) -> Bare:
    """The rows of the catalog that need a classifier alone. weight (K, d) in float64; dtype: what
    it was stored in, which bounds NC0 from below.

    Past `pair_budget` pairs of classes some are drawn, and the closest rows are not looked for.
    """
    K, d = weight.shape
    exact = pairs_of(K) <= pair_budget
    geometry = Geometry(weight=weight)
    if not exact:
        # Drawn pairs are read of means too, which here stand for nothing.
        both = Geometry(means=weight, weight=weight)
        geometry = both.sampled(int(min(1_000_000, pair_budget)), seed=seed, progress=progress)
    columns = int((weight != 0).any(0).sum())
    keys = keys_of(K, d)
    values, notes = read(keys, geometry=geometry)
    nulls: dict[str, Null] = {}
    left: list[str] = []
    if null:
        had = [key for key in keys if values[key] is not None]
        nulls, left = _nulls(had, K, max(columns, 1), seed, progress)
    readings = {
        key: Reading(
            value=values[key],
            null=nulls.get(key),
            floor=_floor(METRICS[key], geometry, dtype),
            ideal=METRICS[key].ideal,
            definition=METRICS[key].resolve("macro")[0],
        )
        for key in keys
    }
    return Bare(
        readings,
        notes + left,
        occupied(geometry, "weight"),
        columns,
        closest(weight) if exact else None,
    )


def keys_of(num_classes: int, num_features: int) -> tuple[str, ...]:
    """Rows that read a classifier alone: those of more classes than a simplex can hold only where
    there are, K > d + 1, but for the largest cosine."""
    crowded = num_classes > num_features + 1
    rows = [row for row in METRICS.values() if row.of_head and num_classes >= row.least_classes]
    return tuple(row.key for row in rows if crowded or not row.crowded or row.key == CLOSEST)


def closest(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(index, cosine) of the row that is nearest in direction, of every row; -1 and 0 of a zero row
    and where it is the only one that is not zero."""
    K = len(weight)
    norms = weight.norm(dim=1)
    kept = (norms > 0).nonzero().flatten()
    index = torch.full((K,), -1)
    cosine = torch.zeros(K, dtype=torch.float64)
    if len(kept) < 2:
        return index, cosine
    unit = weight[kept] / norms[kept, None]
    # Many rows in single precision: which row is nearest needs no more.
    work = unit.to(torch.float32) if len(kept) > LARGEST_GRAM else unit
    size = max(1, 2**24 // len(kept))
    for start in range(0, len(kept), size):
        block = work[start : start + size] @ work.T
        here = torch.arange(len(block))
        block[here, start + here] = -torch.inf
        near = block.argmax(1)
        index[kept[start : start + size]] = kept[near]
        cosine[kept[start : start + size]] = (unit[start : start + size] * unit[near]).sum(1)
    return index, cosine.clamp(-1, 1)


def _nulls(
    keys: Sequence[str], K: int, d: int, seed: int, progress: Progress | None
) -> tuple[dict[str, Null], list[str]]:
    """What random rows read, and which rows of the catalog have no null because of its cost."""
    costly = [key for key in keys if METRICS[key].crowded and METRICS[key].pairs == "none"]
    costly = costly if float(K) * K * d > NULL_COST else []
    wanted = [key for key in keys if key not in costly]
    known = {CLOSEST: largest_cosine(K, d)} if CLOSEST in costly else {}
    left = _said([key for key in costly if key not in known], K)
    generator = torch.Generator().manual_seed(seed)
    number = draws_for(K)
    found: dict[str, list[float]] = {}
    if K <= LARGEST_GRAM:
        at_once = max(1, int(AT_ONCE / (K * (K + d))))
        for done in range(0, number, at_once):
            if progress is not None:
                progress("nulls", done, number)
            size = min(at_once, number - done)
            rows = torch.randn(size, K, d, generator=generator, dtype=torch.float64)
            for one in _singly(found, wanted, rows):
                _add(found, one, rows)
        return _nulls_of(found) | known, left
    over_pairs = [key for key in wanted if METRICS[key].pairs != "none"]
    others = [key for key in wanted if key not in over_pairs]
    for done in range(number):
        if progress is not None:
            progress("nulls", done, number)
        rows = torch.randn(1, K, d, generator=generator, dtype=torch.float64)
        # Averages over pairs are the same for some of the classes.
        _add(found, over_pairs, rows[:, :PAIR_CLASSES])
        _add(found, others, rows)
    return _nulls_of(found) | known, left


def _singly(found: dict[str, list[float]], keys: Sequence[str], rows: Tensor) -> list[list[str]]:
    """Read all draws at once where a row's population value can be; the keys that are left."""
    K = rows.shape[1]
    weights = torch.full((K,), 1 / K, dtype=torch.float64)
    endless, still = torch.full_like(weights, torch.inf), torch.zeros_like(weights)
    sample = Sample(endless, rows, still, weights, centre=False).knowing(rows @ rows.mT)
    uncentred = [key for key in keys if METRICS[key].uncentred]
    centred = [key for key in keys if key not in uncentred]
    apart = rows - rows.mean(1, keepdim=True)
    about = Sample(endless, rows, still, weights).knowing(apart @ apart.mT)
    return [
        together(found, uncentred, sample, "macro"),
        together(found, centred, about, "macro"),
    ]


def _add(found: dict[str, list[float]], keys: Sequence[str], draws: Tensor) -> None:
    for rows in draws if keys else ():
        values, _ = read(keys, geometry=Geometry(weight=rows))
        for key, value in values.items():
            if value is not None:
                found.setdefault(key, []).append(value)


def _nulls_of(found: dict[str, list[float]]) -> dict[str, Null]:
    return {key: null_of(key, values) for key, values in found.items()}


def largest_cosine(num_classes: int, num_features: int) -> Null:
    """Mean and central 95 % of the largest cosine of K random directions in d dimensions.

    Cosines of pairs are independent two by two, and large ones are rare, so the number above t is
    nearly Poisson with mean N p(t), N = K(K-1)/2, p(t) = I_{1-t²}((d-1)/2, 1/2)/2 for t ≥ 0: the
    quantile q lies where N p(t) = -log q. Needs d ≥ 2 and N large.
    """
    import numpy as np
    from scipy.special import betaincinv

    def quantile(q: Any) -> Any:
        p = -np.log(q) / (num_classes * (num_classes - 1) / 2)
        inside = betaincinv((num_features - 1) / 2, 0.5, np.minimum(2 * p, 1.0))
        return np.sqrt(np.clip(1 - inside, 0, 1))

    middle = float(quantile((np.arange(1000) + 0.5) / 1000).mean())
    return Null(middle, float(quantile(0.025)), float(quantile(0.975)))


def _said(costly: Sequence[str], K: int) -> list[str]:
    if not costly:
        return []
    return [f"{', '.join(costly)}: {K} random rows are past what is drawn, so no null"]


def _floor(row: Metric, geometry: Geometry, dtype: torch.dtype) -> float | None:
    """The least (or most) that dimensions and the stored dtype allow."""
    if not isinstance(row.floor, str):
        return None
    module, name = row.floor.split(":")
    rule = getattr(import_module(module), name)
    width = occupied(geometry, "weight") if row.crowded else geometry.num_features
    floor = float(rule(geometry.num_classes, max(width, 1)))
    if row.uncentred and row.family == "NC0":
        # Its rule is of float32; squares of spacings are what it goes with.
        floor *= (torch.finfo(dtype).eps / torch.finfo(torch.float32).eps) ** 2
    return floor
