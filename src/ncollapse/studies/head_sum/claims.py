"""Study: the sum of the classifier's rows obeys a law that no network and no data can change."""

from __future__ import annotations

from ncollapse.lab.claims import Bar, ids, noted, worst
from ncollapse.lab.settings import By, sizes
from ncollapse.lab.study import Part, Study
from ncollapse.studies.bars import BASIS, HISTORY

ZHAO = "Zhao et al. 2026 for SGD with momentum (page read); the rest is derived here"
OURS = "this library"

LAW = (
    worst("head-sum-law", ZHAO, Bar(high=1e-4))(
        "Under SGD with momentum and coupled decay Wᵀ1 follows its recursion for every network, "
        "loss of softmax and schedule, in float32. Measured: the largest deviation from the path "
        "predicted from the first step, over the size at the start."
    ),
    worst("head-sum-alarms", OURS, Bar(high=0))(
        "None of these runs is said to break the law. Measured: how many are."
    ),
)
BROKEN = (
    worst("head-sum-squares", ZHAO, Bar(low=0.5))(
        "Squared errors break it. Measured: the least deviation over networks."
    ),
    worst("head-sum-adamw", ZHAO, Bar(low=0.5))(
        "AdamW does not follow the law of its decay. Measured: the least deviation from it over "
        "networks."
    ),
    worst("head-sum-muon", OURS, Bar(high=0.25))(
        "torch's Muon follows the law of its decay up to the bfloat16 of its orthogonalisation. "
        "Measured: the largest deviation over networks."
    ),
)
FAULTS = (
    worst("head-sum-faults", OURS, Bar(low=1))(
        "Every injected fault is found and named: two losses that see more than softmax, a "
        "penalty inside the loss, clipping entry by entry, weights clamped and averaged from "
        "outside, a scheduler stepped twice, steps that are not those of the options. Measured: "
        "the share of faults and networks whose reading names the fault and nothing else."
    ),
)
RUNS = "ncollapse.studies.head_sum.runs"

STUDY = Study(
    name="head-sum",
    question="Does the classifier's sum follow its law, and does breaking it tell of faults?",
    paper="Zhao, Cheng, Masarczyk, Lucchi 2026, optimizer choice and neural collapse",
    claims=noted((*LAW, *BROKEN, *FAULTS), BASIS, HISTORY),
    settings=sizes(
        seeds=By(1, 1, 3),
        first_seed=By(0, 200, 200),
        networks=By(1, 5, 5),
        steps=By(4, 120, 240),
        batch=By(16, 64, 64),
        width=By(16, 64, 128),
        features=By(16, 32, 64),
        channels=By([4, 4], [8, 16], [16, 32]),
        resnet=By(4, 8, 16),
        blocks=By(1, 1, 2),
    ),
    parts=(
        Part("law", f"{RUNS}:law", ids(LAW)),
        Part("broken", f"{RUNS}:broken", ids(BROKEN)),
        Part("faults", f"{RUNS}:injected", ids(FAULTS)),
    ),
    draw="ncollapse.studies.head_sum.figures:draw",
    place=130,
)
