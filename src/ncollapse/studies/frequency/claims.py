"""Study: what class frequency does to blocks and lengths, with more than two groups."""

from __future__ import annotations

from ncollapse.lab.claims import Bar, ids, mean, noted, worst
from ncollapse.lab.settings import By, sizes
from ncollapse.lab.study import Part, Study
from ncollapse.studies.bars import BASIS, HISTORY

HONG = "Hong & Ling 2023 (text not read); the block form is derived"
DANG = "Dang et al. 2023, the general orthogonal frame (remembered, not read); powers are derived"

BLOCKS = (
    worst("frequency-blocks", HONG, Bar(high=1e-3))(
        "Cross-entropy, three groups of equal counts: classifiers form blocks, one for every pair "
        "of groups, of equal norms and equal cosines. Measured: largest deviation of norms "
        "(relative) and cosines from the block's mean and from the solver's, after descent."
    ),
)
LENGTHS = (
    mean("frequency-means-mse", DANG, Bar(high=-0.125))(
        "Long-tailed digits (120 to 12 samples, geometric), mean squared error without a bias: "
        "class means get shorter with frequency. Measured: slope of log ‖h_k‖ (raw means) against "
        "log n_k."
    ),
    mean("frequency-means-ce", f"derived, as for {DANG}", Bar(high=-0.125))(
        "The same digits, cross-entropy without a bias: class means get shorter with frequency. "
        "Measured: the same slope."
    ),
    mean("frequency-weights-mse", DANG, Bar(low=0.125))(
        "Mean squared error without a bias: classifiers get longer with frequency. Measured: slope "
        "of log ‖w_k‖ against log n_k."
    ),
)
RUNS = "ncollapse.studies.frequency.runs"
# Classes of a group, and samples a class.
GROUPS = [[2, 40], [3, 15], [2, 5]]

STUDY = Study(
    name="frequency",
    question=(
        "Do three groups of class counts make blocks, and are the means of frequent classes "
        "shorter and their classifiers longer in a network?"
    ),
    paper="Hong & Ling 2023 (cross-entropy); Dang et al. 2023 (mean squared error)",
    claims=noted((*BLOCKS, *LENGTHS), BASIS, HISTORY),
    settings=sizes(
        seeds=By(1, 4, 10),
        first_seed=By(0, 100, 100),
        groups=By([[2, 5], [2, 3], [2, 2]], GROUPS, [[4, 60], [3, 20], [3, 5]]),
        decay=5e-3,
        epochs=By(3, 300, 600),
        # Squared error diverges at 0.05.
        learning_rate=0.02,
        largest=By(20, 120, 120),
        smallest=By(5, 12, 12),
    ),
    parts=(
        Part("blocks", f"{RUNS}:blocks", ids(BLOCKS), seeded=False),
        Part("lengths", f"{RUNS}:lengths", ids(LENGTHS)),
    ),
    draw="ncollapse.studies.frequency.figures:draw",
    place=64,
)
