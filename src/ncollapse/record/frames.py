"""frames.safetensors: a few classes' features along training, in few exact coordinates."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ncollapse.record.atomic import replacing

SCHEMA = 1
PARTS = ("features", "means", "weight", "bias")


@dataclass(frozen=True, eq=False)
class Frame:
    """One recorded moment: coordinates (n, r) of features, (C, r) of class means and classifier
    rows, in an orthonormal basis of their span."""

    step: int
    epoch: float | None
    labels: NDArray[Any]
    features: NDArray[Any]
    means: NDArray[Any]
    weight: NDArray[Any] | None = None
    bias: NDArray[Any] | None = None


@dataclass(frozen=True, eq=False)
class Frames:
    """The recorded moments of some classes, in order of time."""

    frames: tuple[Frame, ...]
    class_names: tuple[str, ...]
    classes: tuple[int, ...] = ()
    split: str = "train"

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def __len__(self) -> int:
        return len(self.frames)

    def write(self, path: Path) -> None:
        """Write frames.safetensors, whole or not at all."""
        from safetensors.numpy import save

        tensors = {"labels": self.frames[0].labels}
        for number, frame in enumerate(self.frames):
            found = {name: getattr(frame, name) for name in PARTS}
            tensors |= {f"{number}/{n}": array for n, array in found.items() if array is not None}
        notes = {
            "schema": str(SCHEMA),
            "classes": json.dumps(list(self.classes)),
            "class_names": json.dumps(list(self.class_names)),
            "steps": json.dumps([frame.step for frame in self.frames]),
            "epochs": json.dumps([frame.epoch for frame in self.frames]),
            "split": self.split,
        }
        with replacing(path) as handle:
            handle.write(save(tensors, metadata=notes))

    @classmethod
    def read(cls, path: Path | str) -> Frames:
        """Read frames.safetensors. ValueError for a newer schema or a file of another kind."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), framework="numpy") as handle:
                notes = handle.metadata() or {}
                tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise ValueError(f"{path} is no safetensors file ({error})") from None
        version = str(notes.get("schema", ""))
        if not version.partition(".")[0].isdecimal():
            raise ValueError(f"{path} names no schema; frames written by a tracker are needed")
        if int(version.partition(".")[0]) > SCHEMA:
            raise ValueError(
                f"{path} has schema {version}, newer than {SCHEMA} that this version reads; "
                "upgrade ncollapse"
            )
        try:
            steps, epochs = json.loads(notes["steps"]), json.loads(notes["epochs"])
            frames = tuple(
                Frame(
                    step=int(step),
                    epoch=None if epochs[i] is None else float(epochs[i]),
                    labels=tensors["labels"],
                    features=tensors[f"{i}/features"],
                    means=tensors[f"{i}/means"],
                    weight=tensors.get(f"{i}/weight"),
                    bias=tensors.get(f"{i}/bias"),
                )
                for i, step in enumerate(steps)
            )
            return cls(
                frames,
                tuple(str(name) for name in json.loads(notes["class_names"])),
                tuple(int(index) for index in json.loads(notes["classes"])),
                str(notes.get("split", "train")),
            )
        except (KeyError, IndexError, json.JSONDecodeError) as error:
            raise ValueError(f"{path} lacks {error}; it holds no complete frames") from None
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path} is damaged: {error}") from None
