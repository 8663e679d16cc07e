"""Study: does the thermostat hold what `measure` reads, and does the set point matter?"""

from __future__ import annotations

from ncollapse.lab.claims import Bar, Claim
from ncollapse.lab.study import Part, Study

OURS = "this library; the bar is ours"
HARUN = "after Harun, Gallardo & Kanan 2025 (abstract read); the setting is ours"
POINTS = [0.03, 0.1, 0.3, 1.0]

CLAIMS = (
    Claim(
        "thermostat-median",
        "Set points 0.03, 0.1, 0.3 and 1.0 are held. Measured: nc1_fisher of the training split in "
        "eval mode once an epoch, its median over the last third of training, relative deviation "
        "from the set point; the largest over set points and seeds.",
        OURS,
        Bar(high=20.0),
        unit="%",
        seeds=3,
    ),
    Claim(
        "thermostat-epochs",
        "They are held epoch by epoch. Measured: share of the epochs of the last third whose "
        "reading is within 35 % of the set point; the smallest over set points and seeds.",
        OURS,
        Bar(low=80.0),
        unit="%",
        seeds=3,
    ),
    Claim(
        "thermostat-online",
        "The thermostat's own reading of its batches says what `measure` reads. Measured: median "
        "online reading of the last third over the median of the epochs' readings, relative "
        "deviation from 1; the largest over set points and seeds.",
        OURS,
        Bar(high=25.0),
        unit="%",
        seeds=3,
    ),
    Claim(
        "thermostat-accuracy",
        "It costs no more than a point of accuracy. Measured: test accuracy without a thermostat "
        "minus that with it, at the set point that costs most; mean over seeds.",
        OURS,
        Bar(high=1.0),
        unit="points",
        rule="mean",
        seeds=3,
    ),
    Claim(
        "thermostat-unseen",
        "Features of classes never trained on change with the set point: they grow better with "
        "it. Measured: slope of 5-shot accuracy on unseen digits against log10 of the set point; "
        "its interval excludes 0.",
        HARUN,
        Bar(low=0.0),
        unit="points a decade",
        rule="mean",
        seeds=3,
    ),
)
RUNS = "ncollapse.studies.thermostat.runs"
COMMON = {
    "seen": 6,
    "weight_decay": 5e-3,
    "batch_size": 128,
    "points": POINTS,
    "ratios": [0.1, 0.3, 1.0, 3.0],
}

STUDY = Study(
    name="thermostat",
    question=(
        "Can collapse be held at a chosen severity while a network trains, what does it cost, and "
        "what does it change for classes never seen?"
    ),
    paper="this library; the question is that of Harun, Gallardo & Kanan 2025",
    claims=CLAIMS,
    settings={
        "mini": {
            **COMMON,
            "seeds": 1,
            "epochs": 3,
            "draws": 5,
            "points": [0.1, 1.0],
            "ratios": [0.3, 1.0],
        },
        "quick": {**COMMON, "seeds": 3, "epochs": 150, "draws": 100},
        "full": {**COMMON, "seeds": 3, "epochs": 300, "draws": 400},
    },
    parts=(
        Part("dial", f"{RUNS}:dial", tuple(claim.id for claim in CLAIMS)),
        Part("ratio", f"{RUNS}:ratio", ()),
    ),
    draw=f"{RUNS}:draw",
)
