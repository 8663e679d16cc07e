"""The problems that theory solves, one file each, with everything that is said of them.

A new one takes its file, the file of its solver, a row below with an import for type checkers, and
tests; nothing else lists problems. Names are loaded when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from ncollapse.theory.problems.deep_linear import DeepLinearUFM as DeepLinearUFM
    from ncollapse.theory.problems.deep_relu import DeepReluUFM as DeepReluUFM
    from ncollapse.theory.problems.fixed_head import FixedHead as FixedHead
    from ncollapse.theory.problems.gufm import GUFM as GUFM
    from ncollapse.theory.problems.lpm import LPM as LPM
    from ncollapse.theory.problems.normalized import NormalizedUFM as NormalizedUFM
    from ncollapse.theory.problems.nrc import RegressionUFM as RegressionUFM
    from ncollapse.theory.problems.ordinal import OrdinalUFM as OrdinalUFM
    from ncollapse.theory.problems.ufm import UFM as UFM
    from ncollapse.theory.problems.ulpm import ULPM as ULPM


class Listed(NamedTuple):
    """A problem: its class, its file, what texts call it, its name for `predict(model=…)`, and the
    task that it is of: problems of classes are made from counts."""

    name: str
    file: str
    title: str
    model: str | None = None
    task: str = "classification"

    def load(self) -> Any:
        """The class."""
        return __getattr__(self.name)


LISTED = (
    Listed("UFM", "ufm", "unconstrained features", "ufm"),
    Listed("LPM", "lpm", "layer-peeled model", "lpm"),
    Listed("NormalizedUFM", "normalized", "unit features and rows", "normalized"),
    Listed("ULPM", "ulpm", "no decay, gradient flow"),
    Listed("DeepLinearUFM", "deep_linear", "deep linear features", "deep-linear"),
    Listed("DeepReluUFM", "deep_relu", "deep ReLU features", "deep-relu"),
    Listed("GUFM", "gufm", "normalised features, decayed rows", "gufm"),
    Listed("RegressionUFM", "nrc", "regression with unconstrained features", task="regression"),
    Listed("FixedHead", "fixed_head", "fixed head", "fixed-head"),
    Listed("OrdinalUFM", "ordinal", "ordered grades", task="ordinal"),
)
MODELS = {row.model: row for row in LISTED if row.model is not None}
_FILES = {row.name: row.file for row in LISTED}
# What they share and check.
_BESIDE = {"Counted": "counted", "check_loss": "counted", "head_energy": "fixed_head"}
__all__ = sorted(_FILES)


def __getattr__(name: str) -> Any:
    file = _FILES.get(name) or _BESIDE.get(name)
    if file is not None:
        return getattr(import_module(f"ncollapse.theory.problems.{file}"), name)
    raise AttributeError(f"module 'ncollapse.theory.problems' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_BESIDE, "LISTED", "MODELS", "Listed"])
