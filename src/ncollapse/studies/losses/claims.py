"""Study: which frame each loss ends in, how fast, and when the choice matters for accuracy."""

from __future__ import annotations

from ncollapse.lab.claims import Bar, ids, mean, noted, worst
from ncollapse.lab.settings import By, sizes
from ncollapse.lab.study import Part, Study
from ncollapse.studies.bars import BASIS, HISTORY

EQUAL = "Zhou et al. 2022, on whether all losses are created equal (remembered, not read)"
MSE = "Zhou et al. 2022; Tirer & Bruna 2022 (remembered, not read); the path in λ_b is derived"
RATE = "Ji et al. 2022 (remembered, not read); checked numerically on free features"
DECAY = "Sakamoto & Sato 2026 (scaling only); the exact slope on free features is derived"

FRAMES = (
    worst("losses-frame", EQUAL, Bar(high=1e-3))(
        "Cross-entropy, label smoothing, focal loss and mean squared error with a bias all end in "
        "the simplex frame. Measured: largest ‖G/‖G‖ - E‖ of raw means and of raw weights over the "
        "four, after descent."
    ),
    worst("losses-orthogonal", MSE, Bar(high=1e-3))(
        "Bias-free mean squared error ends in a scaled orthogonal frame (NC2B). Measured: largest "
        "‖G/‖G‖ - I/√K‖ of raw means and raw weights, after descent."
    ),
    worst("losses-path", MSE, Bar(high=1e-3))(
        "Between the two frames the raw means of mean squared error follow "
        "cos = (g - a)/(g + a(K-1)) in λ_b. Measured: largest |difference| of cosines."
    ),
)
RATES = (
    worst("losses-nc1-decay", DECAY, Bar(0.98, 1.02))(
        "Free features with decay λ: NC1 falls by e^(-2ηλ) a step. Measured: fitted slope over "
        "-2ηλ."
    ),
    worst("losses-nc1-log", RATE, Bar(-1.2, -0.8))(
        "Free features without decay: NC1 falls like 1/log t. Measured: fitted power of log t, "
        "t from 1e4 to 1e10."
    ),
)
SLOPES = (
    mean("losses-network-decay", DECAY, Bar(0.8, 1.25))(
        "A network past zero error, constant rate η, decay λ: NC1 falls by e^(-2ηλ) a step. "
        "Measured: fitted slope over -2ηλ (η over 1 - momentum)."
    ),
    mean("losses-network-log", RATE, Bar(-2.0, -0.5))(
        "A network past zero error without decay: NC1 falls like a power of log t near -1. "
        "Measured: fitted power of log(steps), over the last nine tenths of the steps."
    ),
)
ACCURACY = (
    mean("losses-accuracy-wide", EQUAL, Bar(high=1.0), "points")(
        "Wide network: the test accuracies of the four losses lie within one point. Measured: "
        "largest minus smallest mean accuracy, jackknife over seeds."
    ),
    mean("losses-accuracy-narrow", EQUAL, Bar(low=1.0), "points")(
        "Narrow network: the test accuracies of the three losses that train it (cross-entropy, "
        "label smoothing, focal loss) differ by more than one point. Measured: largest minus "
        "smallest mean accuracy, jackknife over seeds."
    ),
)
RUNS = "ncollapse.studies.losses.runs"
BIAS_DECAYS = [1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0]

STUDY = Study(
    name="losses",
    question=(
        "Do cross-entropy, label smoothing, focal loss and mean squared error end in the same "
        "frame, how fast does NC1 fall with and without decay, and when do accuracies differ?"
    ),
    paper="Zhou et al. 2022, Are all losses created equal: a neural collapse perspective",
    claims=noted((*FRAMES, *RATES, *SLOPES, *ACCURACY), BASIS, HISTORY),
    settings=sizes(
        seeds=By(1, 4, 6),
        first_seed=By(0, 100, 100),
        ufm={
            "classes": By(3, 5, 10),
            "count": By(3, 8, 8),
            "features": By(4, 7, 12),
            "weight_decay": 5e-3,
            "feature_decay": 5e-3,
        },
        bias_decays=By([0.01, 0.1], BIAS_DECAYS, BIAS_DECAYS),
        steps=By(4000, 60000, 60000),
        until=1e10,
        epochs=By(3, 150, 300),
        widths={"wide": By(32, 256, 256), "narrow": By(4, 6, 6)},
        samples=By(300, 0, 0),
        slope={"epochs": By(6, 300, 1000), "from": By(2, 100, 200), "decay": 1e-3},
        # Without decay the clock is log t: one more decade of steps than with it.
        undecayed=By(6, 2000, 10000),
    ),
    parts=(
        Part("frames", f"{RUNS}:frames", ids(FRAMES), seeded=False),
        Part("rates", f"{RUNS}:rates", ids(RATES), seeded=False),
        Part("slopes", f"{RUNS}:slopes", ids(SLOPES)),
        Part("networks", f"{RUNS}:accuracies", ids(ACCURACY)),
    ),
    combine=f"{RUNS}:combine",
    draw="ncollapse.studies.losses.figures:draw",
    place=20,
)
