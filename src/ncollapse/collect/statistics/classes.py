"""ClassMoments: counts, means and within-class scatter of labelled features in one pass.

Per class a pilot (the first sample seen, or a given mean) is subtracted before anything is summed.
Differences near a pilot are exact in floating point, so NC1 is right at 1e-12 where E[h²] - E[h]²
is noise. All states are plain sums about the pilots: merging is addition after re-centring.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ncollapse.collect.statistics.checks import (
    NonFiniteError,
    check_batch,
    kept_and_wrong,
    valid_samples,
)
from ncollapse.collect.statistics.protocol import Batch, first_rows, working_dtype
from ncollapse.collect.statistics.scatter import (
    PerClass,
    Sketched,
    balanced,
    class_segments,
)
from ncollapse.collect.statistics.summary import ClassStatistics, Sketch
from ncollapse.collect.statistics.sums import ClassSums
from ncollapse.geometry import Geometry

LARGEST_BLOCK = 8192
# Numbers of a piece of a chunk in float64: 16 MB, which an allocator hands out again and again.
PIECE = 1 << 21


class ClassMoments(ClassSums):
    """Streaming class statistics of features (samples, d) with labels 0..K-1.

    mode "full" keeps second moments: per class while 8·K·d² ≤ `memory_budget`, else one matrix
    weighted for `weighting` where `counts` (samples per class to come) are given, else pooled
    (micro only). "trace" keeps tr Σ_c per class, O(Kd). "sketch" adds a Gaussian sketch of the
    scatter (`sketch_size` rows). State and products in float64 on the CPU; elsewhere products of
    float32 features stay in float32.
    Labels equal to `ignore_index` are skipped. Source of the numerics: derived, see docs/numerics.

    Raises ValueError for K < 2, shapes that disagree, float labels, labels outside 0..K-1, and
    NaN or infinite features (naming the sample).
    """

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
        if not self._deferred:
            features, labels, rows = valid_samples(
                features, labels, rows, self.num_classes, self.ignore_index
            )
        if labels.numel() == 0:
            return
        with torch.autocast(self.device.type, enabled=False):
            if self._scatter is None or labels.numel() >= self.block_rows:
                for start in range(0, labels.numel(), LARGEST_BLOCK):
                    part = slice(start, start + LARGEST_BLOCK)
                    self._consume(features[part], labels[part], rows[part])
                return
            self._pending.append((features.clone(), labels.clone(), rows))
            if sum(part[1].numel() for part in self._pending) >= self.block_rows:
                self.flush()

    def take(self, batch: Batch) -> None:
        self.update(batch.features, batch.labels, batch.rows)

    def flush(self) -> None:
        """Take in samples still waiting for a full block, and check what was deferred."""
        if self._pending:
            features, labels, rows = zip(*self._pending, strict=True)
            self._pending = []
            self._consume(torch.cat(features), torch.cat(labels), torch.cat(rows))
        if self._deferred:
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
        if working_dtype(features.dtype) == torch.float32:
            self._resolution = max(self._resolution, self._coarse)
        valid: Tensor | None = None
        if self._deferred:
            # No host synchronisation: bad samples weigh nothing and are reported at flush.
            inside, outside = kept_and_wrong(labels, self.num_classes, self.ignore_index)
            finite = features.isfinite().all(1)
            self._bad += torch.stack([outside.sum(), (inside & ~finite).sum()])
            valid = inside & finite
            labels = labels.clamp(0, self.num_classes - 1)
            features = torch.where(valid[:, None], features, torch.zeros_like(features))
        self._take_pilots(features, labels, valid)
        if isinstance(self._scatter, PerClass):
            order = torch.argsort(labels, stable=True)
            features, labels, rows = features[order], labels[order], rows.to(order.device)[order]
            valid = None if valid is None else valid[order]
        self._add(features, labels, rows, valid)

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
    ) -> None:
        assert self._pilots is not None
        # Off the CPU products stay in the features' own precision: consumer devices have no other.
        work = working_dtype(features.dtype) if self._deferred else torch.float64
        sizes = torch.bincount(labels, minlength=self.num_classes)
        counts = sizes
        if valid is not None:
            counts = torch.bincount(
                labels, weights=valid.to(torch.float64), minlength=self.num_classes
            ).to(torch.int64)
        per_class = isinstance(self._scatter, PerClass)
        # Samples are sorted where matrices are kept per class: one segment after the other.
        segments = class_segments(sizes.tolist()) if per_class else [(0, 0, labels.numel())]
        for label, start, stop in segments:
            for piece in self._pieces(start, stop):
                some, place = features[piece], labels[piece]
                pilots = self._pilots[label] if per_class else self._pilots[place]
                shifted = some.to(work, copy=True).sub_(pilots)
                if valid is not None:
                    shifted *= valid[piece, None]
                squares = torch.linalg.vector_norm(shifted, dim=1, dtype=self.dtype) ** 2
                if per_class:
                    self._squares[label] += squares.sum()
                    self._sums[label] += shifted.sum(0, dtype=self.dtype)
                    assert self._scatter is not None
                    self._scatter.add(shifted, place, [(label, 0, len(shifted))])
                    continue
                self._squares.index_add_(0, place, squares)
                self._sums.index_add_(0, place, shifted.to(self.dtype))
                if self._scatter is not None:
                    self._scatter.add(shifted, place, [])
        self._counts += counts
        if not self._deferred and not bool(self._squares.isfinite().all()):
            self._explain_overflow(features, labels, rows)

    def _pieces(self, start: int, stop: int) -> Iterator[slice]:
        """Rows that stay in a CPU's cache while they are read, squared and added; all elsewhere."""
        size = stop - start
        if self.device.type == "cpu":
            size = min(max(PIECE // self.num_features, 256), LARGEST_BLOCK)
        return (slice(at, min(at + size, stop)) for at in range(start, stop, max(size, 1)))

    def _explain_overflow(self, features: Tensor, labels: Tensor, rows: Tensor) -> None:
        bad = (~features.isfinite().all(1)).nonzero()
        if bad.numel():
            first = bad[rows[bad.flatten()].argmin()]
            raise NonFiniteError(int(rows[first]), int(labels[first]))
        raise ValueError(
            "squares of the features are beyond the largest number; divide the features by a "
            "constant, such as their largest size"
        )

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

    def result(self) -> ClassStatistics:
        return self.statistics()

    def statistics(self) -> ClassStatistics:
        """The frozen result, of present classes only, on the CPU in float64.

        Kept until samples come in, since a matrix per class is much to sum.
        """
        self.flush()
        if self._result is not None and self._result[0] == self._rows:
            return self._result[1]
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
            alike = macro is not None and balanced(self._counts)
            micro = macro if alike else self._scatter.within(self._sums, number, "micro")
        found = ClassStatistics(
            counts=self._counts[present].cpu(),
            traces=_double(traces),
            macro=None if macro is None else _double(macro),
            micro=None if micro is None else _double(micro),
            sketch=sketch,
            resolution=self._resolution,
            present=present.cpu(),
        )
        self._result = (self._rows, found)
        return found

    def geometry(self, weight: Tensor | None = None, bias: Tensor | None = None) -> Geometry:
        """Means (with the head's rows beside them) of present classes, on the CPU in float64."""
        counts = self.counts.cpu()
        present = (counts > 0).nonzero().flatten()
        kept = None if weight is None else weight.detach().cpu().to(torch.float64)[present]
        shift = None if bias is None else bias.detach().cpu().to(torch.float64)[present]
        return Geometry(_double(self.means)[present], kept, shift, counts[present])

    def take_geometry(self, weight: Tensor | None = None, bias: Tensor | None = None) -> Geometry:
        """As `geometry`, with means formed in place of the sums: the moments end here.

        Counts stay readable; updating or merging the moments afterwards raises. Holds K d float64
        numbers for the means and as many for a weight.
        """
        counts = self.counts.cpu()
        present = (counts > 0).nonzero().flatten()
        sums, pilots = self._sums, self._pilots
        assert pilots is not None
        number = self._counts.to(sums.dtype).clamp_min(1)
        for start in range(0, sums.shape[0], LARGEST_BLOCK):
            part = slice(start, start + LARGEST_BLOCK)
            sums[part] /= number[part, None]
            sums[part] += pilots[part].to(sums.dtype)
        self._sums = torch.zeros(0, dtype=sums.dtype)
        self._pilots = None
        means = _double(sums)
        whole = present.numel() == counts.numel()
        means = means if whole else means[present]
        kept = None
        if weight is not None:
            rows = weight.detach().cpu()
            kept = (rows if whole else rows[present]).to(torch.float64)
        shift = None if bias is None else _double(bias)[present]
        return Geometry(means, kept, shift, counts[present])


def _double(tensor: Tensor) -> Tensor:
    return tensor.detach().to(device="cpu", dtype=torch.float64)
