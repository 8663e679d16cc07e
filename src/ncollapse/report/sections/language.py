"""What the page shows of a language model: where variance sits, readings by frequency, what
collapse asks for, and how far readings are from noise."""

from __future__ import annotations

from typing import Any

from ncollapse.report import plots, words
from ncollapse.report.data import strip_data
from ncollapse.report.plots import language as drawn
from ncollapse.report.sections.section import Section, Shown


def sections(shown: Shown) -> list[Section]:
    """Shares of variance head the page; then the frequency curve, preconditions, and the strip."""
    document = shown.run.document
    details: dict[str, dict[str, Any]] = document.config.get("details") or {}
    first = document.reference
    order = [first, *(name for name in details if name != first)]
    mine = {name: details[name] for name in order if name in details}
    shares = {name: one["shares"] for name, one in mine.items() if "shares" in one}
    curves = {name: one["frequency"] for name, one in mine.items() if "frequency" in one}
    said = words.sentence(document, f"language_collapsed:{first}")
    needs = mine.get(first, {}).get("preconditions", ())
    met = sum(row["holds"] is True for row in needs)
    return [
        Section.of(
            "Where features vary",
            "category, token, context",
            drawn.shares_bar(shares, said),
            "No token occurs twice, so no share can be told from noise.",
        ),
        Section.of(
            "Frequent and rare tokens",
            f"{first} ●, held out ○" if len(curves) > 1 else first,
            drawn.frequency_plot(curves, words.sentence(document, "language_dual")),
            "Too few tokens for a curve.",
        ),
        Section.of(
            "What collapse asks for",
            f"{met} of {len(needs)} hold",
            drawn.conditions_list(
                needs, f"{met} of {len(needs)} conditions of neural collapse hold."
            ),
            "Nothing is known of the conditions.",
        ),
        Section.of(
            "How far from noise",
            "95 % intervals",
            plots.collapse_strip(document, words.sentence(document, "language_nearest")),
            "No reading was found.",
            strip_data(document),
        ),
    ]
