"""Fields of a document, checked as they are read: one sentence for each thing that is wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

# Counts beyond this are damage: no array is that long, and floats no longer count there.
LARGEST = 2**53
_NEEDED = object()


def field(data: Mapping[str, Any], name: str, default: Any = _NEEDED) -> Any:
    """data[name]. Raises ValueError where it is missing and has no default."""
    if not isinstance(data, Mapping):
        raise ValueError(f"an object with {name!r} was needed, {_said(data)} was found")
    if name in data:
        return data[name]
    if default is _NEEDED:
        raise ValueError(f"{name!r} is missing")
    return default


def text(data: Mapping[str, Any], name: str, default: Any = _NEEDED) -> str:
    found = field(data, name, default)
    if not isinstance(found, str):
        raise _wrong(name, found, "a text")
    return found


def number(data: Mapping[str, Any], name: str, default: Any = _NEEDED) -> float | None:
    """A finite number or null."""
    found = field(data, name, default)
    if found is None or _is_number(found):
        return cast("float | None", found)
    raise _wrong(name, found, "a number or null")


def numbers(data: Mapping[str, Any], name: str, size: int) -> list[float]:
    """A list of `size` finite numbers."""
    found = field(data, name)
    if not isinstance(found, list) or len(found) != size or not all(map(_is_number, found)):
        raise _wrong(name, found, f"a list of {size} numbers")
    return found


def whole(data: Mapping[str, Any], name: str, default: Any = _NEEDED) -> int:
    """A count: an integer ≥ 0."""
    found = field(data, name, default)
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found <= LARGEST:
        raise _wrong(name, found, "a count")
    return found


def record(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = field(data, name)
    if not isinstance(found, dict):
        raise _wrong(name, found, "an object")
    return found


def records(data: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """A list of objects, empty where the field is missing."""
    found = field(data, name, [])
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise _wrong(name, found, "a list of objects")
    return found


def texts(data: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A list of texts, empty where the field is missing."""
    found = field(data, name, [])
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise _wrong(name, found, "a list of texts")
    return tuple(found)


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) if isinstance(value, float) else abs(value) <= LARGEST


def _wrong(name: str, found: Any, needed: str) -> ValueError:
    return ValueError(f"{name!r} is {_said(found)} where {needed} was needed")


def _said(value: Any) -> str:
    said = repr(value)
    return said if len(said) <= 60 else f"a {type(value).__name__}"
