"""Study: with several labels a sample, are means of label sets sums of single-label means?"""

from __future__ import annotations

from ncollapse.lab.claims import Bar, Claim, ids, mean, noted, worst
from ncollapse.lab.settings import By, sizes
from ncollapse.lab.study import Part, Study
from ncollapse.studies.bars import BASIS, HISTORY

PAPER = "Li, Li, Wang, Qu 2024 (abstract read); the scales are derived"

FREE = (
    worst("multilabel-free-value", PAPER, Bar(high=1e-6))(
        "Pick-all-labels loss on free features ends at the value of the symmetric form: four "
        "patterns of one, two and three labels. Measured: largest |difference|."
    ),
    worst("multilabel-free-simplex", PAPER, Bar(high=1e-2))(
        "Single-label means and the head are simplex frames. Measured: larger distance to it."
    ),
    worst("multilabel-free-tags", PAPER, Bar(low=0.9999))(
        "Means of several labels are along the sum of their single ones. Measured: least mean "
        "cosine (ml_tag_cosine)."
    ),
    worst("multilabel-free-scales", PAPER, Bar(high=1e-3))(
        "Their lengths are the predicted C_m. Measured: largest |C_m - predicted|, all m."
    ),
)


def _network(name: str, said: str) -> tuple[Claim, ...]:
    return (
        mean(f"multilabel-{name}-simplex", PAPER, Bar(high=0.1))(
            f"Overlaid digits, {said}: single-label means form a simplex. Measured: ml_nc2."
        ),
        mean(f"multilabel-{name}-tags", PAPER, Bar(low=0.98))(
            f"Overlaid digits, {said}: means of two digits are along the sum of the two single "
            "means. Measured: ml_tag_cosine."
        ),
        mean(f"multilabel-{name}-other", PAPER, Bar(high=0.2))(
            f"Overlaid digits, {said}: not along the sums of other pairs. Measured: ml_tag_other."
        ),
        mean(f"multilabel-{name}-scale", PAPER, Bar(-0.03, 0.03))(
            f"Overlaid digits, {said}: C_2 is what theory gives for these counts and decays, with "
            "no free parameter. Measured: C_2 - predicted."
        ),
        mean(f"multilabel-{name}-head", PAPER, Bar(0.9, 1.1))(
            f"Overlaid digits, {said}: rows of the head are as long as predicted. Measured: mean "
            "‖w_k‖² over predicted."
        ),
    )


EQUAL = _network("equal", "as many images of one as of two digits")
FEW = _network("few", "nine times as many images of two digits as of one")
RUNS = "ncollapse.studies.multilabel.runs"

STUDY = Study(
    name="multilabel",
    question=(
        "With several labels a sample, do single labels collapse onto a simplex, sets of labels "
        "onto sums of its vertices, and at the lengths that theory gives?"
    ),
    paper="Li, Li, Wang, Qu 2024, neural collapse in multi-label learning",
    claims=noted((*FREE, *EQUAL, *FEW), BASIS, HISTORY),
    settings=sizes(
        seeds=By(1, 3, 8),
        first_seed=By(0, 100, 100),
        classes=5,
        width=8,
        decay=5e-3,
        patterns=By(
            [[2, 1]], [[10, 1], [2, 3], [4, 1, 1], [1, 2, 2]], [[10, 1], [2, 3], [4, 1, 1]]
        ),
        iterations=By(200, 20000, 20000),
        net={
            "widths": By([16, 12], [256, 256, 32], [256, 256, 32]),
            "steps": By(20, 2500, 6000),
            "batch": By(32, 128, 128),
            "rate": 2e-3,
            "decay": 5e-3,
        },
        equal=By([2, 1], [45, 10], [90, 20]),
        few=By([2, 1], [10, 20], [20, 40]),
    ),
    parts=(
        Part("free", f"{RUNS}:free", ids(FREE)),
        Part("equal", f"{RUNS}:network", ids(EQUAL), given={"name": "equal"}),
        Part("few", f"{RUNS}:network", ids(FEW), given={"name": "few"}),
    ),
    draw="ncollapse.studies.multilabel.figures:draw",
    place=145,
)
