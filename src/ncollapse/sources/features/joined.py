"""Several stores as one source: shards of a folder, or the splits that one file holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ncollapse.sources.features.arrays import FeatureSource
from ncollapse.sources.features.store import Store


class Joined(FeatureSource):
    """Stores read one after the other; splits: a name for all rows of each, None for their own.

    Class numbers mean the same in every one; names of classes are numbered over all of them.
    Raises ValueError for stores that disagree in width, dtype or kind of labels.
    """

    def __init__(
        self,
        parts: Sequence[Store],
        description: str,
        head: tuple[Any, Any, Any] | None = None,
        splits: Sequence[str] | None = None,
    ) -> None:
        self.description, self._parts = description, list(parts)
        first = self._parts[0]
        for part in self._parts:
            if part.num_features != first.num_features or part.dtype != first.dtype:
                raise ValueError(
                    f"{part.path}: features are {part.num_features} wide and {part.dtype}, those "
                    f"of {first.path} {first.num_features} wide and {first.dtype}; shards must "
                    "agree"
                )
        self.num_samples = sum(part.num_samples for part in self._parts)
        self.num_features, self.dtype = first.num_features, first.dtype
        self.notes = tuple(dict.fromkeys(note for part in self._parts for note in part.notes))
        own = self._join_labels()
        self._join_splits(splits)
        weight, bias, names = head or self._find_head()
        self._set_head(weight, bias)
        self._set_names(names if own is None else own)

    def _join_labels(self) -> tuple[str, ...] | None:
        """Returns the names of the classes where labels are names."""
        targets = [part.targets for part in self._parts if part.targets is not None]
        if targets:
            widths = {part.shape[1] for part in targets}
            if len(targets) < len(self._parts) or len(widths) > 1:
                raise ValueError(
                    f"{self.description}: shards hold class numbers or targets of "
                    f"{', '.join(map(str, sorted(widths)))} numbers; the same in every shard is "
                    "needed"
                )
            self._set_targets(torch.cat(targets))
            return None
        named = [part.named for part in self._parts]
        if all(names is None for names in named):
            self._set_labels(torch.cat([part.labels for part in self._parts]))
            return None
        if any(names is None for names in named):
            raise ValueError(
                f"{self.description}: some shards hold class numbers and others names; the same in "
                "every shard is needed"
            )
        known = sorted({name for names in named for name in names or ()})
        same = all(names == named[0] for names in named)
        order = list(named[0] or ()) if same else known
        labels = []
        for part, names in zip(self._parts, named, strict=True):
            places = torch.tensor([order.index(name) for name in names or ()])
            labels.append(places[part.labels])
        self._set_labels(torch.cat(labels))
        return tuple(order)

    def _join_splits(self, splits: Sequence[str] | None) -> None:
        if splits is not None:
            rows = [
                [name] * part.num_samples for name, part in zip(splits, self._parts, strict=True)
            ]
            self._set_split([name for one in rows for name in one])
            return
        if all(part.split_codes is None for part in self._parts):
            return
        names: list[str] = []
        for part in self._parts:
            codes = part.split_codes
            filled = torch.zeros(part.num_samples, dtype=torch.int64) if codes is None else codes
            names += [part.splits[code] for code in filled.tolist()]
        self._set_split(names)

    def _find_head(self) -> tuple[Any, Any, Any]:
        for part in self._parts:
            if part.weight is not None or part.class_names is not None:
                return part.weight, part.bias, part.class_names
        return None, None, None

    def rows(self, start: int, size: int) -> Iterator[Tensor]:
        """Blocks of exactly `size` rows across shard borders, so chunks never depend on them."""
        pending: list[Tensor] = []
        held, before = 0, 0
        for part in self._parts:
            skip = max(0, start - before)
            before += part.num_samples
            if skip >= part.num_samples:
                continue
            for block in part.rows(skip, size):
                pending.append(block)
                held += block.shape[0]
                while held >= size:
                    joined = torch.cat(pending)
                    yield joined[:size]
                    rest = joined[size:]
                    pending, held = ([rest], rest.shape[0]) if rest.shape[0] else ([], 0)
        if held:
            yield torch.cat(pending)
