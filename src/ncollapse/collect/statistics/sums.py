"""The state of ClassMoments: what is summed, merged and saved."""

from __future__ import annotations

import copy
import zlib
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ncollapse.collect.statistics.protocol import Tensors, state_dtype
from ncollapse.collect.statistics.scatter import MODES, Sketched, choose_scatter
from ncollapse.collect.statistics.summary import ClassStatistics

# Small batches are gathered into blocks of this many rows before a d × d product.
BLOCK_ROWS = 4096
PENDING = ("pending_features", "pending_labels", "pending_rows")
EPS32, EPS64 = torch.finfo(torch.float32).eps, torch.finfo(torch.float64).eps


class ClassSums:
    """Counts, pilots, and sums of pilot-shifted samples per class, with their scatter.

    `ClassMoments` says how samples come in and what the sums amount to; this class holds them,
    merges them exactly and saves them. Raises ValueError for arguments out of range.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"features", "labels"})

    def __init__(
        self,
        num_classes: int,
        num_features: int,
        *,
        mode: str = "full",
        weighting: str = "macro",
        counts: Int[Tensor, " classes"] | None = None,
        pilots: Float[Tensor, "classes dim"] | None = None,
        memory_budget: float = 2e9,
        sketch_size: int | None = None,
        seed: int = 0,
        ignore_index: int | None = -100,
        device: torch.device | str = "cpu",
        block_rows: int = BLOCK_ROWS,
    ) -> None:
        if num_classes < 2:
            raise ValueError(f"num_classes={num_classes}; at least 2 classes are needed")
        if num_features < 1:
            raise ValueError(f"num_features={num_features}; at least 1 feature is needed")
        if mode not in MODES:
            raise ValueError(f"mode {mode!r} is unknown; one of {', '.join(MODES)} is needed")
        if counts is not None and counts.shape != (num_classes,):
            raise ValueError(f"counts has shape {tuple(counts.shape)}; ({num_classes},) is needed")
        self.num_classes, self.num_features = num_classes, num_features
        self.mode, self.weighting, self.ignore_index = mode, weighting, ignore_index
        self.device = torch.device(device)
        # Off the CPU a check would stop the host every batch, so it waits for `flush`.
        self._deferred = self.device.type != "cpu"
        # Of variances: rounded features have errors of relative size ε, their products in float32
        # as well.
        self._coarse = EPS32 if self._deferred else EPS32**2
        self.dtype = state_dtype(self.device)
        self._expected = counts
        self._given_pilots = pilots
        self._budget, self._seed, self.block_rows = memory_budget, seed, block_rows
        self._sketch_size = sketch_size or min(num_features, max(64, 4 * num_classes))
        self._coarsest = EPS64
        self.reset()

    # ---- state --------------------------------------------------------------------------------
    def reset(self) -> None:
        """Forget every sample."""
        shape = (self.num_classes, self.num_features)
        self._counts = torch.zeros(self.num_classes, dtype=torch.int64, device=self.device)
        self._seen = torch.zeros(self.num_classes, dtype=torch.bool, device=self.device)
        self._all_seen = self._given_pilots is not None
        self._sums = torch.zeros(shape, dtype=self.dtype, device=self.device)
        self._squares = torch.zeros(self.num_classes, dtype=self.dtype, device=self.device)
        self._scatter = choose_scatter(
            self.mode,
            self.num_classes,
            self.num_features,
            counts=self._expected,
            weighting=self.weighting,
            memory_budget=self._budget,
            sketch_size=self._sketch_size,
            seed=self._seed,
            dtype=self.dtype,
            device=self.device,
        )
        self._pilots: Tensor | None = None
        self._resolution = self._coarsest
        self._bad = torch.zeros(2, dtype=torch.int64, device=self.device)
        self._pending: list[tuple[Tensor, ...]] = []
        self._result: tuple[int, ClassStatistics] | None = None
        self._rows = 0
        if self._given_pilots is not None:
            self._pilots = self._given_pilots.to(self.device).clone()
            self._seen |= True

    @property
    def scatter_form(self) -> str:
        """per_class, weighted, pooled, sketch or none: what was chosen for the memory budget."""
        return "none" if self._scatter is None else self._scatter.name

    @property
    def state_bytes(self) -> int:
        """Bytes of the state, known before the first batch (pilots that are not given counted as
        float32)."""
        K, d, item = self.num_classes, self.num_features, self._sums.element_size()
        scatter = 0 if self._scatter is None else self._scatter.products.numel() * item
        if isinstance(self._scatter, Sketched):
            scatter += self._scatter.matrix.numel() * item
        pilot = 4 if self._given_pilots is None else self._given_pilots.element_size()
        return K * d * (item + pilot) + K * (8 + 1 + item) + scatter

    @property
    def resolution(self) -> float:
        """Relative precision of the scatter: float32 products have 1.2e-7, float32 features in
        float64 products 1.4e-14, the square of their rounding."""
        return self._resolution

    def coarsen(self, resolution: float) -> None:
        """Features were rounded to this relative precision before they came here: directions of
        rounding stay noise, however exact the sums."""
        self._coarsest = max(self._coarsest, resolution)
        self._resolution = max(self._resolution, resolution)

    def flush(self) -> None:
        """Take in samples that still wait; the subclass knows how."""
        raise NotImplementedError

    # ---- merging ------------------------------------------------------------------------------
    @torch.no_grad()
    def merge(self, other: Any) -> Any:
        """Add all samples of `other`, exactly, whatever its pilots. In place; returns self.

        Raises ValueError when K, d, mode or scatter form differ.
        """
        self._result = None
        mine = (self.num_classes, self.num_features, self.mode, self.scatter_form)
        theirs = (other.num_classes, other.num_features, other.mode, other.scatter_form)
        if mine != theirs:
            raise ValueError(
                f"moments of (K, d, mode, scatter) {theirs} cannot be merged into {mine}; build "
                "both with the same arguments"
            )
        self.flush()
        other.flush()
        if other._pilots is None:
            return self
        if self._pilots is None:
            self._pilots = torch.zeros_like(other._pilots)
        pilots = self._pilots.to(torch.promote_types(self._pilots.dtype, other._pilots.dtype))
        take = other._seen & ~self._seen
        pilots[take] = other._pilots[take].to(pilots.dtype)
        self._pilots = pilots
        self._seen = self._seen | other._seen
        step = (other._pilots.to(self.dtype) - pilots.to(self.dtype)) * other._seen[:, None]
        number = other._counts.to(self.dtype)
        if self._scatter is not None and other._scatter is not None:
            self._scatter.products += other._scatter.moved(other._sums, number, step)
        self._squares += (
            other._squares + 2 * (other._sums * step).sum(1) + number * (step**2).sum(1)
        )
        self._sums += other._sums + number[:, None] * step
        self._counts += other._counts
        self._rows += other._rows
        self._resolution = max(self._resolution, other._resolution)
        self._all_seen = bool(self._seen.all())
        return self

    @property
    def identity(self) -> str:
        """What must be equal in all parts, with the counts of all parts together."""
        counts = b"" if self._expected is None else self._expected.cpu().numpy().tobytes()
        names = (self.num_classes, self.num_features, self.mode, self.scatter_form, self.weighting)
        return repr((*names, self._seed, zlib.crc32(counts)))

    def centres(self) -> dict[str, Tensor]:
        """Pilots of the classes seen here, zero elsewhere, and flags of who has seen what: the sums
        over all parts give a pilot near each class that all parts know."""
        pilots = torch.zeros(self.num_classes, self.num_features, dtype=torch.float64)
        seen = self._seen.cpu()
        if self._pilots is not None:
            pilots = self._pilots.cpu().to(torch.float64) * seen[:, None]
        double = self._pilots is not None and self._pilots.dtype == torch.float64
        flags = [float(double), float(self._resolution > EPS64), float(self._rows)]
        return {
            "flags": torch.tensor(flags, dtype=torch.float64),
            "seen": seen.to(torch.float64),
            "pilots": pilots,
        }

    def sums(self) -> dict[str, Tensor]:
        """Counts, sums, squares and products about the pilots that are held."""
        found = {"counts": self._counts, "sums": self._sums, "squares": self._squares}
        return found if self._scatter is None else {**found, "products": self._scatter.products}

    def load_sums(self, sums: Tensors) -> None:
        """Hold other sums, about the same pilots."""
        self._result = None
        self._counts = sums["counts"].round().to(self.device, torch.int64)
        self._sums = sums["sums"].to(self.device, self.dtype)
        self._squares = sums["squares"].to(self.device, self.dtype)
        if self._scatter is not None:
            self._scatter = copy.copy(self._scatter)
            self._scatter.products = sums["products"].to(self.device, self.dtype)

    def summands(self, centres: Tensors) -> dict[str, Tensor]:
        """Counts, sums, squares and products about the common pilots.

        With t = c - c̄ the way from a part's pilot c to the common one c̄: s̄ = s + n t,
        q̄ = q + 2 s·t + n ‖t‖², and for the scatter P̄ = P + sᵀt + tᵀs + n tᵀt.
        """
        found = self.sums()
        if self._pilots is None:
            return found
        sums, number = self._sums, self._counts.to(self.dtype)
        step = self._pilots.to(self.dtype) - self._common(centres).to(self.dtype)
        step *= (self._seen & (self._counts > 0))[:, None]
        found["sums"] = sums + number[:, None] * step
        found["squares"] = self._squares + 2 * (sums * step).sum(1) + number * (step**2).sum(1)
        if self._scatter is not None:
            found["products"] = self._scatter.moved(sums, number, step)
        return found

    def minima(self) -> dict[str, Tensor]:
        return {}

    def load(self, centres: Tensors, summed: Tensors, minima: Tensors) -> None:
        """Become the whole about the common pilots."""
        _, single, rows = centres["flags"].tolist()
        self._pending, self._bad = [], self._bad.clone()
        self._pilots = self._common(centres)
        self.load_sums(summed)
        self._seen = (self._counts > 0) | (self._given_pilots is not None)
        self._all_seen = bool(self._seen.all())
        self._rows = round(rows)
        self._resolution = max(self._resolution, self._coarse if single > 0 else EPS64)

    def _common(self, centres: Tensors) -> Tensor:
        """The mean of the pilots of those parts that have seen the class, in a dtype in which later
        batches subtract it exactly."""
        number = centres["seen"].clamp_min(1)[:, None]
        dtype = torch.float64 if float(centres["flags"][0]) > 0 else torch.float32
        return (centres["pilots"] / number).to(self.device, dtype)

    def __add__(self, other: Any) -> Any:
        return self.copy().merge(other)

    def copy(self) -> Any:
        """An independent accumulator with the same samples."""
        self.flush()
        return copy.deepcopy(self)

    # ---- saving -------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain numbers; `load_state_dict` on an equally built object restores it.

        Samples that wait for a full block are kept as they are: taking them in early would round
        float32 products elsewhere, and a resumed run would no longer be the same bit for bit.
        """
        state: dict[str, Any] = {
            "config": {
                "num_classes": self.num_classes,
                "num_features": self.num_features,
                "mode": self.mode,
                "scatter_form": self.scatter_form,
            },
            "rows": self._rows,
            "resolution": self._resolution,
            "counts": self._counts.clone(),
            "seen": self._seen.clone(),
            "sums": self._sums.clone(),
            "squares": self._squares.clone(),
        }
        if self._pilots is not None:
            state["pilots"] = self._pilots.clone()
        if self._scatter is not None:
            state["products"] = self._scatter.products.clone()
        if self._pending:
            parts = (torch.cat(part) for part in zip(*self._pending, strict=True))
            state |= dict(zip(PENDING, parts, strict=True))
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore; raises ValueError when the state was made by differently built moments."""
        mine = self.state_dict()["config"]
        if state["config"] != mine:
            raise ValueError(f"the state is of moments {state['config']}; these are {mine}")
        self.reset()
        self._rows, self._resolution = int(state["rows"]), float(state["resolution"])
        self._counts, self._seen = state["counts"].clone(), state["seen"].clone().bool()
        self._sums, self._squares = state["sums"].clone(), state["squares"].clone()
        self._pilots = state["pilots"].clone() if "pilots" in state else self._pilots
        if self._scatter is not None:
            self._scatter.products = state["products"].clone()
        if PENDING[0] in state:
            self._pending = [tuple(state[name].clone() for name in PENDING)]
        self._all_seen = bool(self._seen.all())
