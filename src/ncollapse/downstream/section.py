"""What a measurement says of foreign data: scores by detector, how well they do, histograms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ncollapse.downstream.detectors.reference import ROWS, Reference
from ncollapse.downstream.nc5 import nc5
from ncollapse.downstream.ood import DETECTORS, Detector, auroc_interval, fitted, ood_metrics
from ncollapse.sources.features.arrays import FeatureSource

BINS = 30
# Scores beyond these shares of all are drawn at the edges.
EDGES = (0.005, 0.995)
Told = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class Inside:
    """Detectors fitted to the reference split, and their scores of the samples that foreign ones
    are told apart from. split: whose samples these are; fitted: the split fitted to."""

    detectors: dict[str, Detector]
    left_out: dict[str, str]
    scores: dict[str, NDArray[np.float64]]
    means: Tensor
    fitted: str
    split: str

    @classmethod
    def of(
        cls,
        source: FeatureSource,
        *,
        reference: str,
        num_classes: int,
        ignore_index: int | None = None,
        told: Told | None = None,
    ) -> Inside:
        """Of a source with its splits: the first one that is not the reference is told apart, the
        reference itself where it is alone."""
        split = next((name for name in source.splits if name != reference), reference)
        learnt = Reference(
            source, split=reference, num_classes=num_classes, ignore_index=ignore_index
        )
        detectors, left_out = fitted(learnt)
        looked = learnt
        if split != reference:
            looked = Reference(
                source, split=split, num_classes=num_classes, ignore_index=ignore_index
            )
        blocks = (features for features, _ in looked.blocks())
        scores = _scored(detectors, blocks, looked.num_samples, told)
        return cls(detectors, left_out, scores, learnt.summary.means, reference, split)

    def against(self, foreign: FeatureSource, told: Told | None = None) -> dict[str, Any]:
        """The section of one foreign set, as plain data."""
        total = torch.zeros(foreign.num_features, dtype=torch.float64)

        def blocks() -> Iterator[Tensor]:
            for block in foreign.rows(0, ROWS):
                total.add_(block.to(torch.float64).sum(0))
                yield block

        scores = _scored(self.detectors, blocks(), foreign.num_samples, told)
        found = {
            name: _entry(detector, self.scores[name], scores[name])
            for name, detector in self.detectors.items()
        }
        mean = total / foreign.num_samples
        return {
            "n_in": len(next(iter(self.scores.values()))),
            "n_out": foreign.num_samples,
            "split": self.split,
            "fitted": self.fitted,
            "scores": found,
            "left_out": dict(self.left_out),
            "nc5": {
                "raw": float(nc5(self.means, mean)),
                "centred": float(nc5(self.means, mean, self.means.mean(0))),
            },
        }


def _scored(
    detectors: Mapping[str, Detector], blocks: Iterator[Tensor], total: int, told: Told | None
) -> dict[str, NDArray[np.float64]]:
    """Scores by detector, all of a block before the next is read."""
    parts: dict[str, list[Tensor]] = {name: [] for name in detectors}
    done = 0
    for block in blocks:
        for name, detector in detectors.items():
            parts[name].append(detector.predict_features(block))
        done += block.shape[0]
        if told is not None:
            told("scores", done, total)
    return {name: torch.cat(found).numpy() for name, found in parts.items()}


def _entry(
    detector: Detector, inside: NDArray[np.float64], outside: NDArray[np.float64]
) -> dict[str, Any]:
    scores = np.concatenate([inside, outside])
    labels = np.concatenate([np.zeros(inside.size), -np.ones(outside.size)])
    _, low, high = auroc_interval(scores, labels)
    first, last = np.quantile(scores, EDGES)
    edges = np.linspace(first, last if last > first else first + 1, BINS + 1)
    counts = [
        np.histogram(np.clip(part, edges[0], edges[-1]), edges)[0] / part.size
        for part in (inside, outside)
    ]
    return {
        "title": detector.title,
        **ood_metrics(scores, labels),
        "interval": [low, high],
        "settings": detector.settings(),
        "notes": list(detector.notes),
        "histogram": {
            "edges": edges.tolist(),
            "in": counts[0].tolist(),
            "out": counts[1].tolist(),
        },
    }


def titles() -> dict[str, str]:
    """What each score is called, in the order of tables."""
    return {kind.name: kind.title for kind in DETECTORS}
