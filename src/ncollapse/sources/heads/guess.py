"""Which tensor of a checkpoint is the classifier: told from names and shapes alone, with reasons.

Every matrix of floats (a 1 × 1 convolution is one) gathers points:

- 5 its name says so (`fc`, `head`, `classifier`, `lm_head`, `score`, …, before any layer number),
- 5 a graph (ONNX) says that it makes an output,
- 4 it has as many rows as config.json has labels, or of a language model tokens,
- 2 no other layer takes as many inputs as it has rows: nothing comes behind it,
- 1 a bias with one number a row lies beside it,
- 1 it is the last matrix of a file that keeps the order of the layers,
- -6 its name says something else (embeddings, attention, auxiliary or pooling layers); unless it is
  the input embedding of a language model without a head of its own, which is then tied to it: 6.

The most points win, 3 at least and alone in front; else nothing is guessed and all are listed. A
tensor of which neither name nor graph nor config.json speaks wins only among 12 layers at most.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ncollapse.sources.heads.checkpoint import Checkpoint, Entry

NAMES = (
    "fc", "head", "heads", "classifier", "classif", "classification_head", "cls_head", "lm_head",
    "embed_out", "score", "scores", "logits", "logit", "last_linear", "output_layer", "final_fc",
    "linear", "out", "output", "output_projection", "cls_classifier", "final_layer",
)  # fmt: skip
OTHERS = (
    "aux", "pool", "embed", "position", "wte", "wpe", "attn", "attention", "norm", "mlp", "lora",
    "dist", "box", "mask", "gate", "router", "relative", "rel_pos", "pos_", "cls_token",
)  # fmt: skip
EMBEDDINGS = ("embed_tokens", "wte", "word_embeddings", "embed_in", "tok_embeddings")
LANGUAGE = ("ForCausalLM", "LMHeadModel", "ForMaskedLM", "ForConditionalGeneration")
LEAST, LISTED = 3, 8
# Points from which on something other than shapes speaks for a tensor, and layers of small files.
SPOKEN, SMALL = 4, 12
LEAF = (".weight", ".kernel", ".weight_v", ".original1")


@dataclass(frozen=True)
class Guess:
    """A tensor that may be the classifier, its points and why it has them; bias: the name of its
    bias, where one lies beside it; spoken: whether more than shapes speaks for it."""

    name: str
    shape: tuple[int, int]
    points: int
    reasons: tuple[str, ...]
    bias: str | None = None
    spoken: bool = False

    def __str__(self) -> str:
        return f"{self.name} ({self.shape[0]} x {self.shape[1]})"


@dataclass(frozen=True)
class Found:
    """The classifier of a checkpoint: origin "named" or "guessed", why, and who came next."""

    guess: Guess
    origin: str
    others: tuple[Guess, ...]

    @property
    def why(self) -> str:
        """The reasons in a clause."""
        return "; ".join(self.guess.reasons)


def matrix(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """(classes, dim) of a matrix or a 1 × 1 convolution; None of anything else."""
    if len(shape) > 2 and all(size == 1 for size in shape[2:]):
        shape = shape[:2]
    if len(shape) != 2 or 0 in shape:
        return None
    return shape[0], shape[1]


def candidates(checkpoint: Checkpoint) -> list[Guess]:
    """All matrices with their points, the most first, and of equal ones in the file's order."""
    sizes = {name: size for name, entry in checkpoint.entries.items() if (size := _size(entry))}
    if not sizes:
        return []
    taken: dict[int, int] = {}
    for entry in checkpoint.entries.values():
        if len(entry.shape) > 1:
            taken[entry.shape[1]] = taken.get(entry.shape[1], 0) + 1
    last = list(sizes)[-1] if checkpoint.ordered else None
    plain = {name for name in sizes if _named(name) and not _other(name)}
    rated = [
        _rated(checkpoint, name, size, taken, name == last, bool(plain))
        for name, size in sizes.items()
    ]
    return sorted(rated, key=lambda guess: -guess.points)


