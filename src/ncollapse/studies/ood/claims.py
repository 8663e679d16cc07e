"""Study: does collapse help to tell foreign inputs apart, and which score should be taken?"""

from __future__ import annotations

from ncollapse.lab.claims import Bar, Claim, ids, mean, worst
from ncollapse.lab.settings import By, sizes
from ncollapse.lab.study import Part, Study

NECO = "Ammar et al. 2024, NECO (definitions read in code; setting and bar are ours)"
NCI = "Liu & Qin 2025, NCI (definition read in code; setting and bar are ours)"
FDBD = "Liu & Qin 2024, fDBD (definition read in code; setting and bar are ours)"
HARUN = "Harun, Gallardo & Kanan 2025: more collapse, better detection (abstract read)"
OURS = "ours: a first measurement of three splits on other settings read so"
SPLITS = 5
SOURCES = {"neco": NECO, "nci": NCI, "fdbd": FDBD}
TITLES = {
    "msp": "MSP", "maxlogit": "the largest logit", "energy": "energy", "neco": "NECO", "nci": "NCI",
    "fdbd": "fDBD", "vim": "ViM", "residual": "the residual", "mahalanobis": "Mahalanobis",
    "nearest_mean": "the nearest class mean", "knn": "KNN",
}  # fmt: skip
STEPPED = ("energy", "neco", "nci", "fdbd")


def _gain(name: str) -> Claim:
    return mean(f"ood-gain-{name}", SOURCES.get(name, HARUN), Bar(low=0.0), "points", SPLITS)(
        f"Six digits against four never seen: {TITLES[name]} tells them apart better with the most "
        "decay than with none. Measured: AUROC of the deepest severity minus the shallowest."
    )


def _steps(name: str) -> Claim:
    return worst(f"ood-steps-{name}", SOURCES.get(name, HARUN), Bar(low=1e-9), "points")(
        f"AUROC of {TITLES[name]} rises at every step of severity, in the mean over splits. "
        "Measured: the smallest of the four steps."
    )


SEVERITY = (
    mean("ood-nc1", OURS, Bar(low=0.602), seeds=SPLITS)(
        "Decay is a dial of severity: NC1 of the seen digits is at least four times smaller with "
        "the most decay than with none. Measured: log10 of the ratio of nc1_fisher, training split."
    ),
    mean("ood-accuracy", OURS, Bar(low=-1.0), "points", SPLITS)(
        "It costs no more than a point of test accuracy on the seen digits. Measured: difference."
    ),
    mean("ood-nc5", NECO, Bar(high=0.0), seeds=SPLITS)(
        "NC5 as published, of raw means, falls with collapse. Measured: NC5 of the deepest decay "
        "minus that of the shallowest, test samples of unseen digits against training means."
    ),
    mean("ood-nc5-centred", OURS, Bar(low=0.0), seeds=SPLITS)(
        "NC5 of centred means does not fall with collapse. Measured: the same difference."
    ),
    mean("ood-neco-centre", OURS, Bar(low=1.0), "points", SPLITS)(
        "NECO without standardising is better of centred features. Measured: AUROC centred minus "
        "raw, mean over severities."
    ),
)
GAINS = tuple(map(_gain, TITLES))
STEPS = tuple(map(_steps, STEPPED))
LEADS = (
    mean("ood-lead-mahalanobis", OURS, Bar(low=0.0), "points", SPLITS)(
        "At the deepest severity Mahalanobis with shrinkage is ahead of the best score that rests "
        "on collapse (NECO, NCI, fDBD, nearest mean). Measured: difference of AUROC."
    ),
    mean("ood-lead-knn", OURS, Bar(low=0.0), "points", SPLITS)(
        "At the deepest severity KNN is ahead of the best score that rests on collapse. Measured: "
        "difference of AUROC."
    ),
    mean("ood-lead-closes", OURS, Bar(high=0.0), "points", SPLITS)(
        "Collapse closes the gap: the lead of Mahalanobis or KNN (the better) over the best score "
        "that rests on collapse is smaller at the deepest severity than at the shallowest. "
        "Measured: difference of the leads."
    ),
)
ADVICE = (
    worst("ood-advice", "asked for; the bar is registered", Bar(low=0.8))(
        "The rule from readings alone names a score within .01 AUROC of the best of all scores, on "
        "held-out pairs of network and foreign data. Measured: share of the pairs."
    ),
    worst("ood-advice-beats", "asked for; the bar is registered", Bar(low=0.01))(
        "It does so more often than the rule to take always the score that was best on average "
        "where the rule was set. Measured: difference of the shares."
    ),
)
RUNS = "ncollapse.studies.ood.runs"
DECAYS = [0.0, 5e-4, 2e-3, 5e-3, 1.2e-2]

STUDY = Study(
    name="ood",
    question=(
        "Do deeper collapsed networks tell classes that they never saw apart better, which score "
        "does it best, and do readings say which?"
    ),
    paper="Ammar et al. 2024, NECO; Liu & Qin 2024 and 2025, fDBD and NCI",
    claims=(*SEVERITY, *GAINS, *STEPS, *LEADS, *ADVICE),
    settings=sizes(
        seen=6,
        batch_size=128,
        decays=By([0.0, 5e-3], DECAYS, DECAYS),
        epochs=By(2, 100, 200),
        seeds=By(1, SPLITS, 20),
        first_seed=By(0, 100, 100),
        advice={
            "data": By(["wine"], ["digits", "mixture", "wine", "cancer"],
                       ["digits", "mixture", "wine", "cancer"]),
            "each": By(1, 1, 5),
            "small": By(True, False, False),
            "first": 7000,
        },
    ),
    parts=(
        Part("split", f"{RUNS}:split", ids((*SEVERITY, *GAINS, *STEPS, *LEADS))),
        Part("advice", f"{RUNS}:advice", ids(ADVICE), seeded=False),
    ),
    combine=f"{RUNS}:combine",
    draw="ncollapse.studies.ood.figures:draw",
    place=110,
)  # fmt: skip
