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
SEED = "a run of one seed had read"
CONJECTURE = "the conjecture; one rise refutes"
NOTHING = "0 is no difference. No pilot was run"
LINE = "above -.95 the logarithm is no line"
SLOPED = "ours: -.1 is a third less from width 8 to 512. No pilot was run"
TENTH = (
    "ours: variance within classes a tenth of that between them, where 'collapsed' begins. No "
    "pilot was run"
)
UNTRIED = "ours: 0 is no difference. No pilot was run"
ROOT = "theory: a bound of L^(-1/2); a slope above it refutes"
STALLS = "ours: half of the rate of blocks of one layer"
READ = "A run of one seed had read"
LOTTERY = (
    "Labels of a lottery cannot be guessed, whatever the network: it could fail only if the null "
    "or the labels were wrong."
)
WITHIN = "asked: .15 decades, a factor of 1.4"
GROK = "A pilot of one seed at one decay (.5) read"
ADDED = "A pilot of one seed read"
KEPT = "A first run of one seed, on features as they are, had read"
NEARLY = (
    "A pilot of one seed at half the epochs had NC1 .003, where V/(2s²) is .07; nothing else read"
)
UNCOLLAPSED = (
    "first judged on seeds 100 to 102 with 40 samples a class and 150 epochs: it read 2.24, of "
    "networks at NC1 .06 (V/(2s²) 1.4), which are not collapsed beside this noise; same bar"
)
HALF = "ours: half of a perfect order. No pilot was run"
EDGE = "the first run"
COUNTED = "theory, for data in general position"
OTHERS = "a first measurement on other draws read"

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
    **{f"feedforward-{key}": CONJECTURE for key in ("pfc1", "pfc3", "ratio")},
    "feedforward-pfc2-rises": f"{SEED} a rise over the first two of eight blocks",
    "feedforward-pfc2-falls": f"{SEED} a fall from the second of eight blocks on",
    "feedforward-predicted": f"ours: a factor of e^.5 either way; {SEED} .36",
    **{
        f"feedforward-{what}-{than}": NOTHING
        for what in ("residual", "straight")
        for than in ("untrained", "undecayed")
    },
    "feedforward-two-straight": f"{SEED} 1.08, and 1.18 of the network that collapses",
    "feedforward-two-pfc1": f"{SEED} .65, and .07 of the network that collapses",
    "feedforward-two-pfc2": f"{SEED} .87 after .66",
    "feedforward-law-one": f"{SEED} -.974; {LINE}",
    "feedforward-law-two": f"{SEED} -.990; {LINE}",
    "feedforward-law-plain": f"{SEED} .14; below -.9 it would be near the law",
    "shallow-never": f"{COUNTED}: 0, and one draw refutes",
    "shallow-sufficient": f"{COUNTED}: 1, and one draw refutes",
    "shallow-not-necessary": f"{OTHERS}: all of ten; half of them would refute",
    "shallow-signal": f"{OTHERS}: .9 and more",
    "shallow-attained": "theory: 0 up to rounding",
    "shallow-two-layers": f"{OTHERS}: .55",
    "shallow-three-layers": f"{OTHERS}: 6.6e-7",
    "shallow-three-narrow": f"{OTHERS}: .68",
    "shallow-optimiser": f"{OTHERS}: .060 over .0033; 1 would be no help",
    "shallow-decay": f"{OTHERS}: .45",
    "shallow-near": f"{OTHERS}: .0033; the low end is above what three layers reach",
    "shallow-no-generalisation": (
        "ours: with ten samples a class in 60 directions of unit noise, means one unit long hardly "
        "show; twice chance refutes. No pilot was run"
    ),
    "shallow-generalisation": "ours: means eight units apart from noise of one. No pilot was run",
    "orthogonal-data-rays": f"theory: 0; {OTHERS}: 9e-9",
    "orthogonal-data-means": f"theory: 0; {OTHERS}: 1e-16",
    "orthogonal-data-nc1": f"{OTHERS}: .022",
    "orthogonal-data-norms": f"theory: 1; {OTHERS}: 1.1, still falling",
    "orthogonal-data-lengths": f"theory: 1; {OTHERS}: .968, still rising",
    "orthogonal-data-dual": f"theory: 1; {OTHERS}: 1.000",
    "orthogonal-data-normalised": "theory: 0; about twice the spread of directions",
    "orthogonal-data-random-rays": "the bar of the other start. No pilot was run",
    "orthogonal-data-random-means": "the bar of the other start. No pilot was run",
    "orthogonal-data-large-rays": f"{OTHERS}: .012",
    "orthogonal-data-large-means": f"{OTHERS}: .050",
    "deep-ufm-below": "a first count had .0019 to .0025 at these depths; zero refutes",
    "deep-ufm-formula": "theory: 0 up to what descent leaves",
    "deep-ufm-above": "theory: 0, and zero is among the points; rounding is 1e-15",
    "deep-ufm-depth-2": "a first count had 1.000 at K = 3 and 6, more beyond",
    "deep-ufm-depth-3": "a first count had 1.005 at K = 15 and .9985 at K = 21",
    "deep-ufm-depth-4": "a first count had .944 at its largest, four matrices and K = 6",
    "deep-ufm-random": "a first count had .89 to .96 in six starts; 1 refutes",
    "deep-ufm-random-rank": "ours: a simplex has 9. A first count had ranks 6 to 8",
    "deep-ufm-random-shallow": "a first count hit it in six of six starts",
    "deep-ufm-lengths": "theory: 0",
    "deep-ufm-lengths-best": "theory for M ≤ 2; not proven beyond",
    **{f"architecture-width-{key}": SLOPED for key in ("gap", "nc1")},
    **{f"architecture-{key}": TENTH for key in ("all", "plain")},
    **{f"architecture-{key}": UNTRIED for key in ("norm", "linear")},
    "architecture-order": "ours: .8 of 1. No pilot was run",
    "residual-depth-rn1-gap": f"{ROOT}. {READ} -.64",
    "residual-depth-rn1-nc1": f"{ROOT}. {READ} -.73; the paper fits -.335",
    "residual-depth-rn1-falls": "theory; a rise anywhere refutes",
    "residual-depth-rn2-stalls": f"{STALLS}. {READ} -.16",
    "residual-depth-rn2-linear": f"{ROOT}. {READ} about -.8",
    "residual-depth-tx2-stalls": f"{STALLS}. No pilot was run",
    **{f"residual-depth-{key}": UNTRIED for key in ("no-norm", "rn2-order")},
    **{
        f"residual-depth-{key}": f"{ROOT}. No pilot was run"
        for key in ("rn2-log2", "tx1-gap", "tx1-nc1", "tx2-linear")
    },
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
    "grokking-delay": "ours: a factor of 2. A pilot of one seed at four times this decay read .15",
    "grokking-exponent": (
        "theory: -1, a seventh away refutes; a first run of one seed (accuracy .9, decays 1 to .1) "
        "had read -.75"
    ),
    "grokking-together": f"{WITHIN}. {GROK} .35",
    "grokking-lag": f"ours: a quarter later. {GROK} .49",
    "grokking-precedes": f"ours: half as late again. {GROK} -.34",
    "grokking-simplex": f"ours: where a frame is near a simplex. {GROK} .60",
    "grokking-addition-delay": f"ours: a factor of ten. {ADDED} 1.4",
    "grokking-addition-hidden": (
        f"ours: as much variance within classes as between. {ADDED} 1.6; a first one 2.5 to 5"
    ),
    "grokking-addition-logits": f"{TENTH.split('.')[0]}. {ADDED} .04",
    "grokking-addition-precedes": f"ours: a factor of 2. {ADDED} 1.9 by the middle of NC1 itself",
    "grokking-addition-together": f"{WITHIN}. {ADDED} .5 by the middle of NC1 itself",
    "information-falls": f"ours: a third. {KEPT} .85",
    "information-apart": f"asked: twice. {KEPT} .85 and .30",
    "information-undecayed": "ours: a tenth. No pilot was run",
    "information-start": "by definition of saturation. No pilot was run",
    "information-minimal": f"theory: 0 as residuals vanish beside the noise. {NEARLY}",
    "information-distorted": f"theory: 0, as for the simplex. {NEARLY}",
    "information-distorted-frame": "ours: no simplex by the cut of verdicts. No pilot was run",
    "incremental-frame": (
        "ours: two points. Without tuning of the learned head a first measurement had 17 to 23"
    ),
    **{f"incremental-poc-{head}": UNTRIED for head in ("frame", "cosine")},
    **{f"incremental-{key}": HALF for key in ("overlap", "forgets", "energy")},
    "incremental-severe": f"ours: half of a perfect order. {EDGE}, five other seeds, read .77 to 1",
    "incremental-shallow": "ours: ten points. No pilot was run",
    "incremental-inflated": "ours: a twentieth farther out. No pilot was run",
    "domain-shift-invariant": "ours: five points. No pilot was run",
    "domain-shift-unseen": UNTRIED,
    "domain-shift-rank": "ours: a tenth. No pilot was run",
}
BASIS |= {
    "optimisers-equal": f"ours: a quarter. {ADDED} 1.05",
    "optimisers-adamw-nc1": f"asked: a factor of 2. {ADDED} 1.1",
    "optimisers-adamw-nc1-equal": f"asked: a factor of 2. {ADDED} .85",
    "optimisers-adamw-nc3": f"asked: a factor of 5. {ADDED} 14",
    "optimisers-adamw-nc3c": f"asked: a factor of 2. {ADDED} 1.8",
    "optimisers-adamw-nc3c-equal": f"the bar at the other decay. {ADDED} 9.8, well beyond it",
    "optimisers-adamw-unseen": f"asked: four fifths. {ADDED} .87",
    "optimisers-adamw-seen": f"ours: half. {ADDED} .27",
    "optimisers-deepest": f"1 is no difference. {ADDED} 3.8, beyond it",
    "optimisers-adam": f"ours: a fifth. {ADDED} .03",
    "optimisers-decoupled": f"ours: a quarter. {ADDED} 1.07 at two of the decays",
    "optimisers-muon-nc1": f"ours: half. {ADDED} .22",
    "optimisers-law-sgdw": "theory: 0 up to float32. No pilot was run",
    "optimisers-nc0": f"ours: a hundredth of orthogonal rows. {ADDED} 1.1e-4",
    "optimisers-nc0-adamw": f"ours: half of orthogonal rows. {ADDED} .064",
    "optimisers-conv-unseen": "the bar of the other network. No pilot was run",
    "contradictions-grokking-logits": f"ours: a factor of 2. {ADDED} .98",
    "contradictions-grokking-hidden": f"0 is together. {ADDED} -.15",
    "contradictions-grokking-unseen": f"0 is together. {ADDED} -.26",
    "contradictions-frame-plain": f"0 is no difference. {OTHERS} -14",
    "contradictions-frame-adjusted": f"ours: two points. {OTHERS} 10",
    "contradictions-frame-loss": f"ours: two points. {OTHERS} -.6",
    "contradictions-thresholds-line": f"as of grades that are not rare. {ADDED} 6e-5",
    "contradictions-thresholds-recall": f"ours: a fifth. {ADDED} .44 and .67 at rarities 5 and 20",
    "contradictions-thresholds-others": f"ours: a tenth. {ADDED} .04",
    "contradictions-depth-one": "theory: 1",
    "contradictions-depth-more": f"ours: a hundredth below. {ADDED} .95 at most",
    "contradictions-depth-rank": f"ours, of 9 for the simplex. {ADDED} 4.0 at most",
    "contradictions-depth-width": f"ours: a twentieth. {ADDED} about 1.15",
    "contradictions-norm-constant": f"the paper's. {ADDED} .12 on five of the settings and another",
    "contradictions-norm-tells": "0 is no difference. No pilot was run",
    "contradictions-loss-reached": f"ours. {ADDED} .029",
    "contradictions-loss-sphere": f"ours: a factor of 3. {ADDED} 114",
    "contradictions-loss-raw": f"ours: a factor of 3. {ADDED} 10",
}
HISTORY = {
    "head-sum-faults": (
        "judged on new seeds: on the first, 38 of 40 were named; weights that diverged hid what "
        "had been seen, and a weak penalty on logits was taken for half precision"
    ),
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
    "information-minimal": UNCOLLAPSED,
    "information-distorted": UNCOLLAPSED,
    **{
        f"incremental-{key}": f"{EDGE} had six settings of the later sessions, the best often at "
        f"the edge, and read {read} points; now seven on either side of it, other seeds, same bar"
        for key, read in (
            ("frame", "-.97 [-4.4, 2.4]"),
            ("poc-frame", "1.07 [-2.3, 4.4]"),
            ("poc-cosine", "-2.6 [-6.6, 1.4]"),
        )
    },
    "incremental-severe": "added when overlap and forgetting went opposite ways in the first run",
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
