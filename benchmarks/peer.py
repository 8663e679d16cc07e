"""The public peer library `neural_collapse` on the same arrays, from a checkout that is given.

Its accumulators take the class means at every batch and need two passes for NC1. Names and
arguments are those of its public modules; one that is missing is said in a sentence.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import Tensor

BATCH = 512


class Peer:
    """The peer's accumulators and measures, found under `path`."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise SystemExit(f"--peer {path} does not exist; pass a checkout of neural_collapse")
        sys.path.insert(0, str(path))
        self.accumulate = self._module("neural_collapse.accumulate")
        self.measure = self._module("neural_collapse.measure")

    @staticmethod
    def _module(name: str) -> Any:
        try:
            return import_module(name)
        except ImportError as error:
            raise SystemExit(
                f"the peer has no {name} ({error}); pass the root of its checkout"
            ) from None

    def statistics(self, features: Tensor, labels: Tensor, classes: int) -> tuple[Any, Any]:
        """Means and within-class covariance: two passes over the features."""
        means = self.accumulate.MeanAccumulator(classes, features.shape[1])
        for start in range(0, len(labels), BATCH):
            means.accumulate(features[start : start + BATCH], labels[start : start + BATCH])
        centres, _ = means.compute()
        scatter = self.accumulate.CovarAccumulator(classes, features.shape[1], M=centres)
        for start in range(0, len(labels), BATCH):
            scatter.accumulate(
                features[start : start + BATCH], labels[start : start + BATCH], centres
            )
        return centres, scatter.compute()

    def nc1(self, features: Tensor, labels: Tensor, classes: int) -> float:
        """Its covariance ratio through the pseudo-inverse."""
        centres, scatter = self.statistics(features, labels, classes)
        return float(self.measure.covariance_ratio(scatter, centres, centres.mean(0)))
