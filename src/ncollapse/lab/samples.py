"""Data of any size for studies: specs of `ncollapse.sources`, read sample by sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from torch.utils.data import Dataset as TorchDataset

from ncollapse.collect.tap.batches import unpack_batch
from ncollapse.lab.data import SPLITS, Data, Dataset, digits, long_tailed
from ncollapse.sources.specs.datasets import TEST, TRAIN, load_data

Collate = Callable[[list[Any]], Any]


@dataclass(frozen=True, eq=False)
class Samples:
    """Splits "train" and "test" of map-style datasets, loaded by `workers` processes each."""

    train: Any
    test: Any
    num_classes: int
    class_names: tuple[str, ...] | None = None
    workers: int = 0
    collate: Collate | None = None
    evaluation_batch: ClassVar[int] = 256

    def part(self, split: str) -> Any:
        """The dataset of a split. Raises ValueError for an unknown one."""
        if split not in SPLITS:
            raise ValueError(f"split {split!r} is unknown; one of {', '.join(SPLITS)} is needed")
        return self.train if split == "train" else self.test

    def count(self, split: str) -> int:
        return len(self.part(split))

    def batches(self, split: str, parts: Sequence[Tensor]) -> Iterator[Any]:
        numbers = [part.tolist() for part in parts]
        return iter(self._loader(split, batch_sampler=numbers))

    def loader(self, split: str) -> DataLoader[Any]:
        return self._loader(split, batch_size=self.evaluation_batch)

    def _loader(self, split: str, **how: Any) -> DataLoader[Any]:
        # Without an own generator a loader would draw from the global one.
        generator = torch.Generator().manual_seed(0)
        return DataLoader(
            self.part(split),
            num_workers=self.workers,
            collate_fn=self.collate,
            generator=generator,
            **how,
        )


@dataclass(frozen=True, eq=False)
class Relabelled(TorchDataset[Any]):
    """Some samples of a dataset under other labels."""

    dataset: Any
    places: Int[Tensor, " samples"]
    labels: Int[Tensor, " samples"]

    def __len__(self) -> int:
        return self.labels.numel()

    def __getitem__(self, place: int) -> tuple[Any, int]:
        return self.dataset[int(self.places[place])][0], int(self.labels[place])


def open_data(
    spec: str,
    *,
    seed: int = 0,
    transform: Callable[[Any], Tensor] | None = None,
    image_size: int | None = None,
    workers: int = 0,
) -> Data:
    """Data for training from a spec (see `ncollapse.sources.specs.datasets.load_data`).

    "digits" is split by `seed`. Everything else needs a train and a test split of datasets that
    can be read in any order; nothing is augmented. Raises ValueError where that is not so.
    """
    if spec == "digits":
        return digits(seed=seed)
    found = load_data(spec, transform=transform, image_size=image_size or 224)
    parts: dict[str, Any] = {}
    collate: Collate | None = None
    for split, names in (("train", TRAIN), ("test", TEST)):
        part: Any = next((found.splits[name] for name in names if name in found.splits), None)
        if part is None:
            raise ValueError(
                f"data {spec!r} has splits {', '.join(found.splits)}; train and test are needed"
            )
        if isinstance(part, DataLoader):
            collate = part.collate_fn
            part = part.dataset
        elif isinstance(part, tuple):
            part = TensorDataset(*part)
        if isinstance(part, IterableDataset) or not hasattr(part, "__len__"):
            raise ValueError(
                f"data {spec!r}: split {split} can be read in its own order only; training needs "
                "a dataset with a length and samples by number"
            )
        parts[split] = part
    names_ = found.class_names
    count = len(names_) if names_ else 1 + max(int(labels_of(p).max()) for p in parts.values())
    return Samples(parts["train"], parts["test"], count, names_, workers, collate)


def labels_of(dataset: Any) -> Int[Tensor, " samples"]:
    """The label of every sample, without reading inputs where the dataset lists its labels."""
    for name in ("targets", "labels", "_labels"):
        listed = getattr(dataset, name, None)
        if isinstance(listed, (Tensor, Sequence)):
            return torch.as_tensor(listed).to(torch.int64)
    if isinstance(dataset, TensorDataset):
        return dataset.tensors[1].to(torch.int64)
    return torch.tensor([int(dataset[place][1]) for place in range(len(dataset))])


def train_labels(data: Data) -> Int[Tensor, " samples"]:
    """Labels of the training split, in its order."""
    if isinstance(data, Dataset):
        return data.train_y
    if isinstance(data, Samples):
        return labels_of(data.train)
    loader = data.loader("train")
    return torch.cat([unpack_batch(raw).labels for raw in loader])


def subset(data: Data, samples: int, seed: int) -> Data:
    """About `samples` training samples, as many of every class, drawn by an own generator; all of
    them for 0. The test split stays whole. Raises ValueError where a class has too few."""
    if not samples:
        return data
    each = max(1, samples // data.num_classes)
    if isinstance(data, Dataset):
        return long_tailed(data, (each,) * data.num_classes, seed)
    labels = train_labels(data)
    generator = torch.Generator().manual_seed(seed)
    kept = []
    for k in range(data.num_classes):
        there = (labels == k).nonzero().flatten()
        if there.numel() < each:
            raise ValueError(f"{each} samples of class {k} wanted and {there.numel()} are there")
        kept.append(there[torch.randperm(there.numel(), generator=generator)[:each]])
    places = torch.cat(kept).sort().values
    return relabelled(data, labels[places], places)


def relabelled(
    data: Data, labels: Int[Tensor, " samples"], places: Int[Tensor, " samples"] | None = None
) -> Data:
    """The data with other training labels; `places` picks samples. Raises ValueError for data
    whose samples are not pairs (input, label)."""
    if isinstance(data, Dataset):
        chosen = data.train_x if places is None else data.train_x[places]
        return replace(data, train_x=chosen, train_y=labels)
    if not isinstance(data, Samples) or isinstance(data.train[0], Mapping):
        raise ValueError("other labels need samples that are pairs (input, label)")
    if places is None:
        places = torch.arange(data.count("train"))
    return replace(data, train=Relabelled(data.train, places, labels))
