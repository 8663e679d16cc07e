"""Study: the phase transition past which minority classifiers merge."""

from __future__ import annotations

from ncollapse.lab.claims import Bar, Claim
from ncollapse.lab.study import Part, Study

EXACT = "derived; Hong & Ling 2023 state √n_B/N for cross-entropy (text not read)"
FITTED = "derived; one scalar τ is fitted to the network's mean logits"

CLAIMS = (
    Claim(
        "minority-grid",
        "Minority classifiers merge where N² λ_W λ_H reaches n_g: predicted against descent on a "
        "grid of imbalance and decay (as multiples of the predicted one). Measured: largest "
        "distance between the two boundaries.",
        EXACT,
        Bar(high=1.0),
        "grid steps",
    ),
    Claim(
        "minority-ratio",
        "The imbalance ratio alone does not decide: at every ratio there are decays that merge the "
        "minority and decays that do not, as predicted. Measured: share of ratios where descent "
        "shows both.",
        EXACT,
        Bar(low=1.0),
    ),
    Claim(
        "minority-free-merge",
        "Past the threshold the minority classifiers of free features coincide. Measured: largest "
        "distance between two of them over the largest norm, at twice the threshold.",
        EXACT,
        Bar(high=1e-3),
    ),
    Claim(
        "minority-network-before",
        "Digits at 120/12 samples a class and decay 5e-3, before the transition: minority "
        "classifiers stay apart. Measured: their mean cosine.",
        FITTED,
        Bar(high=0.3),
        rule="mean",
        seeds=3,
    ),
    Claim(
        "minority-network-merge",
        "Digits at 150/5 (decay 5e-2) and 150/3 (decay 8e-2), past it: minority classifiers merge. "
        "Measured: the smaller of the two mean cosines.",
        FITTED,
        Bar(low=0.9),
        rule="mean",
        seeds=3,
    ),
    Claim(
        "minority-network-blocks",
        "Past it, the predicted mean cosines of classifiers within the majority and across groups. "
        "Measured: largest |difference|.",
        FITTED,
        Bar(high=0.03),
        rule="mean",
        seeds=3,
    ),
    Claim(
        "minority-network-inside",
        "Past it, the predicted cosine within the minority (1 exactly). Measured: largest "
        "|difference|.",
        FITTED,
        Bar(high=0.03),
        rule="mean",
        seeds=3,
    ),
    Claim(
        "minority-head",
        "Past it, the head cannot tell minority classes apart. Measured: test accuracy of the head "
        "among the five minority classes alone (chance 0.2), the larger of the two settings.",
        "follows from merged classifiers",
        Bar(high=0.3),
        rule="mean",
        seeds=3,
    ),
    Claim(
        "minority-centres",
        "Past it, nearest class centres still tell minority classes apart. Measured: test accuracy "
        "of nearest centres minus the head's, among the minority classes, the smaller of the two "
        "settings.",
        "observed; the theory of free features merges the means too",
        Bar(low=0.1),
        rule="mean",
        seeds=3,
    ),
)
RUNS = "ncollapse.studies.minority.runs"
PAST = [[150, 5, 5e-2], [150, 3, 8e-2]]

STUDY = Study(
    name="minority",
    question=(
        "Where do minority classifiers merge, is it the imbalance ratio that decides, and do the "
        "classifiers of a real network merge past the predicted transition?"
    ),
    paper="Fang et al. 2021, minority collapse; Hong & Ling 2023, its threshold",
    claims=CLAIMS,
    settings={
        "mini": {
            "seeds": 1,
            "classes": [2, 2],
            "minority": 2,
            "ratios": [2, 4],
            "levels": [0.5, 2.0],
            "epochs": 4,
            "before": [30, 6, 5e-3],
            "past": [[30, 3, 5e-2]],
        },
        "quick": {
            "seeds": 6,
            "classes": [3, 3],
            "minority": 4,
            "ratios": [2, 5, 10, 20],
            "levels": [0.25, 0.4, 0.63, 0.9, 1.11, 1.6, 2.5, 4.0],
            "epochs": 300,
            "before": [120, 12, 5e-3],
            "past": PAST,
        },
        "full": {
            "seeds": 10,
            "classes": [5, 5],
            "minority": 5,
            "ratios": [2, 5, 10, 20, 50],
            "levels": [0.25, 0.4, 0.63, 0.8, 0.95, 1.05, 1.25, 1.6, 2.5, 4.0],
            "epochs": 300,
            "before": [120, 12, 5e-3],
            "past": PAST,
        },
    },
    parts=(
        Part(
            "grid",
            f"{RUNS}:grid",
            ("minority-grid", "minority-ratio", "minority-free-merge"),
            seeded=False,
        ),
        Part(
            "network",
            f"{RUNS}:network",
            (
                "minority-network-before",
                "minority-network-merge",
                "minority-network-blocks",
                "minority-network-inside",
                "minority-head",
                "minority-centres",
            ),
        ),
    ),
    draw=f"{RUNS}:draw",
)
