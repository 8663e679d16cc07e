"""ncollapse compare RUN RUN …"""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ncollapse.cli.common import say, say_json

if TYPE_CHECKING:
    from ncollapse.record.document import Document
    from ncollapse.report.comparing.compared import Compared

FORMATS = ("table", "markdown", "latex", "csv", "json")
FIGURES = (".svg", ".png", ".pdf")
SUFFIXES = {".md": "markdown", ".tex": "latex", ".csv": "csv", ".json": "json", ".txt": "table"}


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...", help="2 to 200 results.json or run folders; NAME=PATH names one."
        ),
    ],
    json: Annotated[bool, typer.Option("--json", help="Print JSON only.")] = False,
    form: Annotated[
        str, typer.Option("--format", help="table, markdown, latex (booktabs), csv or json.")
    ] = "table",
    key: Annotated[
        list[str] | None,
        typer.Option(
            "--key", "-k", help="Readings to show; those of the terminal by default. Repeatable."
        ),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Readings of this split only.")] = None,
    layer: Annotated[str | None, typer.Option(help="Readings of this layer only.")] = None,
    baseline: Annotated[
        str | None, typer.Option(help="Name of the run that all are held against; the first.")
    ] = None,
    x: Annotated[
        str | None,
        typer.Option(
            "--x",
            help="Sort and draw by a setting: config.KEY, name (its last number), num_classes, …; "
            "step or epoch draw the curves of traces.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="A figure (svg, png, pdf), a table (md, tex, csv, json) or a "
            "folder for all of them.",
        ),
    ] = None,
) -> None:
    """Runs side by side: every reading with its interval, and what differs beyond noise.

    A reading differs from that of the first run (or --baseline) where the 95 % interval of the
    difference leaves 0 out. Two runs are shown reading by reading and answer by answer, more as a
    line each.

    Examples:  ncollapse compare a/results.json b/results.json
    |  ncollapse compare run-a/ run-b/ --json
    |  ncollapse compare runs/* --key class_share --key nc1_fisher --format latex
    |  ncollapse compare small=runs/a large=runs/b --format markdown
    |  ncollapse compare runs/* --x config.seed --output sweep.svg
    """
    from ncollapse.report.comparing.compare import compare as compared_runs

    if form not in FORMATS:
        raise ValueError(f"--format {form!r} is unknown; one of {', '.join(FORMATS)} is needed")
    form = "json" if json else form
    if len(runs) < 2:
        raise ValueError("one run was given; compare takes 2 to 200 run folders or results.json")
    named, paths = _named(runs)
    along = x if x not in ("step", "epoch") else None
    if form in ("table", "json") and len(runs) == 2 and output is None and not (key or x):
        _two(named or paths, runs, form, split, layer, baseline)
        return
    compared = compared_runs(
        named or paths, keys=key or None, split=split, layer=layer, baseline=baseline
    )
    if output is not None:
        for place in _written(compared, output, key, x, along):
            typer.echo(f"wrote {place}", err=True)
    if form == "json":
        say_json(jsonlib.dumps(compared.to_dict(), indent=2, ensure_ascii=False))
    else:
        say(_shown(compared, form, key, along).rstrip("\n"))


