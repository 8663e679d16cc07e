"""Figures of the regression study."""

from __future__ import annotations

from ncollapse.lab.figures import Axes, Drawing, Ink, Runs

draw = Drawing()


@draw.figure("digits", x="predicted √λ - √c", y="measured eigenvalue of the features' covariance")
def spectrum(area: Axes, ink: Ink, digits: Runs) -> None:
    """Eigenvalues of the features' covariance of digits networks, against the closed form."""
    for run in digits:
        area.plot(run["predicted"], run["measured"], "o", color=ink.first, label="digits")
    top = max(max(run["predicted"]) for run in digits)
    area.plot([0, top], [0, top], color=ink.line)


@draw.figure("relu", x="target", y="mean squared error over c")
def errors(area: Axes, ink: Ink, relu: Runs) -> None:
    """Errors of the three targets after a ReLU: near twice what free features have."""
    for run in relu:
        level = run["level"]
        values = [error / level for error in run["errors"]]
        area.plot([1, 2, 3], values, "o", color=ink.second, label="after a ReLU")
    area.axhline(1, color=ink.mark, label="closed form")
