"""ncollapse advise RUN --goal GOAL"""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated

import typer

from ncollapse.cli.common import say, say_json, say_wrapped


def advise(
    results: Annotated[Path, typer.Argument(help="results.json or a run folder.")],
    goal: Annotated[
        list[str],
        typer.Option(
            "--goal", "-g", help="classification, ood, transfer, robustness or incremental."
        ),
    ] = [],  # noqa: B006
    json: Annotated[bool, typer.Option("--json", help="Print JSON only.")] = False,
) -> None:
    """What degree of collapse a goal wants, what a run has, and what to do about it.

    Says which claims of this version's studies it rests on, and is no more certain than they are.
    Without --goal, all goals.

    Examples:  ncollapse advise out/ --goal transfer
    |  ncollapse advise out/results.json --goal ood --goal classification
    |  ncollapse advise out/ --json
    """
    from ncollapse.answers.advice import advise as advice
    from ncollapse.answers.advice import goals
    from ncollapse.record.document import read_document

    document = read_document(results)
    order = list(document.config.get("layers", {}))
    found = [advice(document.results, name, order, document.transfer) for name in goal or goals()]
    if json:
        say_json(jsonlib.dumps({"advice": [one.to_dict() for one in found]}, indent=2))
        return
    for place, one in enumerate(found):
        if place:
            say("")
        for line in str(one).splitlines():
            say_wrapped(line, 4 if line.startswith(" ") else 0)
