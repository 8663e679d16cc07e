"""Study: which architectures collapse at an equal recipe, and how near free features they are."""

from __future__ import annotations

from ncollapse.lab.claims import Bar, ids, mean, noted
from ncollapse.lab.settings import By, sizes
from ncollapse.lab.study import Part, Study
from ncollapse.studies.bars import BASIS, HISTORY

ALL = "Papyan, Han & Donoho 2020 (remembered, not read) see it in all networks they train"
FREE = "Zhu et al. 2021 (remembered, not read): features of wide networks are as good as free"
DERIVED = "derived: a linear map keeps what varies within a class in more samples than dimensions"
CERTIFIED = "ours; the bound is certified for every width"

WIDTHS = (
    mean("architecture-width-gap", FREE, Bar(high=-0.1))(
        "MLPs with BatchNorm come nearer to free features as they grow wider. Measured: slope of "
        "log(certified relative gap) over log width."
    ),
    mean("architecture-width-nc1", FREE, Bar(high=-0.1))(
        "So does NC1 fall. Measured: slope of log(tr Σ_W / tr Σ_B) over log width."
    ),
)
KINDS = (
    mean("architecture-all", ALL, Bar(high=0.1))(
        "All architectures collapse at the same recipe, but for the linear network and the plain "
        "MLP: MLPs with ReLU, GELU and tanh under BatchNorm, ReLU under LayerNorm, a CNN, a "
        "ResNet, a transformer. Measured: largest tr Σ_W / tr Σ_B on the training samples."
    ),
    mean("architecture-plain", "ours", Bar(low=0.1))(
        "Not all architectures collapse: a plain MLP (ReLU, no normalisation) with cross-entropy "
        "does not. Measured: tr Σ_W / tr Σ_B on the training samples."
    ),
    mean("architecture-norm", "ours", Bar(low=0.0), "decades")(
        "Without BatchNorm the same MLP ends farther from free features. Measured: log₁₀ of the "
        "certified relative gap of the plain MLP over that with BatchNorm."
    ),
    mean("architecture-linear", DERIVED, Bar(low=0.0), "decades")(
        "Without activations it does too. Measured: log₁₀ of the certified relative gap of the "
        "linear network over that with ReLU, both with BatchNorm."
    ),
    mean("architecture-order", CERTIFIED, Bar(low=0.8))(
        "The certified gap ranks networks as NC1 does. Measured: Spearman's correlation of the two "
        "over all networks of a seed."
    ),
)
RUNS = "ncollapse.studies.architecture.runs"

STUDY = Study(
    name="architecture",
    question=(
        "Which of width, activation, normalisation and kind of network decide whether a network "
        "collapses at the same recipe, and how near to free features it ends?"
    ),
    paper="Papyan, Han & Donoho 2020, Prevalence of neural collapse",
    claims=noted((*WIDTHS, *KINDS), BASIS, HISTORY),
    settings=sizes(
        seeds=By(1, 3, 3),
        first_seed=By(0, 100, 100),
        # One recipe for all: SGD with momentum 0.9, cosine schedule, cross-entropy.
        samples=By(4, 30, 150),
        epochs=By(2, 60, 300),
        batch_size=By(16, 32, 64),
        learning_rate=0.05,
        weight_decay=5e-3,
        widths=By([8, 16], [8, 32, 128, 512], [8, 16, 32, 64, 128, 256, 512]),
        width=By(16, 128, 256),
        channels=By([4, 8], [8, 16, 32], [32, 64, 128]),
        resnet=By(2, 4, 16),
        features=By(16, 64, 128),
        blocks=By(1, 1, 4),
    ),
    parts=(Part("networks", f"{RUNS}:networks", ids((*WIDTHS, *KINDS))),),
    draw="ncollapse.studies.architecture.figures:draw",
    place=130,
)
