"""summary.html of a study: question, claims with their numbers, figures. Readable offline."""

from __future__ import annotations

import html
import logging
import re
from collections.abc import Mapping
from typing import Any

from ncollapse.lab.scoreboard import number
from ncollapse.lab.study import Draw, Units, resolve

log = logging.getLogger("ncollapse")
# {name: (alt text, inline SVG)}
Pictures = Mapping[str, tuple[str, str]]
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


def pictures(name: str, draw: Draw | None, data: Units) -> dict[str, tuple[str, str]]:
    """What `draw` makes of the data of finished runs, the text of each picture for its study."""
    if draw is None:
        return {}
    from ncollapse.report.plots.ink import style, to_svg

    try:
        with style(name):
            drawn = resolve(draw)(data)
            return {
                key: (alt, to_svg(figure, f"{name}-{key}", alt))
                for key, (alt, figure) in drawn.items()
            }
    except (ArithmeticError, LookupError, ValueError, TypeError) as error:
        # Runs that failed leave holes in the data; what was measured is saved all the same.
        log.warning("study %s: figures were not drawn (%r)", name, error)
        return {}


def standalone(svg: str) -> str:
    """An inline SVG as a file of its own, with colours for light and dark."""
    size = re.search(r'viewBox="0 0 ([0-9.]+) ([0-9.]+)"', svg)
    sides = f' width="{size[1]}" height="{size[2]}"' if size else ""
    head = f'<svg xmlns="http://www.w3.org/2000/svg"{sides}'
    colours = f"<style>svg{{{LIGHT}}}@media(prefers-color-scheme:dark){{svg{{{DARK}}}}}</style>"
    end = svg.index(">") + 1
    return head + svg[len("<svg") : end] + colours + svg[end:]


def page(document: Mapping[str, Any], drawn: Pictures) -> str:
    """The page of what study.json holds, with its figures."""
    rows = "".join(_row(claim) for claim in document["claims"])
    failed = "".join(
        f"<p>Run {_text(run['part'])}-{run['seed']} failed: {_text(run['error'])}</p>"
        for run in document["runs"]
        if run["error"]
    )
    # Documents of former versions know neither notes nor retired claims.
    retired = "".join(
        f"<p><small>Retired: {_text(name)}. {_text(why)}</small></p>"
        for name, why in document.get("retired", {}).items()
    )
    shown = "".join(
        f"<figure>{svg}<figcaption>{_text(alt)}</figcaption></figure>"
        for alt, svg in drawn.values()
    )
    name, question, paper = (_text(document[key]) for key in ("name", "question", "paper"))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{name}: ncollapse study</title>"
        f"<style>:root{{{LIGHT}}}@media(prefers-color-scheme:dark){{:root{{{DARK}}}}}{CSS}</style>"
        f"</head><body><h1>{name}</h1><p>{question}</p>"
        f"<p><small>{paper} · size {document['size']}</small></p>"
        "<table><thead><tr><th>claim</th><th>measured</th><th>bar</th><th>verdict</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>{failed}{retired}{shown}</body></html>\n"
    )


def _row(claim: Mapping[str, Any]) -> str:
    measured = number(claim["measured"])
    if claim["interval"] is not None and claim["rule"] == "mean":
        low, high = map(number, claim["interval"])
        measured += f" <small>[{low}, {high}]</small>"
    shown = {key: _text(claim[key]) for key in ("text", "id", "source", "unit", "bar", "reason")}
    said = claim["verdict"] + (f"<br><small>{shown['reason']}</small>" if shown["reason"] else "")
    under = [f"{shown['id']} · {shown['source']}", *map(_text, claim.get("notes", ()))]
    return (
        f"<tr><td>{shown['text']}<br><small>{'<br>'.join(under)}</small></td>"
        f"<td>{measured} {shown['unit']}</td><td>{shown['bar']}</td><td>{said}</td></tr>"
    )


def _text(value: str) -> str:
    return html.escape(value)
