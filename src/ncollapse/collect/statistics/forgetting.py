"""Class moments with forgetting: statistics of recent samples, for following a model in training.

Every sample weighs 2^(-age/half_life). Fading leaves weighted means where they are, so the state
is kept centred: weights, means and scatter about the means. A batch is first shifted by the means
so far (the pilots, which thus follow the drift of training), then by the share of its own class
means that the new ones take up; what remains is summed. Nothing is ever subtracted from a sum of
squares, so spreads cannot turn negative and stay right near collapse.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.collect.statistics.checks import check_batch, kept_and_wrong
from ncollapse.collect.statistics.protocol import (
    Batch,
    Tensors,
    added,
    first_rows,
    state_dtype,
    working_dtype,
)
from ncollapse.collect.statistics.summary import ClassStatistics
from ncollapse.geometry import Geometry

UNITS = ("samples", "batches")
MODES = ("full", "trace")
# A class of this weight is forgotten: a lone sample is, ten half-lives later.
FORGOTTEN = 1e-3
STATE = ("weights", "square_weight", "means", "squares", "resolution", "rejected")


@dataclass(frozen=True, eq=False)
class FadedStatistics(ClassStatistics):
    """Statistics of samples that fade: `counts` are effective sample sizes, not whole numbers.

    counts: n_c · Σw/Σw² (Kish), so that shares of classes are those of the weights and the terms
    that remove chance from a spread fit. macro is None: one pooled scatter is kept.
    """

    counts: Float[Tensor, " classes"]


class ForgettingMoments:
    """Streaming class statistics of features (samples, d) with labels 0..K-1 that forget.

    A sample's weight halves every `half_life` samples or batches (`unit`) of the whole stream;
    math.inf never forgets and gives what `ClassMoments` gives. mode "full" keeps the pooled scatter
    (d, d), so Σ_W is known in micro weighting; "trace" keeps tr Σ_c per class only, O(Kd). Labels
    equal to `ignore_index` are skipped. Nothing waits for the host: samples that are NaN, infinite
    or out of range weigh nothing and are counted in `rejected()`.

    While parameters move, Σ_W holds the drift of the features over a few half-lives too, so NC1
    reads high: compare readings of one half-life only. A short half-life has few samples a class
    and reads NC1 low by about Σw²/(Σw)² of itself. Source of the numerics: derived.

    Raises ValueError for K < 2, d < 1, half_life ≤ 0, an unknown unit or mode, and batches whose
    shapes or dtypes do not fit.
    """

    def __init__(
        self,
        num_classes: int,
        num_features: int,
        *,
        half_life: float = math.inf,
        unit: str = "samples",
        mode: str = "full",
        ignore_index: int | None = -100,
        device: torch.device | str = "cpu",
    ) -> None:
        if num_classes < 2:
            raise ValueError(f"num_classes={num_classes}; at least 2 classes are needed")
        if num_features < 1:
            raise ValueError(f"num_features={num_features}; at least 1 feature is needed")
        check_half_life(half_life, unit)
        if mode not in MODES:
            raise ValueError(f"mode {mode!r} is unknown; one of {', '.join(MODES)} is needed")
        self.num_classes, self.num_features = num_classes, num_features
        self.half_life, self.unit, self.mode = float(half_life), unit, mode
        self.ignore_index = ignore_index
        self.device = torch.device(device)
        self.dtype = state_dtype(self.device)
        self.reset()

    def reset(self) -> None:
        """Forget every sample at once."""
        K, d = self.num_classes, self.num_features

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=self.dtype, device=self.device)

        self._weights, self._square_weight = zeros(K), zeros()
        self._means, self._squares = zeros(K, d), zeros(K)
        self._products = zeros(d, d) if self.mode == "full" else None
        self._resolution = zeros()
        self._rejected = torch.zeros(2, dtype=torch.int64, device=self.device)

    # ---- taking in ----------------------------------------------------------------------------
    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor) -> None:
        """Fade what was seen and add features (samples, d) with labels (samples)."""
        check_batch(features, labels, self.num_classes, self.num_features)
        size, K = labels.numel(), self.num_classes
        if size == 0:
            return
        features = features.detach().to(self.device)
        labels = labels.detach().to(device=self.device, dtype=torch.int64)
        with torch.autocast(self.device.type, enabled=False):
            work = working_dtype(features.dtype)
            valid = self._valid(features, labels)
            features = torch.where(valid[:, None], features, 0).to(self.dtype)
            labels = torch.where(valid, labels, 0)
            ones = valid.to(self.dtype)
            passed = ones.sum() if self.unit == "samples" else (ones.sum() > 0).to(self.dtype)
            fade = torch.exp2(-passed / self.half_life)
            old = self._weights * fade
            # Forgotten classes begin anew, about their first sample.
            new = old < FORGOTTEN
            old = torch.where(new, 0, old)
            first = first_rows(torch.where(valid, labels, K), K + 1)[:K]
            start = (new & (first < size))[:, None]
            self._means = torch.where(start, features[first.clamp(max=size - 1)], self._means)
            shifted = (features - self._means[labels]) * ones[:, None]
            number = torch.zeros_like(old).index_add_(0, labels, ones)
            sums = torch.zeros_like(self._means).index_add_(0, labels, shifted)
            total = (old + number).clamp_min(torch.finfo(self.dtype).tiny)
            self._means = self._means + sums / total[:, None]
            # Σ(z - a z̄)(z - a z̄)ᵀ = Σzzᵀ - (2a - a²) n z̄z̄ᵀ, and the scatter about the new mean
            # wants n/(n + n_old) in that place: a = 1 - √(1 - n/total).
            share = (1 - (old / total).sqrt()) / number.clamp_min(1)
            kept = (shifted - (share[:, None] * sums)[labels]) * ones[:, None]
            squares = (kept * kept).sum(1)
            self._squares = (torch.where(new, 0, self._squares) * fade).index_add_(
                0, labels, squares
            )
            if self._products is not None:
                narrow = kept.to(work)
                self._products.mul_(fade).add_(narrow.T @ narrow)
            self._weights = old + number
            self._square_weight = self._square_weight * fade**2 + ones.sum()
            if work == torch.float32:
                self._resolution.clamp_(min=torch.finfo(torch.float32).eps)

    def _valid(self, features: Tensor, labels: Tensor) -> Tensor:
        inside, outside = kept_and_wrong(labels, self.num_classes, self.ignore_index)
        finite = features.isfinite().all(1)
        self._rejected += torch.stack([outside.sum(), (inside & ~finite).sum()])
        return inside & finite

    # ---- results ------------------------------------------------------------------------------
    @property
    def described(self) -> str:
        """The half-life in words, as it stands in a reading's definition."""
        if math.isinf(self.half_life):
            return "no forgetting"
        return f"half-life {self.half_life:g} {self.unit}"

    def rejected(self) -> tuple[int, int]:
        """Samples left out since the last call: labels out of range; NaN or infinite features."""
        outside, infinite = self._rejected.tolist()
        self._rejected.zero_()
        return outside, infinite

    @property
    def weights(self) -> Float[Tensor, " classes"]:
        """Σw per class: how many recent samples it amounts to."""
        return self._weights.clone()

    @property
    def means(self) -> Float[Tensor, "classes dim"]:
        """Weighted class means (K, d); rows of classes that are absent or forgotten are NaN."""
        return torch.where(self._weights[:, None] >= FORGOTTEN, self._means, torch.nan)

    def statistics(self) -> FadedStatistics:
        """The frozen result, of present classes only, on the CPU in float64."""
        weights, present = self._present()
        squares = _double(self._squares)[present]
        micro = None
        if self._products is not None:
            micro = _double(self._products) / weights.sum().clamp_min(FORGOTTEN)
        return FadedStatistics(
            counts=self._effective(weights),
            traces=squares / weights,
            micro=micro,
            resolution=max(float(self._resolution), torch.finfo(torch.float64).eps),
            present=present,
        )

    def geometry(self, weight: Tensor | None = None, bias: Tensor | None = None) -> Geometry:
        """Means (with the head's rows beside them) of present classes, on the CPU in float64."""
        weights, present = self._present()
        kept = None if weight is None else _double(weight)[present]
        shift = None if bias is None else _double(bias)[present]
        return Geometry(_double(self._means)[present], kept, shift, self._effective(weights))

    def _present(self) -> tuple[Tensor, Tensor]:
        weights = _double(self._weights)
        present = (weights >= FORGOTTEN).nonzero().flatten()
        return weights[present], present

    def _effective(self, weights: Tensor) -> Tensor:
        return weights * (weights.sum() / _double(self._square_weight).clamp_min(FORGOTTEN))

    def result(self) -> FadedStatistics:
        return self.statistics()

    # ---- merging ------------------------------------------------------------------------------
    needs: ClassVar[frozenset[str]] = frozenset({"features", "labels"})

    def take(self, batch: Batch) -> None:
        self.update(batch.features, batch.labels)

    def flush(self) -> None:
        """Nothing waits: samples that cannot be taken in are counted in `rejected`."""

    def merge(self, other: ForgettingMoments) -> ForgettingMoments:
        """Add the samples of `other`, whose weights fade alike, in place."""
        parts = (self, other)
        centres = added([part.centres() for part in parts])
        self.load(centres, added([part.summands(centres) for part in parts]), {})
        return self

    @property
    def identity(self) -> str:
        return repr(self._config)

    def centres(self) -> dict[str, Tensor]:
        """Weights and weighted means: their sums over all parts give the common means."""
        weights = _double(self._weights)
        return {
            "coarse": (_double(self._resolution) > 0).to(torch.float64),
            "weights": weights,
            "means": weights[:, None] * _double(self._means),
        }

    def summands(self, centres: Tensors) -> dict[str, Tensor]:
        """Squares and products about the common means."""
        weights = _double(self._weights)
        step = torch.where(weights[:, None] > 0, _double(self._means) - self._common(centres), 0.0)
        found = {
            "squares": _double(self._squares) + weights * (step**2).sum(1),
            "square_weight": _double(self._square_weight),
            "rejected": self._rejected.cpu().double(),
        }
        if self._products is not None:
            found["products"] = _double(self._products) + (step.T * weights) @ step
        return found

    def minima(self) -> dict[str, Tensor]:
        return {}

    def load(self, centres: Tensors, summed: Tensors, minima: Tensors) -> None:
        """Become the whole about the common means."""
        like = self._means
        self._means = self._common(centres).to(like)
        self._weights = centres["weights"].to(like)
        self._squares = summed["squares"].to(like)
        self._square_weight = summed["square_weight"].to(like)
        self._rejected = summed["rejected"].round().to(self._rejected)
        if self._products is not None:
            self._products = summed["products"].to(like)
        coarse = torch.finfo(torch.float32).eps if float(centres["coarse"]) > 0 else 0.0
        self._resolution = torch.full_like(self._resolution, coarse)

    @staticmethod
    def _common(centres: Tensors) -> Tensor:
        tiny = torch.finfo(torch.float64).tiny
        return centres["means"] / centres["weights"].clamp_min(tiny)[:, None]

    # ---- saving -------------------------------------------------------------------------------
    @property
    def state_bytes(self) -> int:
        """Bytes of the state, known before the first batch."""
        names = (*STATE, "products")
        found = (getattr(self, f"_{name}") for name in names)
        return sum(t.numel() * t.element_size() for t in found if t is not None)

    @property
    def _config(self) -> dict[str, Any]:
        names = ("num_classes", "num_features", "half_life", "unit", "mode")
        return {name: getattr(self, name) for name in names}

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain numbers; `load_state_dict` on an equally built object restores it."""
        state: dict[str, Any] = {name: getattr(self, f"_{name}").clone() for name in STATE}
        if self._products is not None:
            state["products"] = self._products.clone()
        return {"config": self._config, **state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore; raises ValueError when the state was made by differently built moments."""
        if state["config"] != self._config:
            raise ValueError(
                f"the state is of moments {state['config']}; these are {self._config}: build both "
                "with the same arguments"
            )
        for name in STATE:
            setattr(self, f"_{name}", state[name].clone().to(self.device))
        if self._products is not None:
            self._products = state["products"].clone().to(self.device)


def check_half_life(half_life: float, unit: str) -> None:
    """Raises ValueError unless half_life > 0 and the unit is known."""
    if not half_life > 0:
        raise ValueError(f"half_life={half_life}; a number above 0 (math.inf: never) is needed")
    if unit not in UNITS:
        raise ValueError(f"unit {unit!r} is unknown; one of {', '.join(UNITS)} is needed")


def _double(tensor: Tensor) -> Tensor:
    return tensor.detach().to(device="cpu", dtype=torch.float64)
