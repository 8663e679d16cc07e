"""ncollapse check results.json --max KEY=V --min KEY=V"""

from __future__ import annotations

import difflib
import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ncollapse.cli.common import kept_laws, parse_limits, say, say_json

if TYPE_CHECKING:
    from ncollapse.record.document import Document


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
    from ncollapse.record.document import read_document

    upper, lower = parse_limits(maximum, "--max"), parse_limits(minimum, "--min")
    if not upper and not lower and not answer and not laws:
        raise ValueError("no limit was given; add --max KEY=NUMBER or --min KEY=NUMBER")
    document = read_document(results)
    kept = kept_laws(document, results) if laws else []
    answers = [_answered(document, results, entry) for entry in answer]
    asked = [entry["id"] for entry in answers]
    twice = sorted({name for name in asked if asked.count(name) > 1})
    if twice:
        raise ValueError(
            f"--answer {', '.join(twice)} is given twice; give it once, with ID=ANSWER,ANSWER"
        )
    name = split or document.reference
    layer = layer or document.layer
    if layer not in document.results.get(name, {}):
        found = [f"{s}/{entry}" for s, layers in document.results.items() for entry in layers]
        raise ValueError(
            f"{results} has no split/layer {name}/{layer}; name one of {', '.join(found)}"
        )
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
    held = [{**law, "holds": law["answer"] != "breaks"} for law in kept]
    failed = [row for row in (*rows, *answers, *held) if not row["holds"]]
    if json:
        data = {"split": name, "layer": layer, "checks": rows, "holds": not failed}
        data |= {"answers": answers} if answers else {}
        data |= {"laws": held} if held else {}
        say_json(jsonlib.dumps(data, indent=2))
    else:
        for row in rows:
            found = row["value"]
            said = "null (it could not be read)" if found is None else f"{found:.6g}"
            word = "holds" if row["holds"] else "FAILS"
            say(f"{word}  {name}/{layer}/{row['key']} {row['sign']} {row['limit']:g}: {said}")
        for row in answers:
            word = "holds" if row["holds"] else "FAILS"
            say(f"{word}  {row['id']} is {' or '.join(row['wanted'])}: {row['answer']}")
        for row in held:
            word = "holds" if row["holds"] else "FAILS"
            say(f"{word}  {row['law']} {row['answer']}: {row['sentence']}")
    if failed:
        raise typer.Exit(1)


def _answered(document: Document, results: Path, entry: str) -> dict[str, Any]:
    """One --answer ID=ANSWER[,ANSWER] against the document's verdicts."""
    from ncollapse.answers.questions import identified, verdict_on
    from ncollapse.record.readings import ANSWERS

    name, sign, said = entry.partition("=")
    wanted = [word.strip() for word in said.split(",")]
    if not sign or not set(wanted) <= set(ANSWERS):
        raise ValueError(
            f"--answer {entry!r} is not understood; write ID=ANSWER, with answers of "
            f"{', '.join(ANSWERS)}"
        )
    verdict = verdict_on(document, name.strip())
    if verdict is None:
        known = [identified(v) for v in document.verdicts]
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(known)}"
        raise ValueError(f"{results} has no answer to {name!r}; {hint}")
    return {
        "id": identified(verdict),
        "answer": verdict.answer,
        "wanted": wanted,
        "holds": verdict.answer in wanted,
    }
