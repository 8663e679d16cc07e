"""What commands share: output, sizes, logging, progress on stderr."""

from __future__ import annotations

import logging
import math
import os
import re
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from ncollapse.cli.characters import escaped
from ncollapse.cli.ranks import speaks
from ncollapse.record.lock import alone

UNITS = {"": 1.0, "B": 1.0, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
HANDLER = "ncollapse command line"
Progress = Callable[[str, int, int], None]
PairBudget = Annotated[
    float,
    typer.Option(
        show_default="2e9", help="Pairs of classes that are all read; past it some are sampled."
    ),
]


def say(text: str) -> None:
    """Results go to stdout."""
    typer.echo(text)


def say_wrapped(text: str, hang: int) -> None:
    """`say` for one long line: on a terminal broken at its width, later lines `hang` blanks in."""
    if sys.stdout.isatty():
        room = max(shutil.get_terminal_size().columns, hang + 30)
        text = textwrap.fill(
            text, room, subsequent_indent=" " * hang, break_long_words=False, break_on_hyphens=False
        )
    say(text)


def say_json(text: str) -> None:
    """JSON goes to stdout as the same data whatever the terminal can show."""
    typer.echo(escaped(text))


@contextmanager
def only_writer(output: Path | None) -> Iterator[None]:
    """Refuse a folder that another command is writing to; of several ranks the first one asks."""
    if output is None or not speaks():
        yield
        return
    with alone(output):
        yield


def note(text: str) -> None:
    """Everything else goes to stderr; under torchrun from one process only."""
    if speaks():
        typer.echo(text, err=True)


def parse_size(text: str) -> float:
    """'2GB', '500 MB' or plain bytes."""
    found = re.fullmatch(r"\s*([0-9.]+)\s*([KMGT]?B?)\s*", text.upper())
    if not found:
        raise ValueError(f"size {text!r} is not understood; write for example 2GB or 500MB")
    unit = found[2] if not found[2] or found[2].endswith("B") else found[2] + "B"
    return float(found[1]) * UNITS[unit]


def parse_limits(entries: list[str], option: str) -> dict[str, float]:
    """KEY=VALUE pairs. Raises ValueError for what is no number, and for a key given twice."""
    limits: dict[str, float] = {}
    for entry in entries:
        key, sign, value = entry.partition("=")
        key = key.strip()
        try:
            limit = float(value)
        except ValueError:
            sign = ""
        if not sign or not key:
            raise ValueError(f"{option} {entry!r} is not understood; write KEY=NUMBER")
        if math.isnan(limit):
            raise ValueError(f"{option} {entry!r} is no limit; write KEY=NUMBER")
        if key in limits:
            raise ValueError(
                f"{option} {key} is given twice, {limits[key]:g} and {limit:g}; give it once"
            )
        limits[key] = limit
    return limits


def set_logging(quiet: bool, verbose: bool) -> None:
    """Log lines of the library on stderr: warnings, all with -v, none with -q."""
    logger = logging.getLogger("ncollapse")
    logger.setLevel(logging.ERROR if quiet else logging.INFO if verbose else logging.WARNING)
    for handler in [h for h in logger.handlers if h.name == HANDLER]:
        logger.removeHandler(handler)
    # On this logger only: what other libraries log is not ours to sign.
    handler = logging.StreamHandler(sys.stderr)
    handler.name = HANDLER
    handler.setFormatter(logging.Formatter("ncollapse: %(message)s"))
    logger.addHandler(handler)


@contextmanager
def progress_bars(quiet: bool, verbose: bool) -> Iterator[Progress | None]:
    """Bars on a terminal; elsewhere a line for each tenth with -v, else silence."""
    terminal = sys.stderr.isatty() and not os.environ.get("CI") and os.environ.get("TERM") != "dumb"
    if quiet:
        yield None
    elif terminal:
        from ncollapse.measuring.bars import bars

        with bars() as progress:
            yield progress
    elif verbose:
        yield _tenths()
    else:
        yield None


def _tenths() -> Progress:
    last: dict[str, int] = {}
    began = time.monotonic()

    def report(stage: str, done: int, total: int) -> None:
        tenth = 10 * done // max(total, 1)
        if last.get(stage) != tenth:
            last[stage] = tenth
            note(f"{stage} {10 * tenth} % ({time.monotonic() - began:.0f} s)")

    return report


def check_source(file: Path | None, model: str | None, data: str | None) -> None:
    """Raise ValueError unless a file was passed, or a model with its data."""
    if file is not None and model is not None:
        raise ValueError(
            f"both {file} and --model {model} were passed; either a feature file, or --model and "
            "--data, is needed"
        )
    if file is None and model is None and data is None:
        raise ValueError(
            "neither a feature file nor a model was passed; ncollapse measure FILE, or --model and "
            "--data, is needed"
        )
    if (model is None) != (data is None):
        given, missing = ("--data", "--model") if model is None else ("--model", "--data")
        raise ValueError(
            f"{given} was passed without {missing}; they belong together: add {missing}"
        )
