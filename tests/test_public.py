"""What is public stays: names and parameters of before are there, in their order, with their defaults.

`public.json` holds `nc.__all__` with all public functions, methods and properties of version 0.1;
additions are free as long as they have defaults. A name that goes must go on purpose, there and in
CHANGELOG.md.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ncollapse as nc

KNOWN: dict[str, Any] = json.loads(Path(__file__).with_name("public.json").read_text("utf-8"))
PLAIN = (int, float, str, bool, type(None))
STARS = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}


def parameters(function: Any) -> list[str] | None:
    """name=default of every parameter, with ! behind those that are keywords only."""
    try:
        found = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return None
    shown = []
    for name, p in found.items():
        text = STARS.get(p.kind, "") + name
        if p.default is not p.empty:
            text += f"={p.default!r}" if isinstance(p.default, PLAIN) else "=…"
        shown.append(text + "!" * (p.kind is p.KEYWORD_ONLY))
    return shown


def members(thing: Any) -> Any:
    """Parameters of a function; of a class those of its methods, "" the class itself."""
    if not inspect.isclass(thing):
        return parameters(thing) if callable(thing) else type(thing).__name__
    found: dict[str, Any] = {"": parameters(thing)}
    for base in reversed(thing.__mro__):
        for name, value in vars(base).items():
            value = getattr(value, "__func__", value)
            if name.startswith("_") or not base.__module__.startswith("ncollapse"):
                continue
            if inspect.isfunction(value):
                found[name] = parameters(value)
            elif isinstance(value, property) or type(value).__name__ == "cached_property":
                found[name] = "property"
    return found


def named() -> Iterator[tuple[str, Any]]:
    for name in nc.__all__:
        thing = getattr(nc, name)
        if not inspect.ismodule(thing):
            yield name, thing
            continue
        for inner in getattr(thing, "__all__", dir(thing)):
            yield f"{name}.{inner}", getattr(thing, inner)


NOW = dict(named())


def kept(old: Any, new: Any) -> bool:
    """Whether a call that was right still is."""
    if not isinstance(old, list) or not isinstance(new, list):
        return bool(old == new)
    added = [entry for entry in new if entry not in old]
    return [entry for entry in new if entry in old] == old and all(
        "=" in e or "*" in e for e in added
    )


@pytest.mark.parametrize("name", KNOWN)
def test_what_was_public_is_still_there(name: str) -> None:
    assert name in NOW, f"{name} is gone"
    old, new = KNOWN[name], members(NOW[name])
    if not isinstance(old, dict):
        assert kept(old, new), (old, new)
        return
    for member, was in old.items():
        assert member in new, f"{name}.{member} is gone"
        assert kept(was, new[member]), (member, was, new[member])
