"""The classifier against the nearest class centre, sample by sample, in one look at the features.

Two float32 products a batch (logits, distances), and float64 for the rows whose best two scores
are closer than float32 can tell apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ncollapse.collect.statistics.protocol import Batch, Summed, Tensors
from ncollapse.collect.statistics.scores import Scores
from ncollapse.collect.statistics.summary import ClassStatistics

# Scores and features of one slice: what a few temporaries of stay near the cache's reach.
SLICE_SCORES, SLICE_FEATURES = 1 << 24, 1 << 20


@dataclass(frozen=True, eq=False)
class MeanNoise:
    """What makes distances to estimated means fair: unbiased for those to the true ones.

    A distance loses the noise s_j/n_j of its mean. A sample of the same data is left out of its own
    class's mean: its residual counts n/(n-1) times, and s/(n-1) is lost. noise: s_j/n_j (K'). gain:
    (n/(n-1))². own: s/(n-1). Source: derived; see docs/numbers.
    """

    noise: Float[Tensor, " present"]
    gain: Float[Tensor, " present"]
    own: Float[Tensor, " present"]

    @classmethod
    def of(cls, statistics: ClassStatistics) -> MeanNoise:
        counts = statistics.counts.to(torch.float64)
        others = (counts - 1).clamp_min(1)
        spreads = statistics.unbiased_spreads
        gain = torch.where(counts > 1, (counts / others) ** 2, 1.0)
        return cls(spreads / counts, gain, spreads / others)


class Decisions(Summed):
    """Counts what head and nearest centre decide. `means` (K', d) of the classes `present`.

    Features are centred on the mean of class means first, so that distances do not cancel far
    from the origin. All states are sums (and one minimum): merging is addition. exact: both
    products in float64 whatever the features. noise: makes distances fair, None takes them as they
    are; own: whether the samples are those of the means. decided: whether batches say what the
    model decides, for layers before the one that enters the head. `mismatch_plain` and
    `centre_plain` count what the plain distances decide.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"features", "labels", "means"})
    SUMS = (
        "counts",
        "correct_head",
        "correct_centre",
        "mismatch",
        "centre_plain",
        "mismatch_plain",
    )

    def __init__(
        self,
        means: Float[Tensor, "present dim"],
        present: Int[Tensor, " present"],
        num_classes: int,
        weight: Float[Tensor, "classes dim"] | None = None,
        bias: Float[Tensor, " classes"] | None = None,
        *,
        exact: bool = False,
        noise: MeanNoise | None = None,
        own: bool = False,
        decided: bool = False,
    ) -> None:
        self.num_classes, self._exact = num_classes, exact
        self._noise, self._own = noise, own
        # Whether the mismatch is counted, with a head or what it has decided.
        self.compares = decided or weight is not None
        self._place = torch.zeros(num_classes, dtype=torch.int64)
        self._place[present] = torch.arange(present.numel())
        self.has_head = weight is not None
        # Any centre serves; one that float32 holds exactly leaves differences exact there.
        centre = means.mean(0)
        near = centre.to(torch.float32)
        self._centre32 = torch.where(near.isfinite(), near, torch.zeros_like(near))
        self._centre = torch.where(near.isfinite(), near.to(torch.float64), centre)
        self._present = present
        self._rows = means - self._centre
        self._offset = -0.5 * (self._rows**2).sum(1)
        self._weight: Tensor | None = None
        self._bias: Tensor | None = None
        if weight is not None:
            self._weight = weight.detach().to(torch.float64)
            shift = torch.zeros(num_classes, dtype=torch.float64)
            shift = shift if bias is None else bias.detach().to(torch.float64)
            # logits = W h + b = W (h - centre) + (b + W centre)
            self._bias = shift + self._weight @ self._centre
        self._centres32 = Scores(self._rows, self._offset)
        self._head32 = None if self._weight is None else Scores(self._weight, self._bias)
        for name in self.SUMS:
            setattr(self, name, torch.zeros(num_classes, dtype=torch.int64))
        self.margin_sum = torch.zeros((), dtype=torch.float64)
        self.margin_min = torch.full((), torch.inf, dtype=torch.float64)

    counts: Tensor
    correct_head: Tensor
    correct_centre: Tensor
    mismatch: Tensor
    centre_plain: Tensor
    mismatch_plain: Tensor

    def take(self, batch: Batch) -> None:
        features = batch.features if self._exact else batch.stored
        self.update(features, batch.labels, batch.decided)

    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor, decided: Tensor | None = None) -> None:
        """Add valid samples (labels 0..K-1): features (samples, d), and the classes (samples) that
        the model decides where no head was given."""
        size = min(SLICE_SCORES // self.num_classes, SLICE_FEATURES // features.shape[1])
        size = max(size, 64)
        for start in range(0, labels.numel(), size):
            part = slice(start, start + size)
            self._slice(features[part], labels[part], None if decided is None else decided[part])

    def _slice(self, features: Tensor, labels: Tensor, decided: Tensor | None) -> None:
        exact = features.dtype == torch.float64
        work = features - self._centre if exact else features.to(torch.float32) - self._centre32
        norms = torch.linalg.vector_norm(work, dim=1)

        def settled(rows: Tensor) -> Tensor:
            """Some of the samples about the centre, in float64."""
            return features[rows].to(torch.float64) - self._centre

        scores = self._centres32.scored(work)
        plain, _ = self._centres32.decide(scores, norms, None, settled)
        plain = fair = self._present[plain]
        if self._noise is not None:
            # The same products: only what is added to them differs.
            scores += (self._noise.noise / 2).to(scores.dtype)
            lost: Tensor | None = None
            if self._own:
                place, lost = self._cost(work, labels)
                scores.scatter_add_(1, place[:, None], -lost.to(scores.dtype)[:, None])

            def anew(rows: Tensor) -> Tensor:
                assert self._noise is not None
                found = self._centres32.scored(settled(rows)) + self._noise.noise / 2
                if self._own:
                    place, lost = self._cost(settled(rows), labels[rows])
                    found.scatter_add_(1, place[:, None], -lost[:, None])
                return found

            fair, _ = self._centres32.decide(scores, norms, None, settled, anew=anew, lost=lost)
            fair = self._present[fair]
        self._count("counts", labels, torch.ones_like(labels))
        self._count("correct_centre", labels, (fair == labels).long())
        self._count("centre_plain", labels, (plain == labels).long())
        margins: Tensor | None = None
        if self._head32 is not None:
            scores = self._head32.scored(work)
            decided, margins = self._head32.decide(scores, norms, labels, settled)
        if decided is None:
            return
        self._count("correct_head", labels, (decided == labels).long())
        self._count("mismatch", labels, (decided != fair).long())
        self._count("mismatch_plain", labels, (decided != plain).long())
        if margins is None:
            return
        self.margin_sum += margins.sum()
        self.margin_min = torch.minimum(self.margin_min, margins.min())

    def _cost(self, centred: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """(place of the own class, what its score loses): half of what its fair squared distance is
        above the one that has only lost the noise of the mean."""
        assert self._noise is not None
        place = self._place[labels]
        rows = self._rows if centred.dtype == torch.float64 else self._centres32.rows32
        gap = centred - rows[place]
        square = torch.linalg.vector_norm(gap, dim=1, dtype=torch.float64) ** 2
        noise, gain, own = (
            part[place] for part in (self._noise.noise, self._noise.gain, self._noise.own)
        )
        return place, ((gain - 1) * square + noise - own) / 2

    def _count(self, name: str, labels: Tensor, hits: Tensor) -> None:
        getattr(self, name).index_add_(0, labels, hits)

    @property
    def num_samples(self) -> int:
        return int(self.counts.sum())

    def merge(self, other: Decisions) -> Decisions:
        """Add the samples of `other`, counted against the same means and head."""
        for name in self.SUMS:
            getattr(self, name).add_(getattr(other, name))
        self.margin_sum = self.margin_sum + other.margin_sum
        self.margin_min = torch.minimum(self.margin_min, other.margin_min)
        return self

    @property
    def identity(self) -> str:
        return f"decisions {self.num_classes} {self.has_head} {self.compares}"

    def summands(self, centres: Tensors) -> dict[str, Tensor]:
        return {name: getattr(self, name) for name in self.SUMS} | {"margin_sum": self.margin_sum}

    def minima(self) -> dict[str, Tensor]:
        return {"margin_min": self.margin_min}

    def load(self, centres: Tensors, summed: Tensors, minima: Tensors) -> None:
        for name in self.SUMS:
            setattr(self, name, summed[name].round().to(torch.int64))
        self.margin_sum, self.margin_min = summed["margin_sum"], minima["margin_min"]

    @property
    def state_bytes(self) -> int:
        held = [self._centre, self._centre32, self._present, self._place, self._weight, self._bias]
        if self._noise is not None:
            held += [self._noise.noise, self._noise.gain, self._noise.own]
        for scores in (self._centres32, self._head32):
            held += [] if scores is None else scores.tensors
        held += [getattr(self, name) for name in self.SUMS]
        # The head's rows stand in its scores too.
        kept = {tensor.data_ptr(): tensor.nbytes for tensor in held if tensor is not None}
        return sum(kept.values())

    @staticmethod
    def estimate(num_classes: int, num_features: int, head: bool) -> int:
        """Bytes of the state before the means are known: rows in float64 and float32."""
        return 12 * num_classes * num_features * (2 if head else 1)

    def result(self) -> Decisions:
        return self

    def state_dict(self) -> dict[str, Any]:
        names = (*self.SUMS, "margin_sum", "margin_min")
        return {name: getattr(self, name).clone() for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in (*self.SUMS, "margin_sum", "margin_min"):
            setattr(self, name, state[name].clone())
