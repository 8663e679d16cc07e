"""Study: what attacks do to the simplex, and what training against them keeps of it."""

from __future__ import annotations

from ncollapse.lab.claims import Bar, ids, mean, worst
from ncollapse.lab.settings import By, sizes
from ncollapse.lab.study import Part, Study

SU = "Su et al. 2024 (code read); the setting and bar are ours"
OURS = "this library; the bar is ours"

LEAP = (
    worst("robustness-vanishes", SU, Bar(low=2.0), "decades", seeds=3)(
        "Standard training, L∞ eps .15: NC1 of PGD inputs is orders of magnitude above that of "
        "clean ones. Measured: log10 of the ratio of nc1_fisher on the training split, true labels."
    ),
    worst("robustness-noise", SU, Bar(low=1.0), "decades", seeds=3)(
        "It is the attack, not its size: NC1 on noise of the same size is at most a tenth of that "
        "on PGD inputs. Measured: log10 of their ratio on the training split."
    ),
    worst("robustness-leap-predicted", SU, Bar(low=0.8), seeds=3)(
        "Flipped samples leap onto the vertex of the class they are taken for. Measured: mean "
        "cosine to it, the smaller of the training and the test split."
    ),
    worst("robustness-leap-own", SU, Bar(high=0.4), seeds=3)(
        "They leave their own vertex. Measured: mean cosine to it, the larger of the two splits."
    ),
    mean("robustness-leap-path", OURS, Bar(high=0.5))(
        "They leap, they do not drift: along the straight path from x to its adversarial twin the "
        "share of 50 points where the largest vertex cosine is below .7 is at most half that of an "
        "uncollapsed network (nc1_fisher held at 1). Measured: ratio of the shares, training split."
    ),
    mean("robustness-leap-equal", OURS, Bar(-1.0, 1.0), "points")(
        "The two networks are of equal accuracy. Measured: test accuracy of the collapsed one "
        "minus that of the uncollapsed one."
    ),
    worst("robustness-eps", OURS, Bar(low=0.9), seeds=3)(
        "The larger the attack, the lower the accuracy and the higher NC1 and the angle of class "
        "means, over six eps. Measured: the smallest of the three rank correlations with eps, "
        "training split."
    ),
    mean("robustness-early", SU, Bar(low=20.0), "points")(
        "Early layers stay more reliable than late ones: nearest-centre accuracy with clean means "
        "on PGD inputs of the first hidden layer against the last. Measured: difference on the "
        "test split."
    ),
    mean("robustness-targeted", SU, Bar(high=30.0), "degrees")(
        "Targeted attacks (eps .3, successes only) grouped by target form the clean simplex. "
        "Measured: mean angle of centred class means to the clean ones."
    ),
    mean("robustness-targeted-true", SU, Bar(low=60.0), "degrees")(
        "Grouped by their true label they do not. Measured: the same angle."
    ),
)
HARD = (
    mean("robustness-adversarial-angle", SU, Bar(high=15.0), "degrees")(
        "After adversarial training clean and perturbed simplices are aligned. Measured: mean "
        "angle of centred class means, training split."
    ),
    mean("robustness-adversarial-nc1", SU, Bar(low=0.0), "decades")(
        "The perturbed one is the looser. Measured: log10 of nc1_fisher on PGD inputs over clean "
        "ones, training split."
    ),
    mean("robustness-adversarial-centres", SU, Bar(-2.0, 2.0), "points")(
        "Nearest clean centres are as robust as the head. Measured: their accuracy on PGD inputs "
        "of the test split minus the head's."
    ),
    mean("robustness-trades-simplex", SU, Bar(low=0.0), "decades")(
        "TRADES leaves a weaker simplex than adversarial training on the perturbed data that it "
        "trained on. Measured: the smaller of log10 of the ratios of nc1_fisher and of "
        "nc2_maxangle_means, inputs of the last epoch."
    ),
    mean("robustness-trades-accuracy", SU, Bar(low=-1.0), "points")(
        "It is as robust or more, within a point. Measured: test accuracy under PGD of TRADES "
        "minus that of adversarial training."
    ),
)
SWEEP = (
    mean("robustness-over-collapse", OURS, Bar(low=0.0), "points a decade")(
        "Over-collapse harms resilience: robust accuracy rises with the set point of nc1_fisher. "
        "Measured: slope of test accuracy under PGD (eps .1; cross-entropy and margin, the worse) "
        "against log10 of set points .03 to 1; its interval excludes 0."
    ),
    mean("robustness-over-collapse-clean", OURS, Bar(high=1.0), "points")(
        "At matched clean accuracy. Measured: largest minus smallest test accuracy over the set "
        "points."
    ),
)
RUNS = "ncollapse.studies.robustness.runs"
EPS = [0.025, 0.05, 0.1, 0.15, 0.2, 0.3]
POINTS = [0.03, 0.1, 0.3, 1.0]

STUDY = Study(
    name="robustness",
    question="What do attacks do to the simplex, and does over-collapse harm resilience?",
    paper="Su, Zhang, Tsilivis & Kempe 2024, on the robustness of neural collapse",
    claims=(*LEAP, *HARD, *SWEEP),
    settings=sizes(
        weight_decay=5e-3,
        samples=By(200, 0, 0),
        seeds=By(1, 3, 5),
        first_seed=By(0, 100, 100),
        epochs=By(2, 150, 200),
        look={"steps": By(3, 20, 20), "points": By(6, 50, 50)},
        eps={"near": 0.15, "far": 0.3, "all": By([0.1, 0.2, 0.3], EPS, EPS)},
        hard={"epochs": By(2, 50, 200), "batch_size": By(64, 256, 128), "steps": By(2, 7, 10)},
        sweep={"epochs": By(2, 60, 200), "eps": 0.1, "points": By(POINTS[2:], POINTS, POINTS)},
    ),
    parts=(
        Part("networks", f"{RUNS}:networks", ids((*LEAP, *SWEEP))),
        Part("hardened", f"{RUNS}:hardened", ids(HARD)),
    ),
    draw="ncollapse.studies.robustness.figures:draw",
    place=105,
)
