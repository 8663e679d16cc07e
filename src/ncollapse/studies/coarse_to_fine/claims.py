"""Study: are the ten digits still there in a network that was taught coarser classes?"""

from __future__ import annotations

from ncollapse.lab.claims import Bar, Claim, ids, mean
from ncollapse.lab.settings import By, sizes
from ncollapse.lab.study import Part, Study

SPLITS = 5
FINE = "fine labels under coarse ones, Yang et al. 2023 (remembered, not read); the bars are ours"
TUNED = "Li et al. 2024 on tuning few layers (abstract read); the setting and bars are ours"


def _claims(groups: int) -> tuple[Claim, ...]:
    name = f"coarse-to-fine-{groups}"
    return (
        mean(f"{name}-probe", FINE, Bar(high=0.0), "points", seeds=SPLITS)(
            f"Taught {groups} super-classes of digits to four degrees of collapse: a linear probe "
            "of ten shots a digit on the last layer falls with collapse. Measured: points a decade "
            "that nc1_fisher of the super-classes falls."
        ),
        mean(f"{name}-first", FINE, Bar(low=-2.0), "points", seeds=SPLITS)(
            "At the first layer it does not. Measured: the same slope there."
        ),
        mean(f"{name}-layer", FINE, Bar(low=5.0), "points", seeds=SPLITS)(
            "At the strongest collapse the first layer tells the digits better than the last. "
            "Measured: difference of the probes."
        ),
        mean(f"{name}-block", TUNED, Bar(low=2.0), "points", seeds=SPLITS)(
            "There, tuning the last block on the same ten shots brings some of it back. Measured: "
            "accuracy after tuning minus that of the probe on the last layer."
        ),
        mean(f"{name}-full", TUNED, Bar(low=0.0), "points", seeds=SPLITS)(
            "Tuning the whole network brings more. Measured: whole network minus last block."
        ),
    )


TWO, FIVE = _claims(2), _claims(5)
RUNS = "ncollapse.studies.coarse_to_fine.runs"
DEGREES = [[3, 0.0], [30, 0.0], [100, 5e-4], [100, 5e-3]]

STUDY = Study(
    name="coarse-to-fine",
    question=(
        "Taught 2 or 5 super-classes of digits, what does a network still know of the ten digits, "
        "by layer and degree of collapse, and what does tuning bring back?"
    ),
    paper="Yang et al. 2023, on fine structure under coarse labels; Li et al. 2024, on tuning",
    claims=(*TWO, *FIVE),
    settings=sizes(
        seeds=By(1, SPLITS, 20),
        first_seed=By(0, 200, 200),
        degrees=By([[1, 0.0], [2, 5e-3]], DEGREES, DEGREES),
        shots=10,
        tuning={"epochs": By(2, 40, 40), "learning_rate": 0.02, "batch_size": 25},
        groups=2,
    ),
    parts=(
        Part("two", f"{RUNS}:taught", ids(TWO)),
        Part("five", f"{RUNS}:taught", ids(FIVE), given={"groups": 5}),
    ),
    draw="ncollapse.studies.coarse_to_fine.figures:draw",
    place=151,
)
