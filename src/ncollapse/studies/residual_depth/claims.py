"""Study: residual networks and transformers approach free features as they grow deeper."""

from __future__ import annotations

from ncollapse.lab.claims import Bar, ids, mean, noted, worst
from ncollapse.lab.settings import By, sizes
from ncollapse.lab.study import Part, Study
from ncollapse.studies.bars import BASIS, HISTORY

PAPER = "Súkeník, Lampert & Mondelli 2025 (read in a summary only)"
RATE = f"{PAPER}: a distance of order L^(-1/2) up to logarithms; gaps of order 1/L are derived"
STALL = f"{PAPER}: argued in an appendix, not in a theorem"
SUFFICES = f"{PAPER}: decays o(1/log L) suffice; that they are needed is not shown"

ONE = (
    mean("residual-depth-rn1-gap", RATE, Bar(high=-0.5))(
        "One linear layer a block, constant decay: the objective approaches the optimum of "
        "normalised free features. Measured: slope of log(gap) over log L."
    ),
    mean("residual-depth-rn1-nc1", RATE, Bar(high=-0.5))(
        "So does the geometry. Measured: slope of log NC1 (tr Σ_W / tr Σ_B of the normalised "
        "features) over log L."
    ),
    worst("residual-depth-rn1-falls", RATE, Bar(high=1.0))(
        "Gap and NC1 fall from each depth to the next. Measured: largest ratio of a value to the "
        "one before."
    ),
    mean("residual-depth-no-norm", "ours", Bar(low=0.0), "decades")(
        "Without the final layer normalisation the same network collapses less. Measured: "
        "log₁₀ of NC1 without over NC1 with it."
    ),
)
TWO = (
    mean("residual-depth-rn2-stalls", STALL, Bar(low=-0.25))(
        "Two linear layers a block, constant decay: the gap stalls. Measured: slope of log(gap) "
        "over log L."
    ),
    mean("residual-depth-rn2-log2", SUFFICES, Bar(high=-0.5))(
        "With decay λ/log² L collapse comes with depth again. Measured: slope of log NC1 over "
        "log L."
    ),
    mean("residual-depth-rn2-linear", SUFFICES, Bar(high=-0.5))(
        "With decay λ/L too. Measured: slope of log NC1 over log L."
    ),
    mean("residual-depth-rn2-order", SUFFICES, Bar(high=0.0))(
        "The faster decay falls with L, the faster NC1 does: λ, λ/log L, λ/log² L, λ/L. Measured: "
        "largest difference of the slope of log NC1 to that of the decay before."
    ),
)
TOKENS = (
    mean("residual-depth-tx1-gap", RATE, Bar(high=-0.5))(
        "Transformer, one linear layer in attention and MLP, constant decay: the objective "
        "approaches the optimum. Measured: slope of log(gap) over log L."
    ),
    mean("residual-depth-tx1-nc1", RATE, Bar(high=-0.5))(
        "So does the geometry. Measured: slope of log NC1 over log L."
    ),
    mean("residual-depth-tx2-stalls", STALL, Bar(low=-0.25))(
        "Transformer, two linear layers each, constant decay: the gap stalls. Measured: slope of "
        "log(gap) over log L."
    ),
    mean("residual-depth-tx2-linear", SUFFICES, Bar(high=-0.5))(
        "With decay λ/L collapse comes with depth again. Measured: slope of log NC1 over log L."
    ),
)
RUNS = "ncollapse.studies.residual_depth.runs"

STUDY = Study(
    name="residual-depth",
    question=(
        "Do decayed residual networks and transformers collapse the more the deeper they are, and "
        "does it matter how many linear layers a block has?"
    ),
    paper="Súkeník, Lampert & Mondelli 2025, on deep regularised ResNets and transformers",
    claims=noted((*ONE, *TWO, *TOKENS), BASIS, HISTORY),
    settings=sizes(
        seeds=By(1, 3, 3),
        first_seed=By(0, 100, 100),
        width=64,
        decay=5e-3,
        learning_rate=5e-3,
        # Samples a class and steps, of residual networks and of transformers.
        samples=By(2, 10, 20),
        steps=By(3, 800, 2500),
        token_samples=By(2, 5, 10),
        token_steps=By(3, 300, 2000),
        tokens=4,
        # Slopes are of depths from 2 on; log L is no decay at L = 1.
        rn1=By([2, 3], [2, 8, 32], [1, 2, 4, 8, 16, 32]),
        no_norm=By(2, 8, 8),
        rn2=By([2, 3], [2, 8], [2, 4, 8, 16]),
        tx1=By([1, 2], [1, 4, 8], [1, 2, 4, 8]),
        tx2=By([1, 2], [1, 8], [1, 2, 4, 8]),
    ),
    parts=(
        Part("one", f"{RUNS}:one_layer", ids(ONE)),
        Part("two", f"{RUNS}:two_layers", ids(TWO)),
        Part("tokens", f"{RUNS}:transformers", ids(TOKENS)),
    ),
    draw="ncollapse.studies.residual_depth.figures:draw",
    place=120,
)
