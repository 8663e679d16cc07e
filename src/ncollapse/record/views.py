"""Readings as nested mappings that say what there is where a name is missing."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from ncollapse.record.readings import Results

T = TypeVar("T")
# What the levels of `results` are called, from the outside.
LEVELS = ("split", "layer", "reading")
LISTED = 12


class MissingError(KeyError, ValueError):
    """A name that is not there, in one sentence. A KeyError, as of any mapping."""

    def __str__(self) -> str:
        return str(self.args[0])


class View(Mapping[str, Any]):
    """One level of results[split][layer][key] → Reading, read only; nothing is copied."""

    def __init__(self, found: Mapping[str, Any], level: int = 0, place: str = "") -> None:
        self._found, self._level, self._place = found, level, place

    def __getitem__(self, name: str) -> Any:
        what = LEVELS[self._level]
        if name not in self._found:
            raise MissingError(missing(f"{what} {name!r}{self._place}", name, self._found))
        value = self._found[name]
        if self._level + 1 == len(LEVELS):
            return value
        inside = f" in {what} {name!r}" + self._place.replace(" in", ",", 1)
        return View(value, self._level + 1, inside)

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def __repr__(self) -> str:
        return f"<{LEVELS[self._level]}s{self._place}: {listed(self._found)}>"

    def _ipython_key_completions_(self) -> list[str]:
        return list(self._found)


def results_view(results: Results) -> View:
    """view[split][layer][key] → Reading."""
    return View(results)


def missing(what: str, name: str, known: Mapping[str, Any]) -> str:
    """That something is not there, the nearest name that is, and all of them."""
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"there is no {what}; {hint}{listed(known) or 'nothing'} can be asked for"


def listed(known: Mapping[str, Any]) -> str:
    """The names, a dozen at most."""
    names = list(known)
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
