"""Values of settings as texts: read by the kind of the present value, and shown so."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from itertools import cycle
from typing import Any

NEEDED = {bool: "true or false", int: "a whole number", float: "a finite number"}
WORDS = {"true": True, "false": False}
NONE = "none"


def listing(settings: Mapping[str, Any]) -> str:
    """All settings with their values."""
    return ", ".join(f"{name}={shown(value)}" for name, value in _flat(settings))


def _flat(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield before + key, value


def shown(value: Any) -> str:
    """A value as a text that `read` reads."""
    if value is None:
        return NONE
    if isinstance(value, list) and value and not any(isinstance(inner, list) for inner in value):
        # One name alone would be read as that name, not as a list of it.
        alone = len(value) == 1 and isinstance(value[0], str)
        return json.dumps(value, ensure_ascii=False) if alone else ",".join(map(shown, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def read(name: str, text: str, now: Any) -> Any:
    """A text as a value of the kind that the setting has now.

    Lists are written with commas, or as JSON where they hold lists; in the place of a list of names
    one name may stand alone. Where the present value is none, "none", a number or any text will do.
    Raises ValueError that says what is needed.
    """
    if isinstance(now, Mapping):
        inner = ", ".join(f"{key}={shown(value)}" for key, value in _flat(now, f"{name}."))
        raise ValueError(f"{name} holds several settings; set one of them: {inner}")
    try:
        return _read(text.strip(), now)
    except (ValueError, TypeError, KeyError):
        needed = NEEDED.get(type(now), "a list of the same kind")
        raise ValueError(
            f"{name}={text} cannot be; {needed} is needed, as in {name}={shown(now)}"
        ) from None


def _read(text: str, now: Any) -> Any:
    if now is None:
        return None if text.lower() == NONE else _guessed(text)
    if isinstance(now, bool):
        return WORDS[text.lower()]
    if isinstance(now, int | float):
        return _like(type(now)(text), now)
    if not isinstance(now, list):
        return text
    rows = any(isinstance(inner, list) for inner in now)
    if rows or text.startswith("["):
        return _like(json.loads(text), now)
    if now and all(isinstance(inner, str) for inner in now) and "," not in text:
        return text
    return _each(_read, [part.strip() for part in text.split(",")], now)


def _guessed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _like(value: Any, now: Any) -> Any:
    """The value, if it is of the same kind through and through. Raises TypeError else."""
    if isinstance(now, list) and isinstance(value, list):
        return _each(_like, value, now)
    if isinstance(now, float) and isinstance(value, int | float):
        if math.isfinite(value):
            return float(value)
    elif now is None or type(value) is type(now):
        return value
    raise TypeError(f"{value!r} is not of the kind of {now!r}")


def _each(read: Callable[[Any, Any], Any], values: list[Any], now: list[Any]) -> list[Any]:
    """Every value of a list. A row of several kinds, as [count, count, decay], keeps its length."""
    mixed = len({type(inner) for inner in now}) > 1
    if (now and not values) or (mixed and len(values) != len(now)):
        raise TypeError(f"{len(values)} values in the place of {now!r}")
    return [read(value, one) for value, one in zip(values, cycle(now or [None]), strict=False)]
