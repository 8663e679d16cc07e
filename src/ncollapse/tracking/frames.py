"""Frames for the film: a few classes' features along training, in few exact coordinates.

Features, class means and classifier rows of C classes are written in an orthonormal basis of the
span of those means and rows (at most 2 C numbers a vector), relative to the global mean, so that
every picture in that span is exact while 200 epochs take less than a megabyte.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ncollapse.record.frames import Frame, Frames


@dataclass
class FrameRecorder:
    """Keeps frames of `classes` (2 to 4 class numbers), `per_class` samples each."""

    classes: Sequence[int]
    class_names: Sequence[str] | None = None
    per_class: int = 40
    split: str = "train"
    frames: list[Frame] = field(default_factory=list)

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
                raise ValueError(
                    f"class {label} of the film has no sample in the probe, which holds "
                    f"{present.tolist()[:12]}; name classes that it holds"
                )
            chosen.append(means[int((present == label).nonzero())] - centre)
            rows.append(features[mine[: self.per_class]] - centre)
            numbers += [place] * rows[-1].shape[0]
        own = torch.stack(chosen)
        head = None if weight is None else weight.double()[list(self.classes)]
        basis = _basis(own if head is None else torch.cat([own, head]))
        found = {"features": torch.cat(rows) @ basis, "means": own @ basis}
        if head is not None:
            shift = head @ centre
            found["weight"] = head @ basis
            if bias is not None:
                shift = shift + bias.double()[list(self.classes)]
            found["bias"] = shift
        arrays = {name: value.float().contiguous().numpy() for name, value in found.items()}
        self.frames.append(Frame(step, epoch, np.array(numbers), **arrays))

    def save(self, path: Path) -> None:
        """Write all frames, whole or not at all."""
        if not self.frames:
            return
        names = self.class_names or [str(label) for label in range(max(self.classes) + 1)]
        chosen = tuple(str(names[label]) for label in self.classes)
        numbers = tuple(int(label) for label in self.classes)
        Frames(tuple(self.frames), chosen, numbers, self.split).write(path)

    def load(self, path: Path, before: int) -> None:
        """Take up the frames of an earlier run that were recorded before a step."""
        self.frames = [frame for frame in Frames.read(path).frames if frame.step < before]


def _basis(rows: Tensor) -> Tensor:
    """Orthonormal columns (dim, r) that span the rows; sign and order are settled by SVD."""
    _, values, vectors = torch.linalg.svd(rows, full_matrices=False)
    kept = values > values[0].clamp_min(1e-30) * 1e-12
    return vectors[kept].T
