"""Foreign data beside a measurement: one forward pass of it, and the section `ood`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from ncollapse.answers.questions import answered_again
from ncollapse.collect.keep.cache import FeatureCache
from ncollapse.collect.ranks.ranks import Ranks
from ncollapse.collect.tap.batches import Unpack
from ncollapse.collect.tap.stream import Progress
from ncollapse.collect.tap.taps import HEAD, Taps
from ncollapse.downstream.advice import advise
from ncollapse.downstream.detectors.encoder import FOREIGN, ForeignStream, foreign_batch
from ncollapse.downstream.section import Inside
from ncollapse.measuring.measurement import Measurement
from ncollapse.measuring.options import Options
from ncollapse.sources.features.arrays import ArraySource, FeatureSource

log = logging.getLogger("ncollapse")
NAME = "ood"
QUESTION = "out_of_distribution"
EMPTY = "ood= is an empty mapping; foreign data, or several by name, are needed: leave ood= out"


@dataclass(frozen=True, eq=False)
class Foreign:
    """Loaders of foreign data by name, and how they run through the model."""

    loaders: Mapping[str, Any]
    unpack: Unpack | None
    limit: int | None
    batch_size: int
    autocast: torch.dtype | None
    budget: float

    @classmethod
    def of(
        cls, data: Any, loaders: Mapping[str, Any], ranks: Ranks | None, **how: Any
    ) -> Foreign | None:
        """What was passed as `ood`: a loader, or loaders by name; None for nothing.

        Raises ValueError with several processes, and for a loader that is a split as well.
        """
        if data is None:
            return None
        if ranks is not None:
            raise ValueError("ood= is read by one process; measure it without torchrun")
        named = {str(k): v for k, v in data.items()} if isinstance(data, Mapping) else {NAME: data}
        if not named:
            raise ValueError(EMPTY)
        for name, loader in named.items():
            same = next((split for split, known in loaders.items() if known is loader), None)
            if same is not None:
                raise ValueError(
                    f"the foreign data {name!r} is the split {same!r} itself; data of classes that "
                    "the model does not know is needed"
                )
        return cls(named, **how)

    def judged(
        self,
        found: Measurement,
        taps: Taps,
        sources: Mapping[str, FeatureSource],
        options: Options,
    ) -> Measurement:
        """The measurement with what the foreign data says, which runs through the model here."""
        if HEAD not in sources or taps.head is None:
            raise ValueError(
                "ood= needs what enters the classifier, and head=False leaves it out; pass one of "
                "them"
            )
        stream = ForeignStream(
            taps,
            self.loaders,
            unpack=self.unpack or foreign_batch,
            limit=self.limit,
            batch_size=self.batch_size,
            autocast=self.autocast,
            ignore_index=options.ignore_index,
            progress=_named(options.told),
        )
        parts: dict[str, FeatureCache] = {
            name: FeatureCache(self.budget / len(self.loaders)) for name in self.loaders
        }
        try:
            for batch in stream:
                parts[batch.split].append(batch)
            foreign = {name: part.source(HEAD) for name, part in parts.items()}
            return with_ood(found, sources[HEAD], foreign, options)
        finally:
            for part in parts.values():
                part.__exit__()


def with_ood(
    found: Measurement,
    source: FeatureSource,
    foreign: Mapping[str, FeatureSource],
    options: Options,
) -> Measurement:
    """The measurement with its section `ood`, and its question on foreign inputs answered again.

    Detectors are fitted to the reference split of `source`. Raises ValueError for another task,
    foreign features of another width, and labels that name foreign and known samples in one set.
    """
    document = found.document
    if document.task != "classification":
        raise ValueError(
            f"the task is {document.task} and ood= was passed; foreign inputs are told from "
            "classes: measure without ood="
        )
    notes = []
    for name, data in foreign.items():
        if data.num_features != source.num_features:
            raise ValueError(
                f"the foreign data {name!r} has {data.num_features} features and the model's own "
                f"{source.num_features}; pass those of the same layer"
            )
        notes += _overlap(name, data, document.num_classes)
    inside = Inside.of(
        source,
        reference=document.reference,
        num_classes=document.num_classes,
        ignore_index=options.ignore_index,
        told=options.told,
    )
    advice = advise(document)
    section = {
        name: {**inside.against(data, options.told), "advice": advice.to_dict()}
        for name, data in foreign.items()
    }
    if inside.split == inside.fitted:
        notes.append(
            f"ood: detectors were fitted to {inside.fitted} and judged on it, for there is no "
            "other split; new samples of the known classes score worse, pass test="
        )
    for said in notes:
        log.warning(said)
    notes += [f"ood: {said}" for said in _said(inside)]
    changed = replace(document, ood=section, warnings=(*document.warnings, *notes))
    changed = replace(changed, verdicts=answered_again(changed, QUESTION))
    return replace(found, document=changed)


def unlabelled(features: Any) -> dict[str, FeatureSource]:
    """Sources of foreign features (samples, d), or of several sets by name."""
    named = features if isinstance(features, Mapping) else {NAME: features}
    if not named:
        raise ValueError(EMPTY)
    return {
        str(name): ArraySource(
            rows, torch.full((len(rows),), FOREIGN), description=f"foreign data {name!r}"
        )
        for name, rows in named.items()
    }


def _overlap(name: str, data: FeatureSource, num_classes: int) -> list[str]:
    """A sentence where labels of foreign data are class numbers of the model too."""
    labels = data.labels
    known = (labels >= 0) & (labels < num_classes)
    if bool(known.any()) and bool((labels < 0).any()):
        raise ValueError(
            f"the foreign data {name!r} has {int(known.sum())} labels that are classes of the "
            f"model and {int((labels < 0).sum())} below 0, which mean out-of-distribution; pass "
            "the former as a split, and the rest as ood="
        )
    if not bool(known.any()):
        return []
    return [
        f"ood: {int(known.sum())} labels of {name!r} are class numbers of the model too; they were "
        "not looked at, every sample counts as foreign"
    ]


def _said(inside: Inside) -> list[str]:
    """What detectors had to say."""
    return [
        *(f"{one.title}: {said}" for one in inside.detectors.values() for said in one.notes),
        *(f"{name} was left out: {said}" for name, said in inside.left_out.items()),
    ]


def _named(told: Progress | None) -> Progress | None:
    """Progress under a name of its own."""
    if told is None:
        return None
    return lambda _, done, total: told("foreign pass", done, total)
