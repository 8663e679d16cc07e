"""Study: which optimizers collapse, what of NC3 softmax can see, all at one training loss."""

from __future__ import annotations

from ncollapse.lab.claims import Bar, ids, mean, noted, worst
from ncollapse.lab.settings import By, sizes
from ncollapse.lab.study import Part, Study
from ncollapse.studies.bars import BASIS, HISTORY

ZHAO = "Zhao et al. 2026: decoupled decay prevents neural collapse (abstract read)"
AGAINST = f"{ZHAO}, from the other side"
SUM = "Zhao et al. 2026 for SGD (page read); for SGDW and Muon derived here"
OURS = "this library"
MEMORY = "an earlier run of ours, its settings lost (remembered)"

ADAMW = (
    worst("optimisers-equal", OURS, Bar(high=1.25), seeds=3)(
        "Under the strongest decay of each the five optimizers end at one training loss. Measured: "
        "the largest over the smallest cross-entropy."
    ),
    mean("optimisers-adamw-nc1", AGAINST, Bar(high=2.0))(
        "AdamW with decay 5 is as collapsed as SGD with 5e-3. Measured: ratio of nc1_fisher."
    ),
    mean("optimisers-adamw-nc1-equal", AGAINST, Bar(high=2.0))(
        "So it is as SGD at one training loss (decay .02). Measured: ratio of nc1_fisher."
    ),
    mean("optimisers-adamw-nc3", ZHAO, Bar(low=5.0))(
        "Its head is not dual. Measured: ratio of NC3² to that of SGD with 5e-3."
    ),
    mean("optimisers-adamw-nc3c", OURS, Bar(high=2.0))(
        "It is once its rows are centred. Measured: ratio of NC3² of the centred head to that of "
        "SGD with 5e-3."
    ),
    mean("optimisers-adamw-nc3c-equal", OURS, Bar(high=2.0))(
        "So it is beside SGD at one training loss. Measured: the same ratio to SGD with .02."
    ),
    mean("optimisers-adamw-unseen", OURS, Bar(low=0.8))(
        "Most of its NC3² is a direction that softmax cannot see. Measured: 1 - NC3c²/NC3²."
    ),
    mean("optimisers-adamw-seen", OURS, Bar(high=0.5))(
        "Under weak decay (.5) most of it is not. Measured: the same share."
    ),
    mean("optimisers-deepest", MEMORY, Bar(high=1.0))(
        "At one training loss AdamW has the deepest NC1 of the five. Measured: its nc1_fisher over "
        "the least of the others."
    ),
)
OTHERS = (
    mean("optimisers-adam", ZHAO, Bar(high=0.2))(
        "Coupled decay makes Adam dual at that loss. Measured: its NC3² over AdamW's."
    ),
    mean("optimisers-decoupled", OURS, Bar(high=1.25))(
        "Decoupling alone changes nothing: SGDW with ten times the decay ends where SGD does. "
        "Measured: the largest factor between their nc1_fisher, angles and NC3² at three decays."
    ),
    mean("optimisers-muon-nc1", OURS, Bar(high=0.5))(
        "Muon, decoupled, collapses further than SGD at one training loss. Measured: ratio of "
        "nc1_fisher."
    ),
)
HEAD = (
    worst("optimisers-law-sgdw", SUM, Bar(high=1e-4), seeds=3)(
        "Wᵀ1 under SGDW ends at Π(1 - η_t λ) of what it was. Measured: the largest |difference| "
        "over the size at the start, three decays."
    ),
    worst("optimisers-nc0", SUM, Bar(high=1e-3), seeds=3)(
        "Rows cancel under decoupled decay: SGDW and Muon, the two stronger decays. Measured: the "
        "largest nc0."
    ),
    worst("optimisers-nc0-adamw", ZHAO, Bar(low=0.05), seeds=3)(
        "They do not under AdamW, whatever the decay. Measured: the least nc0 of three."
    ),
)
CONV = (
    mean("optimisers-conv-unseen", OURS, Bar(low=0.8))(
        "Convolutions: of AdamW's NC3² at decay 5 too. Measured: 1 - NC3c²/NC3²."
    ),
)
PAIR = [["SGD", 5e-3], ["AdamW", 5.0]]
MORE = [*PAIR, ["SGD", 2e-2], ["SGDW", 0.05], ["Adam", 5e-3], ["AdamW", 0.5], ["Muon", 0.5]]
DECAYS = {
    "SGD": [5e-4, 5e-3, 0.02],
    "SGDW": [5e-3, 0.05, 0.2],
    "Adam": [5e-4, 5e-3, 0.025],
    "AdamW": [0.05, 0.5, 5.0],
    "Muon": [0.05, 0.15, 0.5],
}
RUNS = "ncollapse.studies.optimisers.runs"

STUDY = Study(
    name="optimisers",
    question=(
        "Which optimizers collapse at one training loss, and how much of a head that is not dual "
        "can softmax see?"
    ),
    paper="Zhao, Cheng, Masarczyk, Lucchi 2026, optimizer choice and neural collapse",
    claims=noted((*ADAMW, *OTHERS, *HEAD, *CONV), BASIS, HISTORY),
    settings=sizes(
        seeds=By(1, 3, 5),
        first_seed=By(0, 100, 100),
        epochs=By(1, 200, 400),
        every=By(1, 10, 10),
        widths=By([16, 16], [256, 256], [256, 256]),
        # Weak, middle, strong; under the strong ones all five end near one training loss.
        decays=DECAYS,
        channels=By([4, 4], [16, 32, 64], [32, 64, 128]),
        conv_epochs=By(1, 80, 200),
        conv=By(PAIR, PAIR, MORE),
    ),
    parts=(
        Part("mlp", f"{RUNS}:network", ids((*ADAMW, *OTHERS, *HEAD))),
        Part("conv", f"{RUNS}:convolutions", ids(CONV)),
    ),
    draw="ncollapse.studies.optimisers.figures:draw",
    place=131,
)
