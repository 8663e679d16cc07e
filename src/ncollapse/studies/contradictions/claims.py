"""Study: papers that contradict each other, one decisive experiment a pair."""

from __future__ import annotations

from ncollapse.lab.claims import Bar, Claim, ids, mean, noted, worst
from ncollapse.lab.settings import By, sizes
from ncollapse.lab.study import Part, Study
from ncollapse.studies.bars import BASIS, HISTORY

OURS = "ours, between the two"
HAN = "Han et al. 2025: collapse precedes generalisation (abstract read)"
SAKAMOTO = "Sakamoto & Sato 2026: variance within classes of unseen samples (abstract read)"
YANG = "Yang et al. 2022: a fixed simplex serves rare classes (code read)"
MA = "Ma, Obuchi, Tanaka 2025, learned thresholds collapse (page read)"
FIXED = "Ma, Obuchi, Tanaka 2025, fixed thresholds serve a rare grade (page read)"
ZHU = "Zhu et al. 2021: the simplex is optimal (statement remembered)"
CODES = "Garrod & Keating 2024; Súkeník et al. 2024: depth makes it suboptimal (abstracts read)"
ONSET = "2604.00230: collapse starts at a fixed feature norm, CV below 8 % (abstract read)"
SPHERE = "2605.20302: cross-entropy never gets there, losses on the sphere do (abstract read)"

GROKKING = (
    mean("contradictions-grokking-logits", HAN, Bar(low=0.3), "decades")(
        "Addition modulo 31, at the logits: collapse of training samples precedes test accuracy. "
        "Measured: log10 of the half-way step of test accuracy over that of their class share."
    ),
    mean("contradictions-grokking-hidden", OURS, Bar(high=0.0), "decades")(
        "In the hidden layer of the same networks it does not. Measured: the same there."
    ),
    mean("contradictions-grokking-unseen", SAKAMOTO, Bar(high=0.0), "decades")(
        "Collapse of unseen samples precedes it in neither. Measured: the same with unseen "
        "samples, the larger of the two layers."
    ),
)
FRAME = (
    mean("contradictions-frame-plain", YANG, Bar(low=0.0), "points")(
        "Half the digits 40 times rarer: a fixed simplex with dot regression beats a learned head "
        "with cross-entropy. Measured: difference of mean test recall over classes."
    ),
    mean("contradictions-frame-adjusted", OURS, Bar(low=2.0), "points")(
        "A learned head with logit adjustment beats every frame without it. Measured: difference "
        "to the best of frames, over losses and scales by test recall."
    ),
    mean("contradictions-frame-loss", OURS, Bar(-2.0, 2.0), "points")(
        "With it, frame or learned head is all the same. Measured: best frame over scales minus "
        "learned head."
    ),
)
THRESHOLDS = (
    mean("contradictions-thresholds-line", MA, Bar(high=0.01))(
        "Digits by ink, the middle grade ten times rarer: grades collapse onto a line under "
        "learned thresholds too. Measured: share of means' variance off it, learned."
    ),
    mean("contradictions-thresholds-recall", FIXED, Bar(low=0.2))(
        "Fixed ones serve the rare grade better. Measured: its test recall, fixed minus learned."
    ),
    mean("contradictions-thresholds-others", FIXED, Bar(high=0.1))(
        "At little cost to the others. Measured: their mean test recall, learned minus fixed."
    ),
)
DEPTH = (
    worst("contradictions-depth-one", ZHU, Bar(0.9999, 1.0001), seeds=3)(
        "Ten classes under cross-entropy, one decayed matrix over free features: every start ends "
        "at the simplex. Measured: objective over the simplex's, farthest from 1."
    ),
    worst("contradictions-depth-more", CODES, Bar(high=0.99), seeds=3)(
        "Two to five matrices: every start ends below it, at lower cross-entropy, widths K to 8K. "
        "Measured: objective, or cross-entropy, over the simplex's, the largest."
    ),
    worst("contradictions-depth-rank", CODES, Bar(high=5.0), seeds=3, unit="dimensions")(
        "Four and five: on at most five dimensions of nine. Measured: participation of means' "
        "singular values, the largest."
    ),
    mean(
        "contradictions-depth-width", "2605.23087: width pushes back (abstract read)", Bar(low=1.05)
    )(
        "Width pushes back. Measured: mean participation at width 8K over that at K, three to five "
        "matrices."
    ),
)
NORM = (
    mean("contradictions-norm-constant", ONSET, Bar(high=0.08))(
        "Six settings of rate, decay and batch size: collapse (nc1_ratio below .1) starts at one "
        "feature norm. Measured: coefficient of variation of the norm there."
    ),
    mean("contradictions-norm-tells", ONSET, Bar(high=0.0), "decades")(
        "The norm tells the step better than time in units of 1/(ηλ). Measured: mean |log10| error "
        "of the step told from the other settings' norm, minus that from their η λ step."
    ),
)
LOSS = (
    mean("contradictions-loss-reached", "this library, against 2605.20302", Bar(high=0.05))(
        "Cross-entropy with batch normalisation and decay reaches the simplex within an epoch "
        "budget of 200. Measured: mean |cos + 1/9| of class means."
    ),
    mean("contradictions-loss-sphere", SPHERE, Bar(low=3.0))(
        "A loss on the sphere (both sides normalised, temperature .2) gets nearer in the same "
        "budget. Measured: cross-entropy's angle over its, each of what its head multiplies."
    ),
    mean("contradictions-loss-raw", OURS, Bar(low=3.0))(
        "Not in features as they are: their lengths do not collapse. Measured: its nc1_fisher of "
        "raw features over cross-entropy's."
    ),
)
SETTINGS = [[0.05, 5e-3, 128], [0.02, 5e-3, 128], [0.1, 5e-3, 128], [0.05, 2e-3, 128]]
SETTINGS = [*SETTINGS, [0.05, 1e-2, 128], [0.05, 5e-3, 64]]
PAIRS: dict[str, tuple[Claim, ...]] = {
    "grokking": GROKKING,
    "frame": FRAME,
    "thresholds": THRESHOLDS,
}
PAIRS |= {"depth": DEPTH, "norm": NORM, "loss": LOSS}
RUNS = "ncollapse.studies.contradictions.runs"

