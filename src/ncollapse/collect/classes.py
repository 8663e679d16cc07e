"""ClassMoments: counts, means and within-class scatter of labelled features in one pass.

Per class a pilot (the first sample seen, or a given mean) is subtracted before anything is summed.
Differences near a pilot are exact in floating point, so NC1 is right at 1e-12 where E[h²] - E[h]²
is noise. All states are plain sums about the pilots: merging is addition after re-centring.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ncollapse.collect.checks import NonFiniteError, check_batch, valid_samples
from ncollapse.collect.moments import first_rows, state_dtype, working_dtype
from ncollapse.collect.scatter import (
    MODES,
    PerClass,
    Sketched,
    choose_scatter,
    class_segments,
)
from ncollapse.collect.statistics import ClassStatistics, Sketch
from ncollapse.geometry import Geometry

# Small batches are gathered into blocks of this many rows before a d × d product.
BLOCK_ROWS, LARGEST_BLOCK = 4096, 8192


class ClassMoments:
    """Streaming class statistics of features (samples, d) with labels 0..K-1.

    mode "full" keeps second moments: per class while 8·K·d² ≤ `memory_budget`, else one matrix
    weighted for `weighting` where `counts` (samples per class to come) are given, else pooled
    (micro only). "trace" keeps tr Σ_c per class, O(Kd). "sketch" adds a Gaussian sketch of the
    scatter (`sketch_size` rows). State in float64; products in float32 for float32 features.
    Labels equal to `ignore_index` are skipped. Source of the numerics: derived, see docs/numerics.

    Raises ValueError for K < 2, shapes that disagree, float labels, labels outside 0..K-1, and
    NaN or infinite features (naming the sample).
    """

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
        self.dtype = state_dtype(self.device)
        self._expected = counts
        self._given_pilots = pilots
        self._budget, self._seed = memory_budget, seed
        self._sketch_size = sketch_size or min(num_features, max(64, 4 * num_classes))
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
        self._resolution = torch.finfo(torch.float64).eps
        self._bad = torch.zeros(2, dtype=torch.int64, device=self.device)
        self._pending: list[tuple[Tensor, Tensor, Tensor]] = []
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
        """Bytes of the state, known before the first batch (pilots counted as float32)."""
        K, d, item = self.num_classes, self.num_features, self._sums.element_size()
        scatter = 0 if self._scatter is None else self._scatter.products.numel() * item
        if isinstance(self._scatter, Sketched):
            scatter += self._scatter.matrix.numel() * item
        return K * d * (item + 4) + K * (8 + 1 + item) + scatter

    # ---- taking in ----------------------------------------------------------------------------
    @torch.no_grad()
    def update(
        self,
        features: Tensor,
        labels: Tensor,
        rows: Tensor | None = None,
    ) -> None:
        """Add features (samples, d) with labels (samples).

        `rows` numbers the samples for error messages (default: in order seen).
        """
        check_batch(features, labels, self.num_classes, self.num_features)
        if rows is None:
            rows = torch.arange(self._rows, self._rows + labels.numel())
        self._rows += labels.numel()
        features = features.detach().to(self.device)
        labels = labels.to(device=self.device, dtype=torch.int64)
        if self.device.type == "cpu":
            features, labels, rows = valid_samples(
                features, labels, rows, self.num_classes, self.ignore_index
            )
        if labels.numel() == 0:
            return
        with torch.autocast(self.device.type, enabled=False):
            if self._scatter is None or labels.numel() >= BLOCK_ROWS:
                for start in range(0, labels.numel(), LARGEST_BLOCK):
                    part = slice(start, start + LARGEST_BLOCK)
                    self._consume(features[part], labels[part], rows[part])
                return
            self._pending.append((features.clone(), labels.clone(), rows))
            if sum(part[1].numel() for part in self._pending) >= BLOCK_ROWS:
                self.flush()

    def flush(self) -> None:
        """Take in samples still waiting for a full block, and check what was deferred."""
        if self._pending:
            features, labels, rows = zip(*self._pending, strict=True)
            self._pending = []
            self._consume(torch.cat(features), torch.cat(labels), torch.cat(rows))
        if self.device.type != "cpu":
            outside, infinite = self._bad.tolist()
            if outside:
                raise ValueError(
                    f"{outside} labels lie outside 0..{self.num_classes - 1}; pass the right "
                    "num_classes or ignore_index"
                )
            if infinite:
                raise ValueError(f"{infinite} samples hold NaN or infinite features")
            self._all_seen = bool(self._seen.all())

    def _consume(self, features: Tensor, labels: Tensor, rows: Tensor) -> None:
        work = working_dtype(features.dtype)
        if work == torch.float32:
            self._resolution = torch.finfo(torch.float32).eps
        valid: Tensor | None = None
        if self.device.type != "cpu":
            # No host synchronisation: bad samples weigh nothing and are reported at flush.
            inside = (labels >= 0) & (labels < self.num_classes)
            finite = features.isfinite().all(1)
            outside = (
                ~inside if self.ignore_index is None else ~inside & (labels != self.ignore_index)
            )
            self._bad += torch.stack([outside.sum(), (inside & ~finite).sum()])
            valid = inside & finite
            labels = labels.clamp(0, self.num_classes - 1)
            features = torch.where(valid[:, None], features, torch.zeros_like(features))
        self._take_pilots(features, labels, valid)
        if isinstance(self._scatter, PerClass):
            order = torch.argsort(labels, stable=True)
            features, labels, rows = features[order], labels[order], rows.to(order.device)[order]
            valid = None if valid is None else valid[order]
        self._add(features, labels, rows, valid, work)

    def _take_pilots(self, features: Tensor, labels: Tensor, valid: Tensor | None) -> None:
        if self._pilots is None:
            dtype = working_dtype(features.dtype)
            shape = (self.num_classes, self.num_features)
            self._pilots = torch.zeros(shape, dtype=dtype, device=self.device)
        if self._all_seen:
            return
        if valid is None:
            first = first_rows(labels, self.num_classes)
            new = (~self._seen & (first < labels.numel())).nonzero().flatten()
            self._pilots[new] = features[first[new]].to(self._pilots.dtype)
            self._seen[new] = True
            self._all_seen = bool(self._seen.all())
            return
        extra = torch.where(valid, labels, torch.full_like(labels, self.num_classes))
        first = first_rows(extra, self.num_classes + 1)[: self.num_classes]
        found = ~self._seen & (first < labels.numel())
        rows = features[first.clamp(max=labels.numel() - 1)].to(self._pilots.dtype)
        self._pilots = torch.where(found[:, None], rows, self._pilots)
        self._seen = self._seen | found

    def _add(
        self,
        features: Tensor,
        labels: Tensor,
        rows: Tensor,
        valid: Tensor | None,
        work: torch.dtype,
    ) -> None:
        assert self._pilots is not None
        counts = torch.bincount(
            labels,
            weights=None if valid is None else valid.to(torch.float64),
            minlength=self.num_classes,
        ).to(torch.int64)
        if isinstance(self._scatter, PerClass):
            # Samples are sorted: subtract in place, one class after the other.
            shifted = features.to(work) if features.dtype != work else features
            sizes = (
                counts.tolist()
                if valid is None
                else torch.bincount(labels, minlength=self.num_classes).tolist()
            )
            segments = class_segments(sizes)
            for label, start, stop in segments:
                part = shifted[start:stop]
                part -= self._pilots[label].to(work)
                if valid is not None:
                    part *= valid[start:stop, None]
                self._sums[label] += part.sum(0)
                product = part.T @ part
                self._scatter.products[label].add_(product)
                self._squares[label] += product.diagonal().sum(dtype=self.dtype)
        else:
            shifted = features.to(work) - self._pilots[labels].to(work)
            if valid is not None:
                shifted = shifted * valid[:, None]
            squares = (shifted * shifted).sum(1, dtype=self.dtype)
            self._squares.index_add_(0, labels, squares)
            self._sums.index_add_(0, labels, shifted.to(self.dtype))
            if self._scatter is not None:
                self._scatter.add(shifted, labels, [])
        self._counts += counts
        if self.device.type == "cpu" and not bool(self._squares.isfinite().all()):
            self._explain_overflow(features, labels, rows)

    def _explain_overflow(self, features: Tensor, labels: Tensor, rows: Tensor) -> None:
        bad = (~features.isfinite().all(1)).nonzero()
        if bad.numel():
            first = bad[rows[bad.flatten()].argmin()]
            raise NonFiniteError(int(rows[first]), int(labels[first]))
        raise ValueError(
            "squares of the features overflow float32; pass float64 features or rescale them"
        )

    # ---- merging ------------------------------------------------------------------------------
    @torch.no_grad()
    def merge(self, other: ClassMoments) -> ClassMoments:
        """Add all samples of `other`, exactly, whatever its pilots. In place; returns self.

        Raises ValueError when K, d, mode or scatter form differ.
        """
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

    def __add__(self, other: ClassMoments) -> ClassMoments:
        return self.copy().merge(other)

    def copy(self) -> ClassMoments:
        """An independent accumulator with the same samples."""
        self.flush()
        return copy.deepcopy(self)

    # ---- results ------------------------------------------------------------------------------
    @property
    def counts(self) -> Int[Tensor, " classes"]:
        self.flush()
        return self._counts

    @property
    def num_samples(self) -> int:
        return int(self.counts.sum())

    @property
    def means(self) -> Float[Tensor, "classes dim"]:
        """Class means (K, d) in float64; rows of absent classes are NaN."""
        self.flush()
        number = self._counts.to(self.dtype)[:, None]
        pilots = 0 if self._pilots is None else self._pilots.to(self.dtype)
        return torch.where(number > 0, pilots + self._sums / number, torch.nan)

    def statistics(self) -> ClassStatistics:
        """The frozen result, of present classes only, on the CPU in float64."""
        self.flush()
        present = (self._counts > 0).nonzero().flatten()
        number = self._counts.to(self.dtype)
        spread = self._squares - (self._sums**2).sum(1) / number.clamp_min(1)
        traces = (spread.clamp_min(0) / number.clamp_min(1))[present]
        # A singleton is its own mean: what merging leaves there is rounding.
        traces = torch.where(number[present] == 1, torch.zeros_like(traces), traces)
        macro = micro = sketch = None
        if isinstance(self._scatter, Sketched):
            within = self._scatter.within(self._sums, number, "micro")
            assert within is not None
            sketch = Sketch(_double(self._scatter.matrix), _double(within))
        elif self._scatter is not None:
            macro = self._scatter.within(self._sums, number, "macro")
            micro = self._scatter.within(self._sums, number, "micro")
        return ClassStatistics(
            counts=self._counts[present].cpu(),
            traces=_double(traces),
            macro=None if macro is None else _double(macro),
            micro=None if micro is None else _double(micro),
            sketch=sketch,
            resolution=self._resolution,
            present=present.cpu(),
        )

    def geometry(self, weight: Tensor | None = None, bias: Tensor | None = None) -> Geometry:
        """Means (with the head's rows beside them) of present classes, on the CPU in float64."""
        counts = self.counts.cpu()
        present = (counts > 0).nonzero().flatten()
        kept = None if weight is None else weight.detach().cpu().to(torch.float64)[present]
        shift = None if bias is None else bias.detach().cpu().to(torch.float64)[present]
        return Geometry(_double(self.means)[present], kept, shift, counts[present])

    # ---- saving -------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain numbers; `load_state_dict` on an equally built object restores it."""
        self.flush()
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
        self._all_seen = bool(self._seen.all())


def _double(tensor: Tensor) -> Tensor:
    return tensor.detach().to(device="cpu", dtype=torch.float64)
