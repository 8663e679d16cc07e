"""Readings of single tokens against how often they occur, in octaves of the count."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.collect.statistics.decisions import Decisions
from ncollapse.collect.statistics.summary import ClassStatistics
from ncollapse.geometry import Geometry
from ncollapse.metrics.linguistic import cosines

# Fewer tokens have no rank correlation that would say anything.
FEWEST = 10


def by_class(
    statistics: ClassStatistics, geometry: Geometry, decisions: Decisions | None = None
) -> dict[str, Float[Tensor, " classes"]]:
    """Per class that is present: `norm` ‖m_c‖; `length` √(‖m_c‖² - s_c/n_c)₊, without what the
    noise of a mean of few samples adds; `spread` s_c = n_c v_c/(n_c - 1), NaN for one sample;
    `cosine` cos(w_c, m_c) where there is a head; `accuracy` and `agreement` (NC4) of the decided
    samples, NaN where there is none."""
    counts, norms = statistics.counts.to(torch.float64), geometry.mean_rows.norms
    noise = statistics.unbiased_spreads / counts
    found = {
        "norm": norms,
        "length": (norms**2 - noise).clamp_min(0).sqrt(),
        "spread": torch.where(counts > 1, statistics.unbiased_spreads, torch.nan),
    }
    if geometry.weight is not None:
        found["cosine"] = cosines(geometry)
    if decisions is not None and decisions.has_head:
        present = statistics.present
        place = torch.arange(statistics.num_classes) if present is None else present
        seen = decisions.counts[place].to(torch.float64)
        for name, hits in (
            ("accuracy", decisions.correct_head),
            ("agreement", decisions.counts - decisions.mismatch),
        ):
            found[name] = torch.where(seen > 0, hits[place] / seen, torch.nan)
    return found


def frequency_curve(
    statistics: ClassStatistics, geometry: Geometry, decisions: Decisions | None = None
) -> dict[str, Any]:
    """Plain data for a figure: means of `by_class` over tokens that occur 1, 2-3, 4-7, … times.

    Lists, one entry an octave that has a token: `count`, the geometric mean of the counts; `tokens`
    and `positions`, how many there are; and one list a reading, None where no token has it.
    `correlation`: Spearman's, of each reading with the count over tokens, None for fewer than 10 or
    where one of both is constant.
    """
    counts = statistics.counts.to(torch.float64)
    octave = torch.frexp(counts)[1].to(torch.int64) - 1
    kinds, place = octave.unique(return_inverse=True)
    bins = len(kinds)
    tokens = torch.bincount(place, minlength=bins)
    logs = torch.zeros(bins, dtype=torch.float64).index_add_(0, place, counts.log())
    positions = torch.zeros(bins, dtype=torch.float64).index_add_(0, place, counts)
    readings = by_class(statistics, geometry, decisions)
    return {
        "count": (logs / tokens).exp().tolist(),
        "tokens": tokens.tolist(),
        "positions": [round(x) for x in positions.tolist()],
        "readings": {name: _binned(value, place, bins) for name, value in readings.items()},
        "correlation": {name: _correlation(value, counts) for name, value in readings.items()},
    }


def _binned(values: Tensor, place: Tensor, bins: int) -> list[float | None]:
    known = values.isfinite()
    number = torch.bincount(place[known], minlength=bins)
    total = torch.zeros(bins, dtype=torch.float64).index_add_(0, place[known], values[known])
    means = (total / number).tolist()
    return [mean if math.isfinite(mean) else None for mean in means]


def _correlation(values: Tensor, counts: Tensor) -> float | None:
    from scipy.stats import rankdata

    known = values.isfinite()
    if int(known.sum()) < FEWEST:
        return None
    ranks = [rankdata(side[known].detach().numpy()) for side in (values, counts)]
    if any(bool(np.all(rank == rank[0])) for rank in ranks):
        return None
    return float(np.corrcoef(*ranks)[0, 1])
