"""Study: does a fixed frame help the rare classes of a long tail?"""

from __future__ import annotations

from ncollapse.lab.claims import Bar, ids, mean
from ncollapse.lab.settings import By, sizes
from ncollapse.lab.study import Part, Study

YANG = "Yang et al. 2022 (released code read, not the paper's text); the bar is ours"
APART = "Yang et al. 2022 (remembered, not read); with a fixed frame samples do not compete"
FITTED = "derived; one scalar τ is fitted to the network's mean logits"

CLAIMS = (
    mean("imbalanced-head-recall", YANG, Bar(low=0.0), "points")(
        "Long-tailed digits (110 to 4 samples, geometric): a fixed simplex with dot regression "
        "recalls the five rarest classes better than a learned head with cross-entropy. Measured: "
        "difference of their mean recall on the whole test split."
    ),
    mean("imbalanced-head-accuracy", YANG, Bar(low=-1.0), "points")(
        "It loses no more than a point over all classes. Measured: difference of mean recall over "
        "the ten classes, fixed minus learned."
    ),
    mean("imbalanced-head-learned", FITTED, Bar(high=0.03))(
        "The learned head's classifiers of the five rarest classes have the predicted cosines. "
        "Measured: mean |difference| over their pairs."
    ),
    mean("imbalanced-head-crowded", FITTED, Bar(low=0.05))(
        "These lie closer together than in a simplex. Measured: their mean cosine minus -1/9, "
        "which a fixed frame has by construction."
    ),
    mean("imbalanced-head-means", f"{APART} [derived]", Bar(high=0.05))(
        "With the fixed frame the means of normalised features take the frame's angles, for any "
        "counts. Measured: mean |cosine + 1/9| over pairs of the five rarest classes, training "
        "split."
    ),
)
RUNS = "ncollapse.studies.imbalanced_head.runs"

STUDY = Study(
    name="imbalanced-head",
    question=(
        "On a long tail a learned classifier gives rare classes small angles. Does a fixed frame "
        "keep them apart, and are they recalled better?"
    ),
    paper="Yang et al. 2022, inducing neural collapse in imbalanced learning",
    claims=CLAIMS,
    settings=sizes(
        largest=110,
        smallest=4,
        minority=5,
        weight_decay=5e-3,
        batch_size=64,
        seeds=By(1, 6, 10),
        epochs=By(4, 300, 600),
    ),
    parts=(Part("tail", f"{RUNS}:tail", ids(CLAIMS)),),
    draw="ncollapse.studies.imbalanced_head.figures:draw",
    place=80,
)
