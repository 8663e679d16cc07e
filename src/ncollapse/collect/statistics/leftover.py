"""The second look of targets: what of every sample lies off given directions, and some samples
whole.

Shares off a direction are summed sample by sample of the differences themselves. From second
moments they would be 1 - (1 - 1e-12): near collapse nothing but rounding. They also need the final
mean and the final directions, which one pass does not have.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.collect.statistics.protocol import Batch, Summed, Tensors
from ncollapse.collect.statistics.residuals import ROWS, chosen_places
from ncollapse.collect.statistics.targets import TargetSummary
from ncollapse.collect.statistics.turns import PIECE, Turns

# In this order in `Leftover.parts`; see there.
PARTS = ("off", "off_unit", "off_centred", "head_off_unit", "head_off_centred", "zeros")


class Leftover(Summed):
    """Sums over samples, in float64, about orthonormal columns V (the features' directions) and Q
    (the rows of the head), P the projection onto them.

    off: ‖(I - VVᵀ)(h - h̄)‖². off_unit: ‖(I - P)h‖²/‖h‖²; off_centred: ‖(I - P)(h - h̄)‖²/‖h -
    h̄‖², for V and for Q. zeros: samples with h = 0, which have no direction and count 0. errors
    (n): squares of W h + b - y.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"features", "targets", "means"})
    SUMS = ("count", "parts", "errors")

    def __init__(
        self,
        summary: TargetSummary,
        directions: Float[Tensor, "dim number"] | None,
        weight: Float[Tensor, "targets dim"] | None = None,
        bias: Float[Tensor, " targets"] | None = None,
    ) -> None:
        self.mean, self.directions = summary.mean, directions
        self.weight = None if weight is None else weight.to(torch.float64)
        self.bias = None if bias is None else bias.to(torch.float64)
        self.rows = None if self.weight is None else row_space(self.weight)
        self.count = torch.zeros((), dtype=torch.float64)
        self.parts = torch.zeros(len(PARTS), dtype=torch.float64)
        self.errors = torch.zeros(summary.target_mean.numel(), dtype=torch.float64)

    @staticmethod
    def estimate(num_features: int, num_targets: int) -> int:
        """Bytes of the state."""
        return 8 * num_features * (3 * num_targets + 1)

    @property
    def state_bytes(self) -> int:
        held = (self.mean, self.directions, self.weight, self.bias, self.rows, *self._sums)
        return sum(tensor.nbytes for tensor in held if tensor is not None)

    @property
    def _sums(self) -> tuple[Tensor, ...]:
        return self.count, self.parts, self.errors

    def take(self, batch: Batch) -> None:
        assert batch.targets is not None
        self.update(batch.features, batch.targets)

    @torch.no_grad()
    def update(self, features: Tensor, targets: Tensor) -> None:
        """Add samples (samples, d) with targets (samples, n)."""
        size = max(PIECE // features.shape[1], 16)
        for start in range(0, features.shape[0], size):
            part = slice(start, start + size)
            self._add(features[part].to(torch.float64), targets[part].to(torch.float64))

    def _add(self, raw: Tensor, targets: Tensor) -> None:
        centred = raw - self.mean
        self.count += raw.shape[0]
        if self.directions is not None:
            off, unit, share = self._off(raw, centred, self.directions)
            self.parts[:3] += torch.stack([off, unit, share])
        if self.rows is not None and self.weight is not None:
            _, unit, share = self._off(raw, centred, self.rows)
            self.parts[3:5] += torch.stack([unit, share])
            made = raw @ self.weight.T
            made = made if self.bias is None else made + self.bias
            self.errors += ((made - targets) ** 2).sum(0)
        self.parts[5] += (raw == 0).all(1).sum()

    @staticmethod
    def _off(raw: Tensor, centred: Tensor, basis: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        off = _squared(centred - (centred @ basis) @ basis.T)
        share = _share(off, _squared(centred))
        unit = _share(_squared(raw - (raw @ basis) @ basis.T), _squared(raw))
        return off.sum(), unit.sum(), share.sum()

    def merge(self, other: Leftover) -> Leftover:
        """Add the samples of `other`, which were seen about the same directions."""
        for name in self.SUMS:
            getattr(self, name).add_(getattr(other, name))
        return self

    @property
    def identity(self) -> str:
        return f"leftover {self.mean.numel()} {self.errors.numel()} {self.weight is None}"

    def summands(self, centres: Tensors) -> dict[str, Tensor]:
        return {name: getattr(self, name) for name in self.SUMS}

    def load(self, centres: Tensors, summed: Tensors, minima: Tensors) -> None:
        for name in self.SUMS:
            setattr(self, name, summed[name].clone())

    def state_dict(self) -> dict[str, Any]:
        return {name: tensor.clone() for name, tensor in self.summands({}).items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.load({}, state, {})

    def result(self) -> dict[str, Float[Tensor, ...]]:
        """Means over the samples by name, and `errors` (n)."""
        means = self.parts / self.count
        found = dict(zip(PARTS, means, strict=True))
        return found | {"errors": self.errors / self.count}


def row_space(weight: Float[Tensor, "targets dim"]) -> Float[Tensor, "dim rank"]:
    """Orthonormal columns that span the rows of a matrix; none for a zero one."""
    _, values, rows = torch.linalg.svd(weight, full_matrices=False)
    cut = torch.finfo(torch.float64).eps * max(weight.shape) * float(values[0])
    return rows[: int((values > cut).sum())].T


def _squared(rows: Tensor) -> Tensor:
    return torch.linalg.vector_norm(rows, dim=1) ** 2


def _share(part: Tensor, whole: Tensor) -> Tensor:
    """part/whole, 0 where there is nothing."""
    return torch.where(whole > 0, part / torch.where(whole > 0, whole, 1), 0)


class TargetSample(Summed):
    """Samples as they are with their targets: all of them, or `rows` spread evenly over the places.

    What shuffles targets or leaves out blocks needs single samples, but no more than a few
    thousand.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"features", "targets", "means"})

    def __init__(
        self,
        count: int,
        num_features: int,
        num_targets: int,
        dtype: torch.dtype,
        rows: int = ROWS,
        seed: int = 0,
    ) -> None:
        self.count = count
        self._wanted, _ = chosen_places(torch.tensor([count]), rows, seed)
        number = self._wanted.numel()
        self.features = torch.zeros(number, num_features, dtype=dtype)
        self.targets = torch.zeros(number, num_targets, dtype=torch.float64)
        self.turns = Turns(1)

    @staticmethod
    def estimate(
        count: int, num_features: int, num_targets: int, itemsize: int, rows: int = ROWS
    ) -> int:
        """Bytes of the state."""
        return min(count, rows) * (itemsize * num_features + 8 * num_targets + 8)

    @property
    def state_bytes(self) -> int:
        return self.features.nbytes + self.targets.nbytes + self._wanted.nbytes

    @property
    def whole(self) -> bool:
        """Whether every sample is here."""
        return self.count == self._wanted.numel()

    def take(self, batch: Batch) -> None:
        assert batch.targets is not None
        self.update(batch.features, batch.targets, batch.places)

    @torch.no_grad()
    def update(self, features: Tensor, targets: Tensor, places: Tensor | None = None) -> None:
        """Take in those of these samples that were chosen."""
        nothing = torch.zeros(features.shape[0], dtype=torch.int64)
        place = self.turns.places(nothing, places)
        slot = torch.searchsorted(self._wanted, place).clamp_max(self._wanted.numel() - 1)
        mine = (self._wanted[slot] == place).nonzero().flatten()
        self.features[slot[mine]] = features[mine].to(self.features.dtype)
        self.targets[slot[mine]] = targets[mine].to(torch.float64)

    def merge(self, other: TargetSample) -> TargetSample:
        """Add the samples of `other`, whose slots are empty here."""
        for name, tensor in other.summands({}).items():
            mine = self.turns.seen if name == "turns" else getattr(self, name)
            mine += tensor
        return self

    @property
    def identity(self) -> str:
        return f"target sample {tuple(self.features.shape)} {self.features.dtype}"

    def summands(self, centres: Tensors) -> dict[str, Tensor]:
        return {"turns": self.turns.seen, "features": self.features, "targets": self.targets}

    def load(self, centres: Tensors, summed: Tensors, minima: Tensors) -> None:
        self.turns.seen = summed["turns"].round().to(torch.int64)
        self.features = summed["features"].to(self.features.dtype)
        self.targets = summed["targets"].to(torch.float64)

    def state_dict(self) -> dict[str, Any]:
        return {name: tensor.clone() for name, tensor in self.summands({}).items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.load({}, {name: tensor.clone() for name, tensor in state.items()}, {})

    def result(self) -> tuple[Float[Tensor, "some dim"], Float[Tensor, "some targets"]]:
        """Features and targets, in the order of their places."""
        return self.features, self.targets
