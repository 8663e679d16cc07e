"""Settings of a study: stated once for all sizes, and replaced one by one before a run.

A setting within another one has a name with a dot: `problem.classes`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ncollapse.lab.study import SIZES, Study
from ncollapse.lab.values import listing, read


@dataclass(frozen=True)
class By:
    """A value for each size."""

    mini: Any
    quick: Any
    full: Any


def sizes(**settings: Any) -> dict[str, dict[str, Any]]:
    """Settings by size; a value that is no `By` is that of all sizes."""
    return {size: _of(settings, size) for size in SIZES}


def _of(value: Any, size: str) -> Any:
    if isinstance(value, By):
        return getattr(value, size)
    if isinstance(value, dict):
        return {key: _of(inner, size) for key, inner in value.items()}
    return value


def with_options(study: Study, size: str, options: Mapping[str, Any]) -> Study:
    """The study with settings of a size replaced. Raises ValueError for settings it lacks."""
    if not options or size not in study.settings:
        return study
    settings = dict(study.settings[size])
    odd = [name for name in options if not _has(settings, name)]
    if odd:
        raise ValueError(
            f"study {study.name!r} has no setting {', '.join(odd)}; at size {size} it has "
            f"{listing(settings)}: name one of those"
        )
    for name, value in options.items():
        _put(settings, name.split("."), value)
    return replace(study, settings={**study.settings, size: settings})


def with_texts(
    studies: Sequence[Study], size: str, texts: Mapping[str, str]
) -> tuple[list[Study], dict[str, list[str]]]:
    """Studies with settings read from texts by those that have them, and the names of these.

    Raises ValueError for a setting that no study has, and for a value of the wrong kind.
    """
    found: list[Study] = []
    takers: dict[str, list[str]] = {name: [] for name in texts}
    for study in studies:
        settings = study.settings.get(size, {})
        mine = [name for name in texts if _has(settings, name)]
        options = {name: read(name, texts[name], _value(settings, name)) for name in mine}
        found.append(with_options(study, size, options))
        for name in mine:
            takers[name].append(study.name)
    odd = [name for name, some in takers.items() if not some]
    if odd and len(studies) == 1:
        with_options(studies[0], size, dict.fromkeys(odd))
    elif odd and size in SIZES:
        each = "; ".join(f"{study.name} has {listing(study.settings[size])}" for study in studies)
        raise ValueError(f"no study has a setting {', '.join(odd)}; at size {size} {each}")
    return found, takers


def _has(settings: Any, name: str) -> bool:
    key, dot, inner = name.partition(".")
    if not isinstance(settings, Mapping) or key not in settings:
        return False
    return not dot or _has(settings[key], inner)


def _value(settings: Mapping[str, Any], name: str) -> Any:
    key, dot, inner = name.partition(".")
    return _value(settings[key], inner) if dot else settings[key]


def _put(settings: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    key, *inner = keys
    if inner:
        # A copy: sizes may share what lies within.
        settings[key] = dict(settings[key])
        _put(settings[key], inner, value)
    else:
        settings[key] = value
