"""Study: without decay, where does gradient flow go, and when do minorities merge under norms?"""

from __future__ import annotations

from ncollapse.lab.claims import Bar, ids, noted, worst
from ncollapse.lab.settings import By, sizes
from ncollapse.lab.study import Part, Study
from ncollapse.studies.bars import BASIS, HISTORY

JI = "Ji et al. 2022 (statements remembered, not read)"
FANG = "Fang et al. 2021 state the limit (remembered); the finite threshold is derived"

FLOW = (
    worst("peeled-margin", JI, Bar(low=0.99))(
        "Gradient flow of cross-entropy without decay, width above K: every start reaches the "
        "maximal normalised margin 1/(√n (K-1)). Measured: smallest share reached at t = 1e100."
    ),
    worst("peeled-diverges", JI, Bar(1.8, 2.2))(
        "There is no finite minimiser: squared norms grow like log t. Measured: ‖W‖² + ‖H‖² at "
        "t = 1e100 over that at t = 1e50, the start farthest from 2."
    ),
    worst("peeled-loss-law", f"{JI}; the closed form is derived", Bar(0.99, 1.01))(
        "The loss tends to that of the aligned flow, which is √n (K-1)/(2 t log t) in the limit. "
        "Measured: loss over the aligned one at t = 1e100, the start farthest from 1."
    ),
    worst("peeled-flow-nc1", JI, Bar(high=-0.5))(
        "NC1 falls along the flow like 1/log t. Measured: fitted power of log t from t = 1e20 to "
        "1e100, the largest of all starts."
    ),
    worst("peeled-flow-nc2", JI, Bar(high=-0.25))(
        "NC2 falls along the flow like the root of 1/log t: centred class means tend to the "
        "simplex. Measured: fitted power of log t of ‖G/‖G‖ - E‖, the largest of all starts."
    ),
    worst("peeled-flow-nc3", JI, Bar(high=-0.25))(
        "NC3 falls along the flow like the root of 1/log t: classifiers tend to the class means. "
        "Measured: fitted power of log t of ‖W/‖W‖ - M/‖M‖‖, the largest of all starts."
    ),
)
NARROW = (
    worst(
        "peeled-margin-narrow", "observed; the theorems ask for d > K (remembered)", Bar(high=0.95)
    )(
        "Width exactly K, four classes: some starts stall below the largest margin. Measured: "
        "smallest share reached at t = 1e100."
    ),
)
SIX = (
    worst("peeled-margin-six", JI, Bar(low=0.99))(
        "Six classes, width K + 2: every start reaches the largest margin. Measured: as above."
    ),
    worst(
        "peeled-margin-six-narrow",
        "observed; the theorems ask for d > K (remembered)",
        Bar(high=0.95),
    )(
        "Six classes, width exactly K: some starts stall below the largest margin. Measured: "
        "smallest share reached at t = 1e100."
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
    claims=noted((*FLOW, *NARROW, *SIX, *POINTS, *THRESHOLD), BASIS, HISTORY),
    settings=sizes(
        seeds=By(1, 1, 3),
        first_seed=By(0, 100, 100),
        starts=By(1, 20, 20),
        narrow=By(1, 40, 40),
        six={"classes": By(3, 6, 6), "count": By(2, 4, 4), "starts": By(1, 20, 20)},
        classes=By(3, 4, 4),
        count=By(2, 4, 5),
        features=By(4, 6, 6),
        until=By(1e40, 1e100, 1e100),
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
        Part("narrow", f"{RUNS}:narrow", ids(NARROW)),
        Part("six", f"{RUNS}:six", ids(SIX)),
        Part("kkt", f"{RUNS}:points", ids(POINTS), seeded=False),
        Part("threshold", f"{RUNS}:threshold", ids(THRESHOLD), seeded=False),
    ),
    draw="ncollapse.studies.peeled.figures:draw",
    place=30,
)
