"""Study: do language models move towards collapse as their validation loss falls?"""

from __future__ import annotations

from ncollapse.lab.claims import Bar, Claim, ids, worst
from ncollapse.lab.settings import By, sizes
from ncollapse.lab.study import Part, Study

PAPER = "Wu, Papyan 2024 (published over 230 models; a trend over five is ours)"
SCALE = "ours: observed once in a reference program on the same sizes"
TRENDS = (
    ("cdnv", "log CDNV with exponent 2 falls", "lm_cdnv_2_log", Bar(low=0.9)),
    ("lengths", "variation of log lengths of class means falls", "lm_equinorm_log", Bar(low=0.9)),
    ("gnc2", "variation of the log kernel (GNC2) falls", "lm_gnc2_log_variation", Bar(low=0.9)),
    ("unc3", "variation of cosines of head and means (UNC3) falls", "lm_unc3", Bar(low=0.9)),
    ("nc3", "mean cosine of head and means (NC3) rises", "lm_nc3", Bar(high=-0.9)),
    ("nc4", "agreement of head and nearest mean (NC4) rises", "lm_nc4", Bar(high=-0.9)),
)


def _trend(name: str, said: str, bar: Bar) -> Claim:
    return worst(f"language-{name}", PAPER, bar)(
        f"Trend over five sizes: as validation loss falls, {said}. Measured: Spearman's "
        "correlation with the validation loss."
    )


LADDER = (
    *(_trend(name, said, bar) for name, said, _, bar in TRENDS),
    worst("language-free", SCALE, Bar(high=0.5))(
        "Scale-free NC1 does not follow at this size: log CDNV with exponent 1 does not fall with "
        "the loss. Measured: Spearman's correlation with the validation loss."
    ),
    worst("language-context", SCALE, Bar(high=0.5))(
        "Nor does the share of variance that context has within a next token. Measured: Spearman's "
        "correlation of the corrected context share with the validation loss."
    ),
    worst("language-floor", "derived here", Bar(0.0, 1.0))(
        "Variance within kinds of tokens stays above the floor that predictions set. Measured: "
        "largest floor over variance of the five models."
    ),
    worst("language-untrained", "ours, a null of size alone", Bar(high=0.5))(
        "The fall of log CDNV with exponent 2 is of training, not of width: untrained models of "
        "the same sizes spread by at most half of it. Measured: range of the reading over "
        "untrained models over its range over trained ones."
    ),
)
MANY = (
    worst("language-seeds-nc4", "Wu, Papyan 2024: p = .0005 over 21 seeds", Bar(high=0.01))(
        "At one size (full size only), seeds of lower loss have higher NC4. Measured: p of a "
        "permutation test of the correlation."
    ),
    worst("language-seeds-unc3", "Wu, Papyan 2024: p = .98 over 21 seeds", Bar(low=0.05))(
        "At one size (full size only), UNC3 does not tell seeds of lower loss. Measured: p of a "
        "permutation test."
    ),
)
DEPTH = (
    worst("language-depth", PAPER, Bar(high=-0.8))(
        "With depth alone varied (full size only), NC4 rises as the loss falls. Measured: "
        "Spearman's correlation over depths."
    ),
)
LENGTH = (
    worst("language-length", PAPER, Bar(high=-0.8))(
        "With training length alone varied (full size only), NC4 rises as the loss falls. "
        "Measured: Spearman's correlation over lengths."
    ),
)
RUNS = "ncollapse.studies.language.runs"
FOUR = [[16, 2], [32, 4], [32, 2], [64, 2]]

STUDY = Study(
    name="language",
    question=(
        "Do language models of growing size move towards collapse onto the next token as their "
        "validation loss falls, and does what has no unit of length follow?"
    ),
    paper="Wu, Papyan 2024, Linguistic collapse; Abrahao 2026 (abstract), its limits",
    claims=(*LADDER, *MANY, *DEPTH, *LENGTH),
    settings=sizes(
        seeds=By(1, 1, 3),
        first_seed=By(0, 100, 100),
        vocabulary=By(280, 2048, 2048),
        length=By(16, 64, 64),
        # Bytes of the standard library; 0 for all.
        limit=By(40_000, 4_500_000, 0),
        steps=By(2, 400, 1600),
        sequences=By(4, 32, 32),
        # Sequences that are measured, and held out.
        measured=By(60, 2000, 8000),
        held=By(20, 600, 1600),
        frequent=By(2, 10, 10),
        # Width and depth.
        small=By([[8, 1], [8, 2]], FOUR, FOUR),
        large=By([[16, 1]], [[128, 2]], [[128, 2]]),
        # The full size alone varies one thing at a time.
        fixed=By([8, 1], [64, 2], [64, 2]),
        many=By(2, 0, 12),
        depths=By([1, 2], [], [1, 2, 4, 8]),
        lengths=By([1, 2], [], [200, 400, 800, 1600, 3200]),
    ),
    parts=(
        Part("small", f"{RUNS}:small", ids(LADDER)),
        Part("large", f"{RUNS}:large", ()),
        Part("many", f"{RUNS}:many", ids(MANY), seeded=False),
        Part("depth", f"{RUNS}:depth", ids(DEPTH), seeded=False),
        Part("length", f"{RUNS}:length", ids(LENGTH), seeded=False),
    ),
    combine=f"{RUNS}:combine",
    draw="ncollapse.studies.language.figures:draw",
    place=130,
)
