"""Directive `command-options NAME`: every option of a command, straight from the command line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from ncollapse.cli.app import build

USUAL = "Options"


def commands(group: Any = None, path: str = "") -> Iterator[tuple[str, Any]]:
    """All commands by the words that call them."""
    for name, command in (build() if group is None else group).commands.items():
        words = f"{path} {name}".strip()
        if hasattr(command, "commands"):
            yield from commands(command, words)
        else:
            yield words, command


def lines_of(command: Any) -> list[str]:
    """A definition list a panel, in the order of `--help`."""
    panels: dict[str, list[Any]] = {}
    for param in command.params:
        if param.param_type_name == "option" and not param.hidden:
            panels.setdefault(param.rich_help_panel or USUAL, []).append(param)
    lines: list[str] = []
    for panel, options in panels.items():
        lines += [f"*{panel}*", ""]
        for option in options:
            lines += [_names(option), f": {_said(option)}", ""]
    return lines


def _names(option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    return names if option.is_flag else f"{names} VALUE"


def _said(option: Any) -> str:
    said = re.sub(r"\\(?=\[)", "", option.help).replace("*", r"\*").replace("<", r"\<")
    known = option.show_default
    if not known or option.is_flag or option.default in (None, (), []):
        return said
    return f"{said} Default {known if isinstance(known, str) else option.default}."


class CommandOptions(SphinxDirective):
    """Options of the command that is named."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        found = dict(commands())
        if name not in found:
            raise self.error(f"no command {name!r}; there are {', '.join(found)}")
        node = nodes.container(classes=["nc-options"])
        self.state.nested_parse(StringList(lines_of(found[name]), source="commands"), 0, node)
        return [node]


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("command-options", CommandOptions)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
