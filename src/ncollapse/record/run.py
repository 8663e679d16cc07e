"""Run: what a measurement, a training or a sweep leaves in a folder, read and written as one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ncollapse.record.atomic import write_text
from ncollapse.record.command import config_text, spare
from ncollapse.record.document import Document, read_document
from ncollapse.record.folder import (
    CLASSES,
    CONFIG,
    FILM,
    FRAMES,
    GEOMETRY,
    LAYERS,
    PREDICTION,
    RESULTS,
    TRACE,
    Write,
    part,
    reading,
    replace_parts,
)
from ncollapse.record.frames import Frames
from ncollapse.record.predictions import prediction_text, read_prediction
from ncollapse.record.readings import ClassRow
from ncollapse.record.tables import read_classes, write_classes, write_layers
from ncollapse.record.trace import Trace

GEOMETRY_PARTS = ("means", "weight", "bias", "counts")


@dataclass(frozen=True, eq=False)
class Run:
    """What a run left behind; all but the document may be missing.

    path: where it was read. geometries: split → {means, weight, bias, counts} as arrays, absent
    parts left out. film: the bytes of film.gif. prediction: what prediction.json holds, theory
    over the run.
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
    def read(cls, path: Path | str) -> Run:
        """Read a folder, or the results.json in it: all parts of one run, whoever writes meanwhile.

        ValueError when results.json is missing or newer, or a part is damaged.
        """
        place = Path(path)
        folder = place if place.is_dir() else place.parent

        def read(name: str, how: Callable[[Path], Any], nothing: Any = None) -> Any:
            found = part(folder, name)
            return nothing if found is None else how(found)

        with reading(folder):
            return cls(
                document=read_document(place),
                path=place,
                classes=tuple(read(CLASSES, read_classes, ())),
                trace=read(TRACE, Trace.load),
                geometries=read(GEOMETRY, read_geometries, {}),
                frames=read(FRAMES, Frames.read),
                film=read(FILM, Path.read_bytes),
                prediction=read(PREDICTION, read_prediction),
            )

    def save(self, folder: Path | str) -> Path:
        """Make this the run of `folder` (made if missing), whole or not at all; returns the folder.

        Parts of an earlier run go, files that are no part of a run stay. A trace that was written
        there as training went on keeps its film. Raises OSError, with the run of before left as it
        was, where something cannot be written.
        """
        path = Path(folder)
        parts: dict[str, Write] = {
            RESULTS: self.document.write,
            CLASSES: lambda place: write_classes(place, self.classes),
            LAYERS: lambda place: write_layers(place, self.document.results),
            CONFIG: lambda place: write_text(place, settings),
        }
        settings = config_text(self.document)
        spare(path / CONFIG)
        keep: tuple[str, ...] = ()
        if self.geometries:
            parts[GEOMETRY] = lambda place: write_geometries(place, self.geometries)
        if self.trace is not None:
            parts[TRACE] = self.trace.save
            live = self.trace.path
            keep = (FRAMES, FILM) if live is not None and _same(live, path / TRACE) else ()
        if self.frames is not None:
            parts[FRAMES] = self.frames.write
        if self.prediction is not None:
            said = prediction_text(self.prediction)
            parts[PREDICTION] = lambda place: write_text(place, said)
        replace_parts(path, parts, keep)
        return path

    @property
    def split(self) -> str:
        """The split that pictures show."""
        return self.document.reference

    @property
    def geometry(self) -> dict[str, Any]:
        """Arrays of that split, or of the only one held."""
        return self.geometries.get(self.split) or next(iter(self.geometries.values()), {})


def write_geometries(path: Path, geometries: dict[str, dict[str, Any]]) -> None:
    """geometry.safetensors of {split: {part: array}}."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    arrays = {
        f"{split}/{name}": array for split, g in geometries.items() for name, array in g.items()
    }
    # Made first, for the permissions of any other file: the library gives it those of a secret.
    path.touch()
    mode = path.stat().st_mode
    try:
        save_file(arrays, path)
    except SafetensorError as error:
        raise OSError(f"{path} could not be written ({error})") from None
    path.chmod(mode)


def read_geometries(path: Path | str) -> dict[str, dict[str, Any]]:
    """geometry.safetensors as {split: {part: array}}. ValueError where it is damaged."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    found: dict[str, dict[str, Any]] = {}
    try:
        arrays = load_file(path)
    except (SafetensorError, OSError, KeyError) as error:
        raise ValueError(f"{path} cannot be read ({error}); write the run again") from None
    for name, array in sorted(arrays.items()):
        split, _, inner = name.rpartition("/")
        if inner not in GEOMETRY_PARTS or array.ndim != (2 if inner in ("means", "weight") else 1):
            raise ValueError(f"{path} is damaged: {name!r} has shape {array.shape}")
        found.setdefault(split, {})[inner] = array
    for split, parts in found.items():
        if len({len(array) for array in parts.values()}) > 1:
            sizes = ", ".join(f"{name} {len(array)}" for name, array in parts.items())
            raise ValueError(f"{path} is damaged: numbers of classes of {split!r} differ ({sizes})")
    return found


def _same(first: Path, second: Path) -> bool:
    return first.absolute().resolve() == second.absolute().resolve()
