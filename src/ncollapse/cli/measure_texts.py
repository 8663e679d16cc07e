"""What `ncollapse measure` does where --data are texts: read them, and say how much there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ncollapse.cli.common import note
from ncollapse.cli.ranks import speaks

if TYPE_CHECKING:
    from torch import nn

    from ncollapse.sources.specs.datasets import LoadedData

# Logits of a forward pass, at most so many numbers: 1 GB in float32.
LOGITS = 1 << 28
# So many bytes of state and kept features are said before the model runs.
LARGE = 2e8


def texts_for(
    data: str,
    model: nn.Module,
    tokenizer: str | None,
    max_length: int | None,
    options: dict[str, Any],
) -> LoadedData:
    """The texts that --data names, in tokens of the model. Raises ValueError without a tokenizer,
    and for whatever `load_texts` refuses."""
    from ncollapse.sources.specs.texts import as_tokenizer, load_texts, spare_rows

    if tokenizer is None:
        raise ValueError(
            "texts need a tokenizer; an hf: model brings its own, any other takes --tokenizer"
        )
    made = as_tokenizer(tokenizer)
    progress = options.get("progress")
    found = load_texts(data, made, model=model, max_length=max_length, progress=progress)
    said = spare_rows(made, model)
    if said is not None and speaks():
        note(said)
    return found


def sequences_at_once(found: LoadedData, model: nn.Module, asked: int) -> int:
    """Sequences a forward pass: as many as asked for, fewer where their logits would not fit."""
    from ncollapse.sources.specs.texts import head_rows

    rows = head_rows(model)
    length = next(iter(found.splits.values())).length
    return asked if rows is None else max(1, min(asked, LOGITS // (rows * length)))


def say_size(parts: dict[str, Any], model: nn.Module, options: dict[str, Any]) -> None:
    """Tokens, state and kept features of a large run, before it begins."""
    head = getattr(model, "get_output_embeddings", lambda: None)()
    weight = getattr(head, "weight", None)
    if weight is None or not speaks():
        return
    from ncollapse.measuring.promised import size_of

    kept = {key: value for key, value in options.items() if key != "progress"}
    size = size_of(parts, weight, **kept)
    if size.state + size.features > LARGE:
        note(str(size))
