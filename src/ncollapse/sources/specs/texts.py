"""Texts for a language model: its tokenizer, its length, and the two held against its head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from ncollapse.sources.specs.datasets import LoadedData
from ncollapse.sources.specs.optional import optional
from ncollapse.sources.texts.documents import SUFFIXES, corpus_at
from ncollapse.sources.texts.packed import LONGEST, Alphabet, Progress, packed

SPEC = "texts:"
# A head may have some rows more than there are tokens, for the sake of round numbers.
SPARE, SPARE_SHARE = 256, 0.05


def names_texts(data: str) -> bool:
    """Whether a data spec is of texts: texts:PLACE, or a folder or text file that is there."""
    if data.startswith(SPEC):
        return True
    path = Path(data).expanduser()
    return path.is_dir() or (path.is_file() and path.suffix.lower() in SUFFIXES)


def load_texts(
    place: str | Path,
    tokenizer: Any,
    *,
    model: nn.Module | None = None,
    max_length: int | None = None,
    progress: Progress | None = None,
) -> LoadedData:
    """Texts as packed sequences by split, tokens as class names.

    place: a folder, a text file or a pattern, as `corpus_at` reads them. tokenizer: one of
    transformers, or the folder or hub name of one. Documents follow one another, parted by the end
    of text token where there is one, in sequences of `max_length` tokens: by default as many as
    the model takes, at most 1,024.

    >>> data = load_texts("texts/", "path/of/model", model=model)      # doctest: +SKIP
    >>> nc.measure(model, data.splits, class_names=data.class_names)   # doctest: +SKIP

    Raises ValueError for places without texts, a tokenizer that is not found, one with more
    tokens than the head has rows, and sequences longer than the model takes.
    """
    corpus = corpus_at(str(place).removeprefix(SPEC))
    made = as_tokenizer(tokenizer)
    rows = head_rows(model)
    if rows is not None and len(made) > rows:
        raise ValueError(
            f"the tokenizer has {len(made)} tokens and the head {rows} rows, one for each token it "
            "can name; pass the model's own --tokenizer"
        )
    known = model_length(model)
    length = min(LONGEST if known is None else known, LONGEST) if max_length is None else max_length
    if known is not None and length > known:
        raise ValueError(
            f"--max-length {length} is more than the {known} positions that the model takes"
        )
    splits = packed(corpus, alphabet_of(made), length, progress=progress)
    names = None if rows is None else token_names(made, rows)
    return LoadedData(dict(splits), corpus.description, names)


def spare_rows(tokenizer: Any, model: nn.Module) -> str | None:
    """A sentence where a head has many more rows than the tokenizer has tokens."""
    rows, tokens = head_rows(model), len(tokenizer)
    if rows is None or rows - tokens <= max(SPARE, SPARE_SHARE * rows):
        return None
    return (
        f"the head has {rows} rows and the tokenizer {tokens} tokens: is it the model's own? "
        f"{rows - tokens} rows are never a class"
    )


def as_tokenizer(tokenizer: Any) -> Any:
    """A tokenizer of transformers as it is, else that of a folder or hub name."""
    if not isinstance(tokenizer, (str, Path)):
        return tokenizer
    transformers = optional("transformers")
    try:
        return transformers.AutoTokenizer.from_pretrained(str(tokenizer))
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise ValueError(
            f"no tokenizer was read at {str(tokenizer)!r} ({reason}); save the model's own there "
            "(tokenizer.save_pretrained), or pass --tokenizer"
        ) from None


def alphabet_of(tokenizer: Any) -> Alphabet:
    """The encoder without special tokens, and the token that ends a document."""

    def encode(text: str) -> list[int]:
        found: list[int] = tokenizer(
            text, add_special_tokens=False, return_attention_mask=False, verbose=False
        )["input_ids"]
        return found

    ends = (getattr(tokenizer, name, None) for name in ("eos_token_id", "bos_token_id"))
    between = next((one for one in ends if isinstance(one, int)), None)
    return Alphabet(encode, between, frozenset(tokenizer.all_special_ids))


def token_names(tokenizer: Any, rows: int) -> tuple[str, ...]:
    """What the tokens spell, spaces shown as ␣ and line ends as ⏎; rows of the head that are no
    token have a number."""
    names = []
    for number in range(min(len(tokenizer), rows)):
        text = tokenizer.decode([number])
        if not text or "\ufffd" in text:
            text = str(tokenizer.convert_ids_to_tokens(number))
        shown = text.replace(" ", "␣").replace("\n", "⏎").replace("\t", "⇥")
        names.append("".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in shown))
    return (*names, *(f"row {number}" for number in range(len(names), rows)))


def head_rows(model: nn.Module | None) -> int | None:
    """Rows of the head of a language model of transformers: tokens that it can name."""
    found = getattr(model, "get_output_embeddings", lambda: None)()
    weight = getattr(found, "weight", None)
    return None if weight is None else int(weight.shape[0])


def model_length(model: nn.Module | None) -> int | None:
    """Positions that a model takes, by its config."""
    config = getattr(model, "config", None)
    config = getattr(config, "text_config", config)
    found = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
    return found if isinstance(found, int) and found > 0 else None
