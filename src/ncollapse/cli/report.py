"""ncollapse report RUN_FOLDER"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ncollapse.cli.common import say, set_logging
from ncollapse.record.folder import FRAMES


def report(
    folder: Annotated[Path, typer.Argument(help="Run folder with results.json.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The page; FOLDER/report.html by default."),
    ] = None,
    film: Annotated[
        bool, typer.Option("--film", help="Also draw film.gif, where the run kept frames.")
    ] = False,
    show: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print no path.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Log and traceback.")] = False,
) -> None:
    """Rebuild the HTML page of a run from its files; no model is needed.

    Examples:  ncollapse report ncollapse-runs/demo-DATE
    |  ncollapse report out/ --film
    |  ncollapse report out/ --output page.html
    """
    set_logging(quiet, verbose)
    from ncollapse.report.html import write_report

    if film:
        from ncollapse.record.frames import Frames
        from ncollapse.report.film.animation import write_gif

        source = folder / FRAMES
        if not source.exists():
            raise ValueError(
                f"{source} does not exist: this run kept no frames; follow training with "
                "nc.Tracker(…, film=True, output=…)"
            )
        made = write_gif(Frames.read(source), folder / "film.gif")
        if not quiet:
            say(f"film     {made}")
    page = write_report(folder, output, show=show)
    if not quiet:
        say(f"report   {page}")
