"""Modules that moved: for one minor release the old path works, with a DeprecationWarning."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

# Old path → new path, of the modules that documentation named.
MOVED = {
    "ncollapse.collect.cache": "ncollapse.collect.keep.cache",
    "ncollapse.collect.classes": "ncollapse.collect.statistics.classes",
    "ncollapse.collect.decisions": "ncollapse.collect.statistics.decisions",
    "ncollapse.collect.hooks": "ncollapse.collect.tap.listener",
    "ncollapse.collect.stream": "ncollapse.collect.tap.stream",
    "ncollapse.collect.sync": "ncollapse.collect.ranks.sync",
    "ncollapse.collect.taps": "ncollapse.collect.tap.taps",
    "ncollapse.measurement": "ncollapse.measuring.measurement",
    "ncollapse.measures": "ncollapse.measuring.measure",
    "ncollapse.report.folder": "ncollapse.record.run",
    "ncollapse.schema": "ncollapse.record.document",
    "ncollapse.snapshots": "ncollapse.record.snapshots",
    "ncollapse.sources.datasets": "ncollapse.sources.specs.datasets",
    "ncollapse.sources.files": "ncollapse.sources.features.files",
    "ncollapse.sources.models": "ncollapse.sources.specs.models",
    "ncollapse.studies.claims": "ncollapse.lab.claims",
    "ncollapse.studies.demo": "ncollapse.lab.demo",
    "ncollapse.studies.study": "ncollapse.lab.result",
    "ncollapse.tables": "ncollapse.record.tables",
    "ncollapse.theory.codes": "ncollapse.theory.solvers.codes",
    "ncollapse.theory.descent": "ncollapse.theory.solvers.descent",
    "ncollapse.theory.flow": "ncollapse.theory.solvers.flow",
    "ncollapse.theory.landscape": "ncollapse.theory.subjects.landscape",
    "ncollapse.theory.problem": "ncollapse.theory.problems",
    "ncollapse.trace": "ncollapse.record.trace",
    "ncollapse.verdict": "ncollapse.answers.questions",
}


class _Alias(Loader):
    """Gives the module at its new place under the old name."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(MOVED[spec.name])
        self.spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is run again: the module was made at its new place, and keeps its own spec."""
        module.__spec__ = self.spec


class _Finder(MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in MOVED:
            return None
        warnings.warn(
            f"{name} has moved to {MOVED[name]}; the old path works until version 0.3",
            DeprecationWarning,
            stacklevel=2,
        )
        return ModuleSpec(name, _Alias())


def install() -> None:
    """Last in line: a module that exists is found before."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
