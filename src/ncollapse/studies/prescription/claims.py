"""Study: do the least class weights that theory asks for restore merged classifiers?"""

from __future__ import annotations

from ncollapse.lab.claims import Bar, ids, mean, worst
from ncollapse.lab.settings import By, sizes
from ncollapse.lab.study import Part, Study

EXACT = "derived; the threshold of equal weights: Hong & Ling 2023 (text not read)"
OURS = "this library; bar from a pilot of one seed"

FREE = (
    worst("prescription-below", EXACT, Bar(high=1e-3))(
        "Free features, weighted cross-entropy: classes whose strength n w² is a little below "
        "N² λ_W λ_H merge under descent from random starts. Measured: largest distance of two of "
        "their classifiers over the longest row."
    ),
    worst("prescription-above", EXACT, Bar(low=1e-2))(
        "A little above it they stand apart. Measured: smallest of the largest distances."
    ),
    worst("prescription-certified", "derived", Bar(high=1e-8))(
        "Random counts of 5 to 30 classes and decays: the optimum under prescribed weights is "
        "certified. Measured: largest relative gap."
    ),
    worst("prescription-apart", "derived", Bar(low=1e-2))(
        "No two of its classifiers coincide, whatever the counts. Measured: least distance of two "
        "rows over the longest row."
    ),
)
NETWORK = (
    mean("prescription-merged", OURS, Bar(low=0.8))(
        "Digits at 150/5 samples a class and decay 5e-2: under plain cross-entropy minority "
        "classifiers merge. Measured: their mean cosine."
    ),
    mean("prescription-restored", OURS, Bar(high=0.5))(
        "Weights prescribed for the fitted τ at margin 4 restore them. Measured: their mean cosine."
    ),
    mean("prescription-predicted", "derived; τ fitted to the plain network", Bar(high=0.1))(
        "They end at the cosine that theory predicts under these weights. Measured: absolute "
        "difference."
    ),
    mean("prescription-adjusted", "derived: adding to logits moves no threshold", Bar(low=0.8))(
        "Logit adjustment leaves them merged. Measured: their mean cosine."
    ),
    mean("prescription-recall", OURS, Bar(low=5.0), "points")(
        "Prescribed weights raise the recall of minority classes on test samples. Measured: "
        "difference to plain cross-entropy."
    ),
    mean("prescription-overall", OURS, Bar(low=2.0), "points")(
        "And the mean recall of all ten classes. Measured: difference to plain cross-entropy."
    ),
    mean("prescription-not-the-most", "this library; no pilot", Bar(low=0.0), "points")(
        "The least weights are not the most recall: effective-number weights, logit adjustment or "
        "a fixed simplex with dot regression recalls more over all classes. Measured: the best of "
        "these three minus the prescription."
    ),
)
RUNS = "ncollapse.studies.prescription.runs"
COUNTS = [[[60, 60, 60, 6, 6, 6], 3], [[200, 200, 5, 5, 5], 3]]

STUDY = Study(
    name="prescription",
    question=(
        "Do the least class weights that keep every class above its collapse threshold restore "
        "merged minority classifiers, and what do they do to recall?"
    ),
    paper="this library; the threshold: Hong & Ling 2023; Cui et al. 2019 for effective numbers",
    claims=(*FREE, *NETWORK),
    settings=sizes(
        seeds=By(1, 5, 10),
        first_seed=By(0, 100, 100),
        free=By(COUNTS[:1], COUNTS, COUNTS),
        levels=By([1.5], [1.2, 1.5, 3.0], [1.2, 1.5, 3.0]),
        beside=1.03,
        draws=By(2, 30, 200),
        epochs=By(20, 300, 300),
        # Samples of a majority and of a minority class, and the decay.
        setting=By([30, 6, 1e-2], [150, 5, 5e-2], [150, 5, 5e-2]),
        margin=4.0,
    ),
    parts=(
        Part("free", f"{RUNS}:free", ids(FREE), seeded=False),
        Part("network", f"{RUNS}:network", ids(NETWORK)),
    ),
    draw="ncollapse.studies.prescription.figures:draw",
    place=132,
)
