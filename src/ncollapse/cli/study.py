"""ncollapse study: list, show, run"""

from __future__ import annotations

import json as text_of
import os
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from ncollapse.cli.common import (
    Progress,
    note,
    only_writer,
    progress_bars,
    say,
    say_json,
    say_wrapped,
    set_logging,
)
from ncollapse.cli.ranks import process_group, speaks

ALL = "all"
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON only.")]
# Options of before --set, kept until version 0.3.
Text = Annotated[str | None, typer.Option(hidden=True)]
Number = Annotated[float | None, typer.Option(hidden=True)]
FromZero = Annotated[int | None, typer.Option(hidden=True, min=0)]
FromOne = Annotated[int | None, typer.Option(hidden=True, min=1)]
FromTwo = Annotated[int | None, typer.Option(hidden=True, min=2)]


def list_studies(json: JsonOption = False) -> None:
    """Every study with its question.

    Example:  ncollapse study list
    """
    from ncollapse.lab.catalog import studies

    found = studies()
    if json:
        rows = [
            {"name": s.name, "question": s.question, "paper": s.paper, "claims": len(s.claims)}
            for s in found
        ]
        say_json(text_of.dumps({"studies": rows}, indent=2, ensure_ascii=False))
        return
    for study in found:
        say_wrapped(f"{study.name:<16} {len(study.claims):>2} claims   {study.question}", 29)


def show(
    name: Annotated[str, typer.Argument(help="A name of `ncollapse study list`.")],
    json: JsonOption = False,
) -> None:
    """Question, paper, and every claim with its source and bar.

    Example:  ncollapse study show imbalance
    """
    from ncollapse.lab.catalog import find
    from ncollapse.lab.scoreboard import describe

    study = find(name)
    if not json:
        say(describe(study))
        return
    claims = [
        {
            "id": c.id,
            "text": c.text,
            "source": c.source,
            "bar": str(c.bar),
            "low": c.bar.low,
            "high": c.bar.high,
            "unit": c.unit,
            "rule": c.rule,
            "seeds": c.seeds,
        }
        for c in study.claims
    ]
    shown = {
        "name": study.name,
        "question": study.question,
        "paper": study.paper,
        "settings": {size: dict(values) for size, values in study.settings.items()},
        "claims": claims,
    }
    say_json(text_of.dumps(shown, indent=2, ensure_ascii=False))


def run_studies(
    names: Annotated[list[str], typer.Argument(help="Names of studies, or all.")],
    size: Annotated[str, typer.Option(help="mini, quick or full.")] = "quick",
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Seeds a study; what the size says by default.")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", help="Processes; -1 is one a core.")] = -1,
    backend: Annotated[
        str, typer.Option(help="Where runs go: loky (processes), threading, dask.")
    ] = "loky",
    scheduler: Annotated[
        str | None, typer.Option(help="With --backend dask: address of its scheduler.")
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A setting of the study to replace, as often as needed; lists with commas. "
            "`ncollapse study show NAME --json` tells which there are.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder; ./ncollapse-runs/NAME-DATE by default."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep the finished runs that lie in --output.")
    ] = False,
    json: JsonOption = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Log and traceback.")] = False,
    model: Text = None,
    data: Text = None,
    epochs: FromOne = None,
    batch_size: FromTwo = None,
    learning_rate: Number = None,
    weight_decay: Number = None,
    schedule: Text = None,
    every: FromOne = None,
    image_size: FromOne = None,
    workers: FromZero = None,
    device: Text = None,
) -> None:
    """Run studies and judge their claims. Several of them with --output lie in folders of it.

    With --set a model is torchvision:NAME, timm:NAME, hf:NAME, or package.module:function, which
    runs your own code. Of several studies those take a setting that have it.
    Under torchrun all processes share the training of one run after the other.

    Examples:  ncollapse study run imbalance --set epochs=20
    |  ncollapse study run all --seeds 5 --output runs/all
    |  ncollapse study run all --backend dask --scheduler tcp://HOST:8786
    |  ncollapse study run terminal-phase --set model=torchvision:resnet18
    --set data=torchvision:CIFAR10 --set epochs=350 --set device=cuda
    """
    set_logging(quiet, verbose)
    if resume and output is None:
        raise ValueError("--resume needs --output, the folder of the interrupted run")
    if jobs == 0:
        raise ValueError("--jobs 0 runs nothing; a positive number, or -1 for one a core")
    texts = _assigned(assignments or [])
    old = {
        "model": model,
        "data": data,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "schedule": schedule,
        "every": every,
        "image_size": image_size,
        "workers": workers,
        "device": device,
    }
    for key, value in old.items():
        if value is not None:
            _add(texts, key, str(value))
            note(
                f"--{key.replace('_', '-')} is deprecated and works until version 0.3; write "
                f"--set {key}={value}"
            )
    # Before anything loads torch: two threads buy nothing on problems of this size.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with process_group():
        _run(
            names,
            size,
            texts,
            output,
            json,
            progress_bars(quiet or json or not speaks(), verbose),
            seeds=seeds,
            jobs=jobs,
            backend=backend,
            scheduler=scheduler,
            resume=resume,
        )


