"""Study: the phase transition past which minority classifiers merge."""

from __future__ import annotations

from ncollapse.lab.claims import Bar, ids, mean, noted, worst
from ncollapse.lab.settings import By, sizes
from ncollapse.lab.study import Part, Study
from ncollapse.studies.bars import BASIS, HISTORY

EXACT = "derived; Hong & Ling 2023 state √n_B/N for cross-entropy (text not read)"
OBSERVED = "observed; the theory of free features merges the means too"
FITTED = "derived; one scalar τ is fitted to the network's mean logits"
MERGED = "follows from merged classifiers"

GRID = (
    worst("minority-grid", EXACT, Bar(high=1.0), "grid steps")(
        "Minority classifiers merge where N² λ_W λ_H reaches n_g: predicted against descent on a "
        "grid of imbalance and decay (as multiples of the predicted one). Measured: largest "
        "distance between the two boundaries."
    ),
    worst("minority-ratio", EXACT, Bar(low=1.0))(
        "The imbalance ratio alone does not decide: at every ratio there are decays that merge the "
        "minority and decays that do not, as predicted. Measured: share of ratios where descent "
        "shows both."
    ),
    worst("minority-free-merge", EXACT, Bar(high=1e-3))(
        "Past the threshold the minority classifiers of free features coincide. Measured: largest "
        "distance between two of them over the largest norm, at twice the threshold."
    ),
)
NETWORK = (
    mean("minority-network-before", FITTED, Bar(high=0.3))(
        "Digits at 120/12 samples a class and decay 5e-3, before the transition: minority "
        "classifiers stay apart. Measured: their mean cosine."
    ),
    mean("minority-network-merge", FITTED, Bar(low=0.9))(
        "Digits at 150/5 (decay 5e-2) and 150/3 (decay 8e-2), past it: minority classifiers merge. "
        "Measured: the smaller of the two mean cosines."
    ),
    mean("minority-network-blocks", FITTED, Bar(high=0.03))(
        "Past it, the predicted mean cosines of classifiers within the majority and across groups. "
        "Measured: largest |difference|."
    ),
    mean("minority-network-inside", FITTED, Bar(high=0.03))(
        "Past it, the predicted cosine within the minority (1 exactly). Measured: largest "
        "|difference|."
    ),
    mean("minority-head", MERGED, Bar(high=0.3))(
        "Past it, the head cannot tell minority classes apart. Measured: test accuracy of the head "
        "among the five minority classes alone (chance 0.2), the larger of the two settings."
    ),
    mean("minority-centres", OBSERVED, Bar(low=0.1))(
        "Past it, nearest class centres still tell minority classes apart. Measured: test accuracy "
        "of nearest centres minus the head's, among the minority classes, the smaller of the two "
        "settings."
    ),
    mean(
        "minority-recall-head",
        f"{MERGED}, with logits below the majority's; Fang et al. 2021 (remembered)",
        Bar(high=0.01),
    )(
        "Past it, the head names no minority class at all. Measured: recall of minority classes "
        "among all ten on test samples, the larger of the two settings."
    ),
    mean("minority-recall-centres", OBSERVED, Bar(low=0.1))(
        "Past it, nearest class centres still name some. Measured: their recall of minority "
        "classes among all ten on test samples, the smaller of the two settings."
    ),
)
RUNS = "ncollapse.studies.minority.runs"
PAST = [[150, 5, 5e-2], [150, 3, 8e-2]]

STUDY = Study(
    name="minority",
    question=(
        "Where do minority classifiers merge, is it the imbalance ratio that decides, and do the "
        "classifiers of a real network merge past the predicted transition?"
    ),
    paper="Fang et al. 2021, minority collapse; Hong & Ling 2023, its threshold",
    claims=noted((*GRID, *NETWORK), BASIS, HISTORY),
    settings=sizes(
        seeds=By(1, 4, 10),
        first_seed=By(0, 100, 100),
        classes=By([2, 2], [3, 3], [5, 5]),
        minority=By(2, 4, 5),
        ratios=By([2, 4], [2, 5, 10, 20], [2, 5, 10, 20, 50]),
        levels=By(
            [0.5, 2.0],
            [0.25, 0.4, 0.63, 0.9, 1.11, 1.6, 2.5, 4.0],
            [0.25, 0.4, 0.63, 0.8, 0.95, 1.05, 1.25, 1.6, 2.5, 4.0],
        ),
        epochs=By(4, 300, 300),
        # Samples of a majority and of a minority class, and the decay.
        before=By([30, 6, 5e-3], [120, 12, 5e-3], [120, 12, 5e-3]),
        past=By([[30, 3, 5e-2]], PAST, PAST),
    ),
    parts=(
        Part("grid", f"{RUNS}:grid", ids(GRID), seeded=False),
        Part("network", f"{RUNS}:network", ids(NETWORK)),
    ),
    draw="ncollapse.studies.minority.figures:draw",
    place=50,
)
