"""config.toml of a run folder: the command, or the options, that repeat the run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncollapse.record.atomic import set_aside

if TYPE_CHECKING:
    from ncollapse.record.document import Document

# Where it stands in the first line, a config.toml is of a run and not of its user.
MARK = "# ncollapse"
_SAID: ContextVar[str | None] = ContextVar("ncollapse command", default=None)
# Fields of a document's config that are options of `ncollapse measure` under the same name.
SAME = ("definition", "mode", "seed", "memory_budget", "ignore_index", "reference")
NEGATED = {"null": "no_null", "intervals": "no_intervals", "decisions": "no_decisions"}


@contextmanager
def running(text: str) -> Iterator[None]:
    """What is saved meanwhile is repeated by this config.toml."""
    token = _SAID.set(text)
    try:
        yield
    finally:
        _SAID.reset(token)


def config_text(document: Document) -> str:
    """The config.toml of the command that runs; of a run from Python its options, as far as the
    document knows them."""
    said = _SAID.get()
    if said is not None:
        return said
    lines = [
        f"{MARK} measure --config config.toml, once the model and the data are named below: this",
        "# run was made in Python, from objects.",
        "",
        "[measure]",
        '# model = "package.module:function"',
        '# data = "package.module:function"',
    ]
    config = document.config
    options = {name: config[name] for name in SAME if config.get(name) is not None}
    if options.get("definition") == config.get("weighting"):
        options["weighting"] = options.pop("definition")
    options |= {name: True for key, name in NEGATED.items() if config.get(key) is False}
    task, head = config.get("task"), config.get("head")
    if isinstance(task, Mapping) and isinstance(task.get("name"), str):
        options["task"] = task["name"]
    if isinstance(head, Mapping) and isinstance(head.get("name"), str):
        options["head"] = head["name"]
    layers = [name for name in config.get("layers", {}) if name != "head"]
    if layers:
        options["layers"] = layers
    if document.task == "weights":
        lines[3:] = ["[weights]", '# checkpoint = "model.safetensors"']
        options = {name: options[name] for name in ("seed", "no_null", "head") if name in options}
    lines += [f"{name} = {toml(value)}" for name, value in options.items()]
    return "\n".join(lines) + "\n"


def spare(place: Path) -> None:
    """Set a config.toml aside that is its user's and of no run."""
    if not place.is_file():
        return
    with place.open("rb") as handle:
        own = handle.read(len(MARK)) == MARK.encode()
    if not own:
        set_aside(place)


def toml(value: Any) -> str:
    """A value as TOML writes it: texts, numbers, flags and lists of those."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(toml(one) for one in value)}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        text = repr(value)
        return text if any(c in text for c in ".en") else f"{text}.0"
    if isinstance(value, int):
        return str(value)
    # JSON's escapes are TOML's, but for those of pairs of surrogates.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007F")
