"""ncollapse compare A B"""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated

import typer

from ncollapse.cli.common import say, say_json


def compare(
    first: Annotated[Path, typer.Argument(help="results.json or a run folder.")],
    second: Annotated[Path, typer.Argument(help="results.json or a run folder.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON only.")] = False,
) -> None:
    """Two measurements side by side, reading by reading and answer by answer.

    Examples:  ncollapse compare a/results.json b/results.json
    |  ncollapse compare run-a/ run-b/ --json
    """
    from ncollapse.answers.questions import shared
    from ncollapse.record.document import read_document
    from ncollapse.report.terminal import gap, in_both, render_comparison, unlike

    left, right = read_document(first), read_document(second)
    if not json:
        say(render_comparison(left, right))
        return
    rows = [
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
        }
        for split, layer, key, reading, other in in_both(left, right)
    ]
    answers = [
        {"id": name, "first": one.answer, "second": other.answer}
        for name, one, other in shared(left, right)
    ]
    data = {
        "first": str(first),
        "second": str(second),
        "differ": unlike(left, right),
        "readings": rows,
        "answers": answers,
    }
    say_json(jsonlib.dumps(data, indent=2, ensure_ascii=False))
