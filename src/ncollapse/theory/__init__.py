"""Theory as software: problem → solver → solution with a certificate.

`ncollapse.theory.solve(problem)` solves any problem of `ncollapse.theory.problems`;
`ncollapse.theory.predict(counts, …)` makes the problem too. Names are loaded when first used.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ncollapse.theory.problems import LISTED

if TYPE_CHECKING:
    from ncollapse.theory.assumptions import Assumption
    from ncollapse.theory.certificate import certify
    from ncollapse.theory.deep import (
        DeepReading,
        dnc_readings,
        dnc_threshold,
        dnc_value,
        k2_threshold,
        srg_value,
    )
    from ncollapse.theory.predict import predict, predict_problem
    from ncollapse.theory.prediction import Prediction
    from ncollapse.theory.problems import *  # noqa: F403
    from ncollapse.theory.proof import Certificate
    from ncollapse.theory.solution import Solution
    from ncollapse.theory.solve import solve
    from ncollapse.theory.subjects.fit import Fit, fit_tau
    from ncollapse.theory.subjects.overlay import Overlay, overlay
    from ncollapse.theory.subjects.phases import PhaseDiagram, phase_diagram
    from ncollapse.theory.subjects.prescription import Prescription, prescribe
    from ncollapse.theory.subjects.rays import NormLaw, class_margin, norm_law
    from ncollapse.theory.subjects.relu_kernels import nngp, ntk
    from ncollapse.theory.subjects.shallow import Feasible, nc_feasible, shallow_bound

_HOMES = {
    "certificate": ("certify",),
    "deep": (
        "DeepReading",
        "dnc_readings",
        "dnc_threshold",
        "dnc_value",
        "k2_threshold",
        "srg_value",
    ),
    "subjects.fit": ("Fit", "fit_tau"),
    "subjects.overlay": ("Overlay", "overlay"),
    "subjects.phases": ("PhaseDiagram", "phase_diagram"),
    "subjects.prescription": ("Prescription", "prescribe"),
    "subjects.rays": ("NormLaw", "class_margin", "norm_law"),
    "subjects.relu_kernels": ("nngp", "ntk"),
    "subjects.shallow": ("Feasible", "nc_feasible", "shallow_bound"),
    "predict": ("predict", "predict_problem"),
    "assumptions": ("Assumption",),
    "prediction": ("Prediction",),
    "problems": tuple(row.name for row in LISTED),
    "proof": ("Certificate",),
    "solution": ("Solution",),
    "solve": ("solve",),
}
_NAMES = {name: f"ncollapse.theory.{home}" for home, names in _HOMES.items() for name in names}

__all__ = [
    "Assumption",
    "Certificate",
    "DeepReading",
    "Feasible",
    "Fit",
    "NormLaw",
    "Overlay",
    "PhaseDiagram",
    "Prediction",
    "Prescription",
    "Solution",
    "certify",
    "class_margin",
    "dnc_readings",
    "dnc_threshold",
    "dnc_value",
    "fit_tau",
    "k2_threshold",
    "nc_feasible",
    "nngp",
    "norm_law",
    "ntk",
    "overlay",
    "phase_diagram",
    "predict",
    "predict_problem",
    "prescribe",
    "shallow_bound",
    "solve",
    "srg_value",
]
__all__ += [row.name for row in LISTED]


class _Theory(ModuleType):
    """Some functions share the name of their file: the import system must not put the file in
    the function's place."""

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and _NAMES.get(name) == value.__name__:
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Theory


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'ncollapse.theory' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
