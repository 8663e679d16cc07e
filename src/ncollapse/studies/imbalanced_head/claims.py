"""Study: does a fixed frame help the rare classes of a long tail?"""

from __future__ import annotations

from ncollapse.lab.claims import Bar, Claim
from ncollapse.lab.study import Part, Study

YANG = "Yang et al. 2022 (released code read, not the paper's text); the bar is ours"
FITTED = "derived; one scalar τ is fitted to the network's mean logits"

CLAIMS = (
    Claim(
        "imbalanced-head-recall",
        "Long-tailed digits (110 to 4 samples, geometric): a fixed simplex with dot regression "
        "recalls the five rarest classes better than a learned head with cross-entropy. Measured: "
        "difference of their mean recall on the whole test split.",
        YANG,
        Bar(low=0.0),
        unit="points",
        rule="mean",
        seeds=3,
    ),
    Claim(
        "imbalanced-head-accuracy",
        "It loses no more than a point over all classes. Measured: difference of mean recall over "
        "the ten classes, fixed minus learned.",
        YANG,
        Bar(low=-1.0),
        unit="points",
        rule="mean",
        seeds=3,
    ),
    Claim(
        "imbalanced-head-learned",
        "The learned head's classifiers of the five rarest classes have the predicted cosines. "
        "Measured: mean |difference| over their pairs.",
        FITTED,
        Bar(high=0.03),
        rule="mean",
        seeds=3,
    ),
    Claim(
        "imbalanced-head-crowded",
        "These lie closer together than in a simplex. Measured: their mean cosine minus -1/9, "
        "which a fixed frame has by construction.",
        FITTED,
        Bar(low=0.05),
        rule="mean",
        seeds=3,
    ),
    Claim(
        "imbalanced-head-means",
        "With the fixed frame the means of normalised features take the frame's angles, for any "
        "counts. Measured: mean |cosine + 1/9| over pairs of the five rarest classes, training "
        "split.",
        "Yang et al. 2022 (remembered, not read); with a fixed frame samples do not compete "
        "[derived]",
        Bar(high=0.05),
        rule="mean",
        seeds=3,
    ),
)
RUNS = "ncollapse.studies.imbalanced_head.runs"
COMMON = {"largest": 110, "smallest": 4, "minority": 5, "weight_decay": 5e-3, "batch_size": 64}

STUDY = Study(
    name="imbalanced-head",
    question=(
        "On a long tail a learned classifier gives rare classes small angles. Does a fixed frame "
        "keep them apart, and are they recalled better?"
    ),
    paper="Yang et al. 2022, inducing neural collapse in imbalanced learning",
    claims=CLAIMS,
    settings={
        "mini": {**COMMON, "seeds": 1, "epochs": 4},
        "quick": {**COMMON, "seeds": 6, "epochs": 300},
        "full": {**COMMON, "seeds": 10, "epochs": 600},
    },
    parts=(Part("tail", f"{RUNS}:tail", tuple(claim.id for claim in CLAIMS)),),
    draw=f"{RUNS}:draw",
)
