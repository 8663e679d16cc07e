"""ncollapse measure FILE"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from ncollapse.cli.common import note, parse_size, progress_bars, say, set_logging

SNAPSHOT = "snapshot.safetensors"
LARGE_STATE = 2e8


def measure(
    file: Annotated[
        Path,
        typer.Argument(help="Feature file (.npz, .safetensors, .parquet) or a folder of shards."),
    ],
    json: Annotated[bool, typer.Option("--json", help="Print results.json only.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for results, tables, geometry.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted run of --output.")
    ] = False,
    num_classes: Annotated[
        int | None, typer.Option(help="K, where no weight is stored and classes may be absent.")
    ] = None,
    ignore_index: Annotated[int, typer.Option(help="Label of samples to skip.")] = -100,
    weighting: Annotated[str, typer.Option(help="macro (classes alike) or micro.")] = "macro",
    definition: Annotated[
        str | None, typer.Option(help="A published variant; see `ncollapse explain KEY`.")
    ] = None,
    mode: Annotated[str, typer.Option(help="full, trace or sketch: bounds the state.")] = "full",
    no_null: Annotated[bool, typer.Option("--no-null", help="Skip null comparators.")] = False,
    no_intervals: Annotated[bool, typer.Option("--no-intervals", help="Skip intervals.")] = False,
    no_decisions: Annotated[
        bool, typer.Option("--no-decisions", help="Skip NC4 and accuracies.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the comparators.")] = 0,
    memory_budget: Annotated[str, typer.Option(help="For class scatters, e.g. 2GB.")] = "2GB",
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Log and traceback.")] = False,
) -> None:
    """Measure neural collapse of stored features.

    The file holds `features` (samples, dim) and `labels` (samples), and may hold `weight`
    (classes, dim), `bias` (classes), `split` (samples) and `class_names` (classes).

    Examples:  ncollapse measure features.npz
    |  ncollapse measure features.npz --json
    |  ncollapse measure shards/ --output out/ --resume
    """
    set_logging(quiet, verbose)
    if resume and output is None:
        raise ValueError("--resume needs --output, the folder of the interrupted run")
    if weighting not in ("macro", "micro"):
        raise ValueError(f"--weighting {weighting!r} is unknown; macro or micro is needed")
    budget = parse_size(memory_budget)
    began = time.monotonic()
    from ncollapse.measure import measure_source, state_estimate
    from ncollapse.snapshots import remove_snapshot
    from ncollapse.sources.files import open_source

    source = open_source(file)
    options: dict[str, Any] = {
        "num_classes": num_classes,
        "ignore_index": ignore_index,
        "weighting": weighting,
        "definition": definition,
        "mode": mode,
        "intervals": not no_intervals,
        "decisions": not no_decisions,
        "memory_budget": budget,
    }
    estimate = state_estimate(source, **options)
    if estimate > LARGE_STATE and not quiet:
        note(f"state: about {estimate / 1e6:.0f} MB beside the features")
    snapshot = None if output is None else output / SNAPSHOT
    try:
        with progress_bars(quiet, verbose) as progress:
            result = measure_source(
                source,
                **options,
                null=not no_null,
                seed=seed,
                snapshot=snapshot,
                resume=resume,
                progress=progress,
            )
    except KeyboardInterrupt:
        if snapshot is not None and snapshot.exists():
            note(f"interrupted; continue with the same command and --resume (in {output})")
        raise
    if output is not None:
        result.save(output)
        assert snapshot is not None
        remove_snapshot(snapshot)
    if json:
        say(result.document.to_json())
        return
    from ncollapse.report.terminal import render

    say(render(result.document, result.classes, seconds=time.monotonic() - began))
    if output is not None:
        say(f" results  {output / 'results.json'}")