def find_head(checkpoint: Checkpoint, head: str | None = None) -> Found:
    """The classifier that is named (a tensor, or the layer that holds it), else the best guess.

    Raises ValueError with all matrices where the name fits none or several, or nothing can be
    guessed; and for a head of one row, which has no angles.
    """
    rated = candidates(checkpoint)
    if not rated:
        raise ValueError(
            f"{checkpoint.description} holds no matrix of floats; a classifier (classes, dim) is "
            "needed, and quantised weights are not read"
        )
    if head is not None:
        chosen = _asked(checkpoint, rated, head)
        found = Found(chosen, "named", tuple(g for g in rated if g is not chosen)[:3])
    else:
        best = rated[0]
        tied = [guess for guess in rated if guess.points == best.points]
        layers = sum(len(entry.shape) > 1 for entry in checkpoint.entries.values())
        if best.points < LEAST or (not best.spoken and layers > SMALL):
            raise ValueError(
                f"no classifier was found in {checkpoint.description}: no name and no shape tells "
                f"it; pass --head NAME (head=) of one of {_listed(rated)}"
            )
        if len(tied) > 1:
            raise ValueError(
                f"several matrices of {checkpoint.description} could be the classifier: "
                f"{_listed(tied)}; pass --head NAME (head=) of one"
            )
        found = Found(best, "guessed", tuple(rated[1:4]))
    if found.guess.shape[0] < 2:
        raise ValueError(
            f"{found.guess} of {checkpoint.description} has one row, and a frame needs two classes "
            f"or more; pass --head NAME (head=) of another: {_listed(rated)}"
        )
    return found


def _size(entry: Entry) -> tuple[int, int] | None:
    return None if entry.name.endswith("bias") else matrix(entry.shape)


def _rated(
    checkpoint: Checkpoint,
    name: str,
    size: tuple[int, int],
    taken: Mapping[int, int],
    last: bool,
    named: bool,
) -> Guess:
    points, reasons, spoken = 0, [], False

    def give(number: int, why: str) -> None:
        nonlocal points, spoken
        points += number
        spoken |= number >= SPOKEN
        reasons.append(why)

    word, other = _named(name), _other(name)
    rows = size[0]
    labels, what = _labels(checkpoint.config)
    tied = not named and rows == labels and what == "tokens" and _embedding(name)
    if tied and checkpoint.config.get("tie_word_embeddings", True):
        give(6, "the input embedding of a language model that has no head of its own")
    elif other is not None:
        give(-6, f"its name speaks of {other!r}")
    elif word is not None:
        give(5, f"named {word!r}")
    if name in checkpoint.ends:
        give(5, "the graph's output is made of it")
    if labels == rows:
        give(4, f"config.json has {rows} {what}")
    if taken.get(rows, 0) <= (1 if size[1] == rows else 0):
        give(2, f"no layer takes {rows} inputs")
    bias = _bias(checkpoint, name, rows)
    if bias is not None:
        give(1, "a bias lies beside it")
    if last:
        give(1, "the last matrix of the file")
    return Guess(name, size, points, tuple(reasons), bias, spoken)


def _parts(name: str) -> list[str]:
    return name.replace("/", ".").split(".")


def _named(name: str) -> str | None:
    """The part of a name that calls it a head: before any number of a layer."""
    for part in _parts(name):
        if part.isdecimal():
            return None
        if part.lower() in NAMES:
            return part
    return None


def _other(name: str) -> str | None:
    """The part of a name that calls it something else."""
    parts = [part for part in _parts(name) if part.lower() not in NAMES]
    return next((p for p in parts if any(word in p.lower() for word in OTHERS)), None)


def _embedding(name: str) -> bool:
    return any(part in EMBEDDINGS for part in _parts(name))


def _labels(config: Mapping[str, Any]) -> tuple[int | None, str]:
    """How many classes the config speaks of, and what they are."""
    kinds = [str(kind) for kind in config.get("architectures") or ()]
    if any(kind.endswith(LANGUAGE) for kind in kinds):
        return _whole(config.get("vocab_size")), "tokens"
    names = config.get("id2label")
    if isinstance(names, Mapping) and len(names) > 1:
        return len(names), "labels"
    for key in ("num_labels", "num_classes"):
        if _whole(config.get(key)) is not None:
            return _whole(config[key]), "labels"
    return None, ""


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _bias(checkpoint: Checkpoint, name: str, rows: int) -> str | None:
    stem = next((name.removesuffix(leaf) for leaf in LEAF if name.endswith(leaf)), None)
    if stem is None:
        return None
    known = checkpoint.entries.get(f"{stem}.bias")
    return known.name if known is not None and known.shape == (rows,) else None


def _asked(checkpoint: Checkpoint, rated: list[Guess], head: str) -> Guess:
    exact = [g for g in rated if g.name == head]
    exact = exact or [g for g in rated if g.name in [head + leaf for leaf in LEAF]]
    exact = exact or [g for g in rated if f".{g.name}".endswith((f".{head}", f".{head}.weight"))]
    if len(exact) != 1:
        found = "fits several matrices" if exact else "is no matrix"
        raise ValueError(
            f"--head {head!r} {found} of {checkpoint.description}; name one of "
            f"{_listed(exact or rated)}"
        )
    guess = exact[0]
    return Guess(guess.name, guess.shape, guess.points, ("asked for by name",), guess.bias)


def _listed(rated: list[Guess]) -> str:
    more = len(rated) - LISTED
    return ", ".join(str(g) for g in rated[:LISTED]) + (f" and {more} more" if more > 0 else "")
