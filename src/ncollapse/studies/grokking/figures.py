"""Figures of the grokking study."""

from __future__ import annotations

from ncollapse.lab.figures import Axes, Drawing, Ink, Row, Runs, curves

draw = Drawing()
ACCURACIES = ("training accuracy", "test accuracy")
SHARES = ("train share", "test share")


def _series(row: Row, names: tuple[str, ...]) -> dict[str, tuple[list[float], list[float]]]:
    known = row["curves"]
    # Step 0 has no place on a logarithmic axis.
    return {name: (known["steps"][1:], known[name][1:]) for name in names}


@draw.figure("digits", x="step", y="accuracy, class share", log="x")
def together(area: Axes, ink: Ink, digits: Runs) -> None:
    """Accuracy and class share of training and unseen digits at the weakest decay, one seed."""
    row = min(digits[0]["rows"], key=lambda row: float(row["decay"]))
    curves(area, ink, _series(row, (*ACCURACIES, *SHARES)))


@draw.figure("digits", x="decay λ", y="step half way", log="xy")
def law(area: Axes, ink: Ink, digits: Runs) -> None:
    """Steps at which training and test accuracy are half way, by decay, with a line 1/λ."""
    for run in digits:
        rows = [row for row in run["rows"] if row["train"] and row["test"]]
        if not rows:
            continue
        decays = [row["decay"] for row in rows]
        area.plot(decays, [row["test"] for row in rows], "o-", color=ink.first, label="test")
        area.plot(decays, [row["train"] for row in rows], "o-", color=ink.second, label="training")
        start = rows[0]["test"] * rows[0]["decay"]
        area.plot(decays, [start / decay for decay in decays], color=ink.line, label="1/λ")


@draw.figure("addition", x="step", y="NC1", log="xy")
def layers(area: Axes, ink: Ink, addition: Runs) -> None:
    """NC1 of the hidden layer and of the logits of modular addition on training and unseen pairs,
    one seed; vertical: test accuracy half way."""
    run = addition[0]
    curves(area, ink, _series(run, ("train head", "test head", "train logits", "test logits")))
    if run["test"]:
        area.axvline(run["test"], color=ink.mark, label="test accuracy half way")
