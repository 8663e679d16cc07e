"""Study: what happens after zero training error, and what collapse on random labels is worth."""

from __future__ import annotations

from ncollapse.lab.claims import Bar, ids, mean, noted, worst
from ncollapse.lab.settings import By, sizes
from ncollapse.lab.study import Part, Study
from ncollapse.studies.bars import BASIS, HISTORY, RETIRED

PAPYAN = "Papyan, Han & Donoho 2020 (statements remembered, not read); the bar is ours"
RANDOM = "Zhang et al. 2017 fit random labels (remembered, not read); the comparison is ours"

PHASE = (
    worst("terminal-phase-nc1", PAPYAN, Bar(high=0.1))(
        "NC1 falls tenfold after training error first reached zero. Measured: nc1_fisher at the "
        "end over its value at the first epoch of zero error; the network where it fell least."
    ),
    worst("terminal-phase-nc2", PAPYAN, Bar(high=0.5))(
        "NC2 halves after it. Measured: readings at the end over those at the first zero error, "
        "the largest of equal norms (means, weights) and distance to the simplex (means, weights)."
    ),
    worst("terminal-phase-nc3", PAPYAN, Bar(high=0.5))(
        "NC3 halves after it. Measured: nc3_duality at the end over its value at the first zero "
        "error; the network where it fell least."
    ),
    worst("terminal-phase-slopes", PAPYAN, Bar(high=0.0))(
        "All readings of NC1, NC2 and NC3 keep falling. Measured: slope of log10 reading against "
        "log10 step since error stays zero, upper end of its 95 % interval; the largest."
    ),
    worst("terminal-phase-margin", PAPYAN, Bar(low=2.0))(
        "The smallest training margin at least doubles after it. Measured: margin_min (logit of "
        "the label minus the next) at the end over that at the first zero error; the smallest "
        "ratio."
    ),
    worst("terminal-phase-decisions", PAPYAN, Bar(high=1.0), "%")(
        "Meanwhile test decisions settle. Measured: share of them that change from one look to the "
        "next, the largest in the last quarter of the terminal phase."
    ),
    worst("terminal-phase-decisions-kept", PAPYAN, Bar(high=1.0), "%")(
        "Few test decisions change at all once training error stays zero. Measured: share of them "
        "that differ between that epoch and the end."
    ),
    worst("terminal-phase-nc4", PAPYAN, Bar(high=0.5), "%")(
        "NC4: the classifier decides as nearest class centres do. Measured: nc4_mismatch on the "
        "training split at the end; the largest."
    ),
)
SHUFFLED = (
    worst("terminal-phase-random-nc1", RANDOM, Bar(high=0.1))(
        "Networks collapse on random labels too. Measured: nc1_fisher on the training split at the "
        "end of training on shuffled labels, where training error is zero."
    ),
    worst("terminal-phase-random-apart", RANDOM, Bar(low=10.0))(
        "So collapse on the training split alone does not imply generalisation. Measured: held-out "
        "nc1_fisher after random labels (mean of 20 labellings) over that after the true labels "
        "of the same images, where both have nc1_fisher ≤ 0.1 in training; the smallest ratio."
    ),
    mean("terminal-phase-random-true-accuracy", RANDOM, Bar(low=0.5, high=1.5))(
        "Trained on random labels, accuracy on held-out digits under their true labels stays at "
        "chance. Measured: accuracy over chance."
    ),
    mean("terminal-phase-random-true-nc1", RANDOM, Bar(low=0.5))(
        "Trained on random labels, held-out digits do not gather by their true class either. "
        "Measured: nc1_fisher under true labels over its null for shuffled labels."
    ),
)
RUNS = "ncollapse.studies.terminal_phase.runs"

STUDY = Study(
    name="terminal-phase",
    question=(
        "Does everything that neural collapse names keep falling after training error is zero, "
        "while decisions stay, and does it imply generalisation?"
    ),
    paper="Papyan, Han & Donoho 2020, Prevalence of neural collapse in the terminal phase",
    claims=noted((*PHASE, *SHUFFLED), BASIS, HISTORY),
    settings=sizes(
        model=["mlp", "conv"],
        data="digits",
        device="cpu",
        image_size=None,
        workers=0,
        learning_rate=0.05,
        weight_decay=5e-3,
        schedule="cosine",
        seeds=By(1, 4, 10),
        first_seed=By(0, 100, 100),
        epochs=By(20, 200, 400),
        batch_size=By(20, 64, 64),
        every=By(5, 1, 1),
        samples=By(100, 0, 0),
        random={"samples": By(40, 400, 400), "model": "mlp"},
    ),
    parts=(
        Part("ce", f"{RUNS}:networks", ids(PHASE), given={"loss": "ce"}),
        Part("mse", f"{RUNS}:networks", ids(PHASE), given={"loss": "mse"}),
        Part("random", f"{RUNS}:random_labels", ids(SHUFFLED)),
    ),
    draw="ncollapse.studies.terminal_phase.figures:draw",
    place=60,
    retired=RETIRED["terminal-phase"],
)
