"""Study: does a push against collapse keep features useful for classes that come later?"""

from __future__ import annotations

from ncollapse.lab.claims import Bar, Claim, ids, mean
from ncollapse.lab.settings import By, sizes
from ncollapse.lab.study import Part, Study

HARUN = "Harun, Gallardo & Kanan 2025 (abstract read); the setting and bar are ours"
MCR = "Yu et al. 2020 on the coding rate (remembered, not read); the setting and bar are ours"
SPLITS = 5


def _claims(arm: str, name: str, source: str, gain: float) -> tuple[Claim, Claim, Claim]:
    return (
        mean(f"over-collapse-{arm}-unseen", source, Bar(low=gain), "points", seeds=SPLITS)(
            f"Digits, six classes seen and four unseen: cross-entropy with {name} makes features "
            "that tell unseen classes apart better. Measured: gain in 5-shot accuracy of nearest "
            "centroids over cross-entropy alone, mean over splits."
        ),
        mean(f"over-collapse-{arm}-source", source, Bar(low=-1.0), "points", seeds=SPLITS)(
            f"It costs no more than a point on the seen classes. Measured: test accuracy with "
            f"{name} minus that without."
        ),
        mean(f"over-collapse-{arm}-nc1", source, Bar(low=0.301), seeds=SPLITS)(
            f"It does so by less collapse: with {name} NC1 of the seen classes is at least twice "
            "as large. Measured: log10 of the ratio of nc1_fisher on the training split."
        ),
    )


CLAIMS = (
    *_claims("koleo", "0.1 KoLeo", HARUN, 10.0),
    *_claims("coding", "0.01 coding rate", MCR, 5.0),
)
RUNS = "ncollapse.studies.over_collapse.runs"

STUDY = Study(
    name="over-collapse",
    question=(
        "Does collapse onto the training classes spoil features for classes never seen, and does "
        "a push against it help at equal accuracy?"
    ),
    paper="Harun, Gallardo & Kanan 2025, on controlling collapse for detection and transfer",
    claims=CLAIMS,
    settings=sizes(
        seen=6,
        weight_decay=5e-3,
        batch_size=128,
        koleo=0.1,
        coding=0.01,
        seeds=By(1, SPLITS, 20),
        epochs=By(3, 100, 200),
        draws=By(5, 100, 400),
    ),
    parts=(Part("split", f"{RUNS}:split", ids(CLAIMS)),),
    draw="ncollapse.studies.over_collapse.figures:draw",
    place=100,
)
