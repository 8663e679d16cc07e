"""What the page shows of a regression: readings, the features' spectrum, the head against the
targets, and the errors or the layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ncollapse.report import plots, words
from ncollapse.report.data import strip_data
from ncollapse.report.plots import regression as drawn
from ncollapse.report.sections.section import Section, Shown

NO_DETAILS = "This run holds no spectrum: only traces were kept."


def sections(shown: Shown) -> list[Section]:
    """Strip, scree, Gram matrix of the head; then the curve over layers, or the errors."""
    run, said = shown.run, words.sentence
    document = run.document
    details: dict[str, dict[str, Any]] = document.config.get("details") or {}
    mine = details.get(document.reference, {})
    order = [document.reference, *(name for name in details if name != document.reference)]
    theory = run.prediction
    if theory is not None and theory["problem"].get("task") != "regression":
        theory = None
    spectra = [
        (name, details[name].get("feature_spectrum", ())) for name in order if name in details
    ]
    spread = said(document, f"regression_collapsed:{document.reference}")
    number = document.num_classes
    return [
        Section.of(
            "How far from noise",
            "95 % intervals",
            plots.collapse_strip(document, spread),
            "No reading was found.",
            strip_data(document),
        ),
        Section.of(
            "Where features vary",
            "eigenvalues of their covariance",
            drawn.scree(
                spectra, number, spread, None if theory is None else theory["feature_spectrum"]
            ),
            NO_DETAILS,
        ),
        _gram(mine, theory, said(document, "regression_gram")),
        _last(shown, details, order, theory),
    ]


def _gram(mine: dict[str, Any], theory: dict[str, Any] | None, alt: str) -> Section:
    """WWᵀ beside the closed form of a theory, else beside the shape that the best γ gives."""
    empty = "No head was measured, or its targets are too many to draw."
    title, figure = "The head against the targets", None
    if "gram" in mine and len(mine["gram"]) > 1:
        names = mine.get("names", ())
        if theory is not None:
            wanted, note, short = theory["geometry"]["gram"], "no parameter fitted", "closed form"
        else:
            gram = np.array(mine["gram"])
            wanted = drawn.matched(_shape(np.array(mine["covariance"]), mine.get("gamma")), gram)
            note, short = "scale and γ fitted", "Σ^½ - √γ I"
        figure = drawn.gram_against(mine["gram"], wanted, alt, title=short, names=names)
    elif "gram" in mine:
        note, empty = "", "With one target the Gram matrix of the head is one number."
    else:
        note = ""
    return Section.of(title, note, figure, empty)


def _shape(covariance: Any, gamma: float | None) -> Any:
    values, vectors = np.linalg.eigh(covariance)
    roots = np.sqrt(np.clip(values, 0, None)) - np.sqrt(gamma or 0.0)
    return (vectors * roots) @ vectors.T


def _last(
    shown: Shown,
    details: dict[str, dict[str, Any]],
    order: list[str],
    theory: dict[str, Any] | None,
) -> Section:
    document = shown.run.document
    if any(len(found) > 1 for found in document.results.values()):
        curve = plots.layer_curve(
            document.results,
            words.sentence(document, f"regression_collapsed:{document.reference}"),
            last=document.layer,
            task=document.task,
        )
        return Section.of("Layers", "share off as many directions as targets", curve, NO_DETAILS)
    mine = details.get(document.reference, {})
    rows = [(name, details[name].get("errors", ())) for name in order if name in details]
    figure = None
    if "covariance" in mine:
        figure = drawn.errors_plot(
            rows,
            [mine["covariance"][i][i] for i in range(len(mine["covariance"]))],
            words.sentence(document, "regression_head"),
            names=mine.get("names", ()),
            predicted=None if theory is None else theory["errors"],
        )
    return Section.of("Errors of the targets", "log scale", figure, "No head was measured.")
