"""Frames for the film: a few classes' features along training, in few exact coordinates.

Features, class means and classifier rows of C classes are written in an orthonormal basis of the
span of those means and rows (at most 2 C numbers a vector), relative to the global mean, so that
every picture in that span is exact while 200 epochs take less than a megabyte.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ncollapse.atomic import replacing

SCHEMA = "1"
FILE = "frames.safetensors"


@dataclass
class FrameRecorder:
    """Keeps frames of `classes` (2 to 4 class numbers), `per_class` samples each."""

    classes: Sequence[int]
    class_names: Sequence[str] | None = None
    per_class: int = 40
    split: str = "train"
    tensors: dict[str, Tensor] = field(default_factory=dict)
    steps: list[int] = field(default_factory=list)
    epochs: list[float | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not 2 <= len(self.classes) <= 4 or len(set(self.classes)) != len(self.classes):
            raise ValueError(
                f"classes {list(self.classes)} for the film; two to four different ones are needed"
            )

    @torch.no_grad()
    def add(
        self,
        step: int,
        epoch: float | None,
        features: Tensor,
        labels: Tensor,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> None:
        """Record features (samples, dim) of all classes at one step; weight (K, dim), bias (K).

        Raises ValueError when one of the film's classes has no sample.
        """
        features = features.double()
        present = labels[labels >= 0].unique()
        means = torch.stack([features[labels == label].mean(0) for label in present])
        centre = means.mean(0)
        chosen, numbers, rows = [], [], []
        for place, label in enumerate(self.classes):
            mine = (labels == label).nonzero().flatten()
            if mine.numel() == 0:
                raise ValueError(f"class {label} of the film has no sample in the probe")
            chosen.append(means[int((present == label).nonzero())] - centre)
            rows.append(features[mine[: self.per_class]] - centre)
            numbers += [place] * rows[-1].shape[0]
        own = torch.stack(chosen)
        head = None if weight is None else weight.double()[list(self.classes)]
        basis = _basis(own if head is None else torch.cat([own, head]))
        number = len(self.steps)
        found = {"features": torch.cat(rows) @ basis, "means": own @ basis}
        if head is not None:
            shift = head @ centre
            found["weight"] = head @ basis
            if bias is not None:
                shift = shift + bias.double()[list(self.classes)]
            found["bias"] = shift
        for name, value in found.items():
            self.tensors[f"{number}/{name}"] = value.float().contiguous()
        self.tensors.setdefault("labels", torch.tensor(numbers))
        self.steps.append(step)
        self.epochs.append(epoch)

    def save(self, path: Path) -> None:
        """Write all frames, whole or not at all."""
        from safetensors.torch import save

        if not self.steps:
            return
        names = self.class_names or [str(label) for label in range(max(self.classes) + 1)]
        metadata = {
            "schema": SCHEMA,
            "classes": json.dumps([int(label) for label in self.classes]),
            "class_names": json.dumps([str(names[label]) for label in self.classes]),
            "steps": json.dumps(self.steps),
            "epochs": json.dumps(self.epochs),
            "split": self.split,
        }
        with replacing(path) as handle:
            handle.write(save(self.tensors, metadata=metadata))

    def load(self, path: Path, before: int) -> None:
        """Take up the frames of an earlier run that were recorded before a step."""
        from safetensors import safe_open

        with safe_open(path, framework="pt") as handle:
            metadata = handle.metadata()
            steps, epochs = json.loads(metadata["steps"]), json.loads(metadata["epochs"])
            kept = [place for place, step in enumerate(steps) if step < before]
            self.steps, self.epochs = [steps[i] for i in kept], [epochs[i] for i in kept]
            self.tensors = {
                name: handle.get_tensor(name)
                for name in handle.keys()  # noqa: SIM118
                if name == "labels" or int(name.partition("/")[0]) in kept
            }


def _basis(rows: Tensor) -> Tensor:
    """Orthonormal columns (dim, r) that span the rows; sign and order are settled by SVD."""
    _, values, vectors = torch.linalg.svd(rows, full_matrices=False)
    kept = values > values[0].clamp_min(1e-30) * 1e-12
    return vectors[kept].T
