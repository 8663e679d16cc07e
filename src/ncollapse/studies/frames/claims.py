"""Study: which frame networks end in under each loss, with a bias and without."""

from __future__ import annotations

from ncollapse.lab.claims import Bar, ids, mean, noted
from ncollapse.lab.settings import By, sizes
from ncollapse.lab.study import Part, Study
from ncollapse.studies.bars import BASIS, HISTORY

EQUAL = "Zhou et al. 2022, on whether all losses are created equal (remembered, not read)"
MSE = "Zhou et al. 2022; Tirer & Bruna 2022, on free features (remembered, not read)"
SIMPLEX = (
    "networks end in the simplex frame, classifiers along class means. Measured: the largest of "
    "‖G/‖G‖ - E‖ of centred means and of centred classifiers, and ‖W/‖W‖ - M/‖M‖‖, on the "
    "training split."
)

ENDS = (
    mean("frames-ce", EQUAL, Bar(high=0.1))(f"Cross-entropy: {SIMPLEX}"),
    mean("frames-ls", EQUAL, Bar(high=0.1))(f"Label smoothing 0.1: {SIMPLEX}"),
    mean("frames-focal", EQUAL, Bar(high=0.1))(f"Focal loss, γ = 2: {SIMPLEX}"),
    mean("frames-mse", MSE, Bar(high=0.1))(f"Mean squared error with a bias: {SIMPLEX}"),
)
SIDES = (
    mean("frames-bias", MSE, Bar(high=1.0))(
        "Mean squared error with a bias: raw class means and classifiers are nearer to the simplex "
        "(NC2A) than to the orthogonal frame. Measured: distance ‖G/‖G‖ - E‖ to the simplex over "
        "that to the orthogonal frame, the larger of means and classifiers."
    ),
    mean("frames-orthogonal-means", MSE, Bar(high=1.0))(
        "Mean squared error without a bias: raw class means are nearer to the orthogonal frame "
        "(NC2B) than to the simplex. Measured: distance to the orthogonal frame over that to the "
        "simplex."
    ),
    mean("frames-orthogonal-weights", MSE, Bar(high=1.0))(
        "The same of its classifiers. Measured: distance to the orthogonal frame over that to the "
        "simplex."
    ),
)
NC1 = (
    mean(
        "frames-nc1",
        "Papyan, Han & Donoho 2020 (remembered, not read); the debiased ratio is derived",
        Bar(high=1 / 9),
    )(
        "Every one of these networks collapses, the noise of class means taken away. Measured: "
        "debiased nc1_ratio on the training split, the largest of the five networks."
    ),
)
RUNS = "ncollapse.studies.frames.runs"

STUDY = Study(
    name="frames",
    question=(
        "Which frame do networks end in under cross-entropy, label smoothing, focal loss and mean "
        "squared error, and does the last one need a bias for the simplex?"
    ),
    paper="Zhou et al. 2022, Are all losses created equal; Tirer & Bruna 2022",
    claims=noted((*ENDS, *SIDES, *NC1), BASIS, HISTORY),
    settings=sizes(
        seeds=By(1, 4, 10),
        first_seed=By(0, 100, 100),
        count=By(12, 120, 120),
        epochs=By(3, 300, 600),
        weight_decay=5e-3,
        # Squared error diverges at 0.05.
        learning_rate=0.02,
    ),
    parts=(Part("networks", f"{RUNS}:networks", ids((*ENDS, *SIDES, *NC1))),),
    draw="ncollapse.studies.frames.figures:draw",
    place=62,
)