def _assigned(assignments: list[str]) -> dict[str, str]:
    """Texts by setting. Raises ValueError for what is no KEY=VALUE, or stands there twice."""
    texts: dict[str, str] = {}
    for entry in assignments:
        key, sign, value = entry.partition("=")
        if not sign or not key.strip():
            raise ValueError(f"--set {entry!r} is not understood; write --set KEY=VALUE")
        _add(texts, key.strip(), value)
    return texts


def _add(texts: dict[str, str], key: str, value: str) -> None:
    if key in texts:
        raise ValueError(f"{key} is set twice, to {texts[key]} and {value}; set it once")
    texts[key] = value


def _run(
    names: list[str],
    size: str,
    texts: dict[str, str],
    output: Path | None,
    json: bool,
    bars: AbstractContextManager[Progress | None],
    **how: Any,
) -> None:
    from ncollapse.lab.catalog import find
    from ncollapse.lab.catalog import names as known
    from ncollapse.lab.result import scoreboard
    from ncollapse.lab.runner import run
    from ncollapse.lab.settings import with_texts

    wanted = list(dict.fromkeys(known() if ALL in names else names))
    studies, takers = with_texts([find(name) for name in wanted], size, texts)
    for study in studies:
        study.units(size, how["seeds"])
    for key, some in takers.items():
        if len(some) < len(wanted):
            others = ", ".join(name for name in wanted if name not in some)
            note(f"{key}={texts[key]} goes to {', '.join(some)}, not to {others}")
    date = f"{datetime.now():%Y-%m-%d-%H%M%S}"
    folders = {name: Path("ncollapse-runs") / f"{name}-{date}" for name in wanted}
    if output is not None:
        folders = {name: output / name if len(wanted) > 1 else output for name in wanted}
    try:
        with only_writer(output), bars as progress:
            results = run(studies, size, output=folders, progress=progress, **how)
    except KeyboardInterrupt:
        place = output or (folders[wanted[0]] if len(wanted) == 1 else None)
        if place is not None:
            note(f"interrupted; finished runs are kept, continue with --output {place} --resume")
        raise
    if not speaks():
        return
    if json:
        shown = {"studies": [result.brief() for result in results]}
        say_json(text_of.dumps(shown, indent=2, ensure_ascii=False, allow_nan=False))
        return
    say(scoreboard(results))
    for name in wanted:
        say(f"{name:<14} {folders[name] / 'summary.html'}")


def application() -> typer.Typer:
    """`study` with its three commands."""
    app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")
    app.command("list")(list_studies)
    app.command("show")(show)
    app.command("run")(run_studies)
    return app
