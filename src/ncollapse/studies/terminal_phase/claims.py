"""Study: what happens after zero training error, and what collapse on random labels is worth."""

from __future__ import annotations

from ncollapse.lab.claims import Bar, Claim
from ncollapse.lab.study import Part, Study

PAPYAN = "Papyan, Han & Donoho 2020 (statements remembered, not read); the bar is ours"
RANDOM = "Zhang et al. 2017 fit random labels (remembered, not read); the comparison is ours"

CLAIMS = (
    Claim(
        "terminal-phase-nc1",
        "NC1 falls tenfold after training error reached zero. Measured: nc1_fisher at the end over "
        "its value at zero error (the first epoch from which it stays zero); the network where it "
        "fell least.",
        PAPYAN,
        Bar(high=0.1),
    ),
    Claim(
        "terminal-phase-nc2",
        "NC2 halves after it. Measured: readings at the end over those at zero error, the largest "
        "of equal norms (means, weights) and distance to the simplex (means, weights).",
        PAPYAN,
        Bar(high=0.5),
    ),
    Claim(
        "terminal-phase-nc3",
        "NC3 halves after it. Measured: nc3_duality at the end over its value at zero error; the "
        "network where it fell least.",
        PAPYAN,
        Bar(high=0.5),
    ),
    Claim(
        "terminal-phase-slopes",
        "All readings of NC1, NC2 and NC3 keep falling. Measured: slope of log10 reading against "
        "log10 step since zero error, upper end of its 95 % interval; the largest.",
        PAPYAN,
        Bar(high=0.0),
    ),
    Claim(
        "terminal-phase-margin",
        "The smallest training margin at least doubles after it. Measured: margin_min (logit of "
        "the label minus the next) at the end over that at zero error; the smallest ratio.",
        PAPYAN,
        Bar(low=2.0),
    ),
    Claim(
        "terminal-phase-decisions",
        "Meanwhile test decisions settle. Measured: share of them that change from one look to the "
        "next, the largest in the last quarter of the terminal phase.",
        PAPYAN,
        Bar(high=1.0),
        unit="%",
    ),
    Claim(
        "terminal-phase-decisions-kept",
        "Few test decisions change at all once training error is zero. Measured: share of them "
        "that differ between the epoch of zero error and the end.",
        PAPYAN,
        Bar(high=1.0),
        unit="%",
    ),
    Claim(
        "terminal-phase-nc4",
        "NC4: the classifier decides as nearest class centres do. Measured: nc4_mismatch on the "
        "training split at the end; the largest.",
        PAPYAN,
        Bar(high=0.5),
        unit="%",
    ),
    Claim(
        "terminal-phase-random-nc1",
        "Networks collapse on random labels too. Measured: nc1_fisher on the training split at the "
        "end of training on shuffled labels, where training error is zero.",
        RANDOM,
        Bar(high=0.1),
    ),
    Claim(
        "terminal-phase-random-null",
        "Held-out samples, labelled at random as the training samples were, show none of it. "
        "Measured: their nc1_fisher over its null for shuffled labels, mean of 20 labellings.",
        RANDOM,
        Bar(low=0.9, high=1.1),
        rule="mean",
        seeds=3,
    ),
    Claim(
        "terminal-phase-random-accuracy",
        "Accuracy on the same held-out samples stays at chance. Measured: accuracy over chance, "
        "mean of 20 labellings.",
        RANDOM,
        Bar(low=0.9, high=1.1),
        rule="mean",
        seeds=3,
    ),
    Claim(
        "terminal-phase-random-apart",
        "So collapse on the training split alone does not imply generalisation. Measured: held-out "
        "nc1_fisher after random labels over that after the true labels of the same images, where "
        "both have nc1_fisher ≤ 0.1 in training; the smallest ratio.",
        RANDOM,
        Bar(low=10.0),
    ),
    Claim(
        "terminal-phase-random-true-accuracy",
        "Trained on random labels, accuracy on held-out digits under their true labels stays at "
        "chance. Measured: accuracy over chance.",
        RANDOM,
        Bar(low=0.5, high=1.5),
        rule="mean",
        seeds=3,
    ),
    Claim(
        "terminal-phase-random-true-nc1",
        "Trained on random labels, held-out digits do not gather by their true class either. "
        "Measured: nc1_fisher under true labels over its null for shuffled labels.",
        RANDOM,
        Bar(low=0.5),
        rule="mean",
        seeds=3,
    ),
)
RUNS = "ncollapse.studies.terminal_phase.runs"
PHASE = tuple(claim.id for claim in CLAIMS if "-random-" not in claim.id)
SHUFFLED = tuple(claim.id for claim in CLAIMS if "-random-" in claim.id)
# The names that `ncollapse study run` can set from its options stand at the top level.
COMMON = {
    "model": ["mlp", "conv"],
    "data": "digits",
    "device": "cpu",
    "image_size": None,
    "workers": 0,
    "learning_rate": 0.05,
    "weight_decay": 5e-3,
    "schedule": "cosine",
}

STUDY = Study(
    name="terminal-phase",
    question=(
        "Does everything that neural collapse names keep falling after training error is zero, "
        "while decisions stay, and does it imply generalisation?"
    ),
    paper="Papyan, Han & Donoho 2020, Prevalence of neural collapse in the terminal phase",
    claims=CLAIMS,
    settings={
        "mini": {
            **COMMON,
            "seeds": 1,
            "epochs": 20,
            "batch_size": 20,
            "every": 5,
            "samples": 100,
            "random": {"samples": 40, "model": "mlp"},
        },
        "quick": {
            **COMMON,
            "seeds": 4,
            "epochs": 200,
            "batch_size": 64,
            "every": 1,
            "samples": 0,
            "random": {"samples": 400, "model": "mlp"},
        },
        "full": {
            **COMMON,
            "seeds": 10,
            "epochs": 400,
            "batch_size": 64,
            "every": 1,
            "samples": 0,
            "random": {"samples": 400, "model": "mlp"},
        },
    },
    parts=(
        Part("ce", f"{RUNS}:cross_entropy", PHASE),
        Part("mse", f"{RUNS}:squared_error", PHASE),
        Part("random", f"{RUNS}:random_labels", SHUFFLED),
    ),
    draw=f"{RUNS}:draw",
)
