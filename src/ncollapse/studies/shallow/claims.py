"""Study: on which data a shallow ReLU network can collapse, and on which it does."""

from __future__ import annotations

from ncollapse.lab.claims import Bar, ids, mean, noted, worst
from ncollapse.lab.settings import By, sizes
from ncollapse.lab.study import Part, Study
from ncollapse.studies.bars import BASIS, HISTORY

LP = "derived: a linear program a class decides; Hong & Ling 2024 ask the question (abstract read)"
WIDE = "Hong & Ling 2024 (abstract read): three layers collapse once the first is wide"
FIRST = "derived, and a first measurement on other draws"
SNR = "Hong & Ling 2024 (abstract read): collapse does not imply generalisation"

PHASE = (
    worst("shallow-never", LP, Bar(high=0.0))(
        "With fewer dimensions than samples a class, d < n, exact collapse is impossible at any "
        "signal. Measured: largest share of draws that are feasible at d = 9, n = 10."
    ),
    worst("shallow-sufficient", LP, Bar(low=1.0))(
        "Where the INPUT has as many dimensions as there are samples, d ≥ Kn, it is always "
        "possible. Measured: least share of feasible draws at d = 40 and 60, Kn = 40."
    ),
    worst("shallow-not-necessary", LP, Bar(low=0.9))(
        "d ≥ Kn is not necessary. Measured: share of feasible draws at d = 32 < Kn = 40 without "
        "any signal."
    ),
    worst("shallow-signal", LP, Bar(low=0.5))(
        "Between n and Kn dimensions separation decides. Measured: share of feasible draws at "
        "signal 32 less that at 0, the least of d = 14, 20, 26."
    ),
    worst("shallow-attained", LP, Bar(high=1e-8))(
        "On feasible data width K is enough: a network of K hidden units made from the linear "
        "programs has the least risk that free features have. Measured: largest relative gap."
    ),
)
NETWORK = (
    worst("shallow-two-layers", FIRST, Bar(low=0.1), seeds=3)(
        "Two layers on infeasible data (d = 20, signal 1) stay uncollapsed. Measured: nc1_ratio of "
        "the trained features, width 64."
    ),
    worst("shallow-three-layers", WIDE, Bar(high=1e-3), seeds=3)(
        "On the same data three layers collapse when the first, random and fixed, is wider than N. "
        "Measured: nc1_ratio, first width 60, N = 40."
    ),
    worst("shallow-three-narrow", WIDE, Bar(low=0.1), seeds=3)(
        "Not so when the first layer is narrower than N. Measured: nc1_ratio, first width 20."
    ),
    mean("shallow-optimiser", FIRST, Bar(low=2.0))(
        "Width, which the theorem does not ask for beyond K, helps the optimiser: feasible data "
        "(d = 60, signal 1). Measured: nc1_ratio at width 16 over that at width 64."
    ),
    worst("shallow-decay", FIRST, Bar(low=0.1), seeds=3)(
        "The regulariser has to act on features: with plain decay on the first layer the network "
        "does not collapse on the same feasible data. Measured: nc1_ratio, width 64."
    ),
    worst("shallow-near", FIRST, Bar(low=1e-6, high=0.03), seeds=3)(
        "High signal outside feasibility (d = 9, signal 32) gives near-collapse, never exact. "
        "Measured: nc1_ratio, width 64."
    ),
    mean("shallow-no-generalisation", SNR, Bar(high=0.5))(
        "A network collapsed on feasible data of low signal (d = 60, signal 1) does not "
        "generalise. Measured: test accuracy (chance .25)."
    ),
    mean("shallow-generalisation", SNR, Bar(low=0.9))(
        "The same at signal 8 does. Measured: test accuracy."
    ),
)
RUNS = "ncollapse.studies.shallow.runs"

STUDY = Study(
    name="shallow",
    question="On which data can a shallow ReLU network collapse exactly, and does it when trained?",
    paper="Hong & Ling 2024, beyond unconstrained features",
    claims=noted((*PHASE, *NETWORK), BASIS, HISTORY),
    settings=sizes(
        seeds=By(1, 3, 10),
        first_seed=By(0, 100, 100),
        classes=4,
        each=10,
        draws=By(1, 10, 50),
        never=9,
        between=By([20], [14, 20, 26], [14, 20, 26]),
        unneeded=32,
        enough=By([40], [40, 60], [40, 60]),
        signals=By([0, 32], [0, 1, 2, 4, 8, 16, 32], [0, 1, 2, 4, 8, 16, 32]),
        decay=2e-3,
        steps=By(30, 3000, 8000),
        polish=By(5, 150, 500),
        tests=By(20, 500, 500),
    ),
    parts=(
        Part("phase", f"{RUNS}:phase", ids(PHASE), seeded=False),
        Part("networks", f"{RUNS}:networks", ids(NETWORK)),
    ),
    draw="ncollapse.studies.shallow.figures:draw",
    place=110,
)
