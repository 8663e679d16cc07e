"""Measurement: what was read, as numbers, words and geometry."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncollapse.geometry import Distance, Geometry
from ncollapse.schema import ClassRow, Document, Results, Verdict, read_document
from ncollapse.tables import read_classes, write_classes, write_layers
from ncollapse.trace import Trace

if TYPE_CHECKING:
    import pandas as pd

    from ncollapse.theory.overlay import Overlay
    from ncollapse.theory.prediction import Prediction

COLUMNS = (
    "split",
    "layer",
    "key",
    "value",
    "null_mean",
    "floor",
    "low",
    "high",
    "ideal",
    "n",
    "definition",
)
TRACE = "trace.csv"
GEOMETRY_PARTS = ("means", "weight", "bias", "counts")


@dataclass(frozen=True, eq=False)
class Measurement:
    """Readings with comparators, verdicts, class rows, and the geometry of every split.

    `print(m)` shows the table, `m.to_frame()` holds every number, `m.save(folder)` writes
    results.json, classes.csv, layers.csv and geometry.safetensors; `Measurement.load` reads them.
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
        """The geometry of the training split (or of the only split)."""
        if not self.geometries:
            raise ValueError("this measurement holds no geometry; geometry.safetensors is missing")
        return self.geometries.get("train") or next(iter(self.geometries.values()))

    def value(self, key: str, split: str | None = None, layer: str | None = None) -> float | None:
        """One reading's value; of the training split and the head's layer unless named."""
        layer = layer or self.document.layer
        name = split or ("train" if "train" in self.results else next(iter(self.results)))
        try:
            return self.results[name][layer][key].value
        except KeyError as error:
            raise ValueError(
                f"no reading {key!r} in split {name!r}, layer {layer!r} ({error} is missing); "
                f"splits are {', '.join(self.results)}"
            ) from None

    def summary(self) -> str:
        """The terminal table, 24 lines of 80 columns at most."""
        from ncollapse.report.terminal import render

        return render(self.document, self.classes)

    def __str__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        from ncollapse.report.notebook import render_html

        return render_html(self.document)

    def to_frame(self) -> pd.DataFrame:
        """One row a reading: split, layer, key, value, null_mean, floor, low, high, ideal, n,
        definition."""
        import pandas as pd

        rows = [
            (
                split,
                layer,
                key,
                reading.value,
                None if reading.null is None else reading.null.mean,
                reading.floor,
                None if reading.interval is None else reading.interval[0],
                None if reading.interval is None else reading.interval[1],
                reading.ideal,
                reading.n,
                reading.definition,
            )
            for split, layers in self.results.items()
            for layer, readings in layers.items()
            for key, reading in readings.items()
        ]
        frame = pd.DataFrame(rows, columns=list(COLUMNS))
        numbers = ["value", "null_mean", "floor", "low", "high", "ideal"]
        return frame.astype(dict.fromkeys(numbers, "float64"))

    def compare(self, other: Measurement | Geometry | Prediction) -> Comparison:
        """Against another measurement (readings and geometry), a geometry (distance), or a
        prediction (theory over the model, assumptions ticked or crossed).

        Raises ValueError when the numbers of classes differ.
        """
        if isinstance(other, Geometry):
            return Comparison(self, None, self.geometry.distance(other))
        if not isinstance(other, Measurement):
            from ncollapse.theory.overlay import overlay

            found = overlay(self.geometry, other, class_share=self._class_share())
            return Comparison(self, None, found.distance, found)
        distance = None
        if self.geometries and other.geometries:
            distance = self.geometry.distance(other.geometry)
        return Comparison(self, other, distance)

    def _class_share(self) -> float | None:
        """Class share on the split whose geometry is compared, where it was read."""
        split = "train" if "train" in self.geometries else next(iter(self.geometries))
        reading = self.results.get(split, {}).get(self.document.layer, {}).get("class_share")
        return None if reading is None else reading.value

    # ---- files --------------------------------------------------------------------------------
    def save(self, folder: Path | str) -> Path:
        """Write the measurement into `folder` (made if missing) and return it."""
        from safetensors.torch import save_file

        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        tensors = {
            f"{split}/{part}": getattr(geometry, part).contiguous()
            for split, geometry in self.geometries.items()
            for part in GEOMETRY_PARTS
            if getattr(geometry, part) is not None
        }
        if tensors:
            save_file(tensors, path / "geometry.safetensors")
        write_classes(path / "classes.csv", self.classes)
        write_layers(path / "layers.csv", self.results)
        if self.trace is not None and self.trace.path != path / TRACE:
            self.trace.save(path / TRACE)
        # Last: a folder with results.json is complete.
        self.document.write(path / "results.json")
        return path

    def save_html(self, path: Path | str) -> Path:
        """Write the report: one HTML page of its own, readable offline and without scripts."""
        from tempfile import TemporaryDirectory

        from ncollapse.report.html import write_report

        with TemporaryDirectory() as folder:
            return write_report(self.save(folder), path)

    @classmethod
    def load(cls, folder: Path | str) -> Measurement:
        """Read a folder written by `save` (or its results.json)."""
        path = Path(folder)
        path = path.parent if path.is_file() else path
        document = read_document(path / "results.json")
        classes: tuple[ClassRow, ...] = ()
        if (path / "classes.csv").exists():
            classes = tuple(read_classes(path / "classes.csv"))
        geometries: dict[str, Geometry] = {}
        if (path / "geometry.safetensors").exists():
            from safetensors.torch import load_file

            found: dict[str, dict[str, Any]] = {}
            for name, tensor in load_file(path / "geometry.safetensors").items():
                split, _, part = name.rpartition("/")
                found.setdefault(split, {})[part] = tensor
            geometries = {split: Geometry(**parts) for split, parts in found.items()}
        trace = Trace.load(path / TRACE) if (path / TRACE).exists() else None
        return cls(document, classes, geometries, trace)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two measurements side by side, or a measurement against a geometry or a theory.

    distance: `Geometry.distance` of the training geometries, None where one is not held. theory:
    the prediction over the measured geometry, with the distance of random directions beside it.
    """

    first: Measurement
    second: Measurement | None
    distance: Distance | None
    theory: Overlay | None = None

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
        path = self.first.save(folder)
        if self.theory is not None:
            from ncollapse.report.prediction import write_prediction

            write_prediction(path, self.theory.to_dict())
        return path

    def save_html(self, path: Path | str) -> Path:
        """Write the report of the first measurement, with the theory over it."""
        from tempfile import TemporaryDirectory

        from ncollapse.report.html import write_report

        with TemporaryDirectory() as folder:
            return write_report(self.save(folder), path)

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
