"""Small language models of a ladder: trained, measured on tokens, held against their loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from ncollapse.lab.gpt import Schooling, SmallGPT, taught, validation_loss
from ncollapse.lab.stdlib import Text, library_text
from ncollapse.lab.study import Plan
from ncollapse.measuring.measure import measure
from ncollapse.sources.texts.documents import TRAIN, VALIDATION

# Sequences of a forward pass.
BATCH = 64
MEANS = (
    "lm_cdnv_1_log",
    "lm_cdnv_2_log",
    "lm_cdnv_free_log",
    "lm_equinorm_log",
    "lm_gnc2_log_variation",
    "lm_nc3",
    "lm_unc3",
    "lm_share_context",
)
# What a head is needed for that has learned something.
TAUGHT = ("lm_information_floor",)
HELD = ("lm_nc4", "lm_accuracy")


def text_of(settings: Plan) -> Text:
    """The corpus that a study's settings name."""
    return library_text(settings["vocabulary"], settings["length"], settings["limit"])


def model_row(
    settings: Plan, width: int, depth: int, seed: int, *, steps: int | None = None
) -> dict[str, Any]:
    """A model of some size, trained: its validation loss and readings, those of its first state
    under `untrained`."""
    text = text_of(settings)
    how = Schooling(settings["steps"] if steps is None else steps, settings["sequences"], seed=seed)
    model = SmallGPT(text.vocabulary, width, depth, longest=settings["length"], seed=seed)
    before = readings(model, text, settings, learned=False)
    taught(model, text, how)
    return {
        "width": width,
        "depth": depth,
        "steps": how.steps,
        "parameters": sum(p.numel() for p in model.parameters()),
        "loss": validation_loss(model, text, settings["held"]),
        "untrained": before,
        **readings(model, text, settings),
    }


def readings(
    model: SmallGPT, text: Text, settings: Plan, *, learned: bool = True
) -> dict[str, float | None]:
    """Readings of class means on train text; of a model that has learned something, those of its
    predictions too, and of decisions on validation text."""
    data = {
        TRAIN: _batches(*text.spread(TRAIN, settings["measured"])),
        VALIDATION: _batches(*text.spread(VALIDATION, settings["held"])),
    }
    found = measure(
        model,
        data if learned else {TRAIN: data[TRAIN]},
        tokens=True,
        min_count=settings["frequent"],
        null=False,
        intervals=False,
        decisions=learned,
        keys=(*MEANS, *TAUGHT, *HELD) if learned else MEANS,
        class_names=text.names,
    )
    values = {key: found.value(key, split=TRAIN) for key in (*MEANS, *(TAUGHT if learned else ()))}
    if learned:
        values |= {key: found.value(key, split=VALIDATION) for key in HELD}
    return values


def _batches(ids: Tensor, labels: Tensor) -> list[dict[str, Tensor]]:
    return [
        {"input_ids": ids[start : start + BATCH], "labels": labels[start : start + BATCH]}
        for start in range(0, len(ids), BATCH)
    ]


def order(rows: Sequence[Mapping[str, Any]], key: str, against: str = "loss") -> float:
    """Spearman's correlation of a reading with the validation loss: 0 where all values of one are
    alike, NaN where one is missing."""
    from scipy.stats import rankdata

    pairs = [(row[key], row[against]) for row in rows]
    if len(pairs) < 2 or any(value is None for pair in pairs for value in pair):
        return float("nan")
    ranks = [rankdata(column) for column in zip(*pairs, strict=True)]
    if any(np.ptp(column) == 0 for column in ranks):
        return 0.0
    return float(np.corrcoef(*ranks)[0, 1])


def chance(
    rows: Sequence[Mapping[str, Any]], key: str, *, draws: int = 5000, seed: int = 0
) -> float:
    """Share of permutations of the losses whose correlation with the reading is at least as large
    in size as the measured one."""
    x, y = (np.array([row[name] for row in rows], dtype=np.float64) for name in (key, "loss"))
    x, y = x - x.mean(), y - y.mean()
    generator = np.random.default_rng(seed)
    drawn = np.abs([x @ generator.permutation(y) for _ in range(draws)])
    return float((1 + (drawn >= abs(x @ y) * (1 - 1e-12)).sum()) / (1 + draws))
