"""Study: how collapsed is best for what, along one thermostat sweep."""

from __future__ import annotations

from ncollapse.lab.claims import Bar, ids, mean, noted
from ncollapse.lab.settings import By, sizes
from ncollapse.lab.study import Part, Study
from ncollapse.studies.bars import BASIS, HISTORY

HUI = "Papyan, Han & Donoho 2020 on benefits of the terminal phase (remembered, not read)"
HARUN = "Harun, Gallardo & Kanan 2025: detection wants collapse, transfer does not (abstract read)"
SU = "Su et al. 2024 (code read)"
OURS = "this library"
WHERE = (
    "Measured: place of the best set point among those swept, 0 for the most collapsed and 1 for "
    "the least."
)

SWEEP = (
    mean("paradigms-severity", OURS, Bar(low=1.0), "decades", 4)(
        "The sweep is one of severity. Measured: log10 of the largest over the smallest nc1_fisher "
        "that was reached, training split."
    ),
    mean("paradigms-classification", HUI, Bar(high=1 / 3), "", 4)(
        f"Classification of the digits that are trained on is best at complete collapse. {WHERE}"
    ),
    mean("paradigms-ood", HARUN, Bar(high=1 / 3), "", 4)(
        "So is telling digits apart that were never seen, by the AUROC of energy. " + WHERE
    ),
    mean("paradigms-transfer", HARUN, Bar(0.2, 0.8), "", 4)(
        "5-shot accuracy on unseen digits is best in between. " + WHERE
    ),
)
HARD = (
    mean("paradigms-aligned", SU, Bar(high=15.0), "degrees", 4)(
        "Trained against attacks, where it withstands most the simplices of clean and of attacked "
        "inputs are aligned. Measured: angle of their class means at the set point of the highest "
        "accuracy under PGD."
    ),
    mean("paradigms-standard", SU, Bar(low=30.0), "degrees", 4)(
        "Collapse alone does not align them, however deep. Measured: the smallest angle over the "
        "set points after standard training."
    ),
)
POINTS = [0.03, 0.06, 0.1, 0.2, 0.4, 0.8]
RUNS = "ncollapse.studies.paradigms.runs"

STUDY = Study(
    name="paradigms",
    question="Which degree of collapse serves classification, detection, transfer and resilience?",
    paper="Harun, Gallardo & Kanan 2025; Su et al. 2024",
    claims=noted((*SWEEP, *HARD), BASIS, HISTORY),
    settings=sizes(
        seeds=By(1, 4, 10),
        first_seed=By(0, 300, 300),
        seen=6,
        points=By([0.1, 1.0], POINTS, POINTS),
        epochs=By(1, 60, 150),
        hard_epochs=By(1, 20, 50),
        weight_decay=5e-3,
        samples=By(100, 0, 0),
        draws=By(2, 50, 100),
        eps=0.1,
        hard_steps=By(1, 3, 7),
        steps=By(2, 20, 20),
    ),
    parts=(
        Part("sweep", f"{RUNS}:sweep", ids(SWEEP)),
        Part("hard", f"{RUNS}:hard", ids(HARD)),
    ),
    draw="ncollapse.studies.paradigms.figures:draw",
    place=150,
)
