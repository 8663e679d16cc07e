"""What the rows of a source were when they were read: a snapshot goes on with the same only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ncollapse.sources.features.arrays import Chunk, FeatureSource


class RowWitness:
    """64 bits of sha256 of every chunk of a pass, taken as it is read; a second look is held
    against the first.

    Content, not size and time of a file: a copy that keeps both may hold other rows, and a source
    need not be a file. To resume, the rows that are summed already are read again (`check`), which
    costs a small part of summing them; what follows is checked when the second look comes by. All
    chunks start at multiples of one size, so digests meet whatever the place of the interruption.
    """

    def __init__(self, source: FeatureSource, chunk_rows: int) -> None:
        self._source, self._rows = source, chunk_rows
        number = -(-source.num_samples // chunk_rows)
        self._seen = np.zeros(number, dtype=np.int64)
        self._known = np.zeros(number, dtype=bool)

    def watched(self, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        """The chunks, each noted or held against what was noted of it before it is passed on.

        Raises ValueError for rows that changed since they were read first.
        """
        for chunk in chunks:
            self._take(chunk)
            yield chunk

    def check(self, rows: int) -> None:
        """Read the first `rows` again. Raises ValueError where they are not what they were."""
        if rows == 0:
            return
        for chunk in self._source.chunks(self._rows):
            self._take(chunk)
            if chunk.start + chunk.labels.numel() >= rows:
                return

    def state(self) -> Tensor:
        """(chunks noted, 2): numbers of the chunks and their digests."""
        number = self._known.nonzero()[0]
        return torch.from_numpy(np.stack([number, self._seen[number]], axis=1))

    def load(self, state: Tensor) -> None:
        """What `state` gave."""
        number, digests = state.numpy().T
        self._seen[number], self._known[number] = digests, True

    def _take(self, chunk: Chunk) -> None:
        number = chunk.start // self._rows
        found = _digest(chunk.features)
        if not self._known[number]:
            self._seen[number], self._known[number] = found, True
        elif self._seen[number] != found:
            stop = chunk.start + chunk.labels.numel()
            raise ValueError(
                f"{self._source.description}: rows {chunk.start} to {stop - 1} are not those that "
                "were read before; measure data that does not change, or delete the snapshot to "
                "start anew"
            )


def _digest(features: Tensor) -> int:
    plain = features.detach().contiguous().reshape(-1).view(torch.uint8).numpy()
    found = hashlib.sha256(plain.data).digest()
    return int.from_bytes(found[:8], "little", signed=True)
