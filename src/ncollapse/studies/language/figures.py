"""Figures of the language study."""

from __future__ import annotations

from ncollapse.lab.figures import Axes, Drawing, Ink, Row, Runs, columns, curves

draw = Drawing()


@draw.figure("small", "large", x="validation loss, nats a token", y="reading")
def trends(area: Axes, ink: Ink, small: Runs, large: Runs) -> None:
    """Variation of log lengths, UNC3, NC3 and NC4 of a ladder of small models, against their
    validation loss."""
    rows = sorted(_rows(*small, *large), key=lambda row: row["loss"])
    named = {
        "log lengths": "lm_equinorm_log",
        "UNC3": "lm_unc3",
        "NC3": "lm_nc3",
        "NC4": "lm_nc4",
    }
    series = {said: columns(rows, "loss", key) for said, key in named.items()}
    curves(area, ink, series, "o-", markersize=4)


@draw.figure("small", "large", x="validation loss, nats a token", y="log CDNV, mean over pairs")
def unit(area: Axes, ink: Ink, small: Runs, large: Runs) -> None:
    """The published exponent, which has a unit of length, and the scale-free one, against
    validation loss: trained models, and untrained ones at the loss of their trained twin."""
    rows = sorted(_rows(*small, *large), key=lambda row: row["loss"])
    before = [{"loss": row["loss"], **row["untrained"]} for row in rows]
    curves(
        area,
        ink,
        {
            "exponent 2": columns(rows, "loss", "lm_cdnv_2_log"),
            "exponent 1": columns(rows, "loss", "lm_cdnv_1_log"),
            "exponent 2, untrained": columns(before, "loss", "lm_cdnv_2_log"),
        },
        "o-",
        markersize=4,
    )


def _rows(*runs: Row) -> Runs:
    return [row for run in runs for row in run["rows"]]
