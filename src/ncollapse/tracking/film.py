"""Film: frames of a few classes, recorded at every look and kept on disk while a run goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ncollapse.collect.keep.cache import FeatureCache
from ncollapse.collect.tap.heads import Head
from ncollapse.collect.tap.taps import HEAD
from ncollapse.record.folder import FRAMES
from ncollapse.record.readings import reference_of
from ncollapse.tracking.frames import FrameRecorder
from ncollapse.tracking.ledger import aside, attempt

SHARE = 64


class Film:
    """Records `wanted` classes (2 to 4, or True for the first four) to `output`/frames.safetensors.

    Raises ValueError for classes that are not two to four different ones, and at the first frame
    for those that have no sample.
    """

    def __init__(self, wanted: bool | Sequence[int], class_names: Any, output: Path | None) -> None:
        if not isinstance(wanted, bool):
            FrameRecorder(list(wanted))
        self.wanted, self.class_names, self.output = wanted, class_names, output
        self._recorder: FrameRecorder | None = None
        self._said: set[str] = set()

    def record(
        self, cache: FeatureCache, head: Head, step: int, epoch: float | None, *, goes_on: bool
    ) -> None:
        """One frame of the training split (else the first); `goes_on` takes up earlier ones."""
        split = reference_of(cache.splits)
        source = cache.source(HEAD)
        features, labels = torch.cat(list(source.rows(0, 8192))), source.labels
        if source.split_codes is not None:
            mine = source.split_codes == source.splits.index(split)
            features, labels = features[mine], labels[mine]
        if self._recorder is None:
            self._recorder = self._new(labels, split, step, goes_on)
        self._recorder.add(step, epoch, features, labels, head.weight, head.bias)
        # Every frame while they are few; the file is rewritten whole, so ever more rarely later.
        count = len(self._recorder.frames)
        if count % max(1, count // SHARE) == 0:
            self.save()

    def _new(self, labels: torch.Tensor, split: str, step: int, goes_on: bool) -> FrameRecorder:
        present = labels[labels >= 0].unique().tolist()
        classes = present[:4] if isinstance(self.wanted, bool) else list(self.wanted)
        recorder = FrameRecorder(classes, self.class_names, split=split)
        file = None if self.output is None else self.output / FRAMES
        if file is not None and file.exists():
            if goes_on:
                recorder.load(file, before=step)
            else:
                attempt(lambda: aside(file), str(file), self._said)
        return recorder

    def save(self) -> None:
        """Write the frames so far; a full disk is said once."""
        if self._recorder is None or self.output is None:
            return
        recorder, folder = self._recorder, self.output

        def write() -> None:
            folder.mkdir(parents=True, exist_ok=True)
            recorder.save(folder / FRAMES)

        attempt(write, str(folder / FRAMES), self._said)
