"""Within-class scatter, four ways: per class, weighted, pooled or sketched; sums about the pilots.

Every form holds P = Σ w z zᵀ of pilot-shifted samples z = h - c_y, adds batches, and can move to
other pilots exactly: with z' = z + t, P' = P + sᵀt + tᵀs + n t tᵀ summed over classes.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.linalg import add_symmetric, mirrored

MODES = ("full", "trace", "sketch")
# Past this many classes per-class matrices cost more than a weighted sum with known counts.
MANY_CLASSES = 512


class Scatter:
    """Base: how the second moments of shifted samples are kept. `macro` and `micro` say which
    class weighting of Σ_W the form can return."""

    name = "none"

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> None:
        self.products = torch.zeros(shape, dtype=dtype, device=device)

    def add(self, shifted: Tensor, labels: Tensor, segments: list[tuple[int, int, int]]) -> None:
        """Add samples sorted by class, which are used up; a segment is (class, start, stop)."""
        raise NotImplementedError

    def moved(self, sums: Tensor, counts: Tensor, shift: Tensor) -> Tensor:
        """The products after each class's pilot moved so that samples gain `shift`."""
        raise NotImplementedError

    def within(self, sums: Tensor, counts: Tensor, weighting: str) -> Tensor | None:
        """Σ_W under `weighting`, or None where this form does not hold it."""
        raise NotImplementedError


