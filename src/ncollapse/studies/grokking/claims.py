"""Study: whether late generalisation is late collapse, and how its delay depends on decay."""

from __future__ import annotations

from ncollapse.lab.claims import Bar, ids, mean, noted, worst
from ncollapse.lab.settings import By, sizes
from ncollapse.lab.study import Part, Study
from ncollapse.studies.bars import BASIS, HISTORY

LAW = "Sakamoto & Sato 2026 (abstract and code read; constants not seen)"
COUNTER = "Han et al. 2025 (abstract read)"
OURS = "ours, from first runs"

DIGITS = (
    mean("grokking-delay", LAW, Bar(low=0.3), "decades")(
        "Digits from a large start, the weakest decay: test accuracy is half way at least a factor "
        "of 2 later than training accuracy. Measured: log10 of the two steps' ratio."
    ),
    mean("grokking-exponent", LAW, Bar(-1.15, -0.85))(
        "The step at which test accuracy is half way is proportional to 1/λ. Measured: fitted "
        "power of λ."
    ),
    worst("grokking-together", LAW, Bar(high=0.15), "decades")(
        "Held-out collapse and test accuracy come together. Measured: largest |log10| over decays "
        "of the ratio of their half-way steps (collapse: class share of what enters the head)."
    ),
    mean("grokking-lag", OURS, Bar(low=0.1), "decades")(
        "Collapse of training samples lags training accuracy. Measured: smallest log10 over decays "
        "of the ratio of their half-way steps."
    ),
    mean("grokking-precedes", COUNTER, Bar(low=0.15), "decades")(
        "Collapse of training samples precedes test accuracy. Measured: smallest log10 over decays "
        "of the half-way step of test accuracy over that of training collapse."
    ),
    mean("grokking-simplex", "theory proves nothing of the simplex", Bar(low=0.2))(
        "It takes no simplex. Measured: distance of training class means from a simplex "
        "(nc2_etf_means) at the first look with nine tenths of the final test accuracy, smallest "
        "over decays."
    ),
)
ADDITION = (
    mean("grokking-addition-delay", OURS, Bar(low=1.0), "decades")(
        "Addition modulo a prime: test accuracy is half way ten times later than training "
        "accuracy. Measured: log10 of the ratio."
    ),
    worst("grokking-addition-hidden", OURS, Bar(low=1.0))(
        "The hidden layer does not collapse. Measured: its NC1 (tr Σ_W/tr Σ_B) on training samples "
        "at the end."
    ),
    worst("grokking-addition-logits", OURS, Bar(high=0.1))(
        "The logits do, on unseen samples too. Measured: the larger of their NC1 on training and "
        "on unseen samples at the end."
    ),
    mean("grokking-addition-precedes", COUNTER, Bar(low=0.3), "decades")(
        "Collapse of the training samples' logits precedes test accuracy. Measured: log10 of the "
        "half-way step of test accuracy over that of their class share."
    ),
    mean("grokking-addition-together", LAW, Bar(-0.15, 0.15), "decades")(
        "Collapse of the unseen samples' logits does not: it comes with test accuracy. Measured: "
        "the same with the class share of unseen samples."
    ),
)
RUNS = "ncollapse.studies.grokking.runs"

STUDY = Study(
    name="grokking",
    question=(
        "Is late generalisation late collapse of unseen samples, does its delay go like 1/decay, "
        "and does collapse precede it?"
    ),
    paper="Sakamoto & Sato 2026, on grokking and the information bottleneck by neural collapse",
    claims=noted((*DIGITS, *ADDITION), BASIS, HISTORY),
    settings=sizes(
        seeds=By(1, 3, 5),
        first_seed=By(0, 100, 100),
        # Training samples a class; width of the two hidden layers; times/(η λ) steps a decay.
        digits={
            "samples": By(4, 20, 20),
            "width": By(32, 100, 200),
            "decays": By([2.0, 1.0], [0.5, 0.25, 0.125], [0.5, 0.25, 0.125, 0.0625]),
            "learning_rate": By(1e-2, 5e-3, 2e-3),
            "times": By(2.0, 4.0, 4.0),
        },
        addition={
            "modulus": By(7, 31, 31),
            "width": By(16, 256, 256),
            "decay": 1.0,
            "learning_rate": 5e-3,
            "steps": By(100, 1000, 2000),
        },
    ),
    parts=(
        Part("digits", f"{RUNS}:small_data", ids(DIGITS)),
        Part("addition", f"{RUNS}:modular", ids(ADDITION)),
    ),
    draw="ncollapse.studies.grokking.figures:draw",
    place=140,
)
