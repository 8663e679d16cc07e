"""Measurement: what was read, as numbers, words and geometry."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncollapse.figures import Figures
from ncollapse.geometry import Distance, Geometry
from ncollapse.metrics.depth import TOLERANCE, Depth, EffectiveDepth, depth_of
from ncollapse.record.document import Document, described
from ncollapse.record.readings import ClassRow, Results, Verdict
from ncollapse.record.run import GEOMETRY_PARTS, Run
from ncollapse.record.tables import class_frame, layer_frame, reading_frame
from ncollapse.record.trace import Trace
from ncollapse.record.views import View, results_view

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from ncollapse.answers.advice import Advice
    from ncollapse.downstream.advice import Advice as ScoreAdvice
    from ncollapse.theory.prediction import Prediction
    from ncollapse.theory.subjects.overlay import Overlay
    from ncollapse.theory.targets import TargetOverlay

TABLES: dict[str, Callable[[Any], pd.DataFrame]] = {
    "readings": reading_frame,
    "classes": class_frame,
    "layers": layer_frame,
}


@dataclass(frozen=True, eq=False)
class Measurement(Figures):
    """Readings with comparators, verdicts, class rows, and the geometry of every split.

    `print(m)` shows the table, `m["train"]["head"]["nc1_fisher"]` is one reading, `m.to_frame()`
    holds every number, `m.plot("gram")` draws, `m.save(folder)` writes results.json, classes.csv,
    layers.csv and geometry.safetensors; `Measurement.load` reads them.
    """

    document: Document
    classes: tuple[ClassRow, ...]
    geometries: dict[str, Geometry]
    trace: Trace | None = None

    @property
    def results(self) -> Results:
        """results[split][layer][key] → Reading."""
        return self.document.results

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        return self.document.verdicts

    @property
    def warnings(self) -> tuple[str, ...]:
        return self.document.warnings

    @property
    def geometry(self) -> Geometry:
        """The geometry of the reference split: train, or the first one given."""
        if not self.geometries:
            raise ValueError(
                f"this measurement of task {self.document.task!r} holds no geometry; measure "
                "classes, or load a run folder that holds geometry.safetensors"
            )
        return self.geometries.get(self.document.reference) or next(iter(self.geometries.values()))

    def __getitem__(self, split: str) -> View:
        """m[split][layer][key] → Reading: mappings, read only. Raises KeyError, with what there is,
        for a name that is not there."""
        found: View = results_view(self.results)[split]
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self.results)

    def __contains__(self, split: object) -> bool:
        return split in self.results

    def _ipython_key_completions_(self) -> list[str]:
        return list(self.results)

    def keys(self) -> View:
        """The splits."""
        return results_view(self.results)

    def value(self, key: str, split: str | None = None, layer: str | None = None) -> float | None:
        """One reading's value; of the reference split and the head's layer unless named."""
        layer = layer or self.document.layer
        name = split or self.document.reference
        found: float | None = results_view(self.results)[name][layer][key].value
        return found

    @property
    def effective_depth(self) -> EffectiveDepth:
        """From which layer on nearest centres decide as the model does, on the reference split and
        within a share of .01; `depth` takes another split and tolerance."""
        return self.depth().effective

    def depth(self, split: str | None = None, tolerance: float = TOLERANCE) -> Depth:
        """What the layers say together: effective depth, the law of data separation, what improves
        from layer to layer. Measure with `layers="*"`, or with names of layers.

        Raises ValueError for a split that was not measured and for a tolerance outside [0, 1).
        """
        return depth_of(
            self.results,
            split=split or self.document.reference,
            tolerance=tolerance,
            layers=self.document.config.get("layers"),
        )

    def path(self, split: str | None = None) -> dict[str, Any] | None:
        """How the samples of a split walk through layers of one width, as plain data: the fields of
        `ncollapse.metrics.geodesic.Geodesic` and the names of the `layers`; None where no path was
        formed (the warnings say why)."""
        found: dict[str, Any] | None = self.document.paths.get(split or self.document.reference)
        return found

    def advise(self, goal: str) -> Advice:
        """What degree of collapse a goal ("classification", "ood", "transfer", "robustness" or
        "incremental") is said to want, how that stands in this version's studies, and what to do.

        Raises ValueError for another goal.
        """
        from ncollapse.answers.advice import advise

        order = list(self.document.config.get("layers", {}))
        return advise(self.results, goal, order, self.document.transfer)

    def under_attack(self, model: nn.Module, data: Any = None, **how: Any) -> Measurement:
        """The same model and data under attack, read with the options of this measurement: see
        `nc.measure_attack`, whose keywords `how` are (a measurement keeps no model).

        >>> m.under_attack(model, test=loader, eps=8 / 255)            # doctest: +SKIP
        """
        from ncollapse.measuring.attacked import again

        return again(self, model, data, **how)

    @property
    def ood(self) -> dict[str, Any]:
        """What `measure(…, ood=…)` found, by name of the foreign data: `scores` by detector with
        AUROC, its 95 % `interval`, AUPR-IN, AUPR-OUT, FPR95TPR, AUTC, `nc5`, `advice`; empty where
        none was given."""
        return self.document.ood

    def advise_ood(self) -> ScoreAdvice:
        """Which score to tell foreign inputs apart by, from readings alone, and why."""
        from ncollapse.downstream.advice import advise

        return advise(self.document)

    def summary(self) -> str:
        """The terminal table, 24 lines of 80 columns at most."""
        from ncollapse.report.terminal import render

        return render(self.document, self.classes, trace=self.trace)

    def __str__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        from ncollapse.report.notebook import render_html

        return render_html(self.document)

    def __repr__(self) -> str:
        return f"<Measurement of {described(self.document)}>"

    def to_dict(self) -> dict[str, Any]:
        """What results.json holds; no NaN."""
        return self.document.to_dict()

    def to_json(self) -> str:
        """results.json as text."""
        return self.document.to_json()

    def to_frame(self, table: str = "readings") -> pd.DataFrame:
        """A table of what was read.

        table: "readings", one row a reading (split, layer, key, value, null_mean, floor, low, high,
        ideal, n, definition); "classes", one row a class, split and layer, as classes.csv;
        "layers", one row a split and layer, a column a key. Raises ValueError for another table.
        """
        if table not in TABLES:
            raise ValueError(f"table={table!r} is unknown; one of {', '.join(TABLES)} is needed")
        return TABLES[table](self.classes if table == "classes" else self.results)

    def _parts(self) -> dict[str, Any]:
        run = self.run()
        rows = [(row.split, row.layer) for row in self.classes]
        at = (run.split, self.document.layer)
        found: dict[str, Any] = {"document": self.document, "trace": self.trace, **run.geometry}
        found["classes"] = [self.classes[i] for i, place in enumerate(rows) if place == at]
        return {name: value for name, value in found.items() if value is not None}

    def check(
        self,
        *,
        maximum: Mapping[str, float] | None = None,
        minimum: Mapping[str, float] | None = None,
        answers: Mapping[str, str | Sequence[str]] | None = None,
        laws: Any = None,
        split: str | None = None,
        layer: str | None = None,
    ) -> None:
        """Assert what is asked of this measurement, as `ncollapse check` does; see
        `nc.check_model`, which measures first.

        >>> nc.Measurement.load("runs/night").check(maximum={"nc1_fisher": 0.1})   # doctest: +SKIP

        Raises CheckError, an AssertionError, that says what does not hold; ValueError for what
        cannot be asked.
        """
        __tracebackhide__ = True
        from ncollapse.answers.checked import checked, laws_of

        wanted = {k: (v,) if isinstance(v, str) else tuple(v) for k, v in (answers or {}).items()}
        asked: dict[str, Any] = {"maximum": maximum, "minimum": minimum, "answers": wanted.items()}
        asked["laws"] = () if laws is None else laws_of(self if laws is True else laws)
        what = f"this measurement of {self.document.source}"
        found = checked(self.document, what, split=split, layer=layer, **asked)
        found.enforce("checks", what)

    def compare(self, other: Measurement | Geometry | Prediction) -> Comparison:
        """Against another measurement (readings and geometry), a geometry (distance), or a
        prediction (theory over the model, assumptions ticked or crossed).

        Raises ValueError when the numbers of classes differ.
        """
        if isinstance(other, Geometry):
            return Comparison(self, None, self.geometry.distance(other))
        if not isinstance(other, Measurement):
            from ncollapse.theory.prediction import Prediction
            from ncollapse.theory.subjects.overlay import overlay
            from ncollapse.theory.targets import TargetOverlay, TargetPrediction

            if isinstance(other, TargetPrediction):
                return Comparison(self, None, None, TargetOverlay.of(other, self.document))
            if not isinstance(other, Prediction):
                raise ValueError(
                    f"other is a {type(other).__name__}; a Measurement, a Geometry or what "
                    "nc.predict returns is needed: nc.Measurement.load(path) reads a saved run"
                )
            if not self.geometries and self.document.task != "classification":
                raise ValueError(
                    f"the measurement is of {self.document.task} and the prediction of classes; "
                    f"compare with nc.predict(task={self.document.task!r}, …)"
                )

            found = overlay(self.geometry, other, class_share=self._class_share())
            return Comparison(self, None, found.distance, found)
        distance = None
        if self.geometries and other.geometries:
            distance = self.geometry.distance(other.geometry)
        return Comparison(self, other, distance)

    def _class_share(self) -> float | None:
        """Class share on the split whose geometry is compared, where it was read."""
        split = self.document.reference
        reading = self.results.get(split, {}).get(self.document.layer, {}).get("class_share")
        return None if reading is None else reading.value

    # ---- files --------------------------------------------------------------------------------
    def save(self, folder: Path | str) -> Path:
        """Make this the run of `folder` (made if missing), whole or not at all; returns the folder.

        Parts of an earlier run go (trace, theory, film, report), other files stay. Raises OSError,
        with the run of before left as it was, where something cannot be written.
        """
        return self.run().save(folder)

    def run(self, prediction: dict[str, Any] | None = None) -> Run:
        """What `save` writes, as arrays and plain data, with theory over it."""
        arrays = {
            split: {
                name: value.contiguous().numpy()
                for name in GEOMETRY_PARTS
                if (value := getattr(geometry, name)) is not None
            }
            for split, geometry in self.geometries.items()
        }
        return Run(self.document, None, self.classes, self.trace, arrays, prediction=prediction)

    def save_html(self, path: Path | str, *, show: bool = False) -> Path:
        """Write the report: one HTML page of its own, readable offline and without scripts; `show`
        opens it in the browser."""
        from ncollapse.report.html import write_page

        return write_page(self.run(), path, show=show)

    @classmethod
    def load(cls, folder: Path | str) -> Measurement:
        """Read a folder written by `save` (or its results.json)."""
        import torch

        found = Run.read(folder)
        geometries = {
            split: Geometry(**{name: torch.from_numpy(array) for name, array in parts.items()})
            for split, parts in found.geometries.items()
        }
        return cls(found.document, found.classes, geometries, found.trace)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two measurements side by side, or a measurement against a geometry or a theory.

    distance: `Geometry.distance` of the training geometries, None where one is not held. theory:
    the prediction over the measured geometry, with the distance of random directions beside it.
    """

    first: Measurement
    second: Measurement | None
    distance: Distance | None
    theory: Overlay | TargetOverlay | None = None

    def to_frame(self) -> pd.DataFrame:
        """split, layer, key, first, second, difference; needs a second measurement."""
        if self.second is None:
            raise ValueError("a geometry has no readings to compare; use .distance")
        keys = ["split", "layer", "key"]
        left = self.first.to_frame()[[*keys, "value"]].rename(columns={"value": "first"})
        right = self.second.to_frame()[[*keys, "value"]].rename(columns={"value": "second"})
        frame = left.merge(right, on=keys, how="outer", sort=False)
        frame["difference"] = frame["second"] - frame["first"]
        return frame

    def save(self, folder: Path | str) -> Path:
        """Write the first measurement into `folder`, with prediction.json where it was compared
        with a theory; `ncollapse report` then shows the two together."""
        return self._run().save(folder)

    def save_html(self, path: Path | str) -> Path:
        """Write the report of the first measurement, with the theory over it."""
        from ncollapse.report.html import write_page

        return write_page(self._run(), path)

    def _run(self) -> Run:
        return self.first.run(None if self.theory is None else self.theory.to_dict())

    def __str__(self) -> str:
        lines = []
        if self.second is not None:
            from ncollapse.report.terminal import render_comparison

            lines.append(render_comparison(self.first.document, self.second.document))
        if self.theory is not None:
            from ncollapse.report.prediction import render_overlay

            return render_overlay(self.theory.to_dict())
        if self.distance is not None:
            blocks = ", ".join(f"{name} {gap:.3g}" for name, gap in self.distance.blocks.items())
            lines.append(f"geometry distance {self.distance.value:.3g} of 2 ({blocks})")
            if self.distance.left_out:
                lines.append(f"left out, one side lacks them: {', '.join(self.distance.left_out)}")
        return "\n".join(lines)
