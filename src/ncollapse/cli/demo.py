"""ncollapse demo"""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ncollapse.cli.common import note, only_writer, progress_bars, say, say_json, set_logging
from ncollapse.record.folder import FRAMES

if TYPE_CHECKING:
    from ncollapse.lab.train import State

LINES = 12


def demo(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Run folder; ./ncollapse-runs/demo-DATE by default."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted run of --output.")
    ] = False,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of training.")] = 200,
    seed: Annotated[int, typer.Option(help="Seed of data split, network and batches.")] = 0,
    film: Annotated[
        bool, typer.Option("--film", help="Also draw film.gif: features moving onto the simplex.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print results.json only.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Log and traceback.")] = False,
) -> None:
    """Train a small network on scikit-learn's digits past zero error and follow its collapse.

    Examples:  ncollapse demo
    |  ncollapse demo --epochs 50 --output runs/short
    |  ncollapse demo --film
    |  ncollapse measure ncollapse-runs/demo-DATE/features.npz
    """
    set_logging(quiet, verbose)
    if resume and output is None:
        raise ValueError("--resume needs --output, the folder of the interrupted run")
    folder = output or Path("ncollapse-runs") / f"demo-{datetime.now():%Y-%m-%d-%H%M%S}"
    began = time.monotonic()
    from ncollapse.lab.demo import KEYS, run
    from ncollapse.record.frames import Frames
    from ncollapse.report.film.animation import write_gif
    from ncollapse.report.html import write_report
    from ncollapse.report.terminal import number, render, render_verdicts

    talk = not json and not quiet
    spoken = _log_spaced(epochs)
    shown: list[bool] = []

    def report(state: State, values: dict[str, float | None]) -> None:
        if not talk or state.epoch not in spoken:
            return
        entry = state.history[-1]
        if not shown:
            say("".join(f"{name:>14}" for name in ("epoch", "train error", *KEYS)))
            shown.append(True)
        cells = [f"{entry.epoch}", f"{100 * entry.train_error:.1f} %"]
        cells += [number(values[key]) for key in KEYS]
        say("".join(f"{cell:>14}" for cell in cells))

    if talk:
        say("Training an MLP 64-256-256-256-10 with BatchNorm on 1,198 digits, SGD, decay 5e-3.")
    with only_writer(folder):
        try:
            with progress_bars(quiet or json, verbose) as progress:
                result = run(
                    epochs=epochs,
                    seed=seed,
                    output=folder,
                    resume=resume,
                    report=report,
                    progress=progress,
                )
        except KeyboardInterrupt:
            note(f"interrupted; continue with: ncollapse demo --output {folder} --resume")
            raise
        made = write_gif(Frames.read(folder / FRAMES), folder / "film.gif") if film else None
        page = write_report(folder)
    if json:
        say_json(result.measurement.document.to_json())
        return
    document = result.measurement.document
    say("")
    say(render(document, result.measurement.classes, seconds=time.monotonic() - began))
    say("")
    say(render_verdicts(document))
    say("")
    say(f"report   {page}")
    if made is not None:
        say(f"film     {made}")
    say(f"results  {folder / 'results.json'}")
    say(f"again    ncollapse measure {folder / 'features.npz'}")


def _log_spaced(epochs: int) -> set[int]:
    """About LINES epochs from 1 to the last, evenly spaced in log time."""
    return {round(epochs ** (i / (LINES - 1))) for i in range(LINES)}
