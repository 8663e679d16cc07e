"""Study: without decay, where does gradient flow go, and when do minorities merge under norms?"""

from __future__ import annotations

from ncollapse.lab.claims import Bar, ids, worst
from ncollapse.lab.settings import By, sizes
from ncollapse.lab.study import Part, Study

JI = "Ji et al. 2022 (statements remembered, not read)"
FANG = "Fang et al. 2021 state the limit (remembered); the finite threshold is derived"

FLOW = (
    worst("peeled-margin", JI, Bar(low=0.97))(
        "Gradient flow of cross-entropy without decay, t = 1e10: every start reaches the maximal "
        "normalised margin 1/(√n (K-1)). Measured: smallest share reached."
    ),
    worst("peeled-diverges", JI, Bar(low=1.1))(
        "There is no finite minimiser: norms grow all along. Measured: smallest ratio of "
        "‖W‖² + ‖H‖² at t = 1e10 to that at t = 1e5."
    ),
)
POINTS = (
    worst("peeled-kkt", f"{JI}; the examples are derived", Bar(high=1e-8))(
        "Regular polygons, cross-polytopes and products of two simplices are KKT points of "
        "min ½‖W‖² + ½‖H‖² with margins of at least 1. Measured: largest "
        "residual of stationarity and feasibility."
    ),
    worst("peeled-descent", JI, Bar(high=-1e-6))(
        "Each of these non-simplex KKT points has a direction of descent. Measured: largest "
        "relative change of the objective at margins of at least 1, after a small step."
    ),
)
THRESHOLD = (
    worst("peeled-threshold", FANG, Bar(low=1.0))(
        "Constrained norms: minority classifiers merge exactly from the computed imbalance R* on. "
        "Measured: share of brute-force runs around R* that end on the predicted side."
    ),
)
RUNS = "ncollapse.studies.peeled.runs"
PEELED = [[5, 5, 1.0, 5.0], [7, 3, 1.0, 5.0], [7, 3, 1.0, 10.0]]


def _points(polygons: range, polytopes: int, products: tuple[int, ...]) -> list[list[str | int]]:
    """Shapes of KKT points with their number of classes; cross-polytopes have an even one."""
    found: list[list[str | int]] = [["polygon", size] for size in polygons]
    found += [["cross-polytope", size] for size in range(4, polytopes + 1, 2)]
    return found + [["product", size] for size in products]


STUDY = Study(
    name="peeled",
    question=(
        "Does gradient flow without decay converge in direction to the simplex, are other KKT "
        "points escapable, and at which imbalance do minority classifiers merge?"
    ),
    paper="Ji et al. 2022, An unconstrained layer-peeled perspective; Fang et al. 2021",
    claims=(*FLOW, *POINTS, *THRESHOLD),
    settings=sizes(
        seeds=By(1, 1, 3),
        starts=By(1, 20, 20),
        classes=By(3, 4, 6),
        count=By(2, 4, 5),
        features=By(4, 6, 8),
        until=1e10,
        points=By(
            _points(range(4, 5), 4, ()),
            _points(range(4, 9), 8, (4, 6, 9)),
            _points(range(4, 11), 10, (4, 6, 9, 12)),
        ),
        # Large and small classes, E_W and E_H.
        peeled=By([[2, 2, 1.0, 3.0]], PEELED, [*PEELED, [5, 5, 1.0, 10.0]]),
        factors=By(
            [0.8, 1.25],
            [0.8, 0.9, 0.97, 1.03, 1.1, 1.25],
            [0.8, 0.9, 0.97, 0.99, 1.01, 1.03, 1.1, 1.25],
        ),
    ),
    parts=(
        Part("flow", f"{RUNS}:flows", ids(FLOW)),
        Part("kkt", f"{RUNS}:points", ids(POINTS), seeded=False),
        Part("threshold", f"{RUNS}:threshold", ids(THRESHOLD), seeded=False),
    ),
    draw="ncollapse.studies.peeled.figures:draw",
    place=30,
)
