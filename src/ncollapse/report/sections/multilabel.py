"""What the page shows of several labels: means of single labels, the labels, and scales C_m."""

from __future__ import annotations

from typing import Any

from ncollapse.report import plots, words
from ncollapse.report.data import class_data
from ncollapse.report.sections.section import Section, Shown


def sections(shown: Shown) -> list[Section]:
    """The Gram map of single-label means with the scales beside its title; then the labels."""
    run = shown.run
    document = run.document
    rows = [row for row in run.classes if (row.split, row.layer) == (run.split, document.layer)]
    means, counts = run.geometry.get("means"), run.geometry.get("counts")
    gram = None
    if means is not None:
        said = words.sentence(document, "multilabel_frame")
        gram = plots.gram_map(means, said, names=[row.name for row in rows], counts=counts)
    details = (document.config.get("details") or {}).get(run.split, {})
    alt = words.sentence(document, "multilabel_spread")
    return [
        Section.of(
            "Means of one label",
            scales(details),
            gram,
            "No means are in this folder (geometry.safetensors).",
        ),
        Section.of(
            "Labels",
            plots.scatter_note(run.classes, run.split),
            plots.class_scatter(rows, alt) if rows else None,
            "No class rows are in this folder (classes.csv).",
            class_data(rows),
        ),
    ]


def scales(details: dict[str, Any]) -> str:
    """C_2 = .90 (theory .91), C_3 = …; empty where no sample has several labels."""
    predicted = {str(m): value for m, value in details.get("predicted", {}).items()}
    found = []
    for m, value in details.get("scales", {}).items():
        theory = predicted.get(str(m))
        found.append(f"C_{m} = {value:.2f}" + ("" if theory is None else f" (theory {theory:.2f})"))
    return ", ".join(found[:4])
