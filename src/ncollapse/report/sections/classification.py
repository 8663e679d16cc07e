"""What the page shows of classes: strip, Gram heat map, classes, and a curve or the head."""

from __future__ import annotations

from typing import Any

import numpy as np

from ncollapse.metrics.depth import depth_of
from ncollapse.report import plots, words
from ncollapse.report.data import (
    Data,
    class_data,
    gram_data,
    layer_data,
    strip_data,
    trace_data,
)
from ncollapse.report.sections.section import Section, Shown


def sections(shown: Shown) -> list[Section]:
    """Strip, Gram map, scatter of the classes; then the curve over layers or training, or with
    neither the cosines of the head's rows."""
    run, said = shown.run, words.sentence
    document = run.document
    spread = f"collapsed:{run.split}"
    rows = [row for row in run.classes if row.split == run.split and row.layer == document.layer]
    means, counts = run.geometry.get("means"), run.geometry.get("counts")
    gram = None
    if means is not None:
        gram = plots.gram_map(
            means,
            said(document, "frame"),
            predicted=_means(shown.predicted),
            names=[row.name for row in rows],
            counts=counts,
        )
    scatter = plots.class_scatter(rows, said(document, "minority")) if rows else None
    return [
        Section.of(
            "How far from noise",
            "95 % intervals",
            plots.collapse_strip(document, said(document, spread)),
            "No reading was found.",
            strip_data(document),
        ),
        Section.of(
            "Class means",
            plots.gram_note(document.num_classes, counts),
            gram,
            "No class means are in this folder (geometry.safetensors).",
            None if means is None else gram_data(means, [row.name for row in rows], counts),
        ),
        Section.of(
            "Classes",
            plots.scatter_note(run.classes, run.split),
            scatter,
            "No class rows are in this folder (classes.csv).",
            class_data(rows),
        ),
        _last(shown, rows, spread),
    ]


def _last(shown: Shown, rows: list[Any], spread: str) -> Section:
    run, said = shown.run, words.sentence
    document = run.document
    layers = any(len(found) > 1 for found in document.results.values())
    curve = data = None
    if layers:
        data = layer_data(document)
        depth = depth_of(document.results, split=run.split)
        curve = plots.layer_curve(
            document.results,
            f"{said(document, spread)} {depth.effective}.",
            last=document.layer,
            path=document.paths.get(run.split),
            split=run.split,
            finished=depth.effective.layer,
        )
    elif run.trace is not None:
        data = trace_data(run.trace, document.layer)
        curve = plots.training_curve(
            run.trace,
            said(document, "terminal_phase", spread),
            layer=document.layer,
            phase_step=shown.phase_step,
            phase_epoch=shown.phase_epoch,
        )
    dual = plots.dual_plot(rows, said(document, "dual")) if curve is None else None
    if dual is not None:
        note = f"cosines, {run.split}"
        cosines = [(row.name, row.cosine) for row in rows]
        found = Data.of("head", ("class", "cosine"), cosines)
        return Section.of("Head against means", note, dual, "", found)
    return Section.of(
        "Layers" if layers else "Training",
        "share ↑ from class, distances ↓" if curve else "",
        curve,
        "One layer and no trace of training are in this folder, so there is no curve to draw. "
        "Follow a run as ncollapse demo does, and it appears here.",
        data if curve else None,
    )


def _means(predicted: Any) -> Any:
    """The class means of a prediction as an array."""
    for name in ("geometry", "means"):
        predicted = getattr(predicted, name, predicted)
    return None if predicted is None else np.asarray(predicted)
