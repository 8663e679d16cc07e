"""ncollapse weights CHECKPOINT"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from ncollapse.cli.common import (
    PairBudget,
    only_writer,
    progress_bars,
    say,
    say_json,
    set_logging,
)


def weights(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            help=".safetensors, .pt, .pth, .onnx, or a folder with config.json and weights."
        ),
    ],
    head: Annotated[
        str | None,
        typer.Option(help="Name of the classifier's tensor or layer; guessed by default."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print results.json only.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for results, tables, geometry, report."),
    ] = None,
    no_null: Annotated[bool, typer.Option("--no-null", help="Skip random rows.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the random rows.")] = 0,
    pair_budget: PairBudget = 2e9,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Log and traceback.")] = False,
) -> None:
    """Read the classifier of a checkpoint alone: no data, no features, no backbone.

    Sum, lengths, angles and rank of its rows, how far they are from a simplex and from an
    orthogonal frame, and which coincide, beside random rows of their size. The classifier is
    guessed from names and shapes; why, and what came next, is printed.

    Examples:  ncollapse weights model.safetensors
    |  ncollapse weights my-gpt/ --output out/
    |  ncollapse weights best.pt --head classifier.6 --json
    """
    set_logging(quiet, verbose)
    from ncollapse.measuring.weights import measure_weights

    began = time.monotonic()
    with only_writer(output):
        with progress_bars(quiet or json, verbose) as progress:
            result = measure_weights(
                checkpoint,
                head=head,
                null=not no_null,
                seed=seed,
                pair_budget=pair_budget,
                progress=progress,
            )
        if output is not None:
            from ncollapse.report.html import write_report

            write_report(result.save(output))
    if json:
        say_json(result.document.to_json())
        return
    from ncollapse.report.terminal import render

    say(render(result.document, seconds=time.monotonic() - began))
    if output is not None:
        say(f" results  {output / 'results.json'}\n report   {output / 'report.html'}")
