"""The cuts between yes, partly and no: data of the package, from the study `calibration`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import resources
from typing import Any

_OTHERS: ContextVar[Mapping[str, float] | None] = ContextVar("cuts", default=None)


def cuts() -> Mapping[str, float]:
    """The cuts by name: those of the package, or others within `other_cuts`."""
    others = _OTHERS.get()
    return package_cuts() if others is None else others


@cache
def package_cuts() -> Mapping[str, float]:
    """The cuts of cuts.json by name."""
    return {name: float(entry["value"]) for name, entry in _document()["cuts"].items()}


def calibrated() -> str:
    """When, on how many models, and how often answers were wrong on those that were held out."""
    found = _document()["calibrated"]
    asked = found["questions"].values()
    yes, no = (_summed([entry[key] for entry in asked]) for key in ("wrong_yes", "wrong_no"))
    return (
        f"The cuts between yes, partly and no were calibrated on {found['models']} models "
        f"({found['date']}). On the {found['held_out']} that were held out, {yes[0]} of {yes[1]} "
        f"models that deserved no yes got one, and {no[0]} of {no[1]} that deserved one got a no. "
        "Cuts on orthogonal frames and small classes are judgements."
    )


def _summed(counts: Sequence[Sequence[int]]) -> tuple[int, int]:
    return sum(of for of, _ in counts), sum(among for _, among in counts)


@cache
def _document() -> Mapping[str, Any]:
    text = resources.files("ncollapse.answers").joinpath("cuts.json").read_text("utf-8")
    found: Mapping[str, Any] = json.loads(text)
    return found


@contextmanager
def other_cuts(values: Mapping[str, float]) -> Iterator[None]:
    """Within, verdicts are made with these cuts in the place of the package's of the same name.
    Raises ValueError for names that no rule knows."""
    odd = sorted(set(values) - set(package_cuts()))
    if odd:
        raise ValueError(f"no cut is called {', '.join(odd)}; cuts are {', '.join(package_cuts())}")
    token = _OTHERS.set({**package_cuts(), **values})
    try:
        yield
    finally:
        _OTHERS.reset(token)
