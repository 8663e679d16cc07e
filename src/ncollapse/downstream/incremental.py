"""Classes that come in sessions: a frame that keeps places for them, or a head that learns them.

The first session trains everything; later ones bring new classes with few samples, the backbone
stays as it is and the neck before the head learns on them and on the mean features of all earlier
classes. A reading after each session says what is known of old and of new classes.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ncollapse.collect.tap.batches import Unpack
from ncollapse.downstream.incremental_heads import Recipe
from ncollapse.downstream.learner import Features, IncrementalLearner, Progress
from ncollapse.downstream.subspace import cross_cdnv
from ncollapse.linalg import unit_rows

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("ncollapse")
__all__ = ["Incremental", "IncrementalLearner", "Recipe", "SessionReading", "learn_incrementally"]


@dataclass(frozen=True)
class SessionReading:
    """After one session: accuracy among all classes seen so far, on all samples of them, of
    earlier classes and of those of the session; of each class; forgetting: mean over earlier
    classes of their best accuracy before minus that now; cdnv: overlap of earlier with the
    session's classes in what enters the head. NaN: nothing to be read of."""

    session: int
    classes: tuple[int, ...]
    accuracy: float
    old: float
    new: float
    forgetting: float
    cdnv: float
    by_class: dict[int, float]
    seconds: float


@dataclass(frozen=True, eq=False)
class Incremental:
    """The model that was learned and a reading a session."""

    model: nn.Module
    sessions: tuple[SessionReading, ...]

    @property
    def final(self) -> float:
        """Accuracy among all classes after the last session."""
        return self.sessions[-1].accuracy

    def to_frame(self) -> pd.DataFrame:
        """One row a session: its number, classes, accuracies, forgetting, cdnv, seconds."""
        import pandas as pd

        rows = [vars(reading) for reading in self.sessions]
        return pd.DataFrame(rows).drop(columns="by_class")

    def __str__(self) -> str:
        names = ("accuracy", "old", "new", "forgetting", "cdnv")
        lines = [f"{'session':>8}{'classes':>9}" + "".join(f"{name:>12}" for name in names)]
        for reading in self.sessions:
            values = (getattr(reading, name) for name in names)
            cells = "".join(f"{'–' if math.isnan(v) else f'{v:.3f}':>12}" for v in values)
            lines.append(f"{reading.session:>8}{len(reading.by_class):>9}{cells}")
        return "\n".join(lines)


def learn_incrementally(
    backbone: nn.Module,
    sessions: Sequence[Any],
    recipe: Recipe | None = None,
    *,
    test: Any,
    unpack: Unpack | None = None,
    progress: Progress | None = None,
) -> Incremental:
    """Learn sessions of classes one after the other, with a reading on `test` after each.

    backbone: any module that gives features (samples, d); it is trained in place in the first
    session, and is then left as it is. sessions: loaders, datasets or pairs of tensors, each with
    classes of its own; test: data with samples of all classes, of which those met so far are read.
    `Recipe` says which head, and how to train. progress(stage, done, total) is called along the
    way, and the logger "ncollapse" is told of every session. Loaders are read in their own order;
    what else is given is shuffled by a generator of recipe.seed. The neck, the head and every draw
    of this call come from own generators.

    Raises ValueError as `IncrementalLearner` does, and for no sessions.
    Source: Yang et al. 2023 (their code read) for the frame under dot regression, frozen backbone
    and memory of means; a growing frame is the nearest simplex of `ncollapse.control`.

    >>> found = learn_incrementally(backbone, [base, one, two], test=test)   # doctest: +SKIP
    >>> print(found)                                                        # doctest: +SKIP
    """
    if isinstance(sessions, (str, bytes)) or not isinstance(sessions, Sequence) or not sessions:
        raise ValueError("sessions is no list of data; at least one session is needed")
    learner = IncrementalLearner(backbone, recipe or Recipe(), unpack, progress)
    readings: list[SessionReading] = []
    best: dict[int, float] = {}
    seen: Features | None = None
    for number, data in enumerate(sessions):
        began = time.monotonic()
        classes = learner.learn(data)
        # The backbone stays as it is from here on.
        seen = learner.features(test) if seen is None else seen
        readings.append(read_session(learner, seen, classes, best, number, began))
        said = "session %d: accuracy %.3f among %d classes"
        log.info(said, number, readings[-1].accuracy, len(learner.order))
    assert learner.model is not None
    return Incremental(learner.model, tuple(readings))


def read_session(
    learner: IncrementalLearner,
    seen: Features,
    classes: tuple[int, ...],
    best: dict[int, float],
    number: int = 0,
    began: float | None = None,
) -> SessionReading:
    """The reading after a session. seen: the learner's `features` of test data; best: by class the
    best accuracy of earlier sessions, brought up to date here. Raises ValueError where the test
    data have no sample of a class that was learned."""
    features, labels = seen[0], seen[1].cpu()
    found = learner.accuracies(features, labels)
    absent = [k for k, value in found.items() if math.isnan(value)]
    if absent:
        raise ValueError(f"test has no sample of class {absent[0]}, which was learned; add some")
    assert learner.model is not None
    with torch.no_grad():
        entering = unit_rows(learner.model[1](features)).cpu()
    counts = {k: int((labels == k).sum()) for k in found}
    old, new = [k for k in found if k not in classes], list(classes)
    parts = [torch.isin(labels, torch.tensor(ks, dtype=labels.dtype)) for ks in (old, new)]
    overlap = math.nan
    if old:
        pairs = [x for part in parts for x in (entering[part], labels[part])]
        overlap = cross_cdnv(*pairs)
    drops = [best[k] - found[k] for k in old if k in best]
    for k, value in found.items():
        best[k] = max(best.get(k, 0.0), value)

    def share(ks: Sequence[int]) -> float:
        total = sum(counts[k] for k in ks)
        return sum(found[k] * counts[k] for k in ks) / total if total else math.nan

    return SessionReading(
        session=number,
        classes=classes,
        accuracy=share(list(found)),
        old=share(old),
        new=share(new),
        forgetting=sum(drops) / len(drops) if drops else math.nan,
        cdnv=overlap,
        by_class=found,
        seconds=0.0 if began is None else time.monotonic() - began,
    )
