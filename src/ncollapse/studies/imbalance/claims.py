"""Study: what class counts do to the frame, on free features and in a real network."""

from __future__ import annotations

from ncollapse.lab.claims import Bar, Claim
from ncollapse.lab.study import Part, Study

DANG = "Dang et al. 2023 (remembered, not read); this form is derived"
HONG = "Hong & Ling 2023 (text not read); the block form is derived"
FITTED = "derived; one scalar τ is fitted to the network's mean logits"

CLAIMS = (
    Claim(
        "imbalance-orthogonal",
        "Bias-free mean squared error, unequal counts: classifiers and means of the living classes "
        "are pairwise orthogonal. Measured: largest |cosine| after descent.",
        DANG,
        Bar(high=1e-3),
    ),
    Claim(
        "imbalance-lengths",
        "Its lengths are ‖w_k‖² ∝ (√π_k - τ)₊ and ‖h_k‖² ∝ (√π_k - τ)₊/n_k, its logits "
        "(1 - τ/√π_k)₊, dead classes included. Measured: largest error over the largest entry.",
        DANG,
        Bar(high=1e-3),
    ),
    Claim(
        "imbalance-not-frequency",
        "These lengths are not proportional to class frequency. Measured: largest relative error "
        "of the best fit ‖w_k‖² = c n_k over the living classes.",
        DANG,
        Bar(low=0.1),
    ),
    Claim(
        "imbalance-blocks",
        "Cross-entropy, two groups of equal counts: classifiers form blocks of equal norms and "
        "equal cosines. Measured: largest deviation of norms (relative) and cosines from the "
        "block's mean and from the solver's, after descent.",
        HONG,
        Bar(high=1e-3),
    ),
    Claim(
        "imbalance-nc1",
        "NC1 survives imbalance in a network. Measured: nc1_ratio at 120/12 samples a class over "
        "that at balanced data of equal size.",
        "Fang et al. 2021 and others (remembered, not read)",
        Bar(high=2.0),
        rule="mean",
        seeds=3,
    ),
    Claim(
        "imbalance-network-blocks",
        "Two groups of digits, 120/12 samples a class, decays 5e-3 and 2e-2: predicted mean "
        "cosines of classifiers within the majority, across and within the minority. Measured: "
        "largest |difference|.",
        FITTED,
        Bar(high=0.03),
        rule="mean",
        seeds=3,
    ),
    Claim(
        "imbalance-network-closer",
        "The same networks, all pairs of classes: the prediction is closer than the simplex. "
        "Measured: root mean square distance of cosines to the simplex over that to the "
        "prediction.",
        FITTED,
        Bar(low=3.0),
        rule="mean",
        seeds=3,
    ),
    Claim(
        "imbalance-longtail",
        "Long-tailed digits (120 to 12 samples, geometric): predicted cosines of classifiers. "
        "Measured: mean |difference| over all pairs.",
        FITTED,
        Bar(high=0.03),
        rule="mean",
        seeds=3,
    ),
    Claim(
        "imbalance-longtail-closer",
        "Long-tailed digits: the prediction is closer than the simplex. Measured: root mean square "
        "distance of classifier cosines to the simplex over that to the prediction.",
        FITTED,
        Bar(low=3.0),
        rule="mean",
        seeds=3,
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
    claims=CLAIMS,
    settings={
        "mini": {
            "seeds": 1,
            "counts": [6, 4, 1],
            "decay": 0.05,
            "blocks": [[2, 6], [2, 2]],
            "epochs": 4,
            "network": {"majority": 30, "minority": 6, "decays": [5e-3]},
        },
        "quick": {
            "seeds": 6,
            "counts": COUNTS,
            "decay": 0.012,
            "blocks": [[3, 30], [3, 6]],
            "epochs": 300,
            "network": {"majority": 120, "minority": 12, "decays": [5e-3, 2e-2]},
        },
        "full": {
            "seeds": 10,
            "counts": COUNTS,
            "decay": 0.012,
            "blocks": [[5, 60], [5, 6]],
            "epochs": 600,
            "network": {"majority": 120, "minority": 12, "decays": [5e-3, 2e-2]},
        },
    },
    parts=(
        Part(
            "lengths",
            f"{RUNS}:lengths",
            ("imbalance-orthogonal", "imbalance-lengths", "imbalance-not-frequency"),
            seeded=False,
        ),
        Part("blocks", f"{RUNS}:blocks", ("imbalance-blocks",), seeded=False),
        Part(
            "network",
            f"{RUNS}:network",
            ("imbalance-nc1", "imbalance-network-blocks", "imbalance-network-closer"),
        ),
        Part(
            "longtail",
            f"{RUNS}:longtail",
            ("imbalance-longtail", "imbalance-longtail-closer"),
        ),
    ),
    draw=f"{RUNS}:draw",
)
