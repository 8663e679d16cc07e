"""Under which names files hold features and labels: a documented list, or what is asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

# In the order in which they are looked for, upper and lower case alike.
FEATURES = (
    "features", "feature", "feats", "feat", "embeddings", "embedding", "embeds", "emb",
    "representations", "activations", "latents", "x", "arr_0",
)  # fmt: skip
LABELS = (
    "labels", "label", "targets", "target", "y", "classes", "class", "class_label", "category",
    "arr_1",
)  # fmt: skip
WEIGHTS = ("weight", "head_weight", "head.weight", "fc.weight", "classifier.weight")
BIASES = ("bias", "head_bias", "head.bias", "fc.bias", "classifier.bias")
SPLITS = ("train", "test", "val", "valid", "validation")
# Columns of a table that count its rows.
COUNTERS = ("", "unnamed: 0", "index", "idx", "id", "sample_id", "row", "path", "file", "filename")
SPLIT = "split"
SHOWN = 8
HOW = "say which is which by features_key= and labels_key= (--features-key, --labels-key)"


@dataclass(frozen=True)
class Keys:
    """The names of features and labels that were asked for; None to find them. given: labels from
    elsewhere, in the place of any in the file."""

    features: str | None = None
    labels: str | None = None
    given: Any = None

    @property
    def asked(self) -> bool:
        """Whether anything was asked for, or given."""
        return not (self.features is None and self.labels is None and self.given is None)


def found(names: Iterable[str], known: Sequence[str]) -> str | None:
    """The first of the known names that is there, upper and lower case alike."""
    by_name = {name.lower(): name for name in reversed(list(names))}
    return next((by_name[name] for name in known if name in by_name), None)


def array_names(names: Sequence[str], keys: Keys, where: str) -> dict[str, str]:
    """Which arrays of a file are features, labels, weight and bias, by those words; what is not
    there is left out. Raises ValueError for a name that is asked for and missing."""
    for asked, option in ((keys.features, "features_key"), (keys.labels, "labels_key")):
        if asked is not None and asked not in names:
            raise ValueError(
                f"{where}: no array named {asked!r} ({option}); it holds {listed(names)}: name one "
                "of those"
            )
    chosen = {
        "features": keys.features or found(names, FEATURES),
        "labels": keys.labels or found(names, LABELS),
        "weight": found(names, WEIGHTS),
        "bias": found(names, BIASES),
    }
    return {word: name for word, name in chosen.items() if name is not None}


def split_names(names: Sequence[str]) -> dict[str, Keys]:
    """Features and labels of each split, where their names hold one: X_train and y_train, or
    test_features and test_labels. None but where all of two or more splits are there."""
    by_split: dict[str, dict[str, str]] = {}
    for name in names:
        parts = re.split(r"[_/.\-]", name.lower())
        split = next((part for part in (parts[0], parts[-1]) if part in SPLITS), None)
        if split is None or len(parts) < 2:
            continue
        rest = "_".join(parts[1:] if parts[0] == split else parts[:-1])
        word = "features" if rest in FEATURES else "labels" if rest in LABELS else ""
        if word:
            by_split.setdefault(split, {})[word] = name
    whole = {split: Keys(**one) for split, one in by_split.items() if len(one) == 2}
    ordered = {split: whole[split] for split in SPLITS if split in whole}
    return ordered if ordered else {}


def columns_of(
    numeric: Mapping[str, bool], keys: Keys, where: str
) -> tuple[list[str], str | None, list[str]]:
    """Columns of a table that are features, the column of labels, and columns that are left out.

    numeric: whether a column holds numbers, by name. Features are what matches the pattern that was
    asked for, else columns that are numbered (f0, f1, …), else all numbers that do not count rows.
    Labels are the column asked for, else by the list, else the one column of texts.
    """
    names = list(numeric)
    label = keys.labels
    if label is not None and label not in names:
        raise ValueError(
            f"{where}: no column {label!r} (labels_key); it has {listed(names)}: name one of those"
        )
    if label is None and keys.given is None:
        label = found(names, LABELS)
        texts = [
            name
            for name, number in numeric.items()
            if not number and name.lower() not in (*COUNTERS, SPLIT)
        ]
        if label is None and len(texts) == 1:
            label = texts[0]
    free = [name for name in names if name not in (label, SPLIT)]
    if keys.features is not None:
        features = [name for name in free if fnmatchcase(name, keys.features)]
        if not features:
            raise ValueError(
                f"{where}: no column matches features_key={keys.features!r}; it has "
                f"{listed(names)}, of which a pattern such as 'f*' names several"
            )
        return features, label, []
    told = [name for name in free if name.lower() not in COUNTERS]
    numbers = [name for name in told if numeric[name]]
    features = _numbered(told) or numbers
    wrong = [name for name in features if not numeric[name]]
    if wrong and numbers:
        raise ValueError(
            f"{where}: column {wrong[0]!r} holds texts as well as numbers; repair it, or choose "
            "columns by features_key= (--features-key 'f*')"
        )
    features = [] if wrong else features
    left = [name for name in free if name not in features]
    return features, label, left


def listed(names: Iterable[str]) -> str:
    every = sorted(names)
    shown = ", ".join(every[:SHOWN]) + (f", … ({len(every)} in all)" if len(every) > SHOWN else "")
    return shown or "nothing"


def _numbered(names: Sequence[str]) -> list[str]:
    """The largest group of two or more names that differ in a number at their end, in its order."""
    groups: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        end = re.fullmatch(r"(.*?)(\d+)", name)
        if end is not None:
            groups.setdefault(end[1], []).append((int(end[2]), name))
    best = max(groups.values(), key=len, default=[])
    return [name for _, name in sorted(best)] if len(best) > 1 else []
