"""The studies by name: the folders of `ncollapse.studies` whose claims.py holds a STUDY.

The folder bears the study's name, with _ for -. No torch here: what a study does is imported where
it runs.
"""

from __future__ import annotations

import difflib
from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules

from ncollapse.lab.study import Study

PACKAGE = "ncollapse.studies"


def names() -> tuple[str, ...]:
    """All names, in the order in which they are listed."""
    return tuple(study.name for study in studies())


def find(name: str) -> Study:
    """The study of that name. Raises ValueError for an unknown one."""
    folder = name.replace("-", "_")
    if folder not in _folders() or (found := _study(folder)).name != name:
        near = difflib.get_close_matches(name, names(), n=3, cutoff=0.6)
        hint = (
            f"did you mean {' or '.join(near)}?"
            if near
            else f"one of {', '.join(names())} is needed"
        )
        raise ValueError(f"study {name!r} is unknown; {hint}")
    return found


def studies() -> list[Study]:
    """All studies, those with a smaller `place` first."""
    return sorted(map(_study, _folders()), key=lambda study: (study.place, study.name))


def _folders() -> list[str]:
    # By name when asked: the package stands above this room.
    entries = iter_modules(import_module(PACKAGE).__path__)
    found = [entry.name for entry in entries if entry.ispkg]
    return [name for name in found if find_spec(f"{PACKAGE}.{name}.claims") is not None]


def _study(folder: str) -> Study:
    """Raises ValueError for a folder without a STUDY, or with one of another name."""
    module = f"{PACKAGE}.{folder}.claims"
    found = getattr(import_module(module), "STUDY", None)
    if not isinstance(found, Study):
        raise ValueError(f"{module} holds no study; its STUDY must be a `Study`")
    if found.name.replace("-", "_") != folder:
        raise ValueError(
            f"{module} holds the study {found.name!r}; its folder must be named "
            f"{found.name.replace('-', '_')}"
        )
    return found
