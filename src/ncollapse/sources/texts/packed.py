"""Documents → token ids, one after the other in sequences of one length, kept in files."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ncollapse.sources.texts.documents import TRAIN, Corpus

IGNORED = -100
# Positions up to which models are run that could take more: attention and logits grow with them.
LONGEST = 1024
Encode = Callable[[str], list[int]]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Alphabet:
    """What packing needs of a tokenizer: its encoder, which adds no special token, the id that
    parts documents (None for none) and the ids of all special tokens."""

    encode: Encode
    between: int | None = None
    special: frozenset[int] = frozenset()


class Sequences(Dataset[dict[str, Tensor]]):
    """Token ids of one split in sequences of `length`, the last one padded.

    An item holds `input_ids`, `attention_mask` (0 at padding) and `labels`: the ids, not shifted,
    with -100 where the token or the one before it is special, so that neither the end of a
    document nor the first token after it is a class. Ids lie in a file, not in memory.
    """

    def __init__(
        self,
        ids: np.ndarray[Any, np.dtype[np.uint32]],
        length: int,
        special: Iterable[int] = (),
        home: object = None,
    ) -> None:
        self._ids, self.length = ids, length
        self._special = np.array(sorted(special), dtype=np.int64)
        self._home = home  # The folder of the file goes with the last split that lies in it.

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_home": None}

    def __len__(self) -> int:
        return -(-len(self._ids) // self.length)

    @property
    def tokens(self) -> int:
        """Tokens, the special ones that part documents too."""
        return len(self._ids)

    def __getitem__(self, place: int) -> dict[str, Tensor]:
        if not 0 <= place < len(self):
            raise IndexError(place)
        found = np.asarray(self._ids[place * self.length : (place + 1) * self.length], np.int64)
        ids = np.zeros(self.length, np.int64)
        ids[: len(found)] = found
        mask = np.arange(self.length) < len(found)
        odd = np.isin(ids, self._special) | ~mask
        odd[1:] |= odd[:-1]
        return {
            "input_ids": torch.from_numpy(ids),
            "attention_mask": torch.from_numpy(mask.astype(np.int64)),
            "labels": torch.from_numpy(np.where(odd, IGNORED, ids)),
        }

    @property
    def classes(self) -> bool:
        """Whether any token follows another."""
        return any(bool((self[k]["labels"][1:] != IGNORED).any()) for k in range(len(self)))


def packed(
    corpus: Corpus,
    alphabet: Alphabet,
    length: int,
    *,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Sequences]:
    """The splits of a corpus. Ids are written to files in a temporary folder (inside `folder`),
    which go when the splits do: memory does not grow with the corpus.

    Raises ValueError for sequences shorter than two tokens, and for a corpus in which no token
    follows another.
    """
    if length < 2:
        raise ValueError(
            f"sequences of {length} token{'' if length == 1 else 's'} have no next token; at least "
            "2 are needed (--max-length)"
        )
    home = tempfile.TemporaryDirectory(prefix="ncollapse-texts-", dir=folder)
    done, total = 0, corpus.size
    with ExitStack() as opened:
        files: dict[str, BinaryIO] = {}
        for split, text in corpus.documents():
            ids = alphabet.encode(text)
            if alphabet.between is not None:
                ids = [*ids, alphabet.between]
            if split not in files:
                files[split] = opened.enter_context((Path(home.name) / split).open("wb"))
            files[split].write(np.array(ids, np.uint32).tobytes())
            done += len(text.encode())
            if progress is not None:
                progress("tokens", min(done, total), total)
    found: dict[str, Sequences] = {}
    for split in sorted(files, key=lambda name: name != TRAIN):
        path = Path(home.name) / split
        if path.stat().st_size:
            ids_of = np.memmap(path, np.uint32, mode="r")
            found[split] = Sequences(ids_of, length, alphabet.special, home)
    if found and TRAIN not in found:
        found = {TRAIN: next(iter(found.values()))}
    if not any(sequences.classes for sequences in found.values()):
        raise ValueError(
            f"texts {corpus.description}: no token follows another in it; longer texts are needed"
        )
    return found
