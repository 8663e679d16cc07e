"""Study: what collapse of the first classes does to those that come later, and they to it."""

from __future__ import annotations

from ncollapse.lab.claims import Bar, ids, mean, noted
from ncollapse.lab.settings import By, sizes
from ncollapse.lab.study import Part, Study
from ncollapse.studies.bars import BASIS, HISTORY

YANG = "Yang et al. 2023 (their code read); the baseline, its tuning and the bar are ours"
POC = "POC, OpenReview wwbVYrOMIW (abstract read): +3.5 points elsewhere; form and bar are ours"
OVER = "POC, OpenReview wwbVYrOMIW (abstract read), the idea of over-collapse; the number is ours"
DRIFT = "Lanzillotta et al. 2025 (its page read); setting and bar are ours"
SEEDS = 5

HEADS = (
    mean("incremental-frame", YANG, Bar(low=2.0), "points", seeds=SEEDS)(
        "Digits in sessions of 6, 2 and 2 classes, five samples of each later class: a simplex "
        "with places for all ten, under dot regression, ends above a learned cosine head. Each has "
        "seven settings of the later sessions to choose from on the same validation samples. "
        "Measured: final test accuracy of the frame minus that of the learned head."
    ),
    *(
        mean(f"incremental-poc-{head}", POC, Bar(low=0.0), "points", seeds=SEEDS)(
            "There, training the first session against over-collapse (POC) makes room for later "
            f"classes, with {name}. Measured: final test accuracy with it minus that without."
        )
        for head, name in (("frame", "the frame"), ("cosine", "the learned head"))
    ),
)
SEVERITY = (
    mean("incremental-overlap", OVER, Bar(low=0.5), seeds=SEEDS)(
        "The more a base model has collapsed on its six classes, the more two new ones overlap "
        "with them in its features. Measured: Spearman correlation over six severities of -nc1_"
        "fisher (train) with the CDNV of old against new classes before they are learned."
    ),
    mean("incremental-severe", OVER, Bar(low=0.5), seeds=SEEDS)(
        "The more it has collapsed, the more is forgotten when the new ones are learned with five "
        "samples of each old class replayed. Measured: Spearman correlation over six severities "
        "of -nc1_fisher with the fall of the head's accuracy on old classes."
    ),
    mean("incremental-forgets", OVER, Bar(low=0.5), seeds=SEEDS)(
        "The more they overlap, the more is forgotten when the new ones are learned with five "
        "samples of each old class replayed. Measured: Spearman correlation over six severities "
        "of that CDNV with the fall of the head's accuracy on old classes."
    ),
    mean("incremental-energy", DRIFT, Bar(high=-0.5), seeds=SEEDS)(
        "The less of old features lies in the span of the current class means afterwards, the more "
        "was forgotten. Measured: Spearman correlation over six severities of the mean energy "
        "of old features with the fall of the head's accuracy on old classes."
    ),
    mean("incremental-shallow", DRIFT, Bar(low=10.0), "points", seeds=SEEDS)(
        "The head forgets, features less so. Measured: accuracy of a linear probe on old classes, "
        "among all eight, minus the head's, afterwards, mean over six severities."
    ),
    mean("incremental-inflated", DRIFT, Bar(low=1.05), seeds=SEEDS)(
        "Class means of the replayed samples lie farther out than those of others. Measured: ratio "
        "of their distances from the mean of current class means, mean over classes and severities."
    ),
)
RUNS = "ncollapse.studies.incremental.runs"
# Epochs and decay of the base model, from hardly to well collapsed.
LEVELS = [[2, 0.0], [5, 0.0], [12, 0.0], [24, 0.0], [24, 5e-4], [24, 5e-3]]

STUDY = Study(
    name="incremental",
    question=(
        "Does a frame with places for classes to come serve better than a head that learns them, "
        "and does collapse of the first classes make later ones overlap and old ones be forgotten?"
    ),
    paper="Yang et al. 2023, a preassigned simplex for few-shot class-incremental learning",
    claims=noted((*HEADS, *SEVERITY), BASIS, HISTORY),
    settings=sizes(
        seeds=By(1, SEEDS, 10),
        first_seed=By(0, 200, 200),
        widths=By([32], [128, 128, 128], [256, 256, 256]),
        epochs=By(1, 24, 60),
        steps=By(3, 60, 100),
        shots=5,
        poc=1.0,
        # Rates of later sessions and scales of the learned head; a frame's scale is a rate.
        frame=[[0.02, 10], [0.05, 10], [0.1, 10], [0.2, 10], [0.5, 10], [1.0, 10], [2.0, 10]],
        cosine=[[0.003, 10], [0.01, 10], [0.03, 10], [0.1, 10], [0.01, 20], [0.03, 20], [0.1, 20]],
        levels=By([[1, 0.0], [2, 0.0], [2, 5e-3]], LEVELS, LEVELS),
        replay=5,
        new_epochs=By(1, 10, 10),
        new_rate=0.01,
    ),
    parts=(
        Part("heads", f"{RUNS}:heads", ids(HEADS)),
        Part("severity", f"{RUNS}:severity", ids(SEVERITY)),
    ),
    draw="ncollapse.studies.incremental.figures:draw",
    place=105,
)
