"""A run folder as reports see it: documents, tables, arrays, and no model."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ncollapse.report.film import Frames
from ncollapse.report.prediction import NAME, read_prediction
from ncollapse.schema import ClassRow, Document, read_document
from ncollapse.tables import read_classes
from ncollapse.trace import Trace

FILM = "film.gif"


@dataclass(frozen=True, eq=False)
class RunFolder:
    """What a run left behind; all but the document may be missing.

    geometries: split → {means, weight, bias, counts} as arrays, absent parts left out. film: the
    bytes of film.gif. prediction: what prediction.json holds, theory over the run.
    """

    document: Document
    path: Path | None = None
    classes: tuple[ClassRow, ...] = ()
    trace: Trace | None = None
    geometries: dict[str, dict[str, Any]] = field(default_factory=dict)
    frames: Frames | None = None
    film: bytes | None = None
    prediction: dict[str, Any] | None = None

    @classmethod
    def read(cls, path: Path | str) -> RunFolder:
        """Read a folder, or the results.json in it. ValueError when that is missing or newer."""
        place = Path(path)
        document = read_document(place)
        folder = place if place.is_dir() else place.parent

        def existing(name: str) -> Path | None:
            return folder / name if (folder / name).is_file() else None

        classes = existing("classes.csv")
        trace = existing("trace.csv")
        geometry = existing("geometry.safetensors")
        frames = existing("frames.safetensors")
        film = existing(FILM)
        prediction = existing(NAME)
        return cls(
            document=document,
            path=place,
            classes=() if classes is None else tuple(read_classes(classes)),
            trace=None if trace is None else Trace.load(trace),
            geometries={} if geometry is None else read_geometries(geometry),
            frames=None if frames is None else Frames.read(frames),
            film=None if film is None else film.read_bytes(),
            prediction=None if prediction is None else read_prediction(prediction),
        )

    @property
    def split(self) -> str:
        """The split that pictures show: train, or the first one."""
        splits = self.document.results
        return "train" if "train" in splits else next(iter(splits), "train")

    @property
    def geometry(self) -> dict[str, Any]:
        """Arrays of that split, or of the only one held."""
        return self.geometries.get(self.split) or next(iter(self.geometries.values()), {})


def read_geometries(path: Path | str) -> dict[str, dict[str, Any]]:
    """geometry.safetensors as {split: {part: array}}."""
    from safetensors.numpy import load_file

    found: dict[str, dict[str, Any]] = {}
    for name, array in sorted(load_file(path).items()):
        split, _, part = name.rpartition("/")
        found.setdefault(split, {})[part] = array
    return found
