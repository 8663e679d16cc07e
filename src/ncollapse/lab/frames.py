"""Which frame a network has ended in: the simplex, the orthogonal one, and how collapsed it is."""

from __future__ import annotations

from typing import Any

from ncollapse.lab.cosines import cosines, frame_gap, pairs
from ncollapse.lab.debiased import nc1_debiased
from ncollapse.lab.free import arrays
from ncollapse.lab.networks import Network
from ncollapse.metrics.nc2 import nc2_etf
from ncollapse.metrics.nc3 import nc3_duality


def frame_facts(found: Network) -> dict[str, Any]:
    """frame: distances that vanish at the simplex. nearer: distance of raw rows to the orthogonal
    frame over that to the simplex. cosines: mean cosine over pairs of raw means,
    and of classifiers. nc1, nc1_debiased, train_error, test_error."""
    weight, means = arrays(found.geometry)
    nearer = {
        name: frame_gap(rows, centred=False) / frame_gap(rows, centred=True)
        for name, rows in (("means", means), ("weights", weight))
    }
    return {
        "frame": {
            "means": float(nc2_etf(found.geometry)),
            "weights": float(nc2_etf(found.geometry, "weight")),
            "duality": float(nc3_duality(found.geometry)),
        },
        "nearer": nearer,
        "cosines": [float(pairs(cosines(rows)).mean()) for rows in (means, weight)],
        "nc1": found.nc1,
        "nc1_debiased": nc1_debiased(found),
        "train_error": found.train_error,
        "test_error": found.test_error,
    }
