"""ncollapse: measure, predict and control neural collapse.

The public names are loaded when first used, so `import ncollapse` stays fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ncollapse.errors import CheckError, NCollapseWarning
from ncollapse.moved import install

install()

if TYPE_CHECKING:
    from ncollapse import control, losses, studies, theory
    from ncollapse.answers.checked import check_laws
    from ncollapse.collect.statistics.classes import ClassMoments
    from ncollapse.downstream.unlearning import measure_unlearning
    from ncollapse.geometry import Geometry
    from ncollapse.measuring.attacked import measure_attack
    from ncollapse.measuring.checking import check_model
    from ncollapse.measuring.gufm_gap import gufm_gap
    from ncollapse.measuring.kernel import measure_kernel
    from ncollapse.measuring.measure import measure, measure_features, measure_source
    from ncollapse.measuring.measurement import Measurement
    from ncollapse.measuring.pixels import measure_pixels
    from ncollapse.measuring.transfer import measure_transfer, with_transfer
    from ncollapse.measuring.weights import measure_weights
    from ncollapse.metrics.listing import list_metrics
    from ncollapse.record.document import Document
    from ncollapse.record.readings import Reading, Verdict
    from ncollapse.record.trace import Trace
    from ncollapse.report.comparing.compare import compare
    from ncollapse.sources.features.files import open_source
    from ncollapse.sources.specs.datasets import load_data
    from ncollapse.sources.specs.models import load_model
    from ncollapse.theory.predict import predict
    from ncollapse.theory.prediction import Prediction
    from ncollapse.theory.subjects.prescription import prescribe
    from ncollapse.tracking.metric import NeuralCollapse
    from ncollapse.tracking.sweep import measure_checkpoints
    from ncollapse.tracking.tracker import Tracker

_NAMES = {
    "ClassMoments": "ncollapse.collect.statistics.classes",
    "Document": "ncollapse.record.document",
    "Geometry": "ncollapse.geometry",
    "Measurement": "ncollapse.measuring.measurement",
    "NeuralCollapse": "ncollapse.tracking.metric",
    "Prediction": "ncollapse.theory.prediction",
    "Reading": "ncollapse.record.document",
    "Verdict": "ncollapse.record.document",
    "Trace": "ncollapse.record.trace",
    "Tracker": "ncollapse.tracking.tracker",
    "check_laws": "ncollapse.answers.checked",
    "check_model": "ncollapse.measuring.checking",
    "compare": "ncollapse.report.comparing.compare",
    "gufm_gap": "ncollapse.measuring.gufm_gap",
    "list_metrics": "ncollapse.metrics.listing",
    "load_data": "ncollapse.sources.specs.datasets",
    "load_model": "ncollapse.sources.specs.models",
    "measure": "ncollapse.measuring.measure",
    "measure_attack": "ncollapse.measuring.attacked",
    "measure_checkpoints": "ncollapse.tracking.sweep",
    "measure_features": "ncollapse.measuring.measure",
    "measure_kernel": "ncollapse.measuring.kernel",
    "measure_pixels": "ncollapse.measuring.pixels",
    "measure_source": "ncollapse.measuring.measure",
    "measure_transfer": "ncollapse.measuring.transfer",
    "measure_unlearning": "ncollapse.downstream.unlearning",
    "measure_weights": "ncollapse.measuring.weights",
    "open_source": "ncollapse.sources.features.files",
    "predict": "ncollapse.theory.predict",
    "prescribe": "ncollapse.theory.subjects.prescription",
    "with_transfer": "ncollapse.measuring.transfer",
}
_MODULES = ("control", "losses", "studies", "theory")

__all__ = [
    "CheckError",
    "ClassMoments",
    "Document",
    "Geometry",
    "Measurement",
    "NCollapseWarning",
    "NeuralCollapse",
    "Prediction",
    "Reading",
    "Trace",
    "Tracker",
    "Verdict",
    "check_laws",
    "check_model",
    "compare",
    "control",
    "gufm_gap",
    "list_metrics",
    "load_data",
    "load_model",
    "losses",
    "measure",
    "measure_attack",
    "measure_checkpoints",
    "measure_features",
    "measure_kernel",
    "measure_pixels",
    "measure_source",
    "measure_transfer",
    "measure_unlearning",
    "measure_weights",
    "open_source",
    "predict",
    "prescribe",
    "studies",
    "theory",
    "with_transfer",
]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(import_module(_NAMES[name]), name)
    if name in _MODULES:
        return import_module(f"ncollapse.{name}")
    if name == "__version__":
        from ncollapse.record.provenance import own_version

        return own_version()
    raise AttributeError(f"module 'ncollapse' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
