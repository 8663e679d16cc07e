"""Study: what deep features look like where theory is known, and when low rank beats collapse."""

from __future__ import annotations

from ncollapse.lab.claims import Bar, ids, noted, worst
from ncollapse.lab.settings import By, sizes
from ncollapse.lab.study import Part, Study
from ncollapse.studies.bars import BASIS, HISTORY

TWO = "Súkeník et al. 2023 (theorem remembered, not read; threshold derived)"
MORE = "Súkeník, Lampert & Mondelli 2024 (abstract read; construction and values derived)"
LINEAR = "Dang et al. 2023 (remembered, not read); per-class form derived"

THRESHOLD = (
    worst("deep-ufm-below", TWO, Bar(low=1e-3))(
        "Two equal classes, n λ_H Πλ at .98 of (M-1)^(M-1)/(2^(M+1) M^(2M)), M = 2, 3, 4 matrices: "
        "something is better than zero. Measured: ½ - f of the best start, the smallest over M."
    ),
    worst("deep-ufm-formula", TWO, Bar(high=1e-6))(
        "There the best of all starts is deep neural collapse. Measured: largest |f - formula| "
        "over M."
    ),
    worst("deep-ufm-above", TWO, Bar(high=1e-9))(
        "At 1.02 of it nothing is better than zero. Measured: ½ - f of the best start, the largest "
        "over M."
    ),
)
TABLE = (
    worst("deep-ufm-depth-2", MORE, Bar(low=1 - 1e-6))(
        "Two matrices: the low-rank construction, after a descent, does not beat deep collapse. "
        "Measured: smallest ratio of the two losses over K."
    ),
    worst("deep-ufm-depth-3", MORE, Bar(16, 21), "classes")(
        "Three matrices: it does from more than 15 classes on, at 21 at the latest. Measured: the "
        "smallest complete graph, by its number of edges K, at which the ratio is below 1."
    ),
    worst("deep-ufm-depth-4", MORE, Bar(high=0.97))(
        "Four and five matrices: it beats deep collapse clearly from K = 6 on. Measured: largest "
        "ratio of the two losses over K ≥ 6."
    ),
)
RANDOM = (
    worst("deep-ufm-random", MORE, Bar(high=0.999), seeds=6)(
        "K = 10, four matrices of width 30, λ = .004: random starts end below deep collapse. "
        "Measured: f over that of deep collapse, the largest over starts."
    ),
    worst("deep-ufm-random-rank", MORE, Bar(high=8.0), seeds=6)(
        "They end at lower rank than a simplex, which has 9. Measured: the lowest rank of class "
        "means before a ReLU (singular values above a hundredth of the largest), the largest over "
        "starts."
    ),
    worst("deep-ufm-random-shallow", MORE, Bar(0.999, 1.001), seeds=6)(
        "K = 10, three matrices of width 30, λ = .008: random starts end at deep collapse. "
        "Measured: f over that of deep collapse, farthest from 1."
    ),
)
LENGTHS = (
    worst("deep-ufm-lengths", LINEAR, Bar(high=1e-4))(
        "Deep linear features, squared error, unequal counts, M = 1 to 4 matrices: the best "
        "descent has orthogonal classes whose logits and lengths are those of the formula. "
        "Measured: largest |difference| over M of logits, and of lengths before the last matrix."
    ),
    worst("deep-ufm-lengths-best", LINEAR, Bar(high=1e-9))(
        "No start ends below the formula. Measured: formula minus the lowest f, largest over M."
    ),
)
RUNS = "ncollapse.studies.deep_ufm.runs"

STUDY = Study(
    name="deep-ufm",
    question=(
        "When do deep unconstrained features collapse, when does a solution of lower rank beat "
        "collapse, and do classes of a deep linear model have the lengths of theory?"
    ),
    paper="Súkeník, Mondelli & Lampert 2023, deep neural collapse for two classes; 2024, for more",
    claims=noted((*THRESHOLD, *TABLE, *RANDOM, *LENGTHS), BASIS, HISTORY),
    settings=sizes(
        seeds=By(1, 6, 12),
        depths=By([2], [2, 3, 4], [2, 3, 4, 6]),
        factors=[0.98, 1.02],
        count=3,
        starts=By(1, 4, 16),
        steps=By(15, 1000, 4000),
        # Matrices, and the classes of each; decays are a twenty-fifth over K.
        table=By(
            {"2": [3], "3": [3, 15], "4": [6]},
            {"2": [3, 6, 10, 15], "3": [3, 6, 10, 15, 21, 28], "4": [6, 10, 15], "5": [6, 10, 15]},
            {depth: [3, 6, 10, 15, 21, 28] for depth in "2345"},
        ),
        decay=0.04,
        # Classes, width and steps; then matrices and decay.
        random=By([4, 6, 15], [10, 30, 1500], [10, 30, 4000]),
        deep=[4, 0.004],
        shallow=[3, 0.008],
        counts=By([6, 3], [50, 20, 10, 5], [50, 20, 10, 5]),
        matrices=By([1, 2], [1, 2, 3, 4], [1, 2, 3, 4, 5]),
        linear_decay=0.01,
    ),
    parts=(
        Part("threshold", f"{RUNS}:threshold", ids(THRESHOLD), seeded=False),
        Part("table", f"{RUNS}:table", ids(TABLE), seeded=False),
        Part("random", f"{RUNS}:random", ids(RANDOM)),
        Part("lengths", f"{RUNS}:lengths", ids(LENGTHS), seeded=False),
    ),
    draw="ncollapse.studies.deep_ufm.figures:draw",
    place=66,
)