STUDY = Study(
    name="contradictions",
    question="Where papers on neural collapse contradict each other, what holds?",
    paper="the pairs of docs/what_holds.md",
    claims=noted((claim for pair in PAIRS.values() for claim in pair), BASIS, HISTORY),
    settings=sizes(
        seeds=By(1, 3, 8),
        first_seed=By(0, 100, 100),
        widths=By([16, 16], [256, 256], [256, 256]),
        addition={
            "modulus": By(7, 31, 31),
            "width": By(16, 256, 256),
            "steps": By(40, 1000, 2000),
        },
        frame={
            "ratios": By([40], [40], [10, 40]),
            "samples": By(40, 80, 80),
            "scales": By([10.0], [5.0, 10.0, 20.0], [5.0, 10.0, 20.0]),
            "widths": By([16, 16], [256, 256], [256, 256]),
            "epochs": By(1, 100, 300),
            "batch_size": 64,
            "weight_decay": 5e-4,
        },
        grades={"widths": By([16, 8], [128, 128, 64], [128, 128, 64]), "steps": By(20, 2000, 6000)},
        rarity=10,
        codes={"starts": By(1, 6, 20), "matrices": By([1, 4], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5])},
        classes=By(4, 10, 10),
        fit=0.05,
        norm={
            "settings": By(SETTINGS[:2], SETTINGS, SETTINGS),
            "epochs": By(20, 180, 300),
            "below": By(0.8, 0.1, 0.1),
        },
        loss={"epochs": By(1, 200, 400), "scales": [5.0]},
    ),
    parts=tuple(Part(name, f"{RUNS}:{name}", ids(pair)) for name, pair in PAIRS.items()),
    draw="ncollapse.studies.contradictions.figures:draw",
    place=152,
)
