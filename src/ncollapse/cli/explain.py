"""ncollapse explain KEY"""

from __future__ import annotations

import json as jsonlib
import textwrap
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ncollapse.cli.common import note, say, say_json

if TYPE_CHECKING:
    from ncollapse.metrics.metric import Metric


def explain(
    key: Annotated[
        str | None,
        typer.Argument(
            help="A metric's key, what papers call it (CDNV, ETF), a family (NC1), or a near miss; "
            "all are listed without."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON only.")] = False,
) -> None:
    """What a metric is: formula, ideal, comparators, meaning, source, published variants.

    Examples:  ncollapse explain
    |  ncollapse explain nc1_fisher
    |  ncollapse explain CDNV
    |  ncollapse explain NC2
    |  ncollapse explain "neural collapse"
    """
    from ncollapse.metrics.catalog import METRICS
    from ncollapse.metrics.named import FAMILIES, find

    if key is None:
        if json:
            say_json(jsonlib.dumps([_data(name) for name in METRICS], indent=2, ensure_ascii=False))
            return
        wide = max(map(len, METRICS)) + 2
        for name, row in sorted(METRICS.items(), key=lambda pair: _late(pair[1])):
            say(f"{name:<{wide}}{row.title}")
        return
    found = find(key)
    if found.instead:
        note(f"{key!r} is unknown; did you mean {found.instead}? Here it is.")
    keys = [name for name in found.keys if name in METRICS]
    if json:
        rows = [_data(name) for name in keys]
        whole: Any = {"name": found.title, "text": found.text, "metrics": rows}
        data = whole if found.title else rows[0]
        say_json(jsonlib.dumps(data, indent=2, ensure_ascii=False))
        return
    if found.title:
        say(textwrap.fill(f"{found.title}: {found.text}", 78))
        for name in found.keys:
            said = METRICS[name].title if name in METRICS else FAMILIES[name]
            say(textwrap.fill(said, 78, initial_indent=f"  {name:<26}", subsequent_indent=" " * 28))
        say("ncollapse explain KEY tells each")
        return
    _one(keys[0])
    if len(keys) > 1:
        say(f"  beside it  {', '.join(keys[1:])}")


def _late(row: Metric) -> tuple[bool, bool]:
    """Readings of neural collapse itself come first, those of other tasks last."""
    return row.task != "classification", not row.family.startswith("NC")


def _one(key: str) -> None:
    """One metric in full."""
    from ncollapse.metrics.catalog import METRICS

    row = METRICS[key]
    say(f"{key}: {row.title}")
    if row.aliases:
        say(f"  also       {', '.join(row.aliases)}")
    say(f"  formula    {row.formula}")
    ideal = "none" if row.ideal is None else f"{row.ideal:g}"
    say(f"  ideal      {ideal}, range {_end(row.lower, '-')} to {_end(row.upper, '')}")
    say(f"  needs      {', '.join(row.needs)}; cost {row.cost}")
    say(f"  source     {row.source}")
    for name, said in _comparators(row).items():
        say(textwrap.fill(said, 78, initial_indent=f"  {name:<11}", subsequent_indent=" " * 13))
    for name, arguments in row.definitions.items():
        said = ", ".join(f"{k}={v}" for k, v in arguments.items()) or "as above"
        said = f"  --definition {name}: {said}"
        say(textwrap.fill(said, 78, subsequent_indent=" " * 17, break_on_hyphens=False))
    say(textwrap.fill(row.meaning, 78, initial_indent="  ", subsequent_indent="  "))


# What an estimate is, by what its interval is of.
ESTIMATES = {
    "samples": "the population value: the bias of sampling taken away",
    "influences": "the population value: the bias of sampling taken away",
    "shares": "the share itself",
}


def _comparators(row: Metric) -> dict[str, str]:
    """What a reading is compared with, in words."""
    from ncollapse.metrics.metric import INTERVALS, NULLS, Without

    floor: str | Without = row.floor
    if isinstance(floor, str):
        floor = "what the dtype leaves" if floor == "rounding" else "what the dimensions allow"
    if row.scale in ("square", "folded") and row.interval == "samples":
        floor = "what sampling leaves of an ideal frame" + (
            f", or {floor}" if isinstance(floor, str) else ""
        )
    said: dict[str, str | Without] = {
        "null": row.null if isinstance(row.null, Without) else NULLS[row.null],
        "floor": floor,
        "estimate": ESTIMATES.get(str(row.interval), row.interval),
        "interval": row.interval if isinstance(row.interval, Without) else INTERVALS[row.interval],
    }
    return {k: f"none: {v.why}" if isinstance(v, Without) else v for k, v in said.items()}


def _end(value: float | None, sign: str) -> str:
    return f"{sign}infinity" if value is None else f"{value:g}"


def _data(key: str) -> dict[str, Any]:
    from ncollapse.metrics.catalog import METRICS

    row = METRICS[key]
    names = ("key", "title", "formula", "meaning", "ideal", "direction", "lower", "upper", "cost")
    data = {name: getattr(row, name) for name in (*names, "source", "task")}
    definitions = {name: dict(arguments) for name, arguments in row.definitions.items()}
    return {
        **data,
        "needs": list(row.needs),
        "aliases": list(row.aliases),
        "definitions": definitions,
        "comparators": _comparators(row),
    }
