"""A prediction's document as text of 80 columns, and as a fragment of HTML."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from html import escape
from typing import Any

from ncollapse.theory.problems import LISTED

ROWS = 8
WIDTH = 80
LINES = 24
TITLES = {row.name: row.title for row in LISTED}


def render(document: dict[str, Any]) -> str:
    """At most 24 lines of 80 columns: the problem, the optimum, classes by count, thresholds,
    assumptions, notes."""
    lines = [*_head(document), ""]
    lines += [f" {line}" for line in _table(document)]
    lines += ["", *threshold_lines(document)]
    # Notes matter more than the list of assumptions, which `to_dict` holds in full.
    notes = [f"Note: {note}" for note in document["warnings"]]
    room = LINES - len(lines)
    closing = [line for note in notes for line in wrapped(note)]
    closing += assumption_lines(document["assumptions"], max(room - len(closing), 1))
    return "\n".join(fit(line) for line in [*lines, *closing][:LINES])


def title(document: dict[str, Any]) -> str:
    """Model, loss and bias in a line."""
    problem = document["problem"]
    bias = problem.get("bias")
    said = [TITLES.get(problem["model"], problem["model"])]
    said.append(problem.get("loss", {}).get("name", "mean squared error"))
    if bias is not None:
        said.append(f"bias {bias}" if isinstance(bias, str) else f"bias decay {bias:g}")
    if problem.get("nonnegative"):
        said.append("H ≥ 0")
    if problem.get("head"):
        said[0] += f" ({problem['head']})"
    return " · ".join(said)


def certificate_line(document: dict[str, Any]) -> str:
    """Objective, lower bound and what is proven."""
    bound, gap = document["lower_bound"], document["relative_gap"]
    said = "no lower bound" if bound is None else f"lower bound {bound:.7g}"
    closing = "" if gap is None else f" (rel. gap {gap:.0e})"
    value = document["objective"]
    value = "not finite" if value is None else f"{value:.7g}"
    return f"objective {value} · {said} · {document['status']}{closing}"


def _head(document: dict[str, Any]) -> list[str]:
    problem = document["problem"]
    parts = [f"K={problem['num_classes']}", f"N={_count(problem['num_samples'])}"]
    names = {
        "weight_decay": "λ_W", "feature_decay": "λ_H", "tau": "τ", "temperature": "t",
        "weight_energy": "E_W", "feature_energy": "E_H", "num_features": "d",
    }  # fmt: skip
    parts += [f"{short} {problem[name]:.4g}" for name, short in names.items() if problem.get(name)]
    return [
        title(document),
        " · ".join(parts),
        certificate_line(document),
        f"rank {document['rank']}, width {document['required_width']} loses nothing · solved by "
        f"{document['solver']}, bound: {document['certificate']['kind']}",
    ]


def class_rows(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Classes with equal counts in one row: mean norms, mean cosines within and to all others,
    mean and least margin, how many are merged. None where something is not known."""
    geometry = document["geometry"]
    margins = document["logit_margins"]
    merged = set(document["collapsed_classes"])
    counts = document["problem"]["counts"]
    if "blocks" in geometry:
        blocks = [entry["classes"] for entry in geometry["blocks"]]
        parts = [[i] for i in range(len(blocks))]
        sizes = [len(block) for block in blocks]
    else:
        blocks = [
            [k for k, count in enumerate(counts) if count == level]
            for level in sorted(set(counts), reverse=True)
        ]
        parts = blocks
        sizes = [1] * len(counts)
    rows = []
    for block, part in zip(blocks, parts, strict=True):
        known = [] if margins is None else [margins[k] for k in block if margins[k] is not None]
        row: dict[str, Any] = {
            "classes": block,
            "count": counts[block[0]],
            "merged": sum(k in merged for k in block),
            "margin": min(known, default=None),
            "margin_mean": sum(known) / len(known) if known else None,
        }
        for name in ("weight", "mean"):
            norms, cosines = geometry.get(f"{name}_norms"), geometry.get(f"{name}_cosines")
            row[f"{name}_norm"] = None if norms is None else sum(norms[i] for i in part) / len(part)
            row[f"{name}_inside"] = None if cosines is None else _inside(cosines, part, block)
            row[f"{name}_across"] = None if cosines is None else _across(cosines, part, sizes)
        rows.append(row)
    return rows


def _inside(cosines: Any, part: list[int], block: list[int]) -> float | None:
    """Mean cosine between different classes of a block."""
    if len(block) < 2:
        return None
    if len(part) == 1:
        value: float | None = cosines[part[0]][part[0]]
        return value
    pairs = [cosines[i][j] for i in part for j in part if i != j]
    return float(sum(pairs) / len(pairs))


def _across(cosines: Any, part: list[int], sizes: list[int]) -> float | None:
    """Mean cosine from a block to all other classes."""
    mine = set(part)
    others = [j for j in range(len(sizes)) if j not in mine]
    total = sum(sizes[j] for j in others)
    if not total:
        return None
    summed = sum(sizes[j] * cosines[i][j] for i in part for j in others)
    return float(summed / (len(part) * total))


