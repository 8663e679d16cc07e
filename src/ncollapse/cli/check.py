"""ncollapse check results.json --max KEY=V --min KEY=V"""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated

import typer

from ncollapse.cli.common import parse_limits, say, say_json


def check(
    results: Annotated[Path, typer.Argument(help="results.json or a run folder.")],
    maximum: Annotated[list[str], typer.Option("--max", help="KEY=V: fail above V.")] = [],  # noqa: B006
    minimum: Annotated[list[str], typer.Option("--min", help="KEY=V: fail below V.")] = [],  # noqa: B006
    answer: Annotated[
        list[str],
        typer.Option("--answer", help="ID=ANSWER: fail on another; collapsed:test=yes,partly."),
    ] = [],  # noqa: B006
    laws: Annotated[
        bool, typer.Option("--laws", help="Fail where a law of the training breaks.")
    ] = False,
    split: Annotated[str | None, typer.Option(help="Split; train (or the only one).")] = None,
    layer: Annotated[
        str | None, typer.Option(help="Layer; the one that answers are about.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON only.")] = False,
) -> None:
    """Assert limits on readings and answers to questions: exit 0 when all hold, 1 when one fails.

    Examples:  ncollapse check out/results.json --max nc1_fisher=0.1 --min class_share=0.9
    |  ncollapse check out/ --max nc4_mismatch=0.01 --split test
    |  ncollapse check out/ --answer frame=yes --answer collapsed:test=yes,partly
    |  ncollapse check runs/night --laws
    """
    from ncollapse.answers.checked import checked, kept_laws
    from ncollapse.record.document import read_document

    upper, lower = parse_limits(maximum, "--max"), parse_limits(minimum, "--min")
    if not upper and not lower and not answer and not laws:
        raise ValueError("no limit was given; add --max KEY=NUMBER or --min KEY=NUMBER")
    document = read_document(results)
    found = checked(
        document,
        str(results),
        maximum=upper,
        minimum=lower,
        answers=[_wanted(entry) for entry in answer],
        laws=kept_laws(document, results) if laws else (),
        split=split,
        layer=layer,
    )
    if json:
        say_json(jsonlib.dumps(found.to_dict(), indent=2))
    else:
        for one in found.all:
            say(found.said(one))
    if found.failed:
        raise typer.Exit(1)


def _wanted(entry: str) -> tuple[str, tuple[str, ...]]:
    """One --answer ID=ANSWER[,ANSWER]."""
    from ncollapse.record.readings import ANSWERS

    name, sign, said = entry.partition("=")
    wanted = tuple(word.strip() for word in said.split(","))
    if not sign or not set(wanted) <= set(ANSWERS):
        raise ValueError(
            f"--answer {entry!r} is not understood; write ID=ANSWER, with answers of "
            f"{', '.join(ANSWERS)}"
        )
    return name.strip(), wanted
