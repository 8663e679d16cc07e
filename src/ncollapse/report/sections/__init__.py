"""Figures of the page by task: a file of this folder named as a task draws its sections."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from ncollapse.report.sections.section import Section, Shown


def sections(shown: Shown) -> list[Section]:
    """Those of the task that the document names; of classification where it is older than tasks.
    None for a task without a file here."""
    task = shown.run.document.task
    path = f"{__name__}.{task}"
    if not task.isidentifier() or find_spec(path) is None:
        return []
    found: list[Section] = import_module(path).sections(shown)
    return found
