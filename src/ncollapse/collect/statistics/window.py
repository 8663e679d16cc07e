"""A window over batches: sums of squares within each batch, faded; ratios are formed last.

A ratio of two numbers from one batch is biased by as much as their noise. Here unbiased numerators
and denominators are summed over batches and divided at the end:

    MSW = Σ SSW / Σ (N - K'),   MST = Σ SST / Σ (N - 1),   K' classes in a batch of N.

E MSW = tr Σ_W, pooled with weights n_c - 1, and for labels drawn at random E MST = tr Σ_W + tr Σ_B,
whatever classes a batch lacks (derived). Batches are compared with themselves only: that features
drift from one to the next adds nothing.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ncollapse.collect.statistics.forgetting import FORGOTTEN, ForgettingMoments
from ncollapse.collect.statistics.protocol import Tensors, working_dtype
from ncollapse.collect.statistics.unbiased import (
    NoisyMeans,
    UnresolvedError,
    check_share,
    directions,
    unbiased_square,
)

# tr Σ_W² without the scatter is formed from inner products of at most so many samples a batch.
PAIRED = 256
# A window is read once it holds this share of the classes that have been seen.
MOST = 0.9
# A class whose deviations have fewer degrees of freedom borrows the pooled spread.
OWN_SPREAD = 0.5


class BatchMoments(ForgettingMoments):
    """The moments of one batch, with an unbiased tr Σ_W² where no scatter is kept.

    Merged over ranks they are those of the batch of all ranks, but for tr Σ_W², which is the mean
    of what each rank finds: it decides what can be read, never what is read.
    """

    def reset(self) -> None:
        super().reset()
        # Σ f tr Σ_W² and Σ f.
        self._paired = torch.zeros(2, dtype=self.dtype, device=self.device)

    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor) -> None:
        """Take in the batch: features (samples, d), labels (samples)."""
        super().update(features, labels)
        if self.mode == "trace" and labels.numel():
            rows = features.detach()[:PAIRED].to(self.device)
            self._paired += self._pairs(rows, labels.detach()[:PAIRED].to(self.device).long())

    def _pairs(self, rows: Tensor, labels: Tensor) -> Tensor:
        """f tr Σ_W² and f of these samples: tr S² is a sum of squared inner products."""
        K = self.num_classes
        with torch.autocast(self.device.type, enabled=False):
            rows = rows.to(working_dtype(rows.dtype))
            valid = (labels >= 0) & (labels < K) & rows.isfinite().all(1)
            labels = torch.where(valid, labels, K)
            ones = valid.to(rows.dtype)
            number = ones.new_zeros(K + 1).index_add_(0, labels, ones)
            # About the means of the whole batch first: near collapse float32 would not do.
            known = torch.cat([self._means, self._means.new_zeros(1, rows.shape[1])])
            rest = (rows - known[labels]).to(rows.dtype)
            rest = torch.where(valid[:, None], rest, 0)
            shift = rest.new_zeros(K + 1, rows.shape[1]).index_add_(0, labels, rest)
            rest = rest - (shift / number.clamp_min(1)[:, None])[labels]
            gram = rest @ rest.T if rest.shape[0] < rest.shape[1] else rest.T @ rest
            gram = gram.to(self.dtype)
            f = (number - 1).clamp_min(0).sum().to(self.dtype)
            excess = gram.square().sum() - gram.diagonal().sum() ** 2 / f.clamp_min(1)
            # As `unbiased_square`, of S = gram/f, without waiting for f.
            found = torch.stack([f * excess / ((f - 1) * (f + 2)).clamp_min(1), f])
            return torch.where(f >= 2, found, 0)

    def summands(self, centres: Tensors) -> dict[str, Tensor]:
        return {**super().summands(centres), "paired": self._paired.cpu().double()}

    def load(self, centres: Tensors, summed: Tensors, minima: Tensors) -> None:
        super().load(centres, summed, minima)
        self._paired = summed["paired"].to(self._means)


class Window:
    """Faded sums over batches of features (samples, d) with labels 0..K-1.

    parts: "shares" keeps sums of squares alone, "means" adds the class means, "full" the scatter
    (d, d). The means are those of a design in blocks: with n the counts of a batch,

        L = Σ (diag n - nnᵀ/N),   V = Σ diag(n) (class means - the batch's mean),   M = L⁺ V,

    the least-squares means when each batch has an offset of its own, so that classes which never
    meet in one batch are compared through those that they both meet. Their noise is L⁺ N₂ L⁺,
    N₂ the sum of what the batches' means bring. Nothing waits for the host but reading.
    """

    def __init__(
        self,
        num_classes: int,
        num_features: int,
        *,
        parts: str = "full",
        device: torch.device | str = "cpu",
    ) -> None:
        K, d = num_classes, num_features
        self.num_classes, self.num_features, self.parts = K, d, parts
        self.device = torch.device(device)
        dtype = self._like().dtype
        sizes: dict[str, tuple[int, ...]] = {
            "squares": (K,), "free": (K,), "total": (2,), "twice": (1,), "paired": (2,),
            "seen": (K,), "rejected": (2,),
        }  # fmt: skip
        if parts != "shares":
            sizes |= {"design": (K, K), "noise": (K, K), "values": (K, d)}
        if parts == "full":
            sizes["products"] = (d, d)
        self.sums = {
            name: torch.zeros(size, dtype=dtype, device=self.device) for name, size in sizes.items()
        }

    def _like(self) -> BatchMoments:
        mode = "full" if self.parts == "full" else "trace"
        return BatchMoments(self.num_classes, self.num_features, mode=mode, device=self.device)

    def batch(self, features: Tensor, labels: Tensor) -> BatchMoments:
        """What `add` takes: the moments of a batch, which may first be merged over ranks."""
        moments = self._like()
        moments.update(features, labels)
        return moments

    @torch.no_grad()
    def add(self, batch: BatchMoments, fade: float = 0.0) -> None:
        """Multiply what is held by `fade` (0: forget it) and add a batch."""
        held = self.sums
        for name in held.keys() - {"seen", "rejected", "products"}:
            held[name] *= fade**2 if name in ("twice", "noise") else fade
        n, squares = batch._weights, batch._squares
        whole = n.sum()
        present = n > 0
        free = (n - 1).clamp_min(0)
        centre = (n @ batch._means) / whole.clamp_min(1)
        gaps = torch.where(present[:, None], batch._means - centre, 0)
        held["squares"] += squares
        held["free"] += free
        held["total"][0] += squares.sum() + (n * (gaps * gaps).sum(1)).sum()
        held["total"][1] += (whole - 1).clamp_min(0)
        held["twice"] += free.sum()
        held["paired"] += batch._paired
        held["seen"] = torch.maximum(held["seen"], present.to(n))
        held["rejected"] += batch._rejected.to(n)
        if "products" in held and batch._products is not None:
            # The one large sum: in a single pass.
            torch.add(batch._products, held["products"], alpha=fade, out=held["products"])
        if "design" in held:
            share = n / whole.clamp_min(1)
            held["design"] += torch.diag(n) - torch.outer(n, share)
            held["values"] += n[:, None] * gaps
            noise = n * self._spreads()
            cross = torch.outer(noise, share)
            held["noise"] += (
                torch.diag(noise) - cross - cross.T + torch.outer(share, share) * noise.sum()
            )

    def _spreads(self) -> Tensor:
        """s_c: SS_c over its degrees of freedom, pooled for classes that have none of their own."""
        squares, free = self.sums["squares"], self.sums["free"]
        tiny = torch.finfo(free.dtype).tiny
        pooled = squares.sum() / free.sum().clamp_min(tiny)
        return torch.where(free > OWN_SPREAD, squares / free.clamp_min(tiny), pooled)

    # ---- reading ------------------------------------------------------------------------------
    @property
    def rejected(self) -> tuple[int, int]:
        """Samples left out so far: labels out of range; NaN or infinite features."""
        outside, infinite = self.sums["rejected"].tolist()
        return int(outside), int(infinite)

    @property
    def freedom(self) -> float:
        """ν = (Σ f)²/Σ f² of faded f = N - K': samples beyond one a class that it amounts to."""
        free, twice = float(self.sums["free"].sum()), float(self.sums["twice"])
        return free**2 / twice if twice > 0 else 0.0

    def class_share(self) -> float:
        """1 - MSW/MST: the share of variance that classes explain, 0 for labels that mean nothing.

        Raises UnresolvedError where no class has had two samples in one batch, or nothing varies.
        """
        within, total = self._mean_squares("class_share")
        return 1 - within / total

    def ratio(self) -> float:
        """nc1_ratio: MSW/(MST - MSW). Raises UnresolvedError unless the share that classes explain
        is four standard errors above 0."""
        within, total = self._mean_squares("nc1_ratio")
        nu, free = self.freedom, float(self.sums["free"].sum())
        all_free = float(self.sums["total"][1]) * nu / free
        effective = directions(within, self._square(self._within()))
        check_share("nc1_ratio", 1 - within / total, nu, all_free, effective)
        return within / (total - within)

    def _mean_squares(self, key: str) -> tuple[float, float]:
        free = float(self.sums["free"].sum())
        total, all_free = self.sums["total"].tolist()
        if free < FORGOTTEN or total <= 0:
            raise UnresolvedError(
                f"{key} cannot be read where no batch held two samples of one class that differ "
                "from others; pass larger batches"
            )
        return float(self.sums["squares"].sum()) / free, total / all_free

    def _square(self, within: Tensor | None = None) -> float | None:
        if within is not None:
            return unbiased_square(within, self.freedom)
        square, free = self.sums["paired"].tolist()
        return square / free if free > 0 else None

    def _within(self) -> Tensor | None:
        if "products" not in self.sums:
            return None
        free = self.sums["free"].sum().clamp_min(torch.finfo(self.sums["free"].dtype).tiny)
        return _double(self.sums["products"] / free)

    def noisy_means(self, key: str) -> NoisyMeans:
        """Class means with their noise, classes alike, of the classes that the window holds.

        Raises UnresolvedError where more than a tenth of the classes seen are missing, or some were
        never in a batch with the others, and as `class_share` does.
        """
        self._mean_squares(key)
        design = _double(self.sums["design"])
        weight = design.diagonal()
        seen = int(self.sums["seen"].sum())
        held = (weight >= FORGOTTEN).nonzero().flatten()
        if held.numel() < max(2, MOST * seen):
            raise UnresolvedError(
                f"{key} cannot be read from {held.numel()} classes of {max(seen, 2)}; the last "
                "batches must hold nine in ten of them: pass larger batches or a longer half_life"
            )
        known = (weight > FORGOTTEN**3).nonzero().flatten()
        root = weight[known].rsqrt()
        scaled = root[:, None] * design[known][:, known] * root
        null = (1 / root) / (1 / root).norm()
        factor, failed = torch.linalg.cholesky_ex(scaled + torch.outer(null, null))
        if int(failed) or float(factor.diagonal().min()) < 1e-6:
            raise UnresolvedError(
                f"{key} cannot be read where some classes never share a batch with others; mix "
                "classes in batches, or pass a longer half_life"
            )
        solve = root[:, None] * torch.cholesky_inverse(factor) * root
        means = solve @ _double(self.sums["values"])[known]
        noise = solve @ _double(self.sums["noise"])[known][:, known] @ solve
        kept = (weight[known] >= FORGOTTEN).nonzero().flatten()
        K, within = held.numel(), self._within()
        return NoisyMeans(
            means[kept],
            noise[kept][:, kept],
            _double(self._spreads())[held],
            torch.full((K,), 1 / K, dtype=torch.float64),
            self.freedom,
            self._square(within),
            within,
        )

    # ---- saving -------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain numbers; `load_state_dict` on an equally built window restores it."""
        sums = {name: tensor.clone() for name, tensor in self.sums.items()}
        return {"config": self._config, **sums}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore; raises ValueError when the state was made by a differently built window."""
        if state["config"] != self._config:
            raise ValueError(
                f"the state is of a window {state['config']}; this one is {self._config}: build "
                "both with the same arguments"
            )
        self.sums = {name: state[name].clone().to(held) for name, held in self.sums.items()}

    @property
    def _config(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("num_classes", "num_features", "parts")}


def _double(tensor: Tensor) -> Tensor:
    return tensor.detach().to(device="cpu", dtype=torch.float64)
