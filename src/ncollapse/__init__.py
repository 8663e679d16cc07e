"""ncollapse: measure, predict and control neural collapse.

The public names are loaded when first used, so `import ncollapse` stays fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ncollapse.errors import NCollapseWarning

if TYPE_CHECKING:
    from ncollapse import control, losses, studies, theory
    from ncollapse.collect.classes import ClassMoments
    from ncollapse.geometry import Geometry
    from ncollapse.measurement import Measurement
    from ncollapse.measures import measure, measure_features, measure_source
    from ncollapse.schema import Document, Reading, Verdict
    from ncollapse.sources.files import open_source
    from ncollapse.theory.predict import predict
    from ncollapse.theory.prediction import Prediction
    from ncollapse.trace import Trace
    from ncollapse.tracking.metric import NeuralCollapse
    from ncollapse.tracking.tracker import Tracker

_NAMES = {
    "ClassMoments": "ncollapse.collect.classes",
    "Document": "ncollapse.schema",
    "Geometry": "ncollapse.geometry",
    "Measurement": "ncollapse.measurement",
    "NeuralCollapse": "ncollapse.tracking.metric",
    "Prediction": "ncollapse.theory.prediction",
    "Reading": "ncollapse.schema",
    "Verdict": "ncollapse.schema",
    "Trace": "ncollapse.trace",
    "Tracker": "ncollapse.tracking.tracker",
    "measure": "ncollapse.measures",
    "measure_features": "ncollapse.measures",
    "measure_source": "ncollapse.measures",
    "open_source": "ncollapse.sources.files",
    "predict": "ncollapse.theory.predict",
}
_MODULES = ("control", "losses", "studies", "theory")

__all__ = [
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
    "control",
    "losses",
    "measure",
    "measure_features",
    "measure_source",
    "open_source",
    "predict",
    "studies",
    "theory",
]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(import_module(_NAMES[name]), name)
    if name in _MODULES:
        return import_module(f"ncollapse.{name}")
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("ncollapse")
        except PackageNotFoundError:
            return "0.0.0"
    raise AttributeError(f"module 'ncollapse' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
