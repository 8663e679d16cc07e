"""Study: how collapse builds up along the layers of one network, and on which path."""

from __future__ import annotations

from ncollapse.lab.claims import Bar, ids, mean, noted, worst
from ncollapse.lab.settings import By, sizes
from ncollapse.lab.study import Part, Study
from ncollapse.studies.bars import BASIS, HISTORY

PFC = "Wang, Gai & Zhang 2024, a conjecture (abstract read)"
PATH = "Wang, Gai & Zhang 2024, for residual networks with weight decay (abstract read)"
LAW = "He & Su 2023 (definition read, of the law the abstract only)"
COUNTER = "ours, from a run of one seed"

ONE = (
    worst("feedforward-pfc1", PFC, Bar(high=1.0))(
        "One linear layer a block, decay: PFC1 (tr(Σ_W Σ_B⁺)/K) falls from each layer to the next. "
        "Measured: largest ratio of a layer's value to that of the layer before."
    ),
    worst("feedforward-pfc3", PFC, Bar(high=0.0))(
        "PFC3, the share nearer to another class's mean, never rises. Measured: largest difference."
    ),
    worst("feedforward-ratio", PFC, Bar(high=1.0))(
        "And tr Σ_W/tr Σ_B. Measured: largest ratio to the layer before."
    ),
    worst("feedforward-pfc2-rises", COUNTER, Bar(low=1.0))(
        "PFC2, the distance of class means from a simplex, is not monotone: it rises within the "
        "first third of the blocks. Measured: largest ratio to the layer before, there."
    ),
    worst("feedforward-pfc2-falls", COUNTER, Bar(high=1.0))(
        "After its early rise PFC2 falls. Measured: largest such ratio behind that third."
    ),
    worst("feedforward-predicted", "derived", Bar(high=0.5))(
        "The geodesic from first to last layer predicts PFC1 of every layer. Measured: largest "
        "|log(measured/predicted)|."
    ),
    mean("feedforward-residual-untrained", PATH, Bar(high=0.0))(
        "The trained path lies nearer to the geodesic than that of the untrained network. "
        "Measured: log of the largest residual over that of the untrained network."
    ),
    mean("feedforward-residual-undecayed", PATH, Bar(high=0.0))(
        "Nearer than that of the network trained without decay. Measured: log of the largest "
        "residual over that at decay 0."
    ),
    mean("feedforward-straight-untrained", PATH, Bar(high=0.0))(
        "The trained path is shorter than the untrained one, in its own end-to-end distances. "
        "Measured: ΣW2/W2 minus that of the untrained network."
    ),
    mean("feedforward-straight-undecayed", PATH, Bar(high=0.0))(
        "Shorter than that at decay 0. Measured: ΣW2/W2 minus that at decay 0."
    ),
    mean("feedforward-law-one", LAW, Bar(high=-0.95))(
        "It follows the law of data separation. Measured: Pearson's r of log D and layer."
    ),
)
TWO = (
    worst("feedforward-two-straight", COUNTER, Bar(high=1.25))(
        "Two linear layers a block, no final normalisation, constant decay: the path is straight. "
        "Measured: ΣW2/W2."
    ),
    worst("feedforward-two-pfc1", COUNTER, Bar(low=0.3))(
        "Yet it does not collapse. Measured: PFC1 of the last layer over that of the first."
    ),
    worst("feedforward-two-pfc2", COUNTER, Bar(low=1.0))(
        "Its means end farther from a simplex. Measured: PFC2 of the last layer over the first."
    ),
    mean("feedforward-law-two", LAW, Bar(high=-0.95))(
        "It follows the law all the same. Measured: r of log D and layer."
    ),
)
PLAIN = (
    mean("feedforward-law-plain", COUNTER, Bar(low=-0.9))(
        "A plain MLP of eight hidden layers, hardly any decay, does not. Measured: the same r."
    ),
)
RUNS = "ncollapse.studies.feedforward.runs"

STUDY = Study(
    name="feedforward",
    question="Does collapse grow layer by layer, on a geodesic of optimal transport, at one rate?",
    paper="Wang, Gai & Zhang 2024, Progressive feedforward collapse of ResNet training",
    claims=noted((*ONE, *TWO, *PLAIN), BASIS, HISTORY),
    settings=sizes(
        seeds=By(1, 3, 5),
        first_seed=By(0, 100, 100),
        # Samples a class, optimiser steps.
        samples=By(4, 40, 40),
        steps=By(3, 1000, 2500),
        learning_rate=5e-3,
        one={"blocks": By(3, 8, 8), "decay": 5e-3},
        two={"blocks": By(3, 6, 6), "decay": 1e-3},
        plain={"layers": By(3, 8, 8), "decay": 1e-5},
    ),
    parts=(
        Part("one", f"{RUNS}:one_layer", ids(ONE)),
        Part("two", f"{RUNS}:two_layers", ids(TWO)),
        Part("plain", f"{RUNS}:plain", ids(PLAIN)),
    ),
    draw="ncollapse.studies.feedforward.figures:draw",
    place=110,
)
