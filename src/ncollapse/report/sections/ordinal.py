"""What the page shows of ordered grades: the latent line of each split, and the grades' spread."""

from __future__ import annotations

from ncollapse.report import plots, words
from ncollapse.report.data import class_data
from ncollapse.report.sections.section import Section, Shown


def sections(shown: Shown) -> list[Section]:
    """The latent line with thresholds and class means; then how wide each grade is."""
    run = shown.run
    document = run.document
    lines = document.config.get("details") or {}
    rows = [row for row in run.classes if (row.split, row.layer) == (run.split, document.layer)]
    names = {row.index: row.name for row in rows}
    drawn = plots.latent_line(lines, words.sentence(document, "ordinal_places"), names)
    alt = words.sentence(document, f"ordinal_spread:{run.split}")
    return [
        Section.of(
            "Latent line",
            "mean score of each grade; ○ where theory puts it; | thresholds",
            drawn,
            "No head of one latent score was measured, so there is no line to draw.",
        ),
        Section.of(
            "Grades",
            plots.scatter_note(run.classes, run.split),
            plots.class_scatter(rows, alt) if rows else None,
            "No class rows are in this folder (classes.csv).",
            class_data(rows),
        ),
    ]
