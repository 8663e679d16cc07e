"""Progress bars with the time that is left, on a terminal and in a notebook."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from ncollapse.measuring.options import Options

Progress = Callable[[str, int, int], None]
P = ParamSpec("P")
T = TypeVar("T")


@contextmanager
def shown(options: Options) -> Iterator[Options]:
    """The options with bars in the place of `progress=True`; none for False."""
    if not isinstance(options.progress, bool):
        yield options
    elif options.progress:
        with bars() as progress:
            yield replace(options, progress=progress)
    else:
        yield replace(options, progress=None)


def barred(function: Callable[P, T]) -> Callable[P, T]:
    """The same function, with bars in the place of `progress=True` and nothing in that of False."""

    @wraps(function)
    def call(*args: P.args, **given: P.kwargs) -> T:
        if given.get("progress") is not True:
            return function(*args, **given)
        with bars() as progress:
            given["progress"] = progress
            return function(*args, **given)

    return call


@contextmanager
def bars() -> Iterator[Progress]:
    """A bar a stage on stderr; they go when all is done."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns: tuple[Any, ...] = (
        TextColumn("{task.description:<18}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True) as shown:
        tasks: dict[str, Any] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = shown.add_task(stage, total=total)
            shown.update(tasks[stage], completed=done, total=total)

        yield report
