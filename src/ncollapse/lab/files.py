"""What a study leaves in its folder: study.json, claims.csv, figures and a summary page."""

from __future__ import annotations

import csv
import html
import io
import json
import logging
import re
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ncollapse.lab.scoreboard import number
from ncollapse.lab.study import StudyResult, resolve
from ncollapse.record.atomic import write_text
from ncollapse.record.provenance import environment, git_hash, package_version

log = logging.getLogger("ncollapse")
DOCUMENT, CLAIMS, PAGE, FIGURES = "study.json", "claims.csv", "summary.html", "figures"
COLUMNS = (
    "id", "measured", "low", "high", "bar", "unit", "verdict", "reason", "rule", "text", "source",
)  # fmt: skip
LIGHT = (
    "--font:system-ui,sans-serif;--faint:#5b6470;--line:#c9ced6;--panel:#fff;--train:#1f5fbf;"
    "--test:#c2570c;--mark:#0b7a4b;--class0:#1f5fbf;--class1:#c2570c;--class2:#0b7a4b;"
    "--class3:#8a3ffc;color:#14181d;background:#fff"
)
DARK = (
    "--faint:#9aa4b1;--line:#3a424d;--panel:#14181d;--train:#7fb0ff;--test:#ffa25e;--mark:#5fd3a0;"
    "--class0:#7fb0ff;--class1:#ffa25e;--class2:#5fd3a0;--class3:#c3a1ff;color:#e8ecf1;"
    "background:#14181d"
)
CSS = (
    "body{max-width:64rem;margin:2rem auto;padding:0 1rem;font:16px/1.5 var(--font)}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;"
    "padding:.4rem .6rem;border-bottom:1px solid var(--line)}td:nth-child(3){white-space:nowrap}"
    "small{color:var(--faint)}"
    "figure{margin:1.5rem 0}svg{max-width:100%;height:auto}figcaption{color:var(--faint)}"
)


def document(result: StudyResult) -> dict[str, Any]:
    """Everything that study.json holds. The same seeds on the same machine give the same document
    apart from `date` and `seconds`."""
    runs = []
    for unit in result.units:
        row = asdict(unit)
        row["seconds"] = round(unit.seconds, 3)
        runs.append(row)
    return {
        "ncollapse_version": package_version("ncollapse"),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "git_hash": git_hash(),
        "environment": environment(None, None),
        "name": result.name,
        "question": result.study.question,
        "paper": result.study.paper,
        "size": result.size,
        "settings": dict(result.study.settings[result.size]),
        "seconds": round(result.seconds, 3),
        "claims": [claim.to_dict() for claim in result.claims],
        "runs": runs,
    }


def save(result: StudyResult, folder: Path) -> Path:
    """Write all files of a result; figures that cannot be drawn are left out with a log line."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document(result), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(folder / DOCUMENT, text + "\n")
    write_text(folder / CLAIMS, table(result))
    drawn = figures(result)
    if drawn:
        (folder / FIGURES).mkdir(exist_ok=True)
    for name, (_, svg) in drawn.items():
        write_text(folder / FIGURES / f"{name}.svg", standalone(svg) + "\n")
    write_text(folder / PAGE, page(result, drawn))
    return folder


def table(result: StudyResult) -> str:
    """claims.csv: a line a claim; low and high are the ends of the interval."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for claim in result.claims:
        low, high = claim.interval or (None, None)
        row = {**claim.to_dict(), "low": low, "high": high}
        writer.writerow("" if row[name] is None else row[name] for name in COLUMNS)
    return buffer.getvalue()


def figures(result: StudyResult) -> dict[str, tuple[str, str]]:
    """Figures of a study as {name: (alt text, inline SVG)}."""
    if result.study.draw is None:
        return {}
    from ncollapse.report.plots.ink import style, to_svg

    try:
        with style(result.name):
            drawn = resolve(result.study.draw)(result.data())
            return {
                name: (alt, to_svg(figure, f"{result.name}-{name}", alt))
                for name, (alt, figure) in drawn.items()
            }
    except (KeyError, IndexError, ValueError, TypeError) as error:
        # Runs that failed leave holes in the data; what was measured is saved all the same.
        log.warning("study %s: figures were not drawn (%r)", result.name, error)
        return {}


def standalone(svg: str) -> str:
    """An inline SVG as a file of its own, with colours for light and dark."""
    size = re.search(r'viewBox="0 0 ([0-9.]+) ([0-9.]+)"', svg)
    sides = f' width="{size[1]}" height="{size[2]}"' if size else ""
    head = f'<svg xmlns="http://www.w3.org/2000/svg"{sides}'
    colours = f"<style>svg{{{LIGHT}}}@media(prefers-color-scheme:dark){{svg{{{DARK}}}}}</style>"
    end = svg.index(">") + 1
    return head + svg[len("<svg") : end] + colours + svg[end:]


def page(result: StudyResult, drawn: dict[str, tuple[str, str]]) -> str:
    """summary.html: question, claims with their numbers, figures. Readable offline."""
    rows = []
    for claim in result.claims:
        measured = number(claim.measured)
        if claim.interval is not None and claim.claim.rule == "mean":
            measured += (
                f" <small>[{number(claim.interval[0])}, {number(claim.interval[1])}]</small>"
            )
        said = claim.verdict + (f"<br><small>{_text(claim.reason)}</small>" if claim.reason else "")
        rows.append(
            f"<tr><td>{_text(claim.claim.text)}<br><small>{_text(claim.claim.id)} · "
            f"{_text(claim.claim.source)}</small></td><td>{measured} {_text(claim.claim.unit)}</td>"
            f"<td>{_text(str(claim.claim.bar))}</td><td>{said}</td></tr>"
        )
    failed = "".join(
        f"<p>Run {_text(f'{unit.part}-{unit.seed}')} failed: {_text(unit.error)}</p>"
        for unit in result.failures
    )
    shown = "".join(
        f"<figure>{svg}<figcaption>{_text(alt)}</figcaption></figure>"
        for alt, svg in drawn.values()
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{_text(result.name)}: ncollapse study</title>"
        f"<style>:root{{{LIGHT}}}@media(prefers-color-scheme:dark){{:root{{{DARK}}}}}{CSS}</style>"
        f"</head><body><h1>{_text(result.name)}</h1><p>{_text(result.study.question)}</p>"
        f"<p><small>{_text(result.study.paper)} · size {result.size}</small></p>"
        "<table><thead><tr><th>claim</th><th>measured</th><th>bar</th><th>verdict</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>{failed}{shown}</body></html>\n"
    )


def _text(value: str) -> str:
    return html.escape(value)
