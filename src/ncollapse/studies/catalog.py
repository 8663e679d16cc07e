"""The studies by name. No torch here: what a study does is imported where it runs."""

from __future__ import annotations

from importlib import import_module

from ncollapse.studies.study import Study

MODULES = {
    "landscape": "ncollapse.studies.landscape",
    "losses": "ncollapse.studies.loss_functions",
    "peeled": "ncollapse.studies.peeled",
    "imbalance": "ncollapse.studies.imbalance",
    "minority": "ncollapse.studies.minority",
    "terminal-phase": "ncollapse.studies.terminal_phase",
    "fixed-head": "ncollapse.studies.fixed_head",
    "imbalanced-head": "ncollapse.studies.imbalanced_head",
    "thermostat": "ncollapse.studies.thermostat",
    "over-collapse": "ncollapse.studies.over_collapse",
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
