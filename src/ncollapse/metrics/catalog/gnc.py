"""Rows of generalised collapse: more classes than a simplex can hold."""

from __future__ import annotations

from typing import Any

from ncollapse.metrics.metric import Metric, Place, Without

JIANG = "Jiang et al. 2024"
_SIDES = (("means", "means", ("means",)), ("weights", "weight", ("head",)))
_EXACT = Without("the classifier is known exactly, no sample enters")
_POPULATION = "ncollapse.metrics.population.codes"
_ALL_PAIRS = "it is over all pairs of classes, and past the pair budget some are drawn"


def _of_both(key: str, **row: Any) -> tuple[Metric, ...]:
    """The rows of a metric that reads means or weights. What is written `means_…` or `weights_…`
    is of one side only."""
    rows = []
    for suffix, which, needs in _SIDES:
        own = {k: v for k, v in row.items() if k.partition("_")[0] not in ("means", "weights")}
        own |= {k.partition("_")[2]: v for k, v in row.items() if k.partition("_")[0] == suffix}
        common: dict[str, Any] = {
            "family": "GNC",
            "function": f"ncollapse.metrics.gnc:{key}",
            "takes": ("geometry",),
            "null": "directions",
            "interval": _EXACT if suffix == "weights" else "samples",
            "estimate": f"{_POPULATION}:{key}",
            "arguments": {"which": which},
            "directions": (which,),
            "crowded": True,
            "uncentred": suffix == "weights",
            "least_classes": 3,
            "ideal": None,
            "cost": "K² d",
        }
        own["title"] = f"{own['title']} of {suffix}"
        rows.append(Metric(key=f"{key}_{suffix}", needs=needs, **{**common, **own}))
    return tuple(rows)


ROWS = (
    *_of_both(
        "gnc_margin",
        aliases=("one-vs-rest margin", "softmax code"),
        title="one-vs-rest margin",
        formula="min_k dist(u_k, conv{u_j : j ≠ k}), u unit rows",
        meaning="How far the worst class stands from the hull of all others: what the best code "
        "for softmax maximises. Its floor is the most that so many classes can have, K/(K-1) for a "
        "simplex and 1 beyond; exact up to K (d + 1)² = 5e6, then bounded by the largest cosine.",
        source=JIANG,
        direction="up",
        upper=2.0,
        floor="ncollapse.metrics.gnc:margin_ceiling",
        interval=Without("a least distance to hulls is no smooth function of the means"),
        estimate=Without("a least distance to hulls is no smooth function of the means"),
        large=Without(_ALL_PAIRS),
        cost="K d³",
        weights_alone=Place("GNC one-vs-rest margin", 8),
        means_terminal=Place("GNC one-vs-rest margin", -2),
        means_strip=Place("one-vs-rest margin", -3),
    ),
    *_of_both(
        "gnc_cosine",
        aliases=("coherence", "largest cosine", "Welch bound"),
        title="largest cosine",
        formula="max over pairs of cos(u_k, u_l)",
        meaning="The two classes that stand nearest. Its floor is what the best code can reach: "
        "-1/(K-1) for K ≤ d + 1, 0 for d + 2 ≤ K ≤ 2d, Levenshtein's bound beyond; d counts the "
        "directions that the rows span.",
        source=JIANG,
        scale="largest",
        lower=-1.0,
        upper=1.0,
        floor="ncollapse.metrics.gnc:cosine_floor",
        large=Without(_ALL_PAIRS),
        weights_alone=Place("largest cosine of rows", 6),
        means_terminal=Place("GNC largest cosine", -1),
        means_strip=Place("largest cosine", -2),
    ),
    *_of_both(
        "gnc_uniformity",
        aliases=("hyperspherical uniformity",),
        title="uniformity",
        formula="mean over pairs of log(1/‖u_k - u_l‖)",
        meaning="How evenly classes cover the sphere: about -½ log 2 = -.347 for random "
        "directions, lower the further they spread, no lower than its floor.",
        source="Wu, Papyan 2024",
        lower=None,
        floor="ncollapse.pairs.bounds:uniformity_bound",
        pairs="sampled",
        undefined="two classes share a direction, so their distance has no finite logarithm",
    ),
    *_of_both(
        "gnc_frame",
        aliases=("frame potential",),
        title="excess of the frame potential",
        formula="(d/K²) Σ_kl cos² - 1 over all k, l",
        meaning="How unevenly classes use the d directions that they span; 0 for a tight frame, "
        "about (d-1)/K for random directions.",
        source="Benedetto, Fickus 2003 (remembered, not read)",
        ideal=0.0,
        floor=Without("a tight frame of unit rows exists for any number of classes"),
        cost="K d²",
        means_strip=Place("frame excess", -1),
    ),
)
