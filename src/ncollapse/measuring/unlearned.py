"""A measurement with what was found of classes that were to be forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from ncollapse.answers.questions import answered_again
from ncollapse.downstream.unlearning import HELD_OUT, Unlearning, unlearning_of_features
from ncollapse.measuring.measurement import Measurement
from ncollapse.sources.features.arrays import FeatureSource

SECTION, QUESTION = "unlearning", "unlearned"
# Rows of a file that are held at once, evenly chosen.
SAMPLES = 20_000


def with_unlearning(found: Measurement, left: Unlearning) -> Measurement:
    """The measurement with the section `downstream.unlearning` and the answer to `unlearned`."""
    document = found.document
    changed = replace(document, downstream={**document.downstream, SECTION: left.to_dict()})
    changed = replace(changed, verdicts=answered_again(changed, QUESTION))
    return replace(found, document=changed)


def unlearning_of_source(
    source: FeatureSource, forgotten: Sequence[int], *, seed: int = 0, ignore_index: int = -100
) -> Unlearning:
    """As `unlearning_of_features`, of a file's features: of its test (or val) split where it has
    one, of 20,000 samples at most, evenly chosen."""
    mine = source.labels != ignore_index
    if source.split_codes is not None:
        name = next((name for name in HELD_OUT if name in source.splits), source.splits[0])
        mine &= source.split_codes == source.splits.index(name)
    places = mine.nonzero().flatten()
    if len(places) > SAMPLES:
        places = places[(torch.arange(SAMPLES) * (len(places) / SAMPLES)).long()]
    wanted, parts, start = torch.zeros(source.num_samples, dtype=torch.bool), [], 0
    wanted[places] = True
    for block in source.rows(0, 8192):
        parts.append(block[wanted[start : start + len(block)]].clone())
        start += len(block)
    return unlearning_of_features(
        torch.cat(parts),
        source.labels[places],
        forgotten=forgotten,
        weight=source.weight,
        bias=source.bias,
        class_names=source.class_names,
        seed=seed,
        source=source.description,
    )
