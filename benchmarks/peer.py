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
        centres = self.means(features, labels, classes)
        scatter = self.accumulate.CovarAccumulator(classes, features.shape[1], M=centres)
        for start in range(0, len(labels), BATCH):
            scatter.accumulate(
                features[start : start + BATCH], labels[start : start + BATCH], centres
            )
        return centres, scatter.compute()

    def nc1(self, features: Tensor, labels: Tensor, classes: int) -> float:
        """Its covariance ratio through the pseudo-inverse."""
        centres, scatter = self.statistics(features, labels, classes)
        return self.pseudo_inverse(scatter, centres)

    def pseudo_inverse(self, scatter: Tensor, centres: Tensor) -> float:
        """Its NC1; the function was renamed, and its arguments turned round, between versions."""
        older = getattr(self.measure, "covariance_pinv", None)
        if older is not None:
            return float(older(centres, scatter, centres.mean(0)))
        return float(self.measure.covariance_ratio(scatter, centres, centres.mean(0)))

    # ---- pass by pass, so that a pass can be timed on a part of the batches -------------------
    def means(self, features: Tensor, labels: Tensor, classes: int) -> Tensor:
        """Class means (K, d), its first pass."""
        found = self.accumulate.MeanAccumulator(classes, features.shape[1])
        for start in range(0, len(labels), BATCH):
            found.accumulate(features[start : start + BATCH], labels[start : start + BATCH])
        return found.compute()[0]

    def second_pass(
        self, features: Tensor, labels: Tensor, centres: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Within-class scatter (d, d) and variances (K) about the means."""
        classes = centres.shape[0]
        scatter = self.accumulate.CovarAccumulator(classes, features.shape[1], M=centres)
        spread = self.accumulate.VarNormAccumulator(classes, features.shape[1], M=centres)
        for start in range(0, len(labels), BATCH):
            part = slice(start, start + BATCH)
            scatter.accumulate(features[part], labels[part], centres)
            spread.accumulate(features[part], labels[part], centres)
        return scatter.compute(), spread.compute()[0]

    def of_pairs(
        self, centres: Tensor, spread: Tensor, weight: Tensor, tile: int | None = None
    ) -> tuple[float, ...]:
        """CDNV, distance to the simplex, self-duality: what grows as K². Without a tile, which is
        the peer's default, K × K × d differences are held at once."""
        middle = centres.mean(0)
        return (
            self.measure.variability_cdnv(centres, spread, tile_size=tile),
            self.measure.simplex_etf_error(centres, middle),
            self.measure.self_duality_error(centres, weight, middle),
        )
