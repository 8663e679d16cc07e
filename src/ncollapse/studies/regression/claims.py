"""Study: does a regression network become what the closed form says, with no parameter fitted?"""

from __future__ import annotations

from ncollapse.lab.claims import Bar, Claim, ids, mean
from ncollapse.lab.settings import By, sizes
from ncollapse.lab.study import Part, Study

PAPER = "Andriopoulos et al. 2024 (closed form); its spectral form and no fit: derived here"
DECLARED = "declared before the run: 4.1e-3, read once in a reference program on the same setting"
RELU = "observed in a reference program; the closed form needs features of either sign"
NONE = "Andriopoulos et al. 2024: without decay no collapse; the bar is ours"


def _network(data: str, said: str) -> tuple[Claim, ...]:
    """The claims that both data sets are held to."""
    name = f"regression-{data}"
    return (
        mean(f"{name}-error", PAPER, Bar(0.98, 1.02))(
            f"{said}: the mean squared error is c = λ_H λ_W. Measured: error over c, mean of the "
            "three targets."
        ),
        mean(f"{name}-each", PAPER, Bar(high=0.05))(
            f"{said}: it is c for every target. Measured: largest |error/c - 1|."
        ),
        mean(f"{name}-gram", PAPER, Bar(high=0.02))(
            f"{said}: WWᵀ = √(λ_H/λ_W) (Σ^½ - √c I). Measured: distance over the norm of the "
            "closed form."
        ),
        mean(f"{name}-nrc3", PAPER, Bar(high=1e-3))(
            f"{said}: NRC3 vanishes at γ = c. Measured: NRC3 at γ = c."
        ),
        mean(f"{name}-spectrum", PAPER, Bar(high=0.05))(
            f"{said}: the features' covariance has λ_W/λ_H times the eigenvalues of WᵀW. Measured: "
            "largest |ratio - 1| over the three."
        ),
        mean(f"{name}-roots", PAPER, Bar(high=0.05))(
            f"{said}: they are √(λ_W/λ_H) (√λ_j - √c), λ_j the eigenvalues of Σ. "
            "Measured: largest |ratio - 1| over the three."
        ),
        mean(f"{name}-vectors", PAPER, Bar(low=0.99))(
            f"{said}: and the same eigenvectors. Measured: mean singular value between the first "
            "three directions of the features and the head's rows."
        ),
    )


DIGITS = (
    *_network("digits", "Digits to three image moments, linear penultimate layer, λ = 0.1"),
    mean("regression-digits-nrc1", DECLARED, Bar(0.8, 1.2))(
        "Digits: NRC1 lies within 20 % of the declared 4.1e-3. Measured: NRC1 over it."
    ),
    mean("regression-digits-nrc2", DECLARED, Bar(0.8, 1.2))(
        "Digits: NRC2 lies within 20 % of the declared 4.1e-3. Measured: NRC2 over it."
    ),
)
DIABETES = _network("diabetes", "Diabetes (442 patients) to three of its numbers, λ = 0.1")
BARE = (
    mean("regression-bare-nrc1", NONE, Bar(low=0.04))(
        "The same network without decay does not collapse: features lie off three directions at "
        "least ten times as far. Measured: NRC1."
    ),
    mean("regression-bare-nrc3", NONE, Bar(low=0.02))(
        "Nor does its head take the shape of the targets, whatever γ. Measured: NRC3 at its best γ."
    ),
)
RECTIFIED = (
    mean("regression-relu-error", RELU, Bar(1.8, 2.2))(
        "The stated exception: after a ReLU the error is near twice c, for a signed target then "
        "takes two directions. Measured: error over c."
    ),
    mean("regression-relu-gram", RELU, Bar(low=0.1))(
        "After a ReLU the closed form does not hold. Measured: distance of WWᵀ from it, as above."
    ),
    mean("regression-relu-nrc1", RELU, Bar(low=0.2))(
        "After a ReLU features do not lie in three directions. Measured: NRC1."
    ),
)
RUNS = "ncollapse.studies.regression.runs"

STUDY = Study(
    name="regression",
    question=(
        "Does a network trained on real-valued targets with decay of features and weights become "
        "what the closed form of free features says, and where does it not?"
    ),
    paper="Andriopoulos et al. 2024, The prevalence of neural collapse in neural multivariate "
    "regression",
    claims=(*DIGITS, *DIABETES, *BARE, *RECTIFIED),
    settings=sizes(
        seeds=By(1, 3, 10),
        first_seed=By(0, 100, 100),
        steps=By(40, 2500, 10000),
        samples=By(300, 0, 0),
        widths=By([32, 16], [256, 256, 64], [256, 256, 64]),
        decay=0.1,
        declared=4.1e-3,
    ),
    parts=(
        Part("digits", f"{RUNS}:digits", ids(DIGITS)),
        Part("diabetes", f"{RUNS}:diabetes", ids(DIABETES)),
        Part("bare", f"{RUNS}:bare", ids(BARE)),
        Part("relu", f"{RUNS}:relu", ids(RECTIFIED)),
    ),
    draw="ncollapse.studies.regression.figures:draw",
    place=110,
)