def _table(document: dict[str, Any]) -> list[str]:
    head = (
        f"{'classes':<14}{'count':>9}{'|w|':>9}{'|m|':>9}{'cos w in':>10}{'to others':>10}"
        f"{'margin':>9}  merged"
    )
    lines = [head]
    rows = class_rows(document)
    shown = rows if len(rows) <= ROWS else [*rows[: ROWS // 2], None, *rows[1 - ROWS // 2 :]]
    for row in shown:
        if row is None:
            lines.append(f"… {len(rows) - ROWS + 1} more counts …")
            continue
        cells = [number(row["weight_norm"]), number(row["mean_norm"])]
        lines.append(
            f"{_span(row['classes']):<14}{_count(row['count']):>9}{cells[0]:>9}{cells[1]:>9}"
            f"{number(row['weight_inside']):>10}{number(row['weight_across']):>10}"
            f"{number(row['margin']):>9}  " + (f"{row['merged']}" if row["merged"] else "–")
        )
    return lines


def threshold_words(document: dict[str, Any]) -> list[str]:
    """A sentence per threshold, smallest classes first."""
    lines = []
    what = "vanishing" if document["problem"].get("nonnegative") else "merging"
    for row in reversed(document["minority_threshold"]):
        who = f"classes of {_count(row['count'])}"
        if row["weight"] != 1:
            who += f" (weight {row['weight']:.3g})"
        if row["value"] is None:
            state = "merged" if row["collapsed"] else "apart"
            lines.append(f"{who}: {state}; no {what} threshold is known")
            continue
        factor = row["value"] / row["current"]
        state = "merged" if row["collapsed"] else "apart"
        far = f"{factor:.3g}× below" if factor > 1 else f"{1 / factor:.3g}× above"
        lines.append(f"{who}: {state}, {far} the {what} threshold {row['value']:.4g}")
    zero = document["zero_threshold"]
    if zero is not None:
        lines.append(f"everything vanishes from {zero['value']:.4g} on")
    return lines


def threshold_lines(document: dict[str, Any]) -> list[str]:
    """The decay in the thresholds' unit, then at most four of them."""
    said = threshold_words(document)
    if not said:
        return []
    current = next(
        (row["current"] for row in document["minority_threshold"]),
        (document["zero_threshold"] or {}).get("current"),
    )
    lines = [f"Decay N²λ_Wλ_H = {current:.4g}"]
    shown = said if len(said) <= 4 else [*said[:3], said[-1]]
    return [*lines, *(f" {line}" for line in shown)]


def assumption_lines(assumptions: Sequence[dict[str, Any]], room: int) -> list[str]:
    """One line an assumption with its mark, or as many as there is room for, known ones first."""
    order = sorted(assumptions, key=lambda a: (a["holds"] is None, a["holds"] is True))
    lines = [f" {mark(a['holds'])} {a['text']}" for a in order]
    title = "Assumes ([x] holds, [!] does not, [ ] not known)"
    if len(lines) + 1 <= room:
        return [title, *lines]
    kept = max(room - 2, 0)
    return [title, *lines[:kept], f" and {len(lines) - kept} more, in to_dict()"][:room]


def mark(holds: bool | None) -> str:
    """Ticked, crossed, or open."""
    return {True: "[x]", False: "[!]", None: "[ ]"}[holds]


def _span(classes: list[int]) -> str:
    if len(classes) == 1:
        return str(classes[0])
    if classes == list(range(classes[0], classes[-1] + 1)):
        return f"{classes[0]}-{classes[-1]}"
    return f"{len(classes)} from {classes[0]}"


def number(value: float | None) -> str:
    """A value in few characters: three digits that matter."""
    if value is None:
        return "–"
    if abs(value) < 1e-6:
        return "0"
    if abs(value) < 1e-3 or abs(value) >= 1e4:
        return f"{value:.1e}"
    return f"{value:.3f}"


def _count(value: int) -> str:
    return f"{value:,}".replace(",", " ")


def wrapped(text: str) -> list[str]:
    """Lines of 80 columns."""
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ")


def fit(line: str) -> str:
    """A line of at most 80 columns."""
    line = line.rstrip()
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"


def render_html(document: dict[str, Any]) -> str:
    """For notebooks: classes by count, thresholds, assumptions; every text escaped."""
    head = ("classes", "count", "‖w‖", "‖m‖", "cos w within", "to others", "margin", "merged")
    rows = "".join(
        "<tr>"
        + "".join(
            f"<td>{escape(str(cell))}</td>"
            for cell in (
                _span(row["classes"]), _count(row["count"]), number(row["weight_norm"]),
                number(row["mean_norm"]), number(row["weight_inside"]),
                number(row["weight_across"]), number(row["margin"]), row["merged"] or "–",
            )
        )
        + "</tr>"
        for row in class_rows(document)
    )  # fmt: skip
    said = [*threshold_words(document), *document["warnings"]]
    items = "".join(f"<li>{escape(text)}</li>" for text in said)
    assumed = "".join(
        f"<li>{escape(mark(a['holds']))} {escape(a['text'])}</li>" for a in document["assumptions"]
    )
    sources = "".join(f"<li>{escape(text)}</li>" for text in document["sources"])
    title = "<br>".join(escape(line) for line in _head(document))
    return (
        f'<div class="ncollapse"><p>{title}</p><table><thead><tr>'
        + "".join(f"<th>{escape(cell)}</th>" for cell in head)
        + f"</tr></thead><tbody>{rows}</tbody></table><ul>{items}</ul>"
        f"<details><summary>Assumptions</summary><ul>{assumed}</ul></details>"
        f"<details><summary>Sources</summary><ul>{sources}</ul></details></div>"
    )
