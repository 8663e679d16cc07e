"""Where bars come from, what claims were before, and which are made no more.

BASIS: theory, a paper or a pilot run, with what would refute the claim. HISTORY: former forms of a
claim. RETIRED: by study, claims that are made no more, with the reason. Written down before the
seeds run on which a claim is judged, as the bars are.
"""

from __future__ import annotations

BEFORE = "until version 0.2"
SEEDS = f"{BEFORE}, on other seeds,"
ORDER = "gaps of order 1/log t (Soudry et al. 2018 on linear models, remembered)"
FLOW = "the flow ended at t = 1e10, log t = 23"
DEVIATION = f"{ORDER}: -½ for a deviation; above half of it refutes"
PHASE = "ours; runs of before, on other seeds, had read"
FIRST = f"{BEFORE} counted from the epoch from which error stays zero, which leaves too little time"
PILOT = "a pilot run of one seed"
COSINES = f"{PILOT} at 120/12: cosines of classifiers within .03 of the predicted"
FRAME = "theory: 0; a tenth of the matrix's norm elsewhere refutes. No pilot was run"
NEARER = "theory: 0; 1 would be as far from one frame as from the other. No pilot was run"
POWER = "theory: a power of ¼ where decay is weak; less than half of it refutes. No pilot was run"
PLACES = "two hundredths of an interval, as asked; one network on another seed read .002 and .001"
LINE = "theory: 0; a hundredth of the variance off the line refutes. One network had read"
MADE = f"{BEFORE} at saddles that were made from the optimum, for two losses"
LOTTERY = (
    "Labels of a lottery cannot be guessed, whatever the network: it could fail only if the null "
    "or the labels were wrong."
)

BASIS = {
    "landscape-saddle-other": (
        "theory, for convex losses; for the focal loss nothing is proved globally. One point "
        "refutes"
    ),
    "landscape-saddle-reach": "theory: saddles of every rank below K - 1 where decay is weak",
    "landscape-saddle-curvature": "theory: 0 up to rounding",
    "losses-network-decay": f"theory: 1; wrong by a quarter refutes. {SEEDS} it read .72",
    "losses-network-log": "theory: -1; less than half of it, or twice, refutes",
    "losses-accuracy-narrow": (
        "the bar of the wide network from the other side; these losses had read less than three "
        "points on other seeds"
    ),
    "peeled-margin": (
        f"{ORDER}: about .004 is left at log t = 230, more than .01 refutes; an earlier run had "
        "seen .998 in the worst of its starts"
    ),
    "peeled-diverges": "theory: squared norms are log t over the margin: 2; else refutes",
    "peeled-loss-law": "theory: 1; at another KKT point 1 over its share of the margin",
    "peeled-flow-nc1": f"{ORDER}: -1; above half of it refutes",
    "peeled-flow-nc2": DEVIATION,
    "peeled-flow-nc3": DEVIATION,
    "peeled-margin-narrow": "a pilot run: .830 in the worst of 20 starts; all above .95 refute",
    "peeled-margin-six": f"{ORDER}; eight pilot starts reached .9955 and more",
    "peeled-margin-six-narrow": "eight pilot starts: .927 in the worst; all above .95 refute",
    "imbalance-nc1": (
        "theory: decay shrinks free features alike whatever their counts, so 1; a quarter more "
        "refutes. Plug-in values on other seeds had read .87 [.60, 1.13]"
    ),
    "imbalance-network-blocks": COSINES,
    "imbalance-network-closer": "ours: 1 would be no closer than the simplex",
    "imbalance-longtail": COSINES,
    "imbalance-longtail-closer": "ours: 1 would be no closer than the simplex",
    "minority-network-before": f"{PILOT}, which read .016",
    "minority-network-merge": f"{PILOT}, which read .934 and .989",
    "minority-network-blocks": f"{PILOT}, which read .013 and less",
    "minority-network-inside": f"{PILOT}, which read .066 and .011",
    "minority-head": "chance is .2; half as much again refutes",
    "minority-centres": PILOT,
    "minority-recall-head": (
        "theory: 0; one sample in a hundred refutes. Twelve networks on other seeds read 0"
    ),
    "minority-recall-centres": f"ours: the chance of ten classes; {SEEDS} it read .18 to .34",
    "terminal-phase-nc1": f"{PHASE} at most .048",
    "terminal-phase-nc2": f"{PHASE} .52 at most, above the bar",
    "terminal-phase-nc3": f"{PHASE} at most .24",
    "terminal-phase-margin": f"{PHASE} at least 4.4",
    "frames-ce": FRAME,
    "frames-ls": FRAME,
    "frames-focal": FRAME,
    "frames-mse": FRAME,
    "frames-bias": NEARER,
    "frames-orthogonal-means": NEARER,
    "frames-orthogonal-weights": NEARER,
    "frames-nc1": "ours: class means explain nine tenths of the variance, as where 'collapsed'",
    "frequency-blocks": "theory: 0",
    "frequency-means-mse": POWER,
    "frequency-means-ce": POWER,
    "frequency-weights-mse": POWER,
    "ordinal-diabetes-places": PLACES,
    "ordinal-ink-places": PLACES,
    "ordinal-diabetes-line": f"{LINE} .001",
    "ordinal-ink-line": f"{LINE} .0002",
    "ordinal-phase-below": "theory: 0",
    "ordinal-phase-above": "theory: 0",
    "ordinal-rare-width": "theory: -1 as R grows; a fiftieth away refutes",
    "ordinal-rare-fixed": "theory: 0 by symmetry",
    "ordinal-rare-network": "theory: 1; a factor of 2 either way refutes. No pilot was run",
    "ordinal-rare-recall-learned": "theory: 0; one sample in ten refutes. No pilot was run",
    "ordinal-rare-recall-fixed": "theory: 1; fewer than nine in ten refute. No pilot was run",
}
HISTORY = {
    "landscape-saddle-other": f"{BEFORE} four claims looked at saddles made from the optimum",
    "landscape-saddle-curvature": MADE,
    "landscape-saddle-strict": MADE,
    "losses-network-decay": f"{BEFORE} the bar was .5 to 2, which hardly any slope could miss",
    "losses-network-log": f"{BEFORE} fitted from epoch 100 to 300, where it read -.12",
    "losses-accuracy-narrow": (
        f"{BEFORE} with mean squared error, which does not train a network as narrow as this: the "
        "spread of 34 points was its failure alone"
    ),
    "peeled-margin": f"{BEFORE} {FLOW}, with a bar of .97, which .969 missed",
    "peeled-diverges": (
        f"{BEFORE} {FLOW}; the bar was growth by a tenth from t = 1e5, which could not fail"
    ),
    "peeled-margin-six-narrow": (
        "added when four classes did not stall, judged on seeds that the pilot had not"
    ),
    "imbalance-nc1": (
        f"{BEFORE} plug-in NC1, high in small classes, with a bar of 2, which nothing near "
        "collapse could miss"
    ),
    **{f"terminal-phase-{key}": f"{FIRST}; same bar" for key in ("nc1", "nc2", "nc3", "margin")},
}
RETIRED = {
    "landscape": {
        "landscape-saddle-gradient": (
            "Points that were settled until their gradient vanished have no gradient: it tested "
            "the solver. The census searches for critical points instead."
        )
    },
    "terminal-phase": {
        "terminal-phase-random-null": f"{LOTTERY} It read .96 of its null.",
        "terminal-phase-random-accuracy": f"{LOTTERY} It read 1.0 of chance.",
    },
}
