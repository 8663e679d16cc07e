"""Unlearning, audited: whether the features forgot the classes that the head is said to have.

An unlearned model is judged by its answers, and a head alone can be made to give none of a class.
Three readers decide about samples of the forgotten classes and of those that are kept: the model's
head, the nearest class mean, and a linear probe, both from samples that were left out. Where the
head is at chance and a probe is not, the class is hidden and not forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from ncollapse.collect.tap.batches import Unpack
from ncollapse.collect.tap.pooling import Pool
from ncollapse.downstream.foldwise import left_out
from ncollapse.downstream.sets import Progress, read_sets
from ncollapse.metrics.estimates import wilson
from ncollapse.sources.features.arrays import ArraySource

HELD_OUT = ("test", "val", "validation")
TITLES = {"head": "head", "centres": "nearest class mean", "probe": "linear probe"}
SHOWN = 20


@dataclass(frozen=True)
class Share:
    """A share of `n` samples with Wilson's 95 % interval."""

    value: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, right: Bool[Tensor, " samples"]) -> Share:
        n = right.numel()
        value = float(right.double().mean())
        return cls(value, *wilson(value, n), n)


@dataclass(frozen=True)
class Reader:
    """One reader: its accuracy on samples of the forgotten and of the kept classes, what guessing
    among its classes would get, and by forgotten class its accuracy.

    told: of samples of forgotten classes the share decided so, less that of samples of another
    class, for each the one that is most often taken for it; with its 95 % interval. 0 for a class
    that lies upon another, of which a reader is right on every second sample by chance, 1 for one
    that stands alone.
    """

    forgotten: Share
    kept: Share
    chance: float
    classes: dict[int, Share]
    told: tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Unlearning:
    """What is left of the classes `forgotten`: `head` (None where none was read), `centres` and
    `probe`, each a `Reader`. Accuracies are of samples, not means over classes; intervals are of
    the samples at hand, the model fixed. names: of classes, where they are known."""

    forgotten: tuple[int, ...]
    head: Reader | None
    centres: Reader
    probe: Reader
    source: str = "features"
    names: tuple[str, ...] | None = None

    @property
    def readers(self) -> dict[str, Reader]:
        """By name, those that there are."""
        found = {"head": self.head, "centres": self.centres, "probe": self.probe}
        return {name: reader for name, reader in found.items() if reader is not None}

    def name_of(self, label: int) -> str:
        """A class's name, its number where names are not known."""
        return str(label) if self.names is None else self.names[label]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for results.json and its report: title, sentences, numbers, and a table."""
        numbers = {
            name: {
                "forgotten": _ends(reader.forgotten),
                "kept": _ends(reader.kept),
                "chance": reader.chance,
                "told": list(reader.told),
                "samples": reader.forgotten.n,
                "classes": {str(k): _ends(share) for k, share in reader.classes.items()},
            }
            for name, reader in self.readers.items()
        }
        return {
            "title": "Unlearning",
            "sentences": self._sentences(),
            "numbers": {"classes": list(self.forgotten), "readers": numbers},
            "columns": ["read by", "forgotten", "low", "high", "kept", "chance", "told"],
            "rows": [
                [
                    TITLES[name], reader.forgotten.value, reader.forgotten.low,
                    reader.forgotten.high, reader.kept.value, reader.chance, reader.told[0],
                ]
                for name, reader in self.readers.items()
            ]
            + [
                [f"{TITLES[name]}, {self.name_of(k)}", *_ends(one), None, None, None]
                for k in self.forgotten[:SHOWN]
                for name, reader in self.readers.items()
                if (one := reader.classes.get(k)) is not None
            ],
        }  # fmt: skip

    def _sentences(self) -> list[str]:
        listed = ", ".join(self.name_of(k) for k in self.forgotten[:SHOWN])
        more = len(self.forgotten) - SHOWN
        listed += f" and {more} more" if more > 0 else ""
        n = self.centres.forgotten.n
        return [
            f"Of {n} samples of the classes said to be forgotten ({listed}) the readers decide "
            "rightly: "
            + ", ".join(
                f"{TITLES[name]} {100 * one.forgotten.value:.1f} % [{100 * one.forgotten.low:.1f}, "
                f"{100 * one.forgotten.high:.1f}]"
                for name, one in self.readers.items()
            )
            + f"; guessing {100 * self.centres.chance:.1f} %.",
            "Less the samples of another class that are taken for them: "
            + ", ".join(
                f"{TITLES[name]} {one.told[0]:.2f} [{one.told[1]:.2f}, {one.told[2]:.2f}]"
                for name, one in self.readers.items()
            )
            + ". A model that never saw these classes tells them apart too: audit one beside.",
        ]

    def __str__(self) -> str:
        import textwrap

        lines = [f"unlearning · {self.source} · {len(self.forgotten)} classes"]
        for said in self._sentences():
            lines += textwrap.wrap(said, 78, initial_indent=" ", subsequent_indent="   ")
        lines.append(f" {'':<22}{'forgotten':>11}{'95 %':>18}{'kept':>9}{'chance':>9}")
        for name, one in self.readers.items():
            ends = f"{one.forgotten.low:.3f} to {one.forgotten.high:.3f}"
            lines.append(
                f" {TITLES[name]:<22}{one.forgotten.value:>11.3f}{ends:>18}{one.kept.value:>9.3f}"
                f"{one.chance:>9.3f}"
            )
        return "\n".join(lines)


def measure_unlearning(
    model: nn.Module,
    data: Any,
    *,
    forgotten: Sequence[int],
    layer: str | None = None,
    head: str | nn.Module | None = None,
    pool: Pool | dict[str, Pool] = "auto",
    unpack: Unpack | None = None,
    limit: int | None = None,
    batch_size: int = 128,
    folds: int = 5,
    probe_samples: int = 10_000,
    class_names: Sequence[str] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Unlearning:
    """Accuracy on the classes `forgotten` by the model's head, by the nearest class mean and by a
    linear probe, each with Wilson's interval and what guessing gets, beside the classes kept.

    data: a loader, dataset or pair of tensors that holds samples of both, best of samples that were
    not trained on, or a mapping of splits, of which `test` or `val` is read where there is one.
    What enters the head is read in one forward pass, or the output of `layer`, which leaves the
    head out. Probe and class means decide about every sample by `folds` that leave it out, on at
    most `probe_samples` of them, every class its share; the head decides about the same samples.
    Features are held in memory, up to `limit` samples; the model is left as it was.

    Raises ValueError where no class is named, a named one has no sample, fewer than two or no other
    class is left, a class has one sample, and labels lie beyond the head. Source: Gao, Unal,
    Rangamani, Zhu 2026 (abstract read) for the three accuracies.

    >>> print(measure_unlearning(model, test, forgotten=[3, 7]))    # doctest: +SKIP
    """
    part = data
    if isinstance(data, Mapping) and not ({"labels", "label"} & set(data)):
        if not data:
            raise ValueError("data holds no split; a loader, or one by name, is needed")
        part = data[next((name for name in HELD_OUT if name in data), next(iter(data)))]
    read = read_sets(
        model,
        {"data": part},
        layer=layer,
        head=head,
        pool=pool,
        unpack=unpack,
        limit=limit,
        batch_size=batch_size,
        progress=progress,
    )
    return unlearning_of_features(
        *read.sets["data"],
        forgotten=forgotten,
        weight=read.weight,
        bias=read.bias,
        folds=folds,
        probe_samples=probe_samples,
        class_names=class_names,
        seed=seed,
        source=read.source,
    )


def unlearning_of_features(
    features: Any,
    labels: Any,
    *,
    forgotten: Sequence[int],
    weight: Any = None,
    bias: Any = None,
    folds: int = 5,
    probe_samples: int = 10_000,
    class_names: Sequence[str] | None = None,
    seed: int = 0,
    source: str = "features",
) -> Unlearning:
    """As `measure_unlearning`, of features (samples, dim) with labels (samples); weight (classes,
    dim) and bias (classes) are the head's."""
    held = ArraySource(features, labels, weight=weight, bias=bias, description=source)
    if held.targets is not None:
        raise ValueError(f"{source}: labels are {labels.dtype}; integers 0..K-1 are needed")
    y = held.labels
    present = y.unique().tolist()
    chosen = _checked(forgotten, present, None if weight is None else len(weight))
    rows = torch.cat(list(held.rows(0, held.num_samples)))
    bad = (~rows.isfinite().all(1)).nonzero()
    if bad.numel():
        raise ValueError(f"{source}: sample {int(bad[0])} is not finite; leave it out or repair it")
    decided = left_out(rows, y, folds=folds, samples=probe_samples, seed=seed)
    asked = y[decided.kept]
    mine = torch.isin(asked, torch.tensor(chosen))
    said: Tensor | None = None
    if held.weight is not None:
        logits = rows[decided.kept].double() @ held.weight.double().T
        logits = logits if held.bias is None else logits + held.bias.double()
        said = logits.argmax(1)
    heads = 0 if held.weight is None else len(held.weight)
    return Unlearning(
        forgotten=chosen,
        head=None if said is None else _reader(said, asked, mine, 1 / heads),
        centres=_reader(decided.centres_said, asked, mine, 1 / len(present)),
        probe=_reader(decided.probe_said, asked, mine, 1 / len(present)),
        source=source,
        names=None if class_names is None else tuple(class_names),
    )


