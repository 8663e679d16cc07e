"""The same samples in ten blocks, so that each can be left out: the block jackknife's statistics.

Blocks take the samples of each class in turn, so files sorted by class still give blocks that
hold every class. A class of one sample is never left out: its mean would vanish with it.
"""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import torch
from torch import Tensor

from ncollapse.collect.statistics.classes import ClassMoments
from ncollapse.collect.statistics.protocol import Batch, Summed, Tensors
from ncollapse.collect.statistics.scatter import sample_weights
from ncollapse.collect.statistics.summary import ClassStatistics
from ncollapse.geometry import Geometry

BLOCKS, PART_ROWS = 10, 256


class BlockMoments(Summed):
    """Ten accumulators about the pilots of `total`, filled by a second look at the features.

    `without(b)` is the statistics of all blocks but b. Plain sums about common pilots, so leaving
    out is subtraction.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"features", "labels", "means"})

    def __init__(self, total: ClassMoments, weighting: str, blocks: int = BLOCKS) -> None:
        self.total, self.weighting = total, weighting
        pilots = total.means.nan_to_num(0.0)
        self.counts = total.counts
        full = total.mode == "full" and total.scatter_form != "pooled"
        self.parts = [
            ClassMoments(
                total.num_classes,
                total.num_features,
                mode="full" if full else "trace",
                weighting=weighting,
                counts=self.counts,
                pilots=pilots,
                memory_budget=0,
                ignore_index=total.ignore_index,
                # Ten times waiting samples would be the largest thing in memory.
                block_rows=PART_ROWS,
            )
            for _ in range(blocks)
        ]
        for part in self.parts:
            part.coarsen(total.resolution)
        self._turn = torch.zeros(total.num_classes, dtype=torch.int64)
        self._pilots = pilots

    @staticmethod
    def estimate(num_classes: int, num_features: int, blocks: int = BLOCKS) -> int:
        """Bytes of the state in full mode, before the means are known."""
        return blocks * (num_classes * num_features * 16 + 8 * num_features**2)

    @property
    def state_bytes(self) -> int:
        own = self._pilots.nbytes + self._turn.nbytes
        return own + sum(part.state_bytes for part in self.parts)

    def take(self, batch: Batch) -> None:
        self.update(batch.features, batch.labels, batch.places)

    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor, places: Tensor | None = None) -> None:
        """Add valid samples, each class's samples dealt to the blocks in turn.

        `places` (samples) says how many of its class come before each, where other processes have
        seen some of them; by default the order of arrival does.
        """
        block = self._deal(labels) if places is None else self._block(labels, places)
        for number, part in enumerate(self.parts):
            mine = (block == number).nonzero().flatten()
            if mine.numel():
                part.update(features[mine], labels[mine])

    def _deal(self, labels: Tensor) -> Tensor:
        order = torch.argsort(labels, stable=True)
        sizes = torch.bincount(labels, minlength=self._turn.numel())
        starts = sizes.cumsum(0) - sizes
        rank = torch.empty_like(labels)
        rank[order] = torch.arange(labels.numel()) - starts[labels[order]]
        places = self._turn[labels] + rank
        self._turn += sizes
        return self._block(labels, places)

    def _block(self, labels: Tensor, places: Tensor) -> Tensor:
        return torch.where(self.counts[labels] > 1, places % len(self.parts), -1)

    def flush(self) -> None:
        """Take in what waits in the blocks."""
        for part in self.parts:
            part.flush()

    def merge(self, other: BlockMoments) -> BlockMoments:
        """Add the samples of `other`, which were dealt to blocks about the same pilots."""
        for mine, theirs in zip(self.parts, other.parts, strict=True):
            mine.merge(theirs)
        self._turn += other._turn
        return self

    @property
    def identity(self) -> str:
        return f"blocks {len(self.parts)} {self.weighting} {self.parts[0].identity}"

    def summands(self, centres: Tensors) -> dict[str, Tensor]:
        """The sums of every block: all are about the same pilots, so nothing is moved."""
        coarse = float(self.parts[0].resolution > torch.finfo(torch.float64).eps)
        found = {"turn": self._turn, "coarse": torch.tensor(coarse, dtype=torch.float64)}
        for number, part in enumerate(self.parts):
            found |= {f"{number}/{name}": tensor for name, tensor in part.sums().items()}
        return found

    def load(self, centres: Tensors, summed: Tensors, minima: Tensors) -> None:
        self._turn = summed["turn"].round().to(torch.int64)
        self.parts = [copy.copy(part) for part in self.parts]
        for number, part in enumerate(self.parts):
            prefix = f"{number}/"
            own = {k.removeprefix(prefix): v for k, v in summed.items() if k.startswith(prefix)}
            part.load_sums(own)
            if float(summed["coarse"]) > 0:
                part.coarsen(torch.finfo(torch.float32).eps)

    def result(self) -> list[tuple[ClassStatistics, Geometry]]:
        """Statistics and means without each of the blocks."""
        return [self.without(block) for block in range(len(self.parts))]

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = {"turn": self._turn.clone()}
        for number, part in enumerate(self.parts):
            for key, value in part.state_dict().items():
                state[f"{number}/{key}"] = value
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._turn = state["turn"].clone()
        for number, part in enumerate(self.parts):
            prefix = f"{number}/"
            part.load_state_dict(
                {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            )

    def without(self, left_out: int) -> tuple[ClassStatistics, Geometry]:
        """Statistics and means of every block but one.

        The scatter's class weights are those of the full counts, so it is rescaled to the trace,
        which is exact; a stratified block leaves the weights almost in proportion.
        """
        self.flush()
        kept = [part.sums() for number, part in enumerate(self.parts) if number != left_out]
        single = (self.counts == 1).to(torch.float64)
        number = torch.stack([part["counts"] for part in kept]).sum(0).to(torch.float64) + single
        sums = torch.stack([part["sums"] for part in kept]).sum(0)
        squares = torch.stack([part["squares"] for part in kept]).sum(0)
        present = (number > 0).nonzero().flatten()
        shift = sums / number.clamp_min(1)[:, None]
        traces = (squares / number.clamp_min(1) - (shift**2).sum(1)).clamp_min(0)[present]
        counts = number[present].to(torch.int64)
        statistics = ClassStatistics(counts=counts, traces=traces, present=present)
        scatter = None
        if "products" in kept[0]:
            weights = sample_weights(self.counts, self.weighting)
            products = torch.stack([part["products"] for part in kept]).sum(0)
            scatter = products - (shift.T * (weights * number)) @ shift
            exact = statistics.within_trace(self.weighting)
            trace = scatter.trace()
            scatter = scatter * (exact / trace) if float(trace) > 0 else scatter
        macro = scatter if self.weighting == "macro" else None
        micro = scatter if self.weighting == "micro" else None
        statistics = ClassStatistics(
            counts=counts,
            traces=traces,
            macro=macro,
            micro=micro,
            resolution=self.parts[0].resolution,
            present=present,
        )
        return statistics, Geometry((self._pilots + shift)[present], counts=counts)
