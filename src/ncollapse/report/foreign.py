"""Foreign data in terminal and page: the table of scores, and histograms of some of them."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from ncollapse.record.document import Document

# FPR95TPR has two readings; the table shows both, by which samples are positive.
COLUMNS = ("AUROC", "AUPR-IN", "AUPR-OUT", "FPR95TPR", "FPR95TPR-IN", "AUTC")
# So many scores have a histogram.
DRAWN = 4


def ranked(data: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Scores by name, best AUROC first."""
    return sorted(data["scores"].items(), key=lambda item: -(item[1]["AUROC"] or 0.0))


def render_ood(document: Document, width: int = 80) -> str:
    """A table a foreign set: AUROC with its interval, AUPR, FPR95 both ways; what readings name is
    marked. Empty where none was given."""
    lines: list[str] = []
    for name, data in document.ood.items():
        head = (
            f"foreign data {name}: {data['n_out']} samples against {data['n_in']} of "
            f"{data['split']}; fitted to {data['fitted']}"
        )
        lines += ["", *textwrap.wrap(head, width)] if lines else textwrap.wrap(head, width)
        lines.append(
            f"{'score':<16}{'AUROC':>8}{'95 %':>16}{'AUPR in':>9}{'out':>7}"
            f"{'FPR95 out':>11}{'in':>7}"
        )
        for key, score in ranked(data):
            low, high = (_short(end) for end in score["interval"])
            cells = [_short(score[column]) for column in COLUMNS]
            mark = "  ◂" if key == data["advice"]["score"] else ""
            lines.append(
                f"{score['title']:<16}{cells[0]:>8}{f'[{low}, {high}]':>16}{cells[1]:>9}"
                f"{cells[2]:>7}{cells[3]:>11}{cells[4]:>7}{mark}"
            )
        for said in notes(data):
            lines += textwrap.wrap(said, width, initial_indent=" ", subsequent_indent="   ")
    return "\n".join(lines)


def notes(data: Mapping[str, Any]) -> list[str]:
    """What stands below a table: the advice, NC5, what could not be formed."""
    nc5 = data["nc5"]
    left = data["left_out"]
    return [
        f"◂ named from readings alone: {data['advice']['why']}",
        f"NC5 {nc5['raw']:.3f} of raw means, {nc5['centred']:.3f} of centred ones; 0: right angles",
        *([f"left out: {', '.join(left)} ({'; '.join(left.values())})"] if left else []),
    ]


def section(document: Document) -> list[dict[str, Any]]:
    """What the page shows of each foreign set: a table, histograms, notes."""
    from ncollapse.report.plots.histograms import histograms

    found = []
    for place, (name, data) in enumerate(document.ood.items()):
        chosen = _drawn(data)
        alt = (
            f"Scores of {data['n_in']} samples of {data['split']} and {data['n_out']} of {name}: "
            + "; ".join(f"{score['title']} AUROC {_short(score['AUROC'])}" for score in chosen)
        )
        svg = histograms(chosen, name, data["split"], alt, f"foreign{place}")
        found.append(
            {
                "name": name,
                "caption": (
                    f"{data['n_out']} foreign samples against {data['n_in']} of {data['split']}; "
                    f"detectors were fitted to {data['fitted']}. Higher scores are more outlying. "
                    "FPR95: share of known samples flagged where 95 % of the foreign are (out), "
                    "and of foreign samples accepted where 95 % of the known ones are (in)."
                ),
                "columns": ["score", "AUROC", "95 %", "AUPR in", "AUPR out", "FPR95 out",
                            "FPR95 in", "AUTC"],
                "rows": [_cells(key, one, data["advice"]["score"]) for key, one in ranked(data)],
                "figure": None if svg is None else Markup(svg),
                "notes": notes(data),
            }
        )  # fmt: skip
    return found


def _drawn(data: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """What is named, the best ones, and NECO, best first."""
    order = [key for key, _ in ranked(data)]
    wanted = dict.fromkeys([data["advice"]["score"], *order[:2], "neco", *order])
    kept = [key for key in wanted if key in data["scores"]][:DRAWN]
    return [data["scores"][key] for key in order if key in kept]


def _cells(key: str, score: Mapping[str, Any], named: str) -> tuple[str, ...]:
    low, high = (_short(end) for end in score["interval"])
    first, *rest = (_short(score[column]) for column in COLUMNS)
    title = f"{score['title']} ◂" if key == named else score["title"]
    return (title, first, f"{low} to {high}", *rest)


def _short(value: float | None) -> str:
    """A share in three digits."""
    return "–" if value is None else f"{value:.3f}".replace("0.", ".", 1)