def _reader(
    said: Int[Tensor, " samples"],
    labels: Int[Tensor, " samples"],
    mine: Bool[Tensor, " samples"],
    chance: float,
) -> Reader:
    right = said == labels
    chosen = labels[mine].unique().tolist()
    classes = {k: Share.of(right[labels == k]) for k in chosen}
    taken = []
    for k in chosen:
        others = labels[labels != k].unique().tolist()
        mistaken = [said[labels == other] == k for other in others]
        taken.append(max(mistaken, key=lambda one: float(one.double().mean())))
    hits, misses = Share.of(right[mine]), Share.of(torch.cat(taken))
    # Newcombe's interval of a difference of shares, from Wilson's of each.
    gap = hits.value - misses.value
    down = ((hits.value - hits.low) ** 2 + (misses.high - misses.value) ** 2) ** 0.5
    up = ((hits.high - hits.value) ** 2 + (misses.value - misses.low) ** 2) ** 0.5
    return Reader(hits, Share.of(right[~mine]), chance, classes, (gap, gap - down, gap + up))


def _checked(
    forgotten: Sequence[int], present: Sequence[int], heads: int | None
) -> tuple[int, ...]:
    if not isinstance(forgotten, Iterable) or not all(isinstance(k, Integral) for k in forgotten):
        raise ValueError(
            f"forgotten={forgotten!r}; a list of class numbers is needed, such as [3, 7]"
        )
    chosen = tuple(sorted({int(k) for k in forgotten}))
    if not chosen:
        raise ValueError(
            "forgotten is empty; numbers of the classes that were unlearned are needed, such as "
            "[3, 7]"
        )
    absent = [k for k in chosen if k not in present]
    if absent:
        listed = ", ".join(str(k) for k in present[:10]) + (", …" if len(present) > 10 else "")
        raise ValueError(
            f"class {absent[0]} is to be forgotten and has no sample here; there are {listed}: "
            "pass data that holds it, or leave it out"
        )
    if len(present) - len(chosen) < 1:
        raise ValueError("all classes are to be forgotten; samples of kept ones are needed beside")
    if heads is not None and max(present) >= heads:
        raise ValueError(
            f"label {max(present)} lies outside the head's classes 0..{heads - 1}; the labels of "
            "this model are needed"
        )
    return chosen


def _ends(share: Share) -> list[float]:
    return [share.value, share.low, share.high]
