"""Study: what features keep of their inputs as they collapse."""

from __future__ import annotations

from ncollapse.lab.claims import Bar, ids, mean, noted, worst
from ncollapse.lab.settings import By, sizes
from ncollapse.lab.study import Part, Study
from ncollapse.studies.bars import BASIS, HISTORY

PHASE = "Sakamoto & Sato 2026 (abstract and code read)"
MINIMAL = "derived: any K distinct points keep H(Y) and no more"

TRAINING = (
    mean("information-falls", PHASE, Bar(low=0.3))(
        "With decay, what held-out features share with their inputs falls along training. "
        "Measured: relative fall of nHSIC(Z;X) from the start to the end."
    ),
    mean("information-apart", PHASE, Bar(low=0.0))(
        "It falls at least twice as much as what they share with the class. Measured: relative "
        "fall of nHSIC(Z;X) minus twice that of nHSIC(Z;Y)."
    ),
    mean("information-undecayed", PHASE, Bar(high=0.1))(
        "Not so without decay. Measured: relative fall of nHSIC(Z;X) at λ = 0, as many steps."
    ),
)
COLLAPSED = (
    worst("information-start", "derived", Bar(low=0.99))(
        "Before training, at noise of a tenth of the smallest distance between class means, the "
        "estimate stands at its ceiling. Measured: lower bound on I(Z;X) over log N."
    ),
    worst("information-minimal", MINIMAL, Bar(high=0.05), "nats")(
        "A collapsed network keeps H(Y), at the same relative noise. Measured: the larger of "
        "|lower bound - H(Y)| and |upper bound - H(Y)| of I(Z;X), training samples."
    ),
    worst("information-distorted", MINIMAL, Bar(high=0.05), "nats")(
        "That does not single out the simplex: with its class means stretched and moved at random "
        "the same residuals keep as much. Measured: the same number."
    ),
    worst("information-distorted-frame", MINIMAL, Bar(low=0.2))(
        "The moved means are no simplex. Measured: their distance from one (nc2_etf_means)."
    ),
)
RUNS = "ncollapse.studies.information.runs"

STUDY = Study(
    name="information",
    question=(
        "Do features forget their inputs as they collapse, rather than the class, and does what is "
        "left tell a simplex from other points?"
    ),
    paper="Sakamoto & Sato 2026, on grokking and the information bottleneck by neural collapse",
    claims=noted((*TRAINING, *COLLAPSED), BASIS, HISTORY),
    settings=sizes(
        seeds=By(1, 3, 5),
        first_seed=By(0, 200, 200),
        training={
            "samples": By(4, 20, 20),
            "width": By(16, 100, 200),
            "decay": 1.0,
            "learning_rate": By(2e-2, 3e-3, 1e-3),
            "steps": By(100, 2000, 6000),
        },
        # 0: all training samples.
        collapsed={"samples": By(40, 0, 0), "epochs": By(3, 200, 300), "decay": 1e-2},
    ),
    parts=(
        Part("training", f"{RUNS}:along_training", ids(TRAINING)),
        Part("collapsed", f"{RUNS}:collapsed", ids(COLLAPSED)),
    ),
    draw="ncollapse.studies.information.figures:draw",
    place=150,
)
