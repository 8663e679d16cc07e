"""Text files → documents, each dealt to a split by the hash of what it holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from glob import glob, has_magic
from pathlib import Path

# What a folder is searched for; a pattern names others.
SUFFIXES = (".txt", ".text", ".md", ".rst", ".jsonl")
LINES = ".jsonl"
KEYS = ("text", "content", "sentence")
TRAIN, VALIDATION = "train", "validation"
FOLDERS = {
    TRAIN: ("train", "training"),
    VALIDATION: ("validation", "valid", "val", "test", "eval"),
}
# One document in so many is held out.
HELD_OUT = 10
# With fewer documents, each is cut at line ends into pieces of about so many characters.
FEW, PIECE = 10, 8192
# With fewer than these it may be that no hash holds one out: then the least one does.
SMALL = 200


@dataclass(frozen=True)
class Corpus:
    """Text files, and how their documents are dealt to splits.

    files: (split or None, path). cut: whether documents are cut into pieces, since there are few;
    small: whether there are few enough to look at all their hashes first. description: the place
    that was named.
    """

    files: tuple[tuple[str | None, Path], ...]
    description: str
    cut: bool = False
    small: bool = False

    @property
    def size(self) -> int:
        """Bytes of the files."""
        return sum(path.stat().st_size for _, path in self.files)

    def documents(self) -> Iterator[tuple[str, str]]:
        """(split, text) of every document, file by file in the order of their names: one document
        is in memory at a time.

        Equal documents fall to one split: where a hash of theirs says so, one in ten is held out,
        at least the one with the least hash. Raises ValueError for files that are not text and
        lines that are not JSON with a text.
        """
        for split, text in self._all():
            yield split or (VALIDATION if self._held_out(_hashed(text)) else TRAIN), text

    def _all(self) -> Iterator[tuple[str | None, str]]:
        for split, path in self.files:
            for text in _texts(path, self.cut and split is None):
                if text.strip():
                    yield split, text

    def _held_out(self, number: int) -> bool:
        return number % HELD_OUT == 0 or number == self._least

    @cached_property
    def _least(self) -> int | None:
        """The least hash of a few documents, where no other is held out."""
        if not self.cut and not self.small:
            return None
        numbers = {_hashed(text) for split, text in self._all() if split is None}
        none = not any(number % HELD_OUT == 0 for number in numbers)
        return min(numbers) if none and len(numbers) > 1 else None


def corpus_at(place: str | Path) -> Corpus:
    """The corpus of a folder, a text file, or a pattern ('src/**/*.py').

    A folder holds files that end in .txt, .text, .md, .rst or .jsonl at any depth, or train/ and
    validation/ (val/, test/) folders of those. A .jsonl file has a document a line: a string, or
    an object with "text" (or "content"). Elsewhere documents are files, one in ten held out as
    `validation` by the hash of its text; fewer than ten are cut into pieces first.

    Raises ValueError for places that do not exist and folders without text files.
    """
    where = str(Path(place).expanduser())
    if has_magic(where) and not Path(where).exists():
        found = sorted(path for path in map(Path, glob(where, recursive=True)) if path.is_file())
        if not found:
            raise ValueError(f"texts {place}: no file fits the pattern; text files are needed")
        return _dealt_corpus([(None, path) for path in found], str(place))
    path = Path(where)
    if path.is_file():
        return _dealt_corpus([(None, path)], path.name)
    if not path.is_dir():
        raise ValueError(
            f"texts {place}: no such file or folder; text files ({', '.join(SUFFIXES)}) are needed"
        )
    inner = {one.name.lower(): one for one in sorted(path.iterdir()) if one.is_dir()}
    named = {
        split: next((inner[name] for name in names if name in inner), None)
        for split, names in FOLDERS.items()
    }
    name = path.resolve().name
    if all(named.values()):
        parts = [(split, one) for split, part in named.items() if part for one in _listed(part)]
        for split, part in named.items():
            if not any(found == split for found, _ in parts):
                raise ValueError(_empty(part or path))
        return Corpus(tuple(parts), name)
    files = _listed(path)
    if not files:
        raise ValueError(_empty(path))
    return _dealt_corpus([(None, one) for one in files], name)


def _listed(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _empty(folder: Path) -> str:
    others = sorted({path.suffix for path in folder.rglob("*") if path.is_file() and path.suffix})
    said = f"only files that end in {', '.join(others[:5])}" if others else "no file"
    hint = f"; name others by a pattern, 'texts:{folder}/**/*{others[0]}'" if others else ""
    return (
        f"texts {folder}: the folder holds {said}; files that end in {', '.join(SUFFIXES)} are "
        f"needed{hint}"
    )


def _dealt_corpus(files: list[tuple[str | None, Path]], description: str) -> Corpus:
    """Cut into pieces where there are too few documents to hold one in ten out."""
    count = 0
    for _, path in files:
        for _ in _texts(path, False) if path.suffix.lower() == LINES else (path,):
            count += 1
            if count >= SMALL:
                return Corpus(tuple(files), description)
    return Corpus(tuple(files), description, cut=count < FEW, small=True)


def _texts(path: Path, cut: bool) -> Iterator[str]:
    if path.suffix.lower() != LINES and not cut:
        yield _decoded(path, path.read_bytes())
        return
    with path.open("rb") as lines:
        if path.suffix.lower() != LINES:
            yield from _pieces(_decoded(path, raw) for raw in lines)
            return
        for number, raw in enumerate(lines, 1):
            if raw.strip():
                text = _from_line(path, number, _decoded(path, raw))
                yield from _pieces(text.splitlines(keepends=True)) if cut else (text,)


def _decoded(path: Path, raw: bytes) -> str:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"texts {path}: it is no text (byte {error.start} is not UTF-8); leave the file out, "
            "or save it as UTF-8"
        ) from None
    if "\0" in text:
        raise ValueError(f"texts {path}: it is no text (it holds zero bytes); leave the file out")
    return text


def _from_line(path: Path, number: int, line: str) -> str:
    try:
        found = json.loads(line)
    except ValueError:
        raise ValueError(
            f"texts {path}: line {number} is no JSON; a .jsonl file has a document a line, such as "
            '{"text": "…"}'
        ) from None
    if isinstance(found, dict):
        found = next((found[key] for key in KEYS if key in found), None)
    if not isinstance(found, str):
        raise ValueError(
            f"texts {path}: line {number} holds no text; a string, or an object with one of "
            f"{', '.join(map(repr, KEYS))}, is needed"
        )
    return found


def _pieces(text: Iterable[str]) -> Iterator[str]:
    """Whole lines, about PIECE characters of them together."""
    lines: list[str] = []
    size = 0
    for line in text:
        lines.append(line)
        size += len(line)
        if size >= PIECE:
            yield "".join(lines)
            lines, size = [], 0
    if lines:
        yield "".join(lines)


def _hashed(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
