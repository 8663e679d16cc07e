"""Study: how often verdicts are wrong, and the cuts with which they are wrong least.

What is true of a reference model is said here, before any of them is judged and without the
statistic that is judged. A truth is "yes", "not yes" (partly or no), "no", or "undecided", which
counts in no error rate.

Populations (drawn features, head and class means known, n samples are judged):

- collapsed: s_c is the median squared distance between two fresh samples of class c, o_c that
  between one of c and one of the class with the nearest mean, q_c = s_c/o_c. yes: every q_c ≤
  .08. not yes: some q_c ≥ .12. no: the median over classes of s_c over the median squared
  distance between samples of different classes is ≥ .55.
- frame: of the true centred means, the largest |cosine + 1/(K-1)| and the largest over the
  smallest norm. yes: ≤ .1 and ≤ 1.15. not yes: ≥ .25 or ≥ 1.5. no: the means span fewer than K -
  1 directions, or the median |cosine + 1/(K-1)| is ≥ .25, or the raw means are orthogonal (every
  |cosine| ≤ .05). Two classes: undecided.
- dual: angles between the rows of the head and the true centred means. yes: all ≤ 25°. not yes:
  one ≥ 40°. no: their median is ≥ 66°.
- nearest: share of fresh samples that head and true centres put into different classes. yes: ≤ .7
  %. not yes: ≥ 1.5 %. no: ≥ 15 %.

Networks measured on fresh samples of known inputs ("fresh"): the same, with means of many fresh
samples in the place of true ones.

Networks measured on their training split:

- collapsed: yes: training error is zero from an epoch T₀ on, the epoch is ≥ 4 T₀ and ≥ T₀ + 100,
  and weight decay is ≥ 5e-4 (without decay the limit is approached in the logarithm of time:
  undecided). not yes: training error ≥ 5 %, or untrained. no: untrained, and the inputs
  themselves are "no" by the rule for populations.
- frame: yes: collapsed, balanced, features of either sign, and the head lies at the certified
  optimum of `nc.predict`: no cosine of two rows is .1 or more off, no norm relative to the mean
  norm 15 % or more. not yes: collapsed, unbalanced, cosines of the head within .15 of the
  optimum's at the fitted τ, and the means of that optimum are "not yes" or "no" as a population;
  or untrained, and the class means of the inputs are. no: fewer than K - 1 features.
- dual: yes: as for frame; or unbalanced at the optimum as above, whose own rows are all within
  25° of its means. not yes: unbalanced at the optimum, whose own rows are not within 40°. no:
  untrained with 16 features or more, or a head whose rows were moved by one class after training.
- nearest: e is the training error of the head, a that of nearest centres, each sample left out of
  its own: the two differ on at least |e - a| and at most e + a of the samples. yes: e + a ≤ .7 %.
  not yes: |e - a| ≥ 1.5 %. no: |e - a| ≥ 15 %.

Cuts are chosen on one half of the models and judged on the other. Checkpoints of one run, and a
trained head with its moved copy, stay in one half; families are halved each by itself.
"""

from __future__ import annotations

from ncollapse.lab.calibration.plan import FAMILIES, FRESH, IMAGES, LOOKS, MLP, MNIST
from ncollapse.lab.claims import Bar, Claim, ids, worst
from ncollapse.lab.settings import By, sizes
from ncollapse.lab.study import Part, Study

OURS = "our own bar; truths as defined above the claims"
ASKED = {
    "collapsed": "Are classes collapsed?",
    "frame": "Do the class means form a simplex?",
    "dual": "Is the head dual to the class means?",
    "nearest": "Does the head decide like the nearest class centre?",
}
# Of verdicts on models that were not used to choose the cuts, in %.
WRONG_YES, WRONG_NO, CANNOT_TELL = 2.0, 5.0, 15.0


def _claims(name: str, text: str) -> tuple[Claim, ...]:
    held = "on held-out models"
    return (
        worst(f"calibration-{name}-wrong-yes", OURS, Bar(high=WRONG_YES), "%")(
            f"{text} A yes is seldom wrong {held}. Measured: share of verdicts that are yes among "
            "those whose truth is not yes or no."
        ),
        worst(f"calibration-{name}-wrong-no", OURS, Bar(high=WRONG_NO), "%")(
            f"{text} A no is seldom wrong {held}. Measured: share of verdicts that are no among "
            "those whose truth is yes."
        ),
        worst(f"calibration-{name}-cannot-tell", OURS, Bar(high=CANNOT_TELL), "%")(
            f"{text} Seldom is there no answer {held}. Measured: share of verdicts that are cannot "
            "tell, of all."
        ),
    )


CLAIMS = (
    worst("calibration-models", OURS, Bar(low=60.0))(
        "Sixty reference models or more. Measured: how many were judged."
    ),
    *(claim for name, text in ASKED.items() for claim in _claims(name, text)),
)
RUNS = "ncollapse.studies.calibration.runs"

STUDY = Study(
    name="calibration",
    question=(
        "With which cuts do verdicts agree with what is known of reference models, and how often "
        "are they wrong on others?"
    ),
    paper="none; the bars are ours",
    claims=CLAIMS,
    settings=sizes(
        families=By(["simplex", "random"], FAMILIES, FAMILIES),
        each=By(3, 6, 14),
        looks=By([1.0], LOOKS, LOOKS),
        fresh_samples=By(100, 1000, 1000),
        # At most; none: as the plan says.
        epochs=By(2, 150, None),
        # Every so many lines of the plan.
        every=By(100, 3, 1),
    ),
    parts=(
        Part("populations", f"{RUNS}:populations", ids(CLAIMS), seeded=False),
        Part("mlp", f"{RUNS}:trained", ids(CLAIMS), seeded=False, given={"plan": MLP}),
        Part("images", f"{RUNS}:trained", ids(CLAIMS), seeded=False, given={"plan": IMAGES}),
        Part("mnist", f"{RUNS}:trained", ids(CLAIMS), seeded=False, given={"plan": MNIST}),
        Part("fresh", f"{RUNS}:fresh", ids(CLAIMS), seeded=False, given={"plan": FRESH}),
    ),
    combine=f"{RUNS}:combine",
    draw="ncollapse.studies.calibration.figures:draw",
    place=90,
)
