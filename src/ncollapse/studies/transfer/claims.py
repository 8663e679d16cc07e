"""Study: what becomes of classes never seen, as a network collapses and along its layers."""

from __future__ import annotations

from ncollapse.lab.claims import Bar, ids, mean, worst
from ncollapse.lab.settings import By, sizes
from ncollapse.lab.study import Part, Study

SPLITS = 5
OVER = "Kornblith et al. 2021; Hui et al. 2022 (abstracts read); the setting and bars are ours"
HARUN = "Harun, Gallardo & Kanan 2025 (abstract read); the setting and bars are ours"
BOUND = "Luthra, Salunkhe & Galanti 2026 (authors' code read); the sharper form is derived"
OLD = "Galanti, György & Hutter 2022 (remembered, not read)"
MUNN = "Munn, Dherin & Gonzalvo 2024 (abstract read), from the other side; the regime is ours"
LI = "Li et al. 2024 (abstract read); the setting and bars are ours"
OURS = "this library"
EACH = "mean over splits"

LEVELS = (
    mean("transfer-degree", OVER, Bar(low=3.0), "points", seeds=SPLITS)(
        "Six digits seen, four unseen, six degrees of collapse: the more the seen ones collapse, "
        "the worse 5-shot accuracy on unseen ones at the last layer. Measured: points a decade of "
        f"nc1_fisher (slope), {EACH}."
    ),
    mean("transfer-first-layer", OVER, Bar(low=-2.0, high=2.0), "points", seeds=SPLITS)(
        "The first layer does not lose them. Measured: the same slope at the first layer."
    ),
    mean("transfer-layer", OVER, Bar(low=5.0), "points", seeds=SPLITS)(
        "At the strongest collapse an early layer serves unseen digits better than the last. "
        "Measured: 5-shot accuracy at the first layer minus that at the last."
    ),
    mean("transfer-input", OVER, Bar(low=0.0), "points", seeds=SPLITS)(
        "There pixels serve them better than the last layer. Measured: the same for the inputs."
    ),
    mean("transfer-energy", HARUN, Bar(high=0.0), "points", seeds=SPLITS)(
        "The same collapse tells unseen digits apart as foreign: AUROC of energy rises. Measured: "
        "points a decade of nc1_fisher, which fall as AUROC rises with collapse."
    ),
    mean("transfer-neco", HARUN, Bar(high=0.0), "points", seeds=SPLITS)(
        "So does AUROC of NECO (centred, C - 1 directions). Measured: as before."
    ),
    mean("transfer-target-nc1", LI, Bar(low=0.8), seeds=SPLITS)(
        "NC1 of the unseen digits ranks the networks by their 5-shot error. Measured: Spearman of "
        "target nc1_ratio with the error over the degrees."
    ),
    mean("transfer-complexity-degree", MUNN, Bar(high=0.0), seeds=SPLITS)(
        "Few source classes, more training and decay: lower geometric complexity does not transfer "
        "better. Measured: Spearman of complexity with the 5-shot error over the degrees."
    ),
)
REMEDIES = (
    mean("transfer-pca", OURS, Bar(high=1.0), "points", seeds=SPLITS)(
        "PCA of the seen classes' features (95 % of variance) does not bring back what collapse "
        "lost. Measured: gain in 5-shot accuracy at the strongest collapse."
    ),
    mean("transfer-whitening", OURS, Bar(low=1.0), "points", seeds=SPLITS)(
        "Whitening by the same features brings some of it back. Measured: its gain."
    ),
    mean("transfer-koleo", HARUN, Bar(low=5.0), "points", seeds=SPLITS)(
        "Training with 0.1 KoLeo keeps it. Measured: gain over cross-entropy alone."
    ),
    mean("transfer-coding", OURS, Bar(low=5.0), "points", seeds=SPLITS)(
        "So does 0.01 coding rate. Measured: its gain."
    ),
    mean("transfer-thermostat", OURS, Bar(low=2.0), "points", seeds=SPLITS)(
        "So does a thermostat that holds nc1_fisher at 0.3. Measured: its gain."
    ),
    mean("transfer-koleo-nc1", OURS, Bar(high=0.301), seeds=SPLITS)(
        "NC1 alone does not show it: with KoLeo nc1_fisher is less than twice as large. Measured: "
        "log10 of the ratio."
    ),
    mean("transfer-koleo-regions", OURS, Bar(low=0.03), seeds=SPLITS)(
        "What shows it: with KoLeo features tell a class from its adjacent regions better. "
        "Measured: AUC lost against inputs, cross-entropy alone minus KoLeo."
    ),
    mean("transfer-koleo-entropy", OURS, Bar(low=0.1), "nats", seeds=SPLITS)(
        "And directions off the class means crowd less. Measured: their entropy, KoLeo minus "
        "cross-entropy alone."
    ),
)
BOUNDS = (
    worst("transfer-sharp-below", BOUND, Bar(low=3.0), "networks", seeds=SPLITS)(
        "The sharper bound on the few-shot error says something: it is below 1 at 50 shots for "
        "three networks or more of each split. Measured: for how many of nine."
    ),
    worst("transfer-published", BOUND, Bar(low=1.0), seeds=SPLITS)(
        "The published bound says nothing there. Measured: its smallest value at 50 shots."
    ),
    worst("transfer-vacuous", OLD, Bar(low=1.0), seeds=SPLITS)(
        "Neither does 16(C-1)(1+1/n) CDNV. Measured: its smallest value at 50 shots."
    ),
    worst("transfer-bounded", BOUND, Bar(high=0.0), seeds=SPLITS)(
        "The sharper bound is not violated. Measured: error after 5 shots minus the smaller of "
        "bound and 1, the largest over networks."
    ),
    mean("transfer-rank", BOUND, Bar(low=0.9), seeds=SPLITS)(
        "It ranks networks by their 5-shot error. Measured: Spearman over the nine networks."
    ),
    worst("transfer-normal", OURS, Bar(0.5, 3.4), seeds=SPLITS)(
        "The normal estimate is near the error. Measured: estimate over error at 5 shots, farthest "
        "from the bar over networks."
    ),
)
RATES = (
    mean("transfer-complexity-rate", MUNN, Bar(high=0.0), seeds=SPLITS)(
        "Few source classes, learning rate alone varied (no batch normalisation, decay 5e-4): "
        "lower complexity does not transfer better there either. Measured: Spearman of complexity "
        "with the 5-shot error over the rates."
    ),
)
RUNS = "ncollapse.studies.transfer.runs"
DEGREES = [[3, 0.0], [10, 0.0], [30, 0.0], [100, 5e-4], [100, 2e-3], [100, 5e-3]]

