"""Rows of NC2, convergence to a simplex frame: each of means and of classifier rows."""

from __future__ import annotations

from typing import Any

from ncollapse.metrics.catalog.nc1 import OURS, PAPYAN
from ncollapse.metrics.metric import Metric, Place, Without

_SIDES = (("means", "means", ("means",)), ("weights", "weight", ("head",)))
_NO_FLOOR = Without("rounding moves it far less than the sampling of the means")
_EXACT = Without("the classifier is known exactly, no sample enters")
_POPULATION = "ncollapse.metrics.population.frames"


def _of_both(key: str, **row: Any) -> tuple[Metric, ...]:
    """The rows of a metric that reads means or weights. What is written `means_…` or `weights_…`
    is of one side only."""
    rows = []
    for suffix, which, needs in _SIDES:
        own = {k: v for k, v in row.items() if k.partition("_")[0] not in ("means", "weights")}
        own |= {k.partition("_")[2]: v for k, v in row.items() if k.partition("_")[0] == suffix}
        common: dict[str, Any] = {
            "family": "NC2",
            "function": f"ncollapse.metrics.nc2:{key}",
            "takes": ("geometry",),
            "null": "directions",
            "floor": _NO_FLOOR,
            "interval": _EXACT if suffix == "weights" else "samples",
            "estimate": f"{_POPULATION}:{key}",
            "scale": "square",
            "arguments": {"which": which},
        }
        own["title"] = f"{own['title']} of {suffix}"
        rows.append(Metric(key=f"{key}_{suffix}", needs=needs, **{**common, **own}))
    return tuple(rows)