class PerClass(Scatter):
    """One d × d matrix per class: any weighting of classes can be formed afterwards."""

    name = "per_class"

    def __init__(
        self, num_classes: int, dim: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        super().__init__((num_classes, dim, dim), dtype, device)

    def add(self, shifted: Tensor, labels: Tensor, segments: list[tuple[int, int, int]]) -> None:
        for label, start, stop in segments:
            add_symmetric(self.products[label], shifted[start:stop])

    def moved(self, sums: Tensor, counts: Tensor, shift: Tensor) -> Tensor:
        result = mirrored(self.products).clone()
        for k in torch.nonzero(counts).flatten().tolist():
            cross = torch.outer(sums[k], shift[k])
            result[k] += cross + cross.T + counts[k] * torch.outer(shift[k], shift[k])
        return result

    def within(self, sums: Tensor, counts: Tensor, weighting: str) -> Tensor | None:
        # Weights per sample: 1/(K n_c) for macro, 1/N for micro; absent classes weigh nothing.
        weights = sample_weights(counts, weighting)
        mean = sums / counts.clamp_min(1)[:, None]
        total = torch.tensordot(weights, mirrored(self.products), dims=1)
        return total - (mean.T * (weights * counts)) @ mean


class Weighted(Scatter):
    """One d × d matrix with every sample weighted; `weights` is per sample of each class."""

    name = "weighted"

    def __init__(
        self, counts: Tensor, weighting: str, dim: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        super().__init__((dim, dim), dtype, device)
        self.weighting = weighting
        self.expected = counts.to(device)
        self.weights = sample_weights(self.expected, weighting).to(dtype)

    def add(self, shifted: Tensor, labels: Tensor, segments: list[tuple[int, int, int]]) -> None:
        root = self.weights.sqrt().to(shifted.dtype)[labels]
        add_symmetric(self.products, shifted.mul_(root[:, None]))

    def moved(self, sums: Tensor, counts: Tensor, shift: Tensor) -> Tensor:
        cross = (sums.T * self.weights) @ shift
        return (
            mirrored(self.products) + cross + cross.T + (shift.T * (self.weights * counts)) @ shift
        )

    def within(self, sums: Tensor, counts: Tensor, weighting: str) -> Tensor | None:
        # Right only once the stream held exactly the counts that the weights were made for.
        if not torch.equal(counts.to(torch.int64), self.expected.to(torch.int64)):
            return None
        if weighting != self.weighting and not balanced(counts):
            return None
        mean = sums / counts.clamp_min(1)[:, None]
        return mirrored(self.products) - (mean.T * (self.weights * counts)) @ mean


class Pooled(Scatter):
    """One d × d matrix, every sample the same: Σ_W in micro weighting, macro if balanced."""

    name = "pooled"

    def __init__(self, dim: int, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__((dim, dim), dtype, device)

    def add(self, shifted: Tensor, labels: Tensor, segments: list[tuple[int, int, int]]) -> None:
        add_symmetric(self.products, shifted)

    def moved(self, sums: Tensor, counts: Tensor, shift: Tensor) -> Tensor:
        cross = sums.T @ shift
        return mirrored(self.products) + cross + cross.T + (shift.T * counts) @ shift

    def within(self, sums: Tensor, counts: Tensor, weighting: str) -> Tensor | None:
        if weighting != "micro" and not balanced(counts):
            return None
        mean = sums / counts.clamp_min(1)[:, None]
        return (mirrored(self.products) - (mean.T * counts) @ mean) / counts.sum()


class Sketched(Scatter):
    """Pooled scatter of a Gaussian sketch Rz with R (m, d), entries N(0, 1/m), own seed."""

    name = "sketch"

    def __init__(
        self, size: int, dim: int, seed: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        super().__init__((size, size), dtype, device)
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randn(size, dim, generator=generator, dtype=torch.float64) / size**0.5
        self.matrix: Float[Tensor, "sketch dim"] = drawn.to(device=device, dtype=dtype)
        self.seed = seed

    def add(self, shifted: Tensor, labels: Tensor, segments: list[tuple[int, int, int]]) -> None:
        add_symmetric(self.products, shifted @ self.matrix.T.to(shifted.dtype))

    def moved(self, sums: Tensor, counts: Tensor, shift: Tensor) -> Tensor:
        small, step = sums @ self.matrix.T, shift @ self.matrix.T
        cross = small.T @ step
        return mirrored(self.products) + cross + cross.T + (step.T * counts) @ step

    def within(self, sums: Tensor, counts: Tensor, weighting: str) -> Tensor | None:
        if weighting != "micro" and not balanced(counts):
            return None
        mean = (sums / counts.clamp_min(1)[:, None]) @ self.matrix.T
        return (mirrored(self.products) - (mean.T * counts) @ mean) / counts.sum()


def sample_weights(counts: Tensor, weighting: str) -> Tensor:
    """Weight of one sample of each class: 1/(K n_c) for macro, 1/N for micro, 0 where absent."""
    present = counts > 0
    if weighting == "macro":
        weights = 1 / (present.sum() * counts.clamp_min(1).to(torch.float64))
    else:
        weights = (1 / counts.sum().to(torch.float64)).expand(counts.shape)
    return torch.where(present, weights, torch.zeros_like(weights))


def balanced(counts: Tensor) -> bool:
    """Whether all present classes have the same count: then macro and micro are the same."""
    present = counts[counts > 0]
    return bool(present.numel() == 0 or (present == present[0]).all())


def choose_scatter(
    mode: str,
    num_classes: int,
    num_features: int,
    *,
    counts: Tensor | None,
    weighting: str,
    memory_budget: float,
    sketch_size: int,
    seed: int,
    dtype: torch.dtype,
    device: torch.device,
) -> Scatter | None:
    """The form that `mode` asks for and memory allows; None for mode trace.

    One matrix weighted by known counts where all weightings are alike; else per class while 8·K·d²
    fits the budget (and few classes, where counts are known), else weighted, else pooled.
    """
    if mode == "trace":
        return None
    if mode == "sketch":
        return Sketched(sketch_size, num_features, seed, dtype, device)
    if counts is not None and bool((counts > 0).any()) and balanced(counts):
        return Weighted(counts, weighting, num_features, dtype, device)
    affordable = 8 * num_classes * num_features**2 <= memory_budget
    if affordable and (counts is None or num_classes <= MANY_CLASSES):
        return PerClass(num_classes, num_features, dtype, device)
    if counts is not None:
        return Weighted(counts, weighting, num_features, dtype, device)
    return Pooled(num_features, dtype, device)


def class_segments(sizes: list[int]) -> list[tuple[int, int, int]]:
    """(class, start, stop) of the classes present in samples sorted by class."""
    result, start = [], 0
    for label, size in enumerate(sizes):
        if size:
            result.append((label, start, start + size))
            start += size
    return result
