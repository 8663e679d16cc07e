"""What all commands get beside their own options: examples, panels, --config, completion.

A command's docstring ends in "Examples:"; here they become lines of their own below the options.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from ncollapse.cli import config_file, dry
from ncollapse.cli.panels import panel, rank
from ncollapse.record.atomic import write_text
from ncollapse.record.command import running, spare
from ncollapse.record.folder import CONFIG

# What completes the first argument of a command.
Complete = Callable[[str], list[str]]


def dress(command: Any, path: str = "") -> None:
    """Dress a command, or all of a group."""
    inner = getattr(command, "commands", None)
    if inner is not None:
        for name, each in inner.items():
            dress(each, f"{path} {name}".strip())
        return
    body, examples = split_help(command.help or "")
    # Lines of a paragraph flow together, whatever the width of the terminal.
    command.help = escape_markup(re.sub(r"(?<!\n)\n(?!\n)", " ", body))
    if examples:
        command.epilog = "\n\n".join(
            ["Examples:", *(f"  {escape_markup(example)}" for example in examples)]
        )
    if path in config_file.COMMANDS:
        command.params.append(config_file.option())
    if path in dry.COMMANDS:
        command.params.append(dry.option())
    for param in command.params:
        if getattr(param, "param_type_name", "") == "option":
            param.rich_help_panel = panel(path, param.name)
            param.help = escape_markup(param.help or "")
    command.params.sort(key=lambda param: rank(path, param.rich_help_panel))
    _complete(command, path)
    command.invoke = _invoked(command, path)


def split_help(text: str) -> tuple[str, list[str]]:
    """A docstring without its examples, and these, each in one line."""
    parts = re.split(r"\bExamples?:", text, maxsplit=1)
    if len(parts) == 1:
        return text, []
    body, rest = parts
    examples = re.split(r"(?:^|\n)\s*\|\s*", rest)
    return body.rstrip(), [" ".join(example.split()) for example in examples if example.strip()]


def escape_markup(text: str) -> str:
    """Brackets are text, not markup."""
    return re.sub(r"(?<!\\)\[", r"\\[", text)


def _invoked(command: Any, path: str) -> Callable[[Any], Any]:
    """The command's own run, with what was asked known to whatever it saves, and --dry-run."""
    inner = command.invoke

    def invoke(context: Any) -> Any:
        with ExitStack() as held:
            text = ""
            if path in config_file.COMMANDS:
                text = config_file.text_of(path, command, context)
                held.enter_context(running(text))
            if context.meta.get(dry.ASKED):
                context.params["output"] = None
                held.enter_context(dry.only(bool(context.params.get("json"))))
            found = inner(context)
        output = context.params.get("output")
        if path == "predict" and output is not None:
            # A folder of a prediction is no run, which would have written it.
            spare(output / CONFIG)
            write_text(output / CONFIG, text)
        return found

    return invoke


def _complete(command: Any, path: str) -> None:
    known = {"explain": _keys, "study run": _studies, "study show": _studies}
    if path not in known:
        return
    found = known[path]
    for param in command.params:
        if getattr(param, "param_type_name", "") == "argument":
            param._custom_shell_complete = _completer(found)


def _completer(found: Complete) -> Callable[[Any, Any, str], list[Any]]:
    def complete(context: Any, param: Any, incomplete: str) -> list[Any]:
        return list(found(incomplete))

    return complete


def _keys(start: str) -> list[str]:
    from ncollapse.metrics.catalog import METRICS

    return [key for key in METRICS if key.startswith(start)]


def _studies(start: str) -> list[str]:
    from ncollapse.lab.catalog import names

    return [name for name in (*names(), "all") if name.startswith(start)]
