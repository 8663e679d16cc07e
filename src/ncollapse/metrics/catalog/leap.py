"""Rows of what an attack does to features, read of pairs of clean and attacked samples."""

from __future__ import annotations

from ncollapse.metrics.metric import Metric, Place, Without

SU = "Su, Zhang, Tsilivis, Kempe 2024 (their code read)"
_NULL = Without("noise of the same size is measured beside the attack as a split of its own")
_FLOOR = Without("float32 features move it far less than another random start does")
_INTERVAL = Without("samples are picked by the attack, so they are no draws of the data")
_NOBODY = "the attack flipped no sample, so there is no leap to read"


def _row(
    key: str,
    title: str,
    formula: str,
    meaning: str,
    *,
    ideal: float | None = None,
    direction: str | None = None,
    lower: float = -1.0,
    upper: float = 1.0,
    unit: str = "number",
    source: str = "this library",
    terminal: Place | None = None,
    undefined: str = _NOBODY,
) -> Metric:
    return Metric(
        key=key,
        function=f"ncollapse.metrics.leap:{key}",
        title=title,
        family="leap",
        needs=("twins",),
        takes=("twins",),
        formula=formula,
        meaning=meaning,
        source=source,
        null=_NULL,
        floor=_FLOOR,
        interval=_INTERVAL,
        ideal=ideal,
        direction=direction,
        lower=lower,
        upper=upper,
        unit=unit,
        cost="N K d",
        task="attack",
        terminal=terminal,
        undefined=undefined,
    )


ROWS = (
    _row(
        "flip_share",
        "decisions that the attack flips",
        "share of samples decided rightly clean and wrongly attacked, of those rightly clean",
        "What the attack gets. Accuracy under attack stands beside it as `accuracy` of the split.",
        ideal=0.0,
        direction="down",
        lower=0.0,
        unit="percent",
        terminal=Place("flipped", 1),
        undefined="no sample was decided rightly before the attack",
    ),
    _row(
        "leap_own",
        "flipped samples against their own vertex",
        "mean over flipped samples of cos(h' - μ_G, μ_y - μ_G)",
        "1: the feature has not moved; -1/(K-1): it stands at another vertex of a simplex. Means "
        "are those of clean samples of the reference split.",
        terminal=Place("to own vertex", 2),
    ),
    _row(
        "leap_other",
        "flipped samples against the nearest other vertex",
        "mean over flipped samples of max over c ≠ y of cos(h' - μ_G, μ_c - μ_G)",
        "Near 1 where attacked features leap onto another vertex instead of leaving the simplex.",
    ),
    _row(
        "leap_predicted",
        "flipped samples against the predicted vertex",
        "mean over flipped samples of cos(h' - μ_G, μ_p - μ_G), p the class they are taken for",
        "Near 1 where attacked features stand where clean ones of the wrong class stand.",
        source=SU,
        terminal=Place("to predicted vertex", 3),
    ),
    _row(
        "leap_nearest",
        "flipped samples at the predicted vertex",
        "share of flipped samples whose largest cosine is to the vertex of the predicted class",
        "Whether the head and the vertices agree about where an attacked feature has gone.",
        lower=0.0,
        unit="percent",
    ),
    _row(
        "leap_between",
        "share of the way between vertices",
        "mean over flipped samples of the share of t in [0, 1] with max over c of "
        "cos(h(x + t(x' - x)) - μ_G, μ_c - μ_G) < .7",
        "Small where features leap from vertex to vertex, large where they drift across.",
        lower=0.0,
        unit="percent",
        terminal=Place("way between vertices", 4),
    ),
    _row(
        "mean_angle",
        "clean against attacked class means",
        "mean over classes of ∠(μ_c - μ_G, μ'_c - μ'_G) in degrees",
        "0 where the attacked means form the clean simplex. Attacked samples are grouped by their "
        "true label, or by target or decision in the splits that say so.",
        ideal=0.0,
        direction="down",
        lower=0.0,
        upper=180.0,
        source=SU,
        terminal=Place("angle of means, degrees", 5),
        undefined="no class has both clean and attacked samples",
    ),
    _row(
        "mean_angle_raw",
        "the same without centring",
        "mean over classes of ∠(μ_c, μ'_c) in degrees",
        "As mean_angle, of raw means: features that are never negative share an offset, which "
        "makes it small whatever happens.",
        ideal=0.0,
        direction="down",
        lower=0.0,
        upper=180.0,
        source=SU,
        undefined="no class has both clean and attacked samples",
    ),
    _row(
        "centre_angle",
        "clean against attacked global mean",
        "∠(mean h, mean h') in degrees",
        "How far the attack turns the common offset of all features.",
        ideal=0.0,
        direction="down",
        lower=0.0,
        upper=180.0,
        source=SU,
        undefined="there is no sample",
    ),
)
