"""Study: what class counts do to the frame, on free features and in a real network."""

from __future__ import annotations

from ncollapse.lab.claims import Bar, ids, mean, noted, worst
from ncollapse.lab.settings import By, sizes
from ncollapse.lab.study import Part, Study
from ncollapse.studies.bars import BASIS, HISTORY

DANG = "Dang et al. 2023 (remembered, not read); this form is derived"
HONG = "Hong & Ling 2023 (text not read); the block form is derived"
FITTED = "derived; one scalar τ is fitted to the network's mean logits"

LENGTHS = (
    worst("imbalance-orthogonal", DANG, Bar(high=1e-3))(
        "Bias-free mean squared error, unequal counts: classifiers and means of the living classes "
        "are pairwise orthogonal. Measured: largest |cosine| after descent."
    ),
    worst("imbalance-lengths", DANG, Bar(high=1e-3))(
        "Its lengths are ‖w_k‖² ∝ (√π_k - τ)₊ and ‖h_k‖² ∝ (√π_k - τ)₊/n_k, its logits "
        "(1 - τ/√π_k)₊, dead classes included. Measured: largest error over the largest entry."
    ),
    worst("imbalance-not-frequency", DANG, Bar(low=0.1))(
        "These lengths are not proportional to class frequency. Measured: largest relative error "
        "of the best fit ‖w_k‖² = c n_k over the living classes."
    ),
)
BLOCKS = (
    worst("imbalance-blocks", HONG, Bar(high=1e-3))(
        "Cross-entropy, two groups of equal counts: classifiers form blocks of equal norms and "
        "equal cosines. Measured: largest deviation of norms (relative) and cosines from the "
        "block's mean and from the solver's, after descent."
    ),
)
NETWORK = (
    mean(
        "imbalance-nc1",
        "Fang et al. 2021 and others (remembered, not read); equal rates are derived",
        Bar(high=1.25),
    )(
        "NC1 survives imbalance in a network. Measured: debiased nc1_ratio at 120/12 samples a "
        "class over that at balanced data of equal size."
    ),
    mean("imbalance-network-blocks", FITTED, Bar(high=0.03))(
        "Two groups of digits, 120/12 samples a class, decays 5e-3 and 2e-2: predicted mean "
        "cosines of classifiers within the majority, across and within the minority. Measured: "
        "largest |difference|."
    ),
    mean("imbalance-network-closer", FITTED, Bar(low=3.0))(
        "The same networks, all pairs of classes: the prediction is closer than the simplex. "
        "Measured: root mean square distance of cosines to the simplex over that to the "
        "prediction."
    ),
)
LONGTAIL = (
    mean("imbalance-longtail", FITTED, Bar(high=0.03))(
        "Long-tailed digits (120 to 12 samples, geometric): predicted cosines of classifiers. "
        "Measured: mean |difference| over all pairs."
    ),
    mean("imbalance-longtail-closer", FITTED, Bar(low=3.0))(
        "Long-tailed digits: the prediction is closer than the simplex. Measured: root mean square "
        "distance of classifier cosines to the simplex over that to the prediction."
    ),
)
RUNS = "ncollapse.studies.imbalance.runs"
COUNTS = [60, 40, 25, 15, 6, 2]

STUDY = Study(
    name="imbalance",
    question=(
        "What do unequal class counts do to lengths and angles, and does the exact prediction for "
        "free features describe a real network?"
    ),
    paper="Dang et al. 2023 (mean squared error); Hong & Ling 2023 (cross-entropy)",
    claims=noted((*LENGTHS, *BLOCKS, *NETWORK, *LONGTAIL), BASIS, HISTORY),
    settings=sizes(
        seeds=By(1, 4, 10),
        first_seed=By(0, 100, 100),
        counts=By([6, 4, 1], COUNTS, COUNTS),
        decay=By(0.05, 0.012, 0.012),
        # Classes of a group, and samples a class.
        blocks=By([[2, 6], [2, 2]], [[3, 30], [3, 6]], [[5, 60], [5, 6]]),
        epochs=By(4, 300, 600),
        network={
            "majority": By(30, 120, 120),
            "minority": By(6, 12, 12),
            "decays": By([5e-3], [5e-3, 2e-2], [5e-3, 2e-2]),
        },
    ),
    parts=(
        Part("lengths", f"{RUNS}:lengths", ids(LENGTHS), seeded=False),
        Part("blocks", f"{RUNS}:blocks", ids(BLOCKS), seeded=False),
        Part("network", f"{RUNS}:network", ids(NETWORK)),
        Part("longtail", f"{RUNS}:longtail", ids(LONGTAIL)),
    ),
    draw="ncollapse.studies.imbalance.figures:draw",
    place=40,
)
