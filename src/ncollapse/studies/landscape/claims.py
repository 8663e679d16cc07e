"""Study: does descent find the certified optimum, and are all other critical points saddles?"""

from __future__ import annotations

from ncollapse.lab.claims import Bar, Claim
from ncollapse.lab.study import Part, Study

ZHU = "Zhu et al. 2021, theorems 3.1 and 3.2 (statements remembered, not read)"
ZHOU = "Zhou et al. 2022 on mean squared error (remembered, not read)"

CLAIMS = (
    Claim(
        "landscape-ce-starts",
        "Cross-entropy, balanced, d ≥ K: descent from every random start ends at the certified "
        "optimum. Measured: largest relative gap between objective and lower bound.",
        ZHU,
        Bar(high=1e-8),
    ),
    Claim(
        "landscape-mse-starts",
        "Mean squared error, balanced, d ≥ K: descent from every random start ends at the "
        "certified optimum. Measured: largest relative gap.",
        ZHOU,
        Bar(high=1e-8),
    ),
    Claim(
        "landscape-zero-above",
        "At 1.05 times λ_W λ_H = 1/(nK²) descent ends at zero. Measured: largest class-mean logit.",
        "derived from the convex form; checked numerically",
        Bar(high=1e-3),
    ),
    Claim(
        "landscape-zero-below",
        "At 0.95 times λ_W λ_H = 1/(nK²) descent leaves zero and reaches the closed form's margin "
        "log(1/c - K + 1), c = √(n λ_W λ_H). Measured: largest relative error of the margin.",
        "derived from the convex form; checked numerically",
        Bar(high=1e-3),
    ),
    Claim(
        "landscape-saddle-gradient",
        "Zeroing all but r of the optimum's singular values and letting the rest settle gives a "
        "critical point for every r = 0…K-2, both losses. Measured: largest entry of the gradient.",
        ZHU,
        Bar(high=1e-8),
    ),
    Claim(
        "landscape-saddle-curvature",
        "At each of these points the curvature along the stated direction is "
        "-2(‖∇‖₂ - √(λ_W λ_H)). Measured: largest relative difference from the exact second "
        "derivative.",
        f"{ZHU}; the exact value is derived",
        Bar(high=1e-6),
    ),
    Claim(
        "landscape-saddle-strict",
        "Each of these points is a strict saddle. Measured: largest curvature along the direction, "
        "in units of √(λ_W λ_H).",
        ZHU,
        Bar(high=-1e-3),
        "√(λ_W λ_H)",
    ),
    Claim(
        "landscape-escape",
        "Descent from a small perturbation of each of these points reaches the certified optimum. "
        "Measured: largest relative gap.",
        f"{ZHU}; perturbed descent: Jin et al. 2017",
        Bar(high=1e-8),
    ),
    Claim(
        "landscape-focal-certified",
        "Focal loss: wherever all classes end with p_y ≥ p₀(γ), the convex envelope certifies the "
        "point. Measured: largest relative gap among those.",
        "derived; checked numerically",
        Bar(high=1e-8),
    ),
    Claim(
        "landscape-focal-open",
        "Focal loss: where p_y < p₀(γ), no certificate closes. Measured: smallest relative gap "
        "among those.",
        "derived; checked numerically",
        Bar(low=1e-6),
    ),
)
# p_y ≥ 1/K at every minimiser, so p_y < p₀ needs more classes than 1/p₀, about six.
FOCAL = {
    "classes": 10,
    "count": 5,
    "gammas": [1.0, 2.0, 3.0],
    "decays": [3e-3, 1e-2, 2e-2, 3e-2, 4e-2, 4.5e-2, 5e-2, 5.5e-2, 6e-2],
}
PROBLEM = {"classes": 5, "count": 10, "features": 6, "weight_decay": 5e-3, "feature_decay": 5e-3}

STUDY = Study(
    name="landscape",
    question=(
        "Does gradient descent on free features end at the global optimum from almost every start, "
        "and is every other critical point a strict saddle?"
    ),
    paper="Zhu et al. 2021, A geometric analysis of neural collapse with unconstrained features",
    claims=CLAIMS,
    settings={
        "mini": {
            "starts": 2,
            "seeds": 1,
            "problem": {**PROBLEM, "classes": 3, "features": 4},
            "focal": {**FOCAL, "gammas": [2.0], "decays": [1e-2, 6e-2]},
        },
        "quick": {"starts": 20, "seeds": 1, "problem": PROBLEM, "focal": FOCAL},
        "full": {
            "starts": 100,
            "seeds": 5,
            "problem": {**PROBLEM, "classes": 10, "count": 20, "features": 12},
            "focal": FOCAL,
        },
    },
    parts=(
        Part("starts-ce", "ncollapse.studies.landscape.runs:starts_ce", ("landscape-ce-starts",)),
        Part(
            "starts-mse", "ncollapse.studies.landscape.runs:starts_mse", ("landscape-mse-starts",)
        ),
        Part(
            "zero",
            "ncollapse.studies.landscape.runs:zero",
            ("landscape-zero-above", "landscape-zero-below"),
        ),
        Part(
            "saddles",
            "ncollapse.studies.landscape.runs:saddles",
            (
                "landscape-saddle-gradient",
                "landscape-saddle-curvature",
                "landscape-saddle-strict",
                "landscape-escape",
            ),
        ),
        Part(
            "focal",
            "ncollapse.studies.landscape.runs:focal",
            ("landscape-focal-certified", "landscape-focal-open"),
            seeded=False,
        ),
    ),
    draw="ncollapse.studies.landscape.runs:draw",
)
