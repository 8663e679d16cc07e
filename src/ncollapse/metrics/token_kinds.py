"""Kinds of tokens by how they are spelled: a coarse category that every vocabulary has."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

KINDS = ("word after a space", "letters", "digits", "space", "marks", "other")
# How spaces are spelled: in names of ours, by byte-level and by sentence-piece vocabularies.
SPACES = " ␣Ġ▁"
BREAKS = "⏎⇥Ċĉč\n\t\r"


def kinds_of(names: Sequence[str]) -> Int[Tensor, " vocabulary"]:
    """The place in `KINDS` of each token, by its name.

    "word after a space": letters, digits or _ behind a space; "letters", "digits": without one;
    "space": nothing but spaces and line ends; "marks": anything printable else; "other": the rest,
    as rows of a head that are no token.
    """
    return torch.tensor([_kind(name) for name in names], dtype=torch.int64)


def _kind(name: str) -> int:
    bare = name.strip(SPACES + BREAKS)
    if not name or (name.startswith("row ") and name[4:].isdigit()) or "\\x" in name:
        return KINDS.index("other")
    if not bare:
        return KINDS.index("space")
    if bare.replace("_", "a").isalnum():
        if name[0] in SPACES:
            return KINDS.index("word after a space")
        return KINDS.index("digits" if bare.isdigit() else "letters")
    return KINDS.index("marks")
