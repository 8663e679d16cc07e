"""What the page shows of a classifier alone: the cosines of its rows, and how long they are."""

from __future__ import annotations

from ncollapse.report import plots, words
from ncollapse.report.plots.lengths import row_lengths
from ncollapse.report.sections.section import Section, Shown


def sections(shown: Shown) -> list[Section]:
    """The Gram map of the centred rows, and their lengths from the longest to the shortest."""
    run = shown.run
    document = run.document
    weight = run.geometry.get("weight")
    classes = [row for row in run.classes if row.split == run.split]
    names = [row.name for row in classes]
    gram = lengths = None
    missing = "No weight is in this folder (geometry.safetensors)."
    note = ""
    if weight is not None:
        alt = words.sentence(document, "weights_simplex")
        gram = plots.gram_map(weight, alt, names=names)
        note = plots.gram_note(len(weight), None)
        lengths = row_lengths(weight, words.sentence(document, "weights_lengths"), names=names)
    return [
        Section.of("Rows of the classifier", note, gram, missing),
        Section.of("Lengths of rows", "longest first", lengths, missing),
    ]