STUDY = Study(
    name="transfer",
    question=(
        "What becomes of classes never seen as a network collapses, which layer serves them, which "
        "remedies help, and which numbers tell it beforehand?"
    ),
    paper="Kornblith et al. 2021; Harun et al. 2025; Luthra et al. 2026; Munn et al. 2024",
    claims=(*LEVELS, *REMEDIES, *BOUNDS, *RATES),
    settings=sizes(
        seen=By(3, 6, 6),
        seeds=By(1, SPLITS, 20),
        first_seed=By(0, 200, 200),
        # Epochs and weight decay, from little collapse to much; the last one is remedied.
        degrees=By([[1, 0.0], [2, 5e-3]], DEGREES, DEGREES),
        rates=By([0.02, 0.05], [0.005, 0.02, 0.05, 0.1], [0.005, 0.02, 0.05, 0.1]),
        rate_epochs=By(1, 40, 100),
        koleo=0.1,
        coding=0.01,
        point=0.3,
        share=0.95,
        draws=By(4, 50, 200),
        around=By(40, 0, 0),
    ),
    parts=(
        Part("split", f"{RUNS}:split", ids((*LEVELS, *REMEDIES, *BOUNDS))),
        Part("rates", f"{RUNS}:rates", ids(RATES)),
    ),
    draw="ncollapse.studies.transfer.figures:draw",
    place=150,
)
