"""Study: do features that are made blind to known domains serve a domain never seen?"""

from __future__ import annotations

from ncollapse.lab.claims import Bar, ids, mean, noted
from ncollapse.lab.settings import By, sizes
from ncollapse.lab.study import Part, Study
from ncollapse.studies.bars import BASIS

GANIN = "Ganin et al. 2016 (remembered, not read) for the method; the claim and its bar are ours"
SEEDS = 5

CLAIMS = (
    mean("domain-shift-invariant", GANIN, Bar(high=-5.0), "points", seeds=SEEDS)(
        "Digits turned by 0, 20 and 40 degrees: gradient reversal makes features less telling of "
        "the domain. Measured: accuracy of a linear probe for the three domains at the strongest "
        "reversal minus that without."
    ),
    mean("domain-shift-unseen", GANIN, Bar(low=0.0), "points", seeds=SEEDS)(
        "Too much of it costs the domain that was not seen, digits turned by 70 degrees. Measured: "
        "accuracy there of a linear probe on the features at the best of the weaker reversals "
        "(chosen by the other seeds) minus that at the strongest."
    ),
    mean("domain-shift-rank", GANIN, Bar(high=0.9), seeds=SEEDS)(
        "Features lose rank on the way. Measured: effective rank of features of the seen domains "
        "at the strongest reversal over that without."
    ),
)
STRENGTHS = [0.0, 0.1, 0.3, 1.0, 3.0, 10.0]
RUNS = "ncollapse.studies.domain_shift.runs"

STUDY = Study(
    name="domain-shift",
    question=(
        "Does stronger adversarial invariance across known domains take away what a probe could "
        "use in a domain never seen, and rank with it?"
    ),
    paper="Ganin et al. 2016, domain-adversarial training (remembered, not read)",
    claims=noted(CLAIMS, BASIS, {}),
    settings=sizes(
        seeds=By(2, SEEDS, 10),
        first_seed=By(0, 100, 100),
        strengths=By(
            [0.0, 0.3, 3.0], [0.0, 0.1, 0.3, 1.0, 3.0, 10.0], [0.0, 0.1, 0.3, 1.0, 3.0, 10.0]
        ),
        seen=[0.0, 20.0, 40.0],
        unseen=70.0,
        widths=By([32], [128, 128], [256, 256, 256]),
        epochs=By(1, 15, 60),
        weight_decay=5e-4,
        batch_size=128,
        folds=3,
    ),
    parts=(Part("sweep", f"{RUNS}:sweep", ids(CLAIMS)),),
    combine=f"{RUNS}:combine",
    draw="ncollapse.studies.domain_shift.figures:draw",
    place=106,
)
