"""Study: without decay, where does gradient flow go, and when do minorities merge under norms?"""

from __future__ import annotations

from ncollapse.lab.claims import Bar, Claim
from ncollapse.lab.study import Part, Study

JI = "Ji et al. 2022 (statements remembered, not read)"
FANG = "Fang et al. 2021 state the limit (remembered); the finite threshold is derived"

CLAIMS = (
    Claim(
        "peeled-margin",
        "Gradient flow of cross-entropy without decay, t = 1e10: every start reaches the maximal "
        "normalised margin 1/(√n (K-1)). Measured: smallest share reached.",
        JI,
        Bar(low=0.97),
    ),
    Claim(
        "peeled-diverges",
        "There is no finite minimiser: norms grow all along. Measured: smallest ratio of "
        "‖W‖² + ‖H‖² at t = 1e10 to that at t = 1e5.",
        JI,
        Bar(low=1.1),
    ),
    Claim(
        "peeled-kkt",
        "Regular polygons, cross-polytopes and products of two simplices are KKT points of "
        "min ½‖W‖² + ½‖H‖² with margins of at least 1. Measured: largest "
        "residual of stationarity and feasibility.",
        f"{JI}; the examples are derived",
        Bar(high=1e-8),
    ),
    Claim(
        "peeled-descent",
        "Each of these non-simplex KKT points has a direction of descent. Measured: largest "
        "relative change of the objective at margins of at least 1, after a small step.",
        JI,
        Bar(high=-1e-6),
    ),
    Claim(
        "peeled-threshold",
        "Constrained norms: minority classifiers merge exactly from the computed imbalance R* on. "
        "Measured: share of brute-force runs around R* that end on the predicted side.",
        FANG,
        Bar(low=1.0),
    ),
)
RUNS = "ncollapse.studies.peeled.runs"

STUDY = Study(
    name="peeled",
    question=(
        "Does gradient flow without decay converge in direction to the simplex, are other KKT "
        "points escapable, and at which imbalance do minority classifiers merge?"
    ),
    paper="Ji et al. 2022, An unconstrained layer-peeled perspective; Fang et al. 2021",
    claims=CLAIMS,
    settings={
        "mini": {
            "seeds": 1,
            "starts": 1,
            "classes": 3,
            "count": 2,
            "features": 4,
            "until": 1e10,
            "points": [["polygon", 4], ["cross-polytope", 4]],
            "peeled": [[2, 2, 1.0, 3.0]],
            "factors": [0.8, 1.25],
        },
        "quick": {
            "seeds": 1,
            "starts": 20,
            "classes": 4,
            "count": 4,
            "features": 6,
            "until": 1e10,
            "points": [
                *(["polygon", size] for size in (4, 5, 6, 7, 8)),
                *(["cross-polytope", size] for size in (4, 6, 8)),
                *(["product", size] for size in (4, 6, 9)),
            ],
            "peeled": [[5, 5, 1.0, 5.0], [7, 3, 1.0, 5.0], [7, 3, 1.0, 10.0]],
            "factors": [0.8, 0.9, 0.97, 1.03, 1.1, 1.25],
        },
        "full": {
            "seeds": 3,
            "starts": 20,
            "classes": 6,
            "count": 5,
            "features": 8,
            "until": 1e10,
            "points": [
                *(["polygon", size] for size in range(4, 11)),
                *(["cross-polytope", size] for size in (4, 6, 8, 10)),
                *(["product", size] for size in (4, 6, 9, 12)),
            ],
            "peeled": [[5, 5, 1.0, 5.0], [7, 3, 1.0, 5.0], [7, 3, 1.0, 10.0], [5, 5, 1.0, 10.0]],
            "factors": [0.8, 0.9, 0.97, 0.99, 1.01, 1.03, 1.1, 1.25],
        },
    },
    parts=(
        Part("flow", f"{RUNS}:flows", ("peeled-margin", "peeled-diverges")),
        Part("kkt", f"{RUNS}:points", ("peeled-kkt", "peeled-descent"), seeded=False),
        Part("threshold", f"{RUNS}:threshold", ("peeled-threshold",), seeded=False),
    ),
    draw=f"{RUNS}:draw",
)
