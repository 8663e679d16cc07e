"""Study: which frame each loss ends in, how fast, and when the choice matters for accuracy."""

from __future__ import annotations

from ncollapse.lab.claims import Bar, Claim
from ncollapse.lab.study import Part, Study

EQUAL = "Zhou et al. 2022, on whether all losses are created equal (remembered, not read)"
MSE = "Zhou et al. 2022; Tirer & Bruna 2022 (remembered, not read); the path in λ_b is derived"
RATE = "Ji et al. 2022 (remembered, not read); checked numerically on free features"
DECAY = "Sakamoto & Sato 2026 (scaling only); the exact slope on free features is derived"

CLAIMS = (
    Claim(
        "losses-frame",
        "Cross-entropy, label smoothing, focal loss and mean squared error with a bias all end in "
        "the simplex frame. Measured: largest ‖G/‖G‖ - E‖ of raw means and of raw weights over the "
        "four, after descent.",
        EQUAL,
        Bar(high=1e-3),
    ),
    Claim(
        "losses-orthogonal",
        "Bias-free mean squared error ends in a scaled orthogonal frame (NC2B). Measured: largest "
        "‖G/‖G‖ - I/√K‖ of raw means and raw weights, after descent.",
        MSE,
        Bar(high=1e-3),
    ),
    Claim(
        "losses-path",
        "Between the two frames the raw means of mean squared error follow "
        "cos = (g - a)/(g + a(K-1)) in λ_b. Measured: largest |difference| of cosines.",
        MSE,
        Bar(high=1e-3),
    ),
    Claim(
        "losses-nc1-decay",
        "Free features with decay λ: NC1 falls by e^(-2ηλ) a step. Measured: fitted slope over "
        "-2ηλ.",
        DECAY,
        Bar(0.98, 1.02),
    ),
    Claim(
        "losses-nc1-log",
        "Free features without decay: NC1 falls like 1/log t. Measured: fitted power of log t, "
        "t from 1e4 to 1e10.",
        RATE,
        Bar(-1.2, -0.8),
    ),
    Claim(
        "losses-network-decay",
        "A network past zero error, constant rate η, decay λ: NC1 falls by e^(-2ηλ) a step. "
        "Measured: fitted slope over -2ηλ (η over 1 - momentum).",
        DECAY,
        Bar(0.5, 2.0),
        rule="mean",
        seeds=3,
    ),
    Claim(
        "losses-network-log",
        "A network past zero error without decay: NC1 falls like a power of log t near -1. "
        "Measured: fitted power of log(steps).",
        RATE,
        Bar(-2.0, -0.5),
        rule="mean",
        seeds=3,
    ),
    Claim(
        "losses-accuracy-wide",
        "Wide network: the test accuracies of the four losses lie within one point. Measured: "
        "largest minus smallest mean accuracy, jackknife over seeds.",
        EQUAL,
        Bar(high=1.0),
        "points",
        rule="mean",
        seeds=3,
    ),
    Claim(
        "losses-accuracy-narrow",
        "Narrow network: the test accuracies of the four losses differ by more than one point. "
        "Measured: largest minus smallest mean accuracy, jackknife over seeds.",
        EQUAL,
        Bar(low=1.0),
        "points",
        rule="mean",
        seeds=3,
    ),
)
RUNS = "ncollapse.studies.losses.runs"
UFM = {"classes": 5, "count": 8, "features": 7, "weight_decay": 5e-3, "feature_decay": 5e-3}

STUDY = Study(
    name="losses",
    question=(
        "Do cross-entropy, label smoothing, focal loss and mean squared error end in the same "
        "frame, how fast does NC1 fall with and without decay, and when do accuracies differ?"
    ),
    paper="Zhou et al. 2022, Are all losses created equal: a neural collapse perspective",
    claims=CLAIMS,
    settings={
        "mini": {
            "seeds": 1,
            "ufm": {**UFM, "classes": 3, "count": 3, "features": 4},
            "bias_decays": [0.01, 0.1],
            "steps": 4000,
            "until": 1e10,
            "epochs": 3,
            "widths": {"wide": 32, "narrow": 4},
            "samples": 300,
            "slope": {"epochs": 6, "from": 2, "decay": 1e-3},
        },
        "quick": {
            "seeds": 6,
            "ufm": UFM,
            "bias_decays": [1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0],
            "steps": 60000,
            "until": 1e10,
            "epochs": 150,
            "widths": {"wide": 256, "narrow": 6},
            "samples": 0,
            "slope": {"epochs": 300, "from": 100, "decay": 1e-3},
        },
        "full": {
            "seeds": 5,
            "ufm": {**UFM, "classes": 10, "features": 12},
            "bias_decays": [1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0],
            "steps": 60000,
            "until": 1e10,
            "epochs": 300,
            "widths": {"wide": 256, "narrow": 6},
            "samples": 0,
            "slope": {"epochs": 1000, "from": 200, "decay": 1e-3},
        },
    },
    parts=(
        Part(
            "frames",
            f"{RUNS}:frames",
            ("losses-frame", "losses-orthogonal", "losses-path"),
            seeded=False,
        ),
        Part("rates", f"{RUNS}:rates", ("losses-nc1-decay", "losses-nc1-log"), seeded=False),
        Part(
            "slopes",
            "ncollapse.studies.losses.networks:slopes",
            ("losses-network-decay", "losses-network-log"),
        ),
        Part(
            "networks",
            "ncollapse.studies.losses.networks:accuracies",
            ("losses-accuracy-wide", "losses-accuracy-narrow"),
        ),
    ),
    combine="ncollapse.studies.losses.networks:combine",
    draw="ncollapse.studies.losses.networks:draw",
)
