"""What a page tells of a training run beside its curves: laws, and what watchers read."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from ncollapse.record.document import Document
from ncollapse.record.readings import AGREES, BREAKS
from ncollapse.record.run import Run
from ncollapse.record.trace import Trace
from ncollapse.report.certified import certified

HOW = {AGREES: "✓", BREAKS: "✗"}


def laws(document: Document) -> list[dict[str, Any]]:
    """The laws that the run was held against: mark, sentence and notes of each."""
    kept = document.config.get("laws")
    return [
        {
            "mark": HOW.get(str(law.get("answer")), "–"),
            "answer": str(law.get("answer", "")),
            "sentence": str(law.get("sentence", "")),
            "notes": [str(said) for said in law.get("notes", ())],
        }
        for law in (kept if isinstance(kept, list) else ())
        if isinstance(law, dict)
    ]


def floors(run: Run) -> dict[str, Any] | None:
    """The loss over its certified floor along training: sentences and curves; None where nothing
    was certified."""
    from ncollapse.report import plots

    found = certified(run.trace, run.split)
    if not found:
        return None
    svg = plots.certified_curves(found)
    said = [one.sentence for one in found]
    return {"figure": None if svg is None else Markup(svg), "sentences": said}


def watchers(trace: Trace | None, layer: str) -> dict[str, Any] | None:
    """What was read along training beside the catalog, drawn; None where nothing was."""
    from ncollapse.report import plots

    unit, found = plots.watched(trace, layer)
    svg = plots.watched_curves(unit, found)
    if svg is None:
        return None
    names = ", ".join(one.key for one in found)
    # matplotlib has escaped every text of the drawing.
    return {"figure": Markup(svg), "sentence": f"Read by watchers at every look: {names}."}


def spread(run: Run) -> dict[str, Any] | None:
    """Where the spread within classes lived along training, drawn; None where nothing was read
    twice."""
    from ncollapse.report import plots

    document = run.document
    here = run.split, document.layer
    names = {row.index: row.name for row in run.classes if (row.split, row.layer) == here}
    unit, found = plots.spread_panels(run.trace, *here, names, document.task)
    svg = plots.watched_curves(unit, found, "spread")
    if svg is None:
        return None
    seen = document.results.get(run.split, {}).get(document.layer, {}).get("head_share")
    said = "How much of the spread within classes the head sees, and how many directions are used."
    if seen is not None and seen.null is not None:
        said += f" A head at random would see {100 * seen.null.mean:.1f} % of the spread."
    return {"figure": Markup(svg), "sentence": said}
