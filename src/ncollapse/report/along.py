"""What a page tells of a training run beside its curves: laws, and what watchers read."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from ncollapse.record.document import Document
from ncollapse.record.trace import Trace

HOW = {"agrees": "✓", "breaks": "✗"}


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
