"""Study: does descent find the certified optimum, and are all other critical points saddles?"""

from __future__ import annotations

from ncollapse.lab.claims import Bar, ids, worst
from ncollapse.lab.settings import By, sizes
from ncollapse.lab.study import Part, Study

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
SADDLES = (
    worst("landscape-saddle-gradient", ZHU, Bar(high=1e-8))(
        "Zeroing all but r of the optimum's singular values and letting the rest settle gives a "
        "critical point for every r = 0…K-2, both losses. Measured: largest entry of the gradient."
    ),
    worst("landscape-saddle-curvature", f"{ZHU}; the exact value is derived", Bar(high=1e-6))(
        "At each of these points the curvature along the stated direction is "
        "-2(‖∇‖₂ - √(λ_W λ_H)). Measured: largest relative difference from the exact second "
        "derivative."
    ),
    worst("landscape-saddle-strict", ZHU, Bar(high=-1e-3), "√(λ_W λ_H)")(
        "Each of these points is a strict saddle. Measured: largest curvature along the direction, "
        "in units of √(λ_W λ_H)."
    ),
    worst("landscape-escape", f"{ZHU}; perturbed descent: Jin et al. 2017", Bar(high=1e-8))(
        "Descent from a small perturbation of each of these points reaches the certified optimum. "
        "Measured: largest relative gap."
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
RUNS = "ncollapse.studies.landscape.runs"

STUDY = Study(
    name="landscape",
    question=(
        "Does gradient descent on free features end at the global optimum from almost every start, "
        "and is every other critical point a strict saddle?"
    ),
    paper="Zhu et al. 2021, A geometric analysis of neural collapse with unconstrained features",
    claims=(*STARTS_CE, *STARTS_MSE, *ZERO, *SADDLES, *FOCAL),
    settings=sizes(
        starts=By(2, 20, 100),
        seeds=By(1, 1, 5),
        problem={
            "classes": By(3, 5, 10),
            "count": By(10, 10, 20),
            "features": By(4, 6, 12),
            "weight_decay": 5e-3,
            "feature_decay": 5e-3,
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
        Part("saddles", f"{RUNS}:saddles", ids(SADDLES)),
        Part("focal", f"{RUNS}:focal", ids(FOCAL), seeded=False),
    ),
    draw="ncollapse.studies.landscape.figures:draw",
    place=10,
)