def _named(runs: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Runs by name where any is NAME=PATH; else their paths. Raises ValueError for a name twice."""
    pairs = []
    for text in runs:
        name, sign, path = text.partition("=")
        own = bool(sign) and not Path(text).exists() and bool(name) and "/" not in name
        pairs.append((name, path) if own else ("", text))
    if not any(name for name, _ in pairs):
        return {}, runs
    named: dict[str, Any] = {}
    for name, path in pairs:
        label = name or Path(path).name
        if label in named:
            raise ValueError(
                f"two runs are named {label!r}; write NAME=PATH with names that differ"
            )
        named[label] = path
    return named, []


def _shown(compared: Compared, form: str, keys: list[str] | None, x: str | None) -> str:
    from ncollapse.report.comparing import tables

    if form == "csv":
        return tables.as_csv(compared)
    if form == "json":
        return jsonlib.dumps(compared.to_dict(), indent=2, ensure_ascii=False) + "\n"
    how = {"table": tables.text, "markdown": tables.markdown, "latex": tables.latex}[form]
    return how(compared, keys, x) + "\n"


def _written(
    compared: Compared, output: Path, keys: list[str] | None, x: str | None, along: str | None
) -> list[Path]:
    """Write what the output's name asks for. Raises ValueError for a suffix that nothing has."""
    from ncollapse.record.atomic import write_text

    suffix = output.suffix.lower()
    if suffix and suffix not in (*FIGURES, *SUFFIXES) and not output.is_dir():
        known = ", ".join((*FIGURES, *SUFFIXES))
        raise ValueError(f"--output {output} has no form; a folder, or one of {known} is needed")
    if suffix in FIGURES:
        figure, _ = compared.plot(x, keys)
        output.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(output)
        return [output]
    if suffix in SUFFIXES:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_text(output, _shown(compared, SUFFIXES[suffix], keys, along))
        return [output]
    figure, _ = compared.plot(x, keys)
    output.mkdir(parents=True, exist_ok=True)
    made = [output / f"comparison{end}" for end in (".md", ".tex", ".csv", ".json")]
    for place in made:
        write_text(place, _shown(compared, SUFFIXES[place.suffix], keys, along))
    figure.savefig(output / "comparison.svg")
    return [*made, output / "comparison.svg"]


def _two(
    given: dict[str, Any] | list[str],
    runs: list[str],
    form: str,
    split: str | None,
    layer: str | None,
    baseline: str | None,
) -> None:
    """Two runs, reading by reading; runs that share nothing are shown too."""
    from ncollapse.record.document import read_document
    from ncollapse.report.terminal import render_comparison

    paths = list(given.values()) if isinstance(given, dict) else given
    names = list(given) if isinstance(given, dict) else runs
    left, right = (read_document(path) for path in paths)
    if baseline is not None and baseline not in names:
        raise ValueError(f"baseline {baseline!r} is no run; there are {', '.join(names)}")
    if baseline == names[1]:
        left, right, names = right, left, names[::-1]
    if split is not None or layer is not None:
        from ncollapse.report.comparing.compare import compare as compared_runs

        # Refuses what is in neither.
        compared_runs({"a": left, "b": right}, split=split, layer=layer)
        left, right = (_only(document, split, layer) for document in (left, right))
    if form == "json":
        say_json(jsonlib.dumps(_of_two(left, right, names), indent=2, ensure_ascii=False))
        return
    say(render_comparison(left, right))


def _only(document: Document, split: str | None, layer: str | None) -> Document:
    from dataclasses import replace

    kept = {
        s: {name: found for name, found in layers.items() if layer in (None, name)}
        for s, layers in document.results.items()
        if split in (None, s)
    }
    return replace(document, results=kept or document.results)


def _of_two(left: Document, right: Document, names: list[str]) -> dict[str, Any]:
    from ncollapse.answers.questions import shared
    from ncollapse.report.comparing.compared import NOISE
    from ncollapse.report.comparing.difference import difference
    from ncollapse.report.terminal import gap, in_both, unlike

    rows = []
    for split, layer, key, reading, other in in_both(left, right):
        apart = difference(key, reading, other)
        rows.append(
            {
                "split": split,
                "layer": layer,
                "key": key,
                "first": reading.value,
                "second": other.value,
                "difference": gap(reading.value, other.value),
                "first_estimate": reading.estimate,
                "second_estimate": other.estimate,
                "first_interval": reading.interval,
                "second_interval": other.interval,
                "same_definition": reading.definition == other.definition,
                "estimate_difference": apart.value,
                "difference_interval": apart.interval,
                "differs": apart.differs,
            }
        )
    answers = [
        {"id": name, "first": one.answer, "second": other.answer}
        for name, one, other in shared(left, right)
    ]
    return {
        "first": names[0],
        "second": names[1],
        "differ": unlike(left, right),
        "readings": rows,
        "answers": answers,
        "noise": NOISE,
    }
