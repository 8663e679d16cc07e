"""Python's own standard library as a text corpus: there wherever Python is, and named by a hash."""

from __future__ import annotations

import hashlib
import platform
import sysconfig
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ncollapse.sources.specs.optional import optional
from ncollapse.sources.texts.documents import TRAIN, VALIDATION, Corpus
from ncollapse.sources.texts.packed import Alphabet, packed

# Tests, tables of characters and installed packages are no text of the library itself.
LEFT_OUT = frozenset(
    (
        *("test", "tests", "idle_test", "idlelib", "encodings", "lib2to3", "pydoc_data", "msilib"),
        *("site-packages", "dist-packages", "__pycache__"),
    )
)
END = "<eof>"
FEW = 30


@dataclass(frozen=True, eq=False)
class Text:
    """Sequences of token ids and labels (sequences, time) by split, -100 where there is no class,
    the tokens' names, and what the corpus was: files, bytes, hash, tokens, Python's version."""

    splits: dict[str, tuple[Tensor, Tensor]]
    names: tuple[str, ...]
    facts: dict[str, Any]

    @property
    def vocabulary(self) -> int:
        return len(self.names)

    def spread(self, split: str, count: int) -> tuple[Tensor, Tensor]:
        """At most `count` sequences, evenly over the split."""
        ids, labels = self.splits[split]
        kept = torch.arange(min(count, len(ids))) * len(ids) // min(count, len(ids))
        return ids[kept], labels[kept]


def library_files() -> list[Path]:
    """The .py files that make the corpus, in the order of their paths."""
    root = Path(sysconfig.get_paths()["stdlib"])
    found = sorted(root.rglob("*.py"))
    return [path for path in found if not LEFT_OUT & set(path.relative_to(root).parts[:-1])]


@lru_cache(maxsize=2)
def library_text(vocabulary: int, length: int, limit: int = 0) -> Text:
    """The corpus in byte-pair tokens, `length` a sequence. Files are dealt to train and validation
    by the hash of what they hold, and the tokens are learned from all of them.

    limit: bytes, of the files that come first by their hash; 0 for all. Raises ValueError without
    the package `tokenizers`.
    """
    files = library_files()
    hashes = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    if limit:
        kept, size = [], 0
        for path in sorted(files, key=hashes.__getitem__):
            size += path.stat().st_size
            kept.append(path)
            if size >= limit:
                break
        files = sorted(kept)
    # Few files are cut into pieces, so that some are held out.
    cut = len(files) < FEW
    corpus = Corpus(tuple((None, path) for path in files), "the standard library", cut)
    tokenizer = _learned((text for _, text in corpus.documents()), vocabulary)
    alphabet = Alphabet(lambda text: list(tokenizer.encode(text).ids), 0, frozenset((0,)))
    splits = {}
    for split, sequences in packed(corpus, alphabet, length).items():
        rows = [sequences[place] for place in range(len(sequences))]
        ids, labels = (torch.stack([row[key] for row in rows]) for key in ("input_ids", "labels"))
        splits[split] = (ids, labels)
    if set(splits) != {TRAIN, VALIDATION}:
        raise ValueError("no file of the standard library is held out; pass a larger limit")
    tokens = sum(int((labels >= 0).sum()) for _, labels in splits.values())
    facts = {
        "files": len(files),
        "bytes": corpus.size,
        "hash": hashlib.sha256("".join(hashes[path] for path in files).encode()).hexdigest()[:16],
        "tokens": tokens,
        "bytes_a_token": corpus.size / tokens,
        "python": platform.python_version(),
    }
    names = tuple(tokenizer.id_to_token(k) for k in range(tokenizer.get_vocab_size()))
    return Text(splits, names, facts)


def _learned(texts: Any, vocabulary: int) -> Any:
    """Byte-level BPE; token 0 ends a document."""
    made = optional("tokenizers")
    bytes_as = made.pre_tokenizers.ByteLevel
    tokenizer = made.Tokenizer(made.models.BPE())
    tokenizer.pre_tokenizer = bytes_as(add_prefix_space=False)
    trainer = made.trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END],
        initial_alphabet=bytes_as.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer
