"""Study: does the thermostat hold what `measure` reads, and does the set point matter?"""

from __future__ import annotations

from ncollapse.lab.claims import Bar, ids, mean, worst
from ncollapse.lab.settings import By, sizes
from ncollapse.lab.study import Part, Study

OURS = "this library; the bar is ours"
HARUN = "after Harun, Gallardo & Kanan 2025 (abstract read); the setting is ours"
QUARTER = (
    "this library; the bar is the width within which the thermostat itself calls a set point held; "
    "set points within reach at every batch size were found in a pilot with another seed"
)
SIGHT = "this library; the bar is ours, after a pilot with another seed was off by up to 9 %"
POINTS, RATIOS = [0.03, 0.1, 0.3, 1.0], [0.1, 0.3, 1.0, 3.0]

CLAIMS = (
    worst("thermostat-median", OURS, Bar(high=20.0), "%", seeds=3)(
        "Set points 0.03, 0.1, 0.3 and 1.0 are held. Measured: nc1_fisher of the training split in "
        "eval mode once an epoch, its median over the last third of training, relative deviation "
        "from the set point; the largest over set points and seeds."
    ),
    worst("thermostat-epochs", OURS, Bar(low=80.0), "%", seeds=3)(
        "They are held epoch by epoch. Measured: share of the epochs of the last third whose "
        "reading is within 35 % of the set point; the smallest over set points and seeds."
    ),
    worst("thermostat-online", OURS, Bar(high=25.0), "%", seeds=3)(
        "The thermostat's own reading of its batches says what `measure` reads. Measured: median "
        "online reading of the last third over the median of the epochs' readings, relative "
        "deviation from 1; the largest over set points and seeds."
    ),
    mean("thermostat-accuracy", OURS, Bar(high=1.0), "points")(
        "It costs no more than a point of accuracy. Measured: test accuracy without a thermostat "
        "minus that with it, at the set point that costs most; mean over seeds."
    ),
    mean("thermostat-unseen", HARUN, Bar(low=0.0), "points a decade")(
        "Features of classes never trained on change with the set point: they grow better with "
        "it. Measured: slope of 5-shot accuracy on unseen digits against log10 of the set point; "
        "its interval excludes 0."
    ),
)
STREAM = (
    *(
        worst(f"thermostat-batches-{metric}", QUARTER, Bar(high=25.0), "%", seeds=3)(
            f"Set points of nc1_{metric} are those of the population, at batches of 8 to 512. "
            f"Measured: nc1_{metric} of held-out samples, as many that a mean's noise no longer "
            "counts, median over the last third of training, relative deviation from the set "
            "point; the largest over set points, batch sizes and seeds."
        )
        for metric in ("ratio", "cdnv", "fisher")
    ),
    worst("thermostat-batches-reading", SIGHT, Bar(high=15.0), "%", seeds=3)(
        "What the thermostat reads of its batches is what the population has, at batches of 8 to "
        "512. Measured: median reading of the last third over the median of the population, "
        "relative deviation from 1; the largest over metrics, set points, batch sizes and seeds."
    ),
)
RUNS = "ncollapse.studies.thermostat.runs"

STUDY = Study(
    name="thermostat",
    question=(
        "Can collapse be held at a chosen severity while a network trains, what does it cost, and "
        "what does it change for classes never seen?"
    ),
    paper="this library; the question is that of Harun, Gallardo & Kanan 2025",
    claims=(*CLAIMS, *STREAM),
    settings=sizes(
        seen=6,
        weight_decay=5e-3,
        batch_size=128,
        points=By([0.1, 1.0], POINTS, POINTS),
        ratios=By([0.3, 1.0], RATIOS, RATIOS),
        seeds=By(1, 3, 3),
        epochs=By(3, 150, 300),
        draws=By(5, 100, 400),
        stream={
            "classes": 10,
            "rate": 0.02,
            # Training is short here, so the controller is quicker than by default.
            "gain": 0.01,
            "proportional": 0.3,
            "sizes": By([64], [8, 64, 512], [8, 16, 32, 64, 128, 256, 512]),
            "steps": By(90, 600, 1200),
            "population": By(1000, 4000, 10_000),
            "ratio": By([1.0], [1.0], [0.3, 1.0]),
            "cdnv": By([0.3], [0.3], [0.1, 0.3]),
            "fisher": By([0.1], [0.1], [0.03, 0.1]),
        },
    ),
    parts=(
        Part("dial", f"{RUNS}:dial", ids(CLAIMS)),
        Part("ratio", f"{RUNS}:ratio", ()),
        Part("batches", "ncollapse.lab.batch_sizes:batches", ids(STREAM)),
    ),
    draw="ncollapse.studies.thermostat.figures:draw",
    place=90,
)
