"""Study: gradient flow from small weights on orthogonally separable data ends on rays."""

from __future__ import annotations

from ncollapse.lab.claims import Bar, ids, noted, worst
from ncollapse.lab.settings import By, sizes
from ncollapse.lab.study import Part, Study
from ncollapse.studies.bars import BASIS, HISTORY

MIN = "Min, Zhu, Vidal 2025, Theorem 1 (text read)"
LAW = "Min, Zhu, Vidal 2025 (text read): lengths follow ⟨u_k, x_i⟩; form of NC1 derived"
SCALE = "first measurement on another draw: the scale of the start is what decides"

SMALL = (
    worst("orthogonal-data-rays", MIN, Bar(high=1e-6), seeds=3)(
        "From small weights every class ends on a ray. Measured: dir_spread, the mean over classes "
        "of 1 - R."
    ),
    worst("orthogonal-data-means", MIN, Bar(high=1e-6), seeds=3)(
        "Class means end orthogonal. Measured: raw_cosine, the largest |cos|."
    ),
    worst("orthogonal-data-nc1", MIN, Bar(low=0.005), seeds=3)(
        "Standard NC1 does not vanish. Measured: nc1_ratio."
    ),
    worst("orthogonal-data-norms", LAW, Bar(low=1 / 1.25, high=1.25), seeds=3)(
        "What is left of NC1 is the spread of ⟨u_k, x_i⟩, u_k the max-margin direction of class k "
        "alone. Measured: nc1_ratio over the one that lengths proportional to it would have."
    ),
    worst("orthogonal-data-lengths", LAW, Bar(low=0.9), seeds=3)(
        "Lengths of features follow ⟨u_k, x_i⟩. Measured: the least correlation of a class."
    ),
    worst("orthogonal-data-dual", MIN, Bar(low=0.999), seeds=3)(
        "The head is dual to centred means. Measured: nc3_alignment, the mean cosine of v_k and "
        "μ_k - μ_G."
    ),
    worst("orthogonal-data-normalised", MIN, Bar(high=1e-5), seeds=3)(
        "Features over their length do collapse. Measured: their nc1_ratio."
    ),
)
START = "beyond Theorem 1 of Min, Zhu, Vidal 2025, whose start is dealt among classes"
RANDOM = (
    worst("orthogonal-data-random-rays", START, Bar(high=1e-6), seeds=3)(
        "The same from small weights in random directions: rays. Measured: dir_spread."
    ),
    worst("orthogonal-data-random-means", START, Bar(high=1e-6), seeds=3)(
        "And orthogonal class means. Measured: raw_cosine."
    ),
)
LARGE = (
    worst("orthogonal-data-large-rays", SCALE, Bar(low=1e-3), seeds=3)(
        "From large weights in random directions classes are no rays. Measured: dir_spread."
    ),
    worst("orthogonal-data-large-means", SCALE, Bar(low=1e-3), seeds=3)(
        "Nor are their means orthogonal. Measured: raw_cosine."
    ),
)
RUNS = "ncollapse.studies.orthogonal_data.runs"

STUDY = Study(
    name="orthogonal-data",
    question="Do classes of orthogonally separable data collapse to points, or to rays?",
    paper="Min, Zhu, Vidal 2025, neural collapse under gradient flow on shallow ReLU networks",
    claims=noted((*SMALL, *RANDOM, *LARGE), BASIS, HISTORY),
    settings=sizes(
        seeds=By(1, 3, 10),
        first_seed=By(0, 100, 100),
        classes=3,
        dim=20,
        each=20,
        noise=0.6,
        width=60,
        rate=0.01,
        small=1e-3,
        large=1.0,
        steps=By(500, 60000, 200000),
        large_steps=By(100, 20000, 60000),
    ),
    parts=(
        Part("small", f"{RUNS}:small", ids(SMALL)),
        Part("random", f"{RUNS}:random", ids(RANDOM)),
        Part("large", f"{RUNS}:large", ids(LARGE)),
    ),
    draw="ncollapse.studies.orthogonal_data.figures:draw",
    place=120,
)
