"""ncollapse check results.json --max KEY=V --min KEY=V"""

from __future__ import annotations

import difflib
import json as jsonlib
from pathlib import Path
from typing import Annotated, Any

import typer

from ncollapse.cli.common import parse_limits, say


def check(
    results: Annotated[Path, typer.Argument(help="results.json or a run folder.")],
    maximum: Annotated[list[str], typer.Option("--max", help="KEY=V: fail above V.")] = [],  # noqa: B006
    minimum: Annotated[list[str], typer.Option("--min", help="KEY=V: fail below V.")] = [],  # noqa: B006
    split: Annotated[str | None, typer.Option(help="Split; train (or the only one).")] = None,
    layer: Annotated[str, typer.Option(help="Layer.")] = "head",
    json: Annotated[bool, typer.Option("--json", help="Print JSON only.")] = False,
) -> None:
    """Assert limits on readings: exit 0 when all hold, 1 when one fails.

    Examples:  ncollapse check out/results.json --max nc1_fisher=0.1 --min class_share=0.9
    |  ncollapse check out/ --max nc4_mismatch=0.01 --split test
    """
    from ncollapse.record.document import read_document

    upper, lower = parse_limits(maximum, "--max"), parse_limits(minimum, "--min")
    if not upper and not lower:
        raise ValueError("no limit was given; add --max KEY=NUMBER or --min KEY=NUMBER")
    document = read_document(results)
    name = split or ("train" if "train" in document.results else next(iter(document.results), ""))
    if layer not in document.results.get(name, {}):
        found = [f"{s}/{entry}" for s, layers in document.results.items() for entry in layers]
        raise ValueError(f"{results} has no split/layer {name}/{layer}; it has {', '.join(found)}")
    readings = document.results[name][layer]
    rows: list[dict[str, Any]] = []
    for limits, sign in ((upper, "<="), (lower, ">=")):
        for key, limit in limits.items():
            if key not in readings:
                near = difflib.get_close_matches(key, readings, n=3, cutoff=0.4)
                raise ValueError(
                    f"{results} has no reading {key!r}; did you mean {' or '.join(near)}?"
                    if near
                    else f"{results} has no reading {key!r}; it has {', '.join(readings)}"
                )
            value = readings[key].value
            holds = value is not None and (value <= limit if sign == "<=" else value >= limit)
            rows.append({"key": key, "value": value, "limit": limit, "sign": sign, "holds": holds})
    failed = [row for row in rows if not row["holds"]]
    if json:
        data = {"split": name, "layer": layer, "checks": rows, "holds": not failed}
        say(jsonlib.dumps(data, indent=2))
    else:
        for row in rows:
            found = row["value"]
            said = "null (it could not be read)" if found is None else f"{found:.6g}"
            word = "holds" if row["holds"] else "FAILS"
            say(f"{word}  {name}/{layer}/{row['key']} {row['sign']} {row['limit']:g}: {said}")
    if failed:
        raise typer.Exit(1)
