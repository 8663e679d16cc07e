"""From a matplotlib figure to inline SVG: colours, fonts and ids are left to the page."""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# Drawn in colours nobody uses, then replaced by what the page's light or dark style says.
INK, FAINT, LINE, PANEL = "#010101", "#010102", "#010103", "#010104"
TRAIN, TEST, MARK = "#010105", "#010106", "#010107"
CLASSES = ("#010110", "#010111", "#010112", "#010113")
VARIABLES = {
    INK: "currentColor",
    FAINT: "var(--faint)",
    LINE: "var(--line)",
    PANEL: "var(--panel)",
    TRAIN: "var(--train)",
    TEST: "var(--test)",
    MARK: "var(--mark)",
    **{colour: f"var(--class{i})" for i, colour in enumerate(CLASSES)},
}
SMALL, NORMAL = 10.0, 11.0
_OWN: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": SMALL,
    "axes.labelsize": SMALL,
    "axes.titlesize": NORMAL,
    "text.color": INK,
    "axes.labelcolor": FAINT,
    "axes.edgecolor": LINE,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": FAINT,
    "ytick.labelcolor": FAINT,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 1.0,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "hatch.color": LINE,
    "hatch.linewidth": 0.7,
    "lines.linewidth": 1.6,
}
# What belongs to the user's session is never reset, not even for a moment.
_THEIRS = ("backend", "backend_fallback", "interactive", "toolbar", "timezone")


@contextmanager
def style(name: str) -> Iterator[None]:
    """Matplotlib's own defaults with the report's on top, whatever the user has set; restored."""
    defaults: dict[Any, Any] = {
        key: value
        for key, value in matplotlib.rcParamsDefault.items()
        if key not in _THEIRS and matplotlib.rcParams[key] != value
    }
    settings: Any = {**defaults, **_OWN, "svg.hashsalt": name}
    with matplotlib.rc_context(settings):
        yield


def canvas(width: float, height: float) -> Figure:
    """An empty figure whose SVG unit is one pixel of the page at 1200 pixels."""
    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    FigureCanvasSVG(figure)
    return figure


def place(
    figure: Figure, left: float, bottom: float, width: float, height: float, **more: Any
) -> Axes:
    """Axes at a place given in pixels."""
    wide, high = (72 * side for side in figure.get_size_inches())
    return figure.add_axes((left / wide, bottom / high, width / wide, height / high), **more)


def beside(axes: Axes, height: float, text: str, colour: str) -> None:
    """A name to the right of axes, at a share of their height."""
    axes.annotate(
        text,
        (1, height),
        xycoords="axes fraction",
        xytext=(7, 0),
        textcoords="offset points",
        color=colour,
        fontsize=SMALL,
        va="center",
        annotation_clip=False,
    )


def plain(text: str, longest: int = 18) -> str:
    """A label of one line: no control characters, cut with an ellipsis."""
    line = "".join(c if c.isprintable() else " " for c in text).strip()
    return line if len(line) <= longest else line[: longest - 1] + "…"


def to_svg(figure: Figure, name: str, alt: str) -> str:
    """Inline SVG with `alt` as its label; the same figure and name give the same text."""
    buffer = io.StringIO()
    with warnings.catch_warnings():
        # A missing glyph is no matter: the page's fonts draw the text.
        warnings.filterwarnings("ignore", message=".*[Gg]lyph.*")
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    size = re.search(r'viewBox="([^"]+)"', text)
    assert size is not None
    body = text[text.index(">", text.index("<svg")) + 1 : text.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.S)
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, flags=re.S)
    body = re.sub(r"<!--.*?-->", "", body, flags=re.S).replace("xlink:href", "href")
    body = _names(body, name)
    body = re.sub(r"font: ([0-9.]+px)[^;\"]*", r"font: \1 var(--font)", body)
    body = re.sub(r"font: (\w+) ([0-9.]+px)[^;\"]*", r"font: \1 \2 var(--font)", body)
    body = re.sub(r"#0101[01][0-9a-f]", lambda m: VARIABLES.get(m[0], m[0]), body)
    body = re.sub(r' (d|x|y|x1|y1|x2|y2|transform|points)="([^"]*)"', _rounded, body)
    body = re.sub(r">\s+<", "><", body).strip()
    label = html.escape(alt)
    return (
        f'<svg class="figure" viewBox="{size[1]}" role="img" aria-label="{label}">'
        f"<title>{label}</title>{body}</svg>"
    )


def _names(body: str, name: str) -> str:
    """Ids that are referred to get the figure's name in front, all others go."""
    used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', body))

    def keep(match: re.Match[str]) -> str:
        return f' id="{name}-{match[1]}"' if match[1] in used else ""

    body = re.sub(r' id="([^"]*)"', keep, body)
    return re.sub(r'(url\(|href=")#([^)"]+)', rf"\1#{name}-\2", body)


def _rounded(match: re.Match[str]) -> str:
    """Coordinates to a hundredth of a pixel."""
    text = re.sub(r"-?\d+\.\d{3,}", lambda m: f"{float(m[0]):.2f}", match[2])
    return f' {match[1]}="{" ".join(text.split())}"'
