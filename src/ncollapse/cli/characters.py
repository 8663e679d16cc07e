"""Characters for terminals that lack ours: σ becomes sigma, ‖ becomes ||, and no command fails."""

from __future__ import annotations

import codecs
import sys
import unicodedata

HANDLER = "ncollapse.plain"
# What Unicode neither decomposes nor names as we would write it.
PLAIN = {
    "‖": "||", "√": "sqrt", "≥": ">=", "≤": "<=", "≠": "!=", "≈": "~", "∝": "~", "·": "*",
    "×": "x", "⊙": "*", "⊕": "+", "±": "+-", "∓": "-+", "−": "-", "…": "...", "⋯": "...",
    "→": "->", "↦": "->", "←": "<-", "↑": "^", "↓": "v", "∇": "grad ", "∂": "d", "∞": "inf",
    "∈": " in ", "⊥": "_|_", "⟨": "<", "⟩": ">", "⌊": "[", "⌋": "]", "⁄": "/", "°": " deg",
    "–": "-", "—": "-", "“": "'", "”": "'", "‘": "'", "’": "'", "●": "*", "○": "o",
    "┃": "|", "│": "|", "━": "-", "─": "-", "█": "#", "▇": "#", "▆": "=", "▅": "=", "▄": "=",
    # Unicode calls it lamda.
    "λ": "lambda", "Λ": "Lambda",
    "▃": "-", "▂": "_", "▁": "_", "ℓ": "l",
}  # fmt: skip
MARKS = {"<super>": "^", "<sub>": "_"}


def plain(text: str) -> str:
    """ASCII that says the same."""
    return "".join(_plain(character) for character in text)


def spare_terminal() -> None:
    """Have stdout and stderr replace what their encoding lacks."""
    codecs.register_error(HANDLER, _replace)
    for stream in (sys.stdout, sys.stderr):
        change = getattr(stream, "reconfigure", None)
        if change is not None:
            change(errors=HANDLER)


def escaped(text: str) -> str:
    r"""JSON as it is where stdout has its characters, else with \u escapes: the same data."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return "".join(c if c.isascii() else _escape(c) for c in text)
    return text


def _escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return plain(error.object[error.start : error.end]), error.end


def _plain(character: str) -> str:
    if character.isascii():
        return character
    if character in PLAIN:
        return PLAIN[character]
    if unicodedata.combining(character):
        return ""
    name = unicodedata.name(character, "")
    if name.startswith("GREEK"):
        word = name.split(" LETTER ")[-1].split(" WITH ")[0].split()[-1].lower()
        return word.capitalize() if " CAPITAL " in name else word
    parts = unicodedata.decomposition(character).split()
    if not parts:
        return "?"
    mark = MARKS.get(parts[0], "")
    rest = [part for part in parts if not part.startswith("<")]
    return mark + "".join(_plain(chr(int(part, 16))) for part in rest)
