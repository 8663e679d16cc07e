"""Floors: the smallest reading that the dtype of the features, or the number of classes, allows."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module

import torch

from ncollapse.collect.statistics.directions import Rays
from ncollapse.collect.statistics.summary import ClassStatistics
from ncollapse.metrics.catalog import METRICS
from ncollapse.metrics.evidence import Evidence
from ncollapse.metrics.gnc import occupied
from ncollapse.metrics.readings import read

ROUNDING = "rounding"


def floors(keys: Iterable[str], evidence: Evidence, definition: str = "macro") -> dict[str, float]:
    """The floors of these rows (the largest reading for class share).

    Rounding moves a coordinate x by an error of variance ulp(x)²/12, ulp(x) = ε·2^⌊log₂|x|⌋;
    ε is the spacing at 1 of the features' dtype. Past the pair budget only what geometry itself
    sets is given.
    """
    statistics, geometry = evidence.statistics, evidence.geometry
    if geometry is None:
        return {}
    found: dict[str, float] = {}
    rounded = []
    for key in keys:
        floor = METRICS[key].floor
        if floor == ROUNDING:
            rounded.append(key)
        elif isinstance(floor, str):
            module, name = floor.split(":")
            rule = getattr(import_module(module), name)
            width = geometry.num_features
            if METRICS[key].crowded:
                width = occupied(geometry, METRICS[key].arguments["which"])
            found[key] = float(rule(geometry.num_classes, width))
    if not rounded or not geometry.pairs.exact:
        return found
    means = geometry.raw_rows.matrix if evidence.stored is None else evidence.stored
    _, exponent = torch.frexp(means)
    ulp = torch.where(
        means == 0, 0.0, evidence.epsilon * torch.exp2((exponent - 1).to(torch.float64))
    )
    variance = ulp**2 / 12
    each = statistics.class_weights("macro") @ variance
    if evidence.stored is not None:
        # In other columns: alike in all directions [approximation].
        each = each.mean().expand(geometry.num_features)
    diagonal = torch.diag(each)
    rounding = ClassStatistics(
        counts=statistics.counts, traces=variance.sum(1), macro=diagonal, micro=diagonal
    )
    rays: Rays | None = None
    if evidence.rays is not None:
        # Of the classes' means: what rounding turns them by, and lengthens them.
        square = (means**2).sum(1)
        along = (variance * means**2).sum(1) / square
        rays = Rays(
            counts=statistics.counts,
            zeros=evidence.rays.zeros,
            gaps=((variance.sum(1) - along) / square).clamp(0, 1),
            axes=evidence.rays.axes,
            lengths=square.sqrt(),
            variances=along,
        )
    values, _ = read(
        rounded, statistics=rounding, geometry=geometry, rays=rays, definition=definition
    )
    return found | {key: value for key, value in values.items() if value is not None}
