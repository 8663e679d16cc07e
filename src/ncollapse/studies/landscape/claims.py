"""Study: does descent find the certified optimum, and are all other critical points saddles?"""

from __future__ import annotations

from ncollapse.lab.claims import Bar, ids, noted, worst
from ncollapse.lab.settings import By, sizes
from ncollapse.lab.study import Part, Study
from ncollapse.studies.bars import BASIS, HISTORY, RETIRED

ZHU = "Zhu et al. 2021, theorems 3.1 and 3.2 (statements remembered, not read)"
ZHOU = "Zhou et al. 2022 on mean squared error (remembered, not read)"
CONVEX = "derived from the convex form; checked numerically"

STARTS_CE = (
    worst("landscape-ce-starts", ZHU, Bar(high=1e-8))(
        "Cross-entropy, balanced, d ≥ K: descent from every random start ends at the certified "
        "optimum. Measured: largest relative gap between objective and lower bound."
    ),
)
STARTS_MSE = (
    worst("landscape-mse-starts", ZHOU, Bar(high=1e-8))(
        "Mean squared error, balanced, d ≥ K: descent from every random start ends at the "
        "certified optimum. Measured: largest relative gap."
    ),
)
ZERO = (
    worst("landscape-zero-above", CONVEX, Bar(high=1e-3))(
        "At 1.05 times λ_W λ_H = 1/(nK²) descent ends at zero. Measured: largest class-mean logit."
    ),
    worst("landscape-zero-below", CONVEX, Bar(high=1e-3))(
        "At 0.95 times λ_W λ_H = 1/(nK²) descent leaves zero and reaches the closed form's margin "
        "log(1/c - K + 1), c = √(n λ_W λ_H). Measured: largest relative error of the margin."
    ),
)
CENSUS = (
    worst("landscape-saddle-other", f"{ZHU}; {ZHOU}", Bar(high=0), "points")(
        "Every critical point is a global optimum or a strict saddle: cross-entropy, label "
        "smoothing, focal loss and mean squared error, with and without a bias, equal and unequal "
        "counts, d = K + 1. Measured: critical points that are neither, of those reached from "
        "random starts of several scales and ranks (24 a setting, 384 in all; 960 at size full)."
    ),
    worst("landscape-saddle-reach", f"{ZHU}; ranks: derived", Bar(low=1.0))(
        "The census reaches saddles of every rank 0…K-2 in every setting. Measured: share of "
        "settings where it does."
    ),
    worst(
        "landscape-saddle-curvature",
        f"{ZHU}; the exact value is derived",
        Bar(high=1e-6),
        "√(λ_W λ_H)",
    )(
        "At every saddle of the census the curvature along the stated direction is "
        "-2(‖∇‖₂ - √(λ_W λ_H)). Measured: largest difference from the exact second derivative."
    ),
    worst("landscape-saddle-strict", ZHU, Bar(high=-1e-3), "√(λ_W λ_H)")(
        "Each of these saddles is strict by far. Measured: largest curvature along the direction."
    ),
)
ESCAPE = (
    worst("landscape-escape", f"{ZHU}; perturbed descent: Jin et al. 2017", Bar(high=1e-8))(
        "Zeroing all but r of the optimum's singular values and letting the rest settle gives a "
        "saddle for r = 0…K-2, and descent from a small perturbation of it reaches the certified "
        "optimum, both losses. Measured: largest relative gap."
    ),
)
FOCAL = (
    worst("landscape-focal-certified", "derived; checked numerically", Bar(high=1e-8))(
        "Focal loss: wherever all classes end with p_y ≥ p₀(γ), the convex envelope certifies the "
        "point. Measured: largest relative gap among those."
    ),
    worst("landscape-focal-open", "derived; checked numerically", Bar(low=1e-6))(
        "Focal loss: where p_y < p₀(γ), no certificate closes. Measured: smallest relative gap "
        "among those."
    ),
)
GAMMAS = [1.0, 2.0, 3.0]
DECAYS = [3e-3, 1e-2, 2e-2, 3e-2, 4e-2, 4.5e-2, 5e-2, 5.5e-2, 6e-2]
ALL = ["ce", "ls", "focal", "mse"]
COUNTS = [[2, 2, 2, 2], [3, 3, 1, 1]]
RUNS = "ncollapse.studies.landscape.runs"

STUDY = Study(
    name="landscape",
    question=(
        "Does gradient descent on free features end at the global optimum from almost every start, "
        "and is every other critical point a strict saddle?"
    ),
    paper="Zhu et al. 2021, A geometric analysis of neural collapse with unconstrained features",
    claims=noted((*STARTS_CE, *STARTS_MSE, *ZERO, *CENSUS, *ESCAPE, *FOCAL), BASIS, HISTORY),
    settings=sizes(
        starts=By(2, 20, 100),
        seeds=By(1, 1, 5),
        first_seed=By(0, 100, 100),
        problem={
            "classes": By(3, 5, 10),
            "count": By(10, 10, 20),
            "features": By(4, 6, 12),
            "weight_decay": 5e-3,
            "feature_decay": 5e-3,
        },
        census={
            "starts": By(8, 24, 60),
            "losses": By(["ce"], ALL, ALL),
            "counts": By([[2, 1, 1]], COUNTS, COUNTS),
            "scales": [0.03, 0.3, 1.0, 3.0],
            "weight_decay": 0.02,
            "feature_decay": 0.01,
        },
        # p_y ≥ 1/K at every minimiser, so p_y < p₀ needs more classes than 1/p₀, about six.
        focal={
            "classes": 10,
            "count": 5,
            "gammas": By([2.0], GAMMAS, GAMMAS),
            "decays": By([1e-2, 6e-2], DECAYS, DECAYS),
        },
    ),
    parts=(
        Part("starts-ce", f"{RUNS}:starts", ids(STARTS_CE), given={"loss": "ce"}),
        Part("starts-mse", f"{RUNS}:starts", ids(STARTS_MSE), given={"loss": "mse"}),
        Part("zero", f"{RUNS}:zero", ids(ZERO)),
        Part("census", f"{RUNS}:census_of", ids(CENSUS)),
        Part("saddles", f"{RUNS}:saddles", ids(ESCAPE)),
        Part("focal", f"{RUNS}:focal", ids(FOCAL), seeded=False),
    ),
    draw="ncollapse.studies.landscape.figures:draw",
    place=10,
    retired=RETIRED["landscape"],
)
