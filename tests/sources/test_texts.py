"""Texts: documents dealt to splits by what they hold, packed without loss; bad places in a word."""

from __future__ import annotations

import gc
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from ncollapse.sources.specs.texts import names_texts
from ncollapse.sources.texts.documents import PIECE, corpus_at
from ncollapse.sources.texts.packed import IGNORED, Alphabet, Sequences, packed

END = 0


def letters(text: str) -> list[int]:
    return [1 + byte for byte in text.encode()]


ALPHABET = Alphabet(letters, END, frozenset((END,)))


def folder(path: Path, count: int = 30) -> Path:
    path.mkdir()
    for number in range(count):
        (path / f"{number:02}.txt").write_text(f"document {number} " * (3 + number % 5))
    return path


def test_documents_are_dealt_by_what_they_hold(tmp_path: Path) -> None:
    place = folder(tmp_path / "a")
    found = list(corpus_at(place).documents())
    assert {split for split, _ in found} == {"train", "validation"}
    assert len(found) == 30
    # Names, order and neighbours do not matter, and equal documents fall to one split.
    other = tmp_path / "b"
    other.mkdir()
    for number, (_, text) in enumerate(reversed(found)):
        (other / f"x{number}.md").write_text(text)
        (other / f"copy{number}.txt").write_text(text)
    (other / ".hidden.txt").write_text("not read")
    (other / "picture.png").write_bytes(b"\x89PNG")
    again = list(corpus_at(other).documents())
    assert len(again) == 60
    assert set(again) == set(found)


def test_folders_lines_and_patterns(tmp_path: Path) -> None:
    for split in ("train", "val"):
        folder(tmp_path / split, 3)
    found = list(corpus_at(tmp_path).documents())
    assert [split for split, _ in found] == ["train"] * 3 + ["validation"] * 3
    lines = tmp_path / "rows.jsonl"
    rows = [json.dumps({"text": f"row {n}"}) for n in range(40)] + ['"a plain string"', ""]
    lines.write_text("\n".join(rows))
    assert sorted(text for _, text in corpus_at(lines).documents())[0] == "a plain string"
    assert len(list(corpus_at(lines).documents())) == 41
    (tmp_path / "code.py").write_text("x = 1\n" * 9)
    assert [text for _, text in corpus_at(tmp_path / "**/*.py").documents()] == ["x = 1\n" * 9]


def test_few_documents_are_cut_without_loss(tmp_path: Path) -> None:
    place = tmp_path / "one.txt"
    text = "".join(f"line {n} of a long text\n" for n in range(12000))
    place.write_text(text)
    found = list(corpus_at(place).documents())
    assert {split for split, _ in found} == {"train", "validation"}
    assert sum(len(piece) for _, piece in found) == len(text)
    assert all(piece in text and len(piece) < 2 * PIECE for _, piece in found)
    # However few there are, one of two is held out.
    for number in range(12):
        place.write_text(f"first {number}\n" * 900 + "second\n" * 900)
        parts = [split for split, _ in corpus_at(place).documents()]
        assert "train" in parts
        assert "validation" in parts


def test_packing_keeps_every_token_and_masks_the_rest(tmp_path: Path) -> None:
    corpus = corpus_at(folder(tmp_path / "a"))
    splits = packed(corpus, ALPHABET, 7, folder=tmp_path)
    assert tuple(splits) == ("train", "validation")
    for name, sequences in splits.items():
        rows = [sequences[n] for n in range(len(sequences))]
        ids = torch.cat([row["input_ids"][row["attention_mask"].bool()] for row in rows])
        wanted = [
            one
            for split, text in corpus.documents()
            if split == name
            for one in (*letters(text), END)
        ]
        assert ids.tolist() == wanted
        assert len(ids) == sequences.tokens
        for row in rows:
            real = row["labels"] != IGNORED
            assert bool((row["labels"][real] == row["input_ids"][real]).all())
            assert not bool((row["input_ids"][real] == END).any())
            after = (row["input_ids"] == END).nonzero().flatten() + 1
            assert not bool(real[after[after < 7]].any())
            assert bool((row["attention_mask"][real] == 1).all())
    with pytest.raises(IndexError):
        splits["train"][len(splits["train"])]
    copy = pickle.loads(pickle.dumps(splits["train"]))
    assert torch.equal(copy[3]["labels"], splits["train"][3]["labels"])
    assert any(tmp_path.glob("ncollapse-texts-*"))
    del splits, sequences
    gc.collect()
    assert not any(tmp_path.glob("ncollapse-texts-*"))


def test_the_last_sequence_is_padded() -> None:
    sequences = Sequences(np.arange(1, 8, dtype=np.uint32), 5)
    assert len(sequences) == 2
    assert sequences[1]["attention_mask"].tolist() == [1, 1, 0, 0, 0]
    assert sequences[1]["labels"].tolist() == [6, 7, *[IGNORED] * 3]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b"\xff\xfe\x00", "it is no text"),
        ("a.txt", b"zero\x00bytes", "zero bytes"),
        ("a.jsonl", b"{'text': 1}", "line 1 is no JSON"),
        ("a.jsonl", b'{"title": "x"}', "line 1 holds no text"),
        ("a.txt", b"", "no token follows another"),
        ("a.txt", b"x", "no token follows another"),
        ("a.bin", b"words", r"only files that end in \.bin"),
    ],
)
def test_what_is_no_text_is_said(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=said) as error:
        packed(corpus_at(tmp_path), ALPHABET, 8)
    assert "\n" not in str(error.value)


def test_places_and_lengths_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file or folder"):
        corpus_at(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="no file; files that end in"):
        corpus_at(tmp_path)
    with pytest.raises(ValueError, match="no file fits the pattern"):
        corpus_at(tmp_path / "*.nothing")
    with pytest.raises(ValueError, match="sequences of 1 token have no next token"):
        packed(corpus_at(folder(tmp_path / "a")), ALPHABET, 1)
    assert names_texts("texts:anything")
    assert names_texts(str(tmp_path))
    assert not names_texts("imagefolder:x")
    assert not names_texts("digits")
