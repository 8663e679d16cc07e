"""Out-of-distribution detection: detectors, what tells how well they do, and NC5.

>>> from ncollapse.downstream import ood
>>> detector = ood.NECO(model).fit(train_loader)           # doctest: +SKIP
>>> ood.ood_metrics(detector(inputs), labels)["AUROC"]     # doctest: +SKIP
"""

from __future__ import annotations

from ncollapse.downstream.bridge import FromPytorchOOD, to_pytorch_ood
from ncollapse.downstream.detectors.base import Detector
from ncollapse.downstream.detectors.directions import FDBD, NCI
from ncollapse.downstream.detectors.distances import KNN, Mahalanobis, NearestMean
from ncollapse.downstream.detectors.logits import MSP, Energy, MaxLogit
from ncollapse.downstream.detectors.neco import NECO
from ncollapse.downstream.detectors.reference import Reference
from ncollapse.downstream.detectors.residual import Residual, ViM
from ncollapse.downstream.nc5 import nc5
from ncollapse.downstream.told_apart import OODMetrics, auroc_interval, ood_metrics

# In the order in which tables show them: of logits, of collapse, of what lies outside, by distance.
DETECTORS: tuple[type[Detector], ...] = (
    MSP, MaxLogit, Energy, NECO, NCI, FDBD, ViM, Residual, Mahalanobis, NearestMean, KNN,
)  # fmt: skip
# Those that rest on collapse.
COLLAPSE_BASED = ("neco", "nci", "fdbd", "nearest_mean")

__all__ = [
    "COLLAPSE_BASED",
    "DETECTORS",
    "Detector",
    "Energy",
    "FDBD",
    "FromPytorchOOD",
    "KNN",
    "MSP",
    "Mahalanobis",
    "MaxLogit",
    "NCI",
    "NECO",
    "NearestMean",
    "OODMetrics",
    "Reference",
    "Residual",
    "ViM",
    "auroc_interval",
    "fitted",
    "nc5",
    "ood_metrics",
    "to_pytorch_ood",
]


def fitted(reference: Reference) -> tuple[dict[str, Detector], dict[str, str]]:
    """Every detector by name with its defaults, fitted to one reference; and by name a sentence for
    each that could not be."""
    found: dict[str, Detector] = {}
    left_out: dict[str, str] = {}
    for kind in DETECTORS:
        try:
            found[kind.name] = kind().fit_reference(reference)
        except ValueError as error:
            left_out[kind.name] = str(error)
    return found, left_out
