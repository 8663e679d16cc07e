"""Study: do networks trained on ordered grades collapse onto one line, where theory puts them?"""

from __future__ import annotations

from ncollapse.lab.claims import Bar, Claim, ids, mean, noted, worst
from ncollapse.lab.settings import By, sizes
from ncollapse.lab.study import Part, Study
from ncollapse.studies.bars import BASIS, HISTORY

PAPER = "Ma, Obuchi, Tanaka 2025 (remembered, not read); the convex form is derived"
LEARNED = "Ma, Obuchi, Tanaka 2025, learned thresholds (remembered); the narrowing is derived"


def _network(name: str, said: str) -> tuple[Claim, ...]:
    return (
        mean(f"ordinal-{name}-places", PAPER, Bar(high=0.02), "gaps")(
            f"{said}: mean latent positions of the grades lie at the midpoints of their intervals. "
            "Measured: largest |difference|, in widths of an interval."
        ),
        mean(f"ordinal-{name}-line", PAPER, Bar(high=0.01))(
            f"{said}: class means of the grades lie on one line. Measured: share of their variance "
            "off the best line (ONC2-1)."
        ),
        worst(f"ordinal-{name}-order", PAPER, Bar(low=1.0), seeds=3)(
            f"{said}: along the line the grades stand in their order. Measured: share of "
            "neighbours that ascend."
        ),
    )


DIABETES = _network("diabetes", "Progression of diabetes in five grades")
INK = _network("ink", "Digits in five grades of ink")
PHASES = (
    worst("ordinal-phase-below", PAPER, Bar(high=1e-3))(
        "At λ_h λ_w = .99 C, C = Σ α_q ℓ_q'(0)², free features stay apart, with the predicted ‖w‖: "
        "logit, probit and cloglog links. Measured: largest relative difference, after descent."
    ),
    worst("ordinal-phase-above", PAPER, Bar(high=1e-4))(
        "At λ_h λ_w = 1.01 C everything vanishes. Measured: largest ‖w‖ after descent, three links."
    ),
)
SOLVER = (
    worst("ordinal-rare-width", LEARNED, Bar(-1.02, -0.98))(
        "Learned thresholds narrow the interval of a grade R times rarer than the others like 1/R. "
        "Measured: slope of log width over log R between the two largest R, by the solver."
    ),
    worst("ordinal-rare-fixed", PAPER, Bar(high=0.01))(
        "Fixed thresholds keep the rare grade in the middle of its interval, whatever R. Measured: "
        "largest distance from the middle over the width, by the solver."
    ),
)
RARE = (
    mean("ordinal-rare-network", LEARNED, Bar(0.5, 2.0))(
        "Digits by ink, the middle grade 20 times rarer than the others: the network's learned "
        "interval has the width that theory gives for its counts. Measured: width over predicted."
    ),
    mean("ordinal-rare-recall-learned", LEARNED, Bar(high=0.1))(
        "There, learned thresholds merge the rare grade with its neighbours: it is not decided "
        "for, even on the training samples. Measured: share of its samples whose most likely grade "
        "it is."
    ),
    mean("ordinal-rare-recall-fixed", PAPER, Bar(low=0.9))(
        "There, fixed outer symmetric thresholds do not merge it. Measured: the same share."
    ),
)
RUNS = "ncollapse.studies.ordinal.runs"

STUDY = Study(
    name="ordinal",
    question=(
        "Do networks that are trained on ordered grades collapse onto one line, in order and where "
        "theory puts them, and what do learned thresholds do to a rare grade?"
    ),
    paper="Ma, Obuchi, Tanaka 2025, neural collapse in cumulative link models",
    claims=noted((*DIABETES, *INK, *PHASES, *SOLVER, *RARE), BASIS, HISTORY),
    settings=sizes(
        seeds=By(1, 3, 8),
        first_seed=By(0, 100, 100),
        widths=By([16, 8], [128, 128, 64], [128, 128, 64]),
        steps=By(20, 3000, 6000),
        rarity=20,
        counts=By([1, 3, 2, 2], [5, 20, 10, 15], [5, 20, 10, 15]),
        ends=[-6.0, -2.0, 0.0, 3.0, 6.0],
        factors=By([0.9, 1.1], [0.99, 1.01], [0.9, 0.99, 1.01, 1.1]),
        free={"width": By(2, 6, 6), "iterations": By(300, 20000, 20000)},
        ratios=By([1.0, 100.0, 1000.0], [1.0, 10.0, 100.0, 1000.0], [1.0, 10.0, 100.0, 1000.0]),
    ),
    parts=(
        Part("diabetes", f"{RUNS}:network", ids(DIABETES), given={"data": "diabetes"}),
        Part("ink", f"{RUNS}:network", ids(INK), given={"data": "ink"}),
        Part("phases", f"{RUNS}:phases", ids(PHASES), seeded=False),
        Part("solver", f"{RUNS}:solver", ids(SOLVER), seeded=False),
        Part("rare", f"{RUNS}:rare", ids(RARE)),
    ),
    draw="ncollapse.studies.ordinal.figures:draw",
    place=140,
)
