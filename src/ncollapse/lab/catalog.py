"""The studies by name. No torch here: what a study does is imported where it runs."""

from __future__ import annotations

from importlib import import_module

from ncollapse.lab.study import Study

MODULES = {
    "landscape": "ncollapse.studies.landscape.claims",
    "losses": "ncollapse.studies.losses.claims",
    "peeled": "ncollapse.studies.peeled.claims",
    "imbalance": "ncollapse.studies.imbalance.claims",
    "minority": "ncollapse.studies.minority.claims",
    "terminal-phase": "ncollapse.studies.terminal_phase.claims",
    "fixed-head": "ncollapse.studies.fixed_head.claims",
    "imbalanced-head": "ncollapse.studies.imbalanced_head.claims",
    "thermostat": "ncollapse.studies.thermostat.claims",
    "over-collapse": "ncollapse.studies.over_collapse.claims",
}


def names() -> tuple[str, ...]:
    """All names, in the order in which they are listed."""
    return tuple(MODULES)


def find(name: str) -> Study:
    """The study of that name. Raises ValueError for an unknown one."""
    if name not in MODULES:
        raise ValueError(f"study {name!r} is unknown; one of {', '.join(MODULES)} is needed")
    found: Study = import_module(MODULES[name]).STUDY
    return found


def studies() -> list[Study]:
    """All studies."""
    return [find(name) for name in MODULES]
