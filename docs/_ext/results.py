"""Results of studies, read from the tables that are committed on their pages."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

VERDICTS = ("holds", "does not hold", "cannot tell")
HEADER = ["claim", "measured", "bar", "verdict"]
NUMBER = r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?"


@dataclass(frozen=True)
class Row:
    """A claim as its table has it: measured, interval and bar as numbers too, None where open."""

    id: str
    text: str
    measured: str
    bar: str
    verdict: str

    @property
    def numbers(self) -> tuple[float | None, float | None, float | None]:
        """What was measured, and the ends of its interval."""
        found = re.match(rf"({NUMBER})(?: \[({NUMBER}), ({NUMBER})\])?", self.measured)
        return (None, None, None) if found is None else tuple(map(_number, found.groups()))

    @property
    def ends(self) -> tuple[float, float]:
        """The bar's lower and upper end; an open one is infinite."""
        values = [float(one) for one in re.findall(NUMBER, self.bar)]
        if self.bar.startswith("≤"):
            return -math.inf, values[0]
        if self.bar.startswith("≥"):
            return values[0], math.inf
        low, high = values
        return low, high


@dataclass
class Results:
    """A study on its page: where its section is, what it asks, and its claims."""

    name: str
    page: str
    question: str = ""
    rows: list[Row] = field(default_factory=list)

    @property
    def tally(self) -> Counter[str]:
        return Counter(row.verdict for row in self.rows)


def read(docs: Path, names: Sequence[str]) -> list[Results]:
    """Every study of `names` that has a section with a table of claims, in the order of pages.

    Raises ValueError for a row that is no claim with a verdict.
    """
    found = []
    for path in pages(docs):
        for title, lines in _sections(path.read_text("utf-8")):
            if title in names:
                one = Results(title, path.stem, _question(lines), list(_rows(lines, path.name)))
                if one.rows:
                    found.append(one)
    return found


def pages(docs: Path) -> list[Path]:
    """The pages of studies, that of the first ones first."""
    return [docs / "studies.md", *sorted(docs.glob("*_studies.md"))]


def _sections(text: str) -> Iterator[tuple[str, list[str]]]:
    parts = re.split(r"^#{2,3} (.+)$", text, flags=re.M)
    for title, body in zip(parts[1::2], parts[2::2], strict=True):
        yield title.strip(), body.strip().splitlines()


def _question(lines: list[str]) -> str:
    """The first paragraph."""
    end = lines.index("") if "" in lines else len(lines)
    return " ".join(lines[:end])


def _rows(lines: list[str], page: str) -> Iterator[Row]:
    inside = False
    for line in lines:
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not cells:
            inside = False
        elif cells == HEADER:
            inside = True
        elif inside and not set(line) <= set("|-: "):
            yield _row(cells, line, page)


def _row(cells: list[str], line: str, page: str) -> Row:
    claim = re.match(r"`([^`]+)` ?(.*)", cells[0])
    if claim is None or len(cells) != len(HEADER) or not cells[3].startswith(VERDICTS):
        raise ValueError(
            f"{page}: a row of claims is '| `id` text | measured | bar | verdict |', the "
            f"verdict one of {', '.join(VERDICTS)}; it is {line[:80]!r}"
        )
    verdict = next(one for one in VERDICTS if cells[3].startswith(one))
    text = claim[2].partition(" *Source:")[0].replace("\\|", "|")
    return Row(claim[1], text, cells[1], cells[2], verdict)


def _number(text: str | None) -> float | None:
    return None if text is None else float(text)