ROWS = (
    *_of_both(
        "nc2_equinorm",
        aliases=("equinorm",),
        weights_alone=Place("NC2 equal norms CV", 2),
        weights_uncentred=True,
        means_least_classes=3,
        title="equal norms",
        formula="std/mean of row norms, ddof = 1",
        meaning="How unequal the lengths are; random directions in many dimensions already have "
        "nearly equal lengths, so read it against its null.",
        source=PAPYAN,
        definitions={"population": {"ddof": 0}},
        means_terminal=Place("NC2 equal norms CV", 4),
        followed=True,
    ),
    *_of_both(
        "nc2_equiangular",
        aliases=("equiangularity", "equiangular"),
        weights_uncentred=True,
        least_classes=3,
        means_directions=("means",),
        weights_directions=("weight",),
        title="equal angles",
        formula="std of pairwise cosines, ddof = 0 over pairs",
        meaning="How unequal the angles are; random directions read about 1/√d.",
        source=PAPYAN,
        cost="K² d or K d²",
        upper=1.0,
        pairs="exact",
    ),
    *_of_both(
        "nc2_maxangle",
        aliases=("max angle", "maximal angle"),
        weights_alone=Place("NC2 cosines off -1/(K-1)", 3),
        weights_uncentred=True,
        scale="folded",
        means_least_classes=3,
        means_directions=("means",),
        weights_directions=("weight",),
        title="largest equal angles",
        formula="mean |cos + 1/(K-1)| over pairs",
        meaning="How far the angles are from those of a simplex; random directions read about "
        "√(2/(πd)).",
        source=PAPYAN,
        cost="K² d",
        upper=2.0,
        pairs="sampled",
    ),
    *_of_both(
        "nc2_etf",
        aliases=("ETF", "simplex", "simplex ETF", "equiangular tight frame"),
        weights_alone=Place("NC2 off the simplex", 4),
        least_classes=3,
        title="distance to the simplex",
        formula="‖G/‖G‖_F - E‖_F, G = MMᵀ or WWᵀ (W centred over classes)",
        meaning="How far the Gram matrix is from that of a simplex frame, lengths included; for "
        "K > d + 1 it cannot fall below √(2 - 2√(d/(K-1))).",
        source="Zhu et al. 2021",
        cost="K² d or K d²",
        upper=2.0,
        floor="ncollapse.metrics.nc2:simplex_floor",
        weights_definitions={"zhu2021": {"centred": False}, "zhou2022": {"centred": True}},
        means_terminal=Place("NC2 off the simplex", 6),
        means_strip=Place("means off the simplex", 3),
        means_curve=Place("off simplex", 2),
        means_layers=Place("off simplex", 4),
        means_followed=True,
    ),
    *_of_both(
        "nc2_orthogonal",
        aliases=("NC2B", "orthogonal frame"),
        weights_alone=Place("NC2 off orthogonal", 5),
        weights_uncentred=True,
        title="distance to the orthogonal frame",
        formula="‖G/‖G‖_F - I/√K‖_F, G of raw rows",
        meaning="How far the raw rows are from orthogonal and equally long: the frame of "
        "bias-free squared loss and of non-negative features (NC2B).",
        source="Zhou et al. 2022",
        cost="K² d or K d²",
        upper=2.0,
        floor="ncollapse.metrics.nc2:orthogonal_floor",
    ),
    *_of_both(
        "nc2_gof",
        aliases=("GOF", "general orthogonal frame"),
        weights_uncentred=True,
        scale="folded",
        means_directions=("raw",),
        weights_directions=("weight",),
        title="orthogonality, lengths free",
        formula="mean |cos| over pairs of raw rows",
        meaning="How far the raw rows are from pairwise orthogonal, whatever their lengths: the "
        "general orthogonal frame of imbalanced data.",
        source="Dang et al. 2023",
        cost="K² d",
        upper=1.0,
        pairs="sampled",
    ),
    *_of_both(
        "nc2_rank",
        aliases=("effective rank",),
        weights_alone=Place("NC2 effective rank", 7),
        scale="plain",
        interval=Without("the noise of class means fills all directions"),
        least_classes=3,
        title="effective rank",
        formula="exp(-Σ p log p)/(K - 1), p = λ/Σλ of centred rows",
        meaning="How evenly the classes use the K - 1 directions that a simplex fills; small where "
        "class means have a lower rank than a simplex. λ are eigenvalues of the Gram matrix; "
        "roy2007 takes their roots, the singular values.",
        source="Roy, Vetterli 2007 (remembered, not read)",
        ideal=1.0,
        direction="up",
        upper=1.0,
        cost="K² d or K d²",
        floor="ncollapse.metrics.nc2:rank_ceiling",
        definitions={"roy2007": {"singular": True}},
        means_layers=Place("rank", 7),
        means_along=Place("effective rank of means", 2),
        means_followed=True,
    ),
    *_of_both(
        "nc2_participation",
        scale="plain",
        interval=Without("it is (1 - x²/2)² of x = nc2_etf, whose interval carries over"),
        least_classes=3,
        title="participation ratio",
        formula="(Σλ)²/Σλ²/(K - 1), λ eigenvalues of the Gram matrix of centred rows",
        meaning="How many of the K - 1 directions of a simplex carry the rows: the distance to the "
        "simplex x of nc2_etf said in directions, (1 - x²/2)².",
        source="Gao et al. 2017 (remembered, not read)",
        ideal=1.0,
        direction="up",
        upper=1.0,
        cost="K² d or K d²",
        floor="ncollapse.metrics.nc2:rank_ceiling",
    ),
    *_of_both(
        "nc2_stable_rank",
        scale="plain",
        interval=Without("a largest eigenvalue is not smooth at a simplex, where all are alike"),
        least_classes=3,
        title="stable rank",
        formula="Σλ/λ_max/(K - 1), λ eigenvalues of the Gram matrix of centred rows",
        meaning="The total over the longest direction, in directions of a simplex: small as soon "
        "as one direction is longer than the others.",
        source="Rudelson, Vershynin 2007 (remembered, not read)",
        ideal=1.0,
        direction="up",
        upper=1.0,
        cost="K² d or K d²",
        floor="ncollapse.metrics.nc2:rank_ceiling",
        means_along=Place("stable rank of means", 3),
        means_followed=True,
    ),
    Metric(
        key="nc2_angle_ratio",
        function="ncollapse.metrics.nc2:nc2_angle_ratio",
        title="angles against random",
        crowded=False,
        family="NC2",
        needs=("means",),
        takes=("statistics", "geometry"),
        formula="nc2_maxangle_means over its null",
        meaning="1 for random directions in the span and spectrum of the features, 0 for a "
        "simplex. Where no null is drawn, over √(2/(π d_eff)), d_eff = (tr S)²/tr S² of all "
        "features.",
        estimate=f"{_POPULATION}:nc2_maxangle",
        scale="folded",
        least_classes=3,
        directions=("means",),
        source=OURS,
        null="directions",
        floor=_NO_FLOOR,
        interval="samples",
        cost="K² d",
        pairs="sampled",
        terminal=Place("NC2 angles / random", 5),
        strip=Place("angles / random", 4),
        followed=True,
    ),
)
