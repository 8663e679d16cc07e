"""Scores by distance: to class means, plainly or by Mahalanobis, and to nearest neighbours."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ncollapse.downstream.detectors.base import Detector
from ncollapse.downstream.detectors.reference import Reference

LEDOIT_WOLF, OAS = "ledoit-wolf", "oas"
# Eigenvalues below this share of the largest are none in float64.
SINGULAR = 1e-12
# So many training samples are searched for neighbours; of more, some are drawn.
MOST = 50_000


class NearestMean(Detector):
    """min_c ‖h - μ_c‖, c over the classes that were seen. Range ≥ 0."""

    name, title, source = (
        "nearest_mean",
        "Nearest mean",
        "the plain distance to compare others with",
    )
    needs_labels = True

    def _learn(self, reference: Reference) -> None:
        self.means = reference.summary.means

    def _score(self, features: Float[Tensor, "samples dim"]) -> Float[Tensor, " samples"]:
        return torch.cdist(features, self.means).amin(1)


class Mahalanobis(Detector):
    """min_c (h - μ_c)ᵀ Σ⁻¹ (h - μ_c), Σ = (1 - s) Σ_W + s (tr Σ_W / d) I, Σ_W pooled, divisor N.

    shrinkage: s itself in [0, 1], or how it is found: "ledoit-wolf" (a second look at the features)
    or "oas" (of second moments alone, so one look). Collapse makes Σ_W nearly singular, so that
    s = 0 ends in noise: it is refused where Σ_W has no inverse, and `notes` says by how much was
    shrunk. pytorch-ood takes half of this with the scatter not divided by N and 1e-6 I added to it.
    Source: Lee et al., NeurIPS 2018, arXiv 1807.03888 (code of OpenOOD and pytorch-ood read);
    shrinkage as scikit-learn has it (Ledoit & Wolf 2004; Chen et al. 2010, remembered, not read).
    Raises ValueError for another shrinkage, and where no class has two different samples.
    """

    name, title, source = "mahalanobis", "Mahalanobis", "Lee et al. 2018 (code of OpenOOD read)"
    needs_labels = True

    def __init__(
        self,
        model: nn.Module | None = None,
        *,
        shrinkage: str | float = LEDOIT_WOLF,
        weight: Any = None,
        bias: Any = None,
    ) -> None:
        super().__init__(model, weight=weight, bias=bias)
        known = shrinkage in (LEDOIT_WOLF, OAS)
        if not known and (isinstance(shrinkage, str) or not 0 <= shrinkage <= 1):
            raise ValueError(
                f"shrinkage={shrinkage!r}; {LEDOIT_WOLF!r}, {OAS!r} or a number in [0, 1] is needed"
            )
        self.shrinkage = shrinkage

    def _learn(self, reference: Reference) -> None:
        found = reference.summary
        width = reference.num_features
        average = float(found.within.diagonal().sum()) / width
        if not average > 0:
            raise ValueError(
                "no class has two different samples, so there is no spread within classes to "
                "measure distances by; pass more samples, or use NearestMean"
            )
        self.shrunk = self._amount(reference)
        values, vectors = torch.linalg.eigh(found.within)
        rank = int((values > SINGULAR * values[-1]).sum())
        if rank < width:
            self._say(rank, width)
        values = (1 - self.shrunk) * values.clamp_min(0) + self.shrunk * average
        self.whitening = vectors / values.sqrt()
        self.centre = found.mean
        self.means = (found.means - self.centre) @ self.whitening

    def _say(self, rank: int, width: int) -> None:
        said = f"Σ_W has {rank} of {width} directions and no inverse"
        if self.shrunk == 0:
            raise ValueError(
                f"{said}; pass shrinkage={LEDOIT_WOLF!r} or {OAS!r}, which make it one"
            )
        self.notes.append(
            f"{said}: it was shrunk towards a multiple of the identity by {self.shrunk:.3g}"
        )

    def _amount(self, reference: Reference) -> float:
        if self.shrinkage == LEDOIT_WOLF:
            return ledoit_wolf(reference)
        if self.shrinkage == OAS:
            found = reference.summary
            return oas(found.within, found.num_samples)
        return float(self.shrinkage)

    def _score(self, features: Float[Tensor, "samples dim"]) -> Float[Tensor, " samples"]:
        white = (features - self.centre) @ self.whitening
        return torch.cdist(white, self.means).amin(1).square()

    def settings(self) -> dict[str, Any]:
        return {"shrinkage": self.shrunk, "by": str(self.shrinkage)}


def oas(within: Float[Tensor, "dim dim"], number: int) -> float:
    """The shrinkage of scikit-learn's `oas` for N samples about known centres with this covariance:
    (m + t²)/((N + 1)(m - t²/d)) at most 1, m the mean squared entry, t = tr Σ/d."""
    width = within.shape[0]
    square, trace = float(within.square().mean()), float(within.diagonal().sum()) / width
    below = (number + 1) * (square - trace**2 / width)
    return 1.0 if below <= 0 else min((square + trace**2) / below, 1.0)


def ledoit_wolf(reference: Reference) -> float:
    """The shrinkage of scikit-learn's `ledoit_wolf` for samples less their class means: with
    r = h - μ_y, β = ((1/N) Σ ‖r‖⁴ - ‖Σ_W‖²)/(N d) over δ = (‖Σ_W‖² - (tr Σ_W)²/d)/d, in [0, 1].

    A second look, of which one number is kept.
    """
    found = reference.summary
    size = int(found.present.max()) + 1
    places = torch.zeros(size, dtype=torch.int64)
    places[found.present] = torch.arange(found.present.numel())
    fourth = 0.0
    for features, labels in reference.blocks():
        rest = features - found.means[places[labels]]
        fourth += float(rest.square().sum(1).square().sum())
    number, width = found.num_samples, reference.num_features
    norm = float(found.within.square().sum())
    trace = float(found.within.diagonal().sum())
    spread = (norm - trace**2 / width) / width
    noise = (fourth / number - norm) / (number * width)
    return 0.0 if spread <= 0 else min(max(noise, 0.0) / spread, 1.0)


class KNN(Detector):
    """Distance of h/‖h‖ to its k-th nearest neighbour among training features, normalised alike.

    Search by scikit-learn's NearestNeighbors. normalize=False: plain features. most: so many
    training samples are kept; of more, some are drawn by `seed`, and `notes` says so. Range [0, 2].
    Source: Sun et al., ICML 2022 (code of OpenOOD and pytorch-ood read).
    Raises ValueError where there are fewer samples than neighbours.
    """

    name, title, source = "knn", "KNN", "Sun et al. 2022 (code of OpenOOD read)"

    def __init__(
        self,
        model: nn.Module | None = None,
        *,
        k: int = 10,
        normalize: bool = True,
        most: int = MOST,
        seed: int = 0,
        weight: Any = None,
        bias: Any = None,
    ) -> None:
        super().__init__(model, weight=weight, bias=bias)
        if not 1 <= k <= most:
            raise ValueError(f"k={k}, most={most}; 1 ≤ k ≤ most is needed")
        self.k, self.normalize, self.most, self.seed = k, normalize, most, seed

    def _learn(self, reference: Reference) -> None:
        from sklearn.neighbors import NearestNeighbors

        number = reference.num_samples
        if number < self.k:
            raise ValueError(
                f"{number} samples for {self.k} neighbours; pass more of the training data, or a "
                "smaller k"
            )
        wanted = torch.ones(number, dtype=torch.bool)
        if number > self.most:
            generator = torch.Generator().manual_seed(self.seed)
            wanted = torch.zeros(number, dtype=torch.bool)
            wanted[torch.randperm(number, generator=generator)[: self.most]] = True
            self.notes.append(f"neighbours are searched among {self.most} of {number} samples")
        rows, start = [], 0
        for features, _ in reference.blocks():
            stop = start + len(features)
            rows.append(self._prepared(features[wanted[start:stop]]))
            start = stop
        self.index = NearestNeighbors(n_neighbors=self.k).fit(torch.cat(rows).numpy())

    def _prepared(self, features: Tensor) -> Tensor:
        if not self.normalize:
            return features
        return features / features.norm(dim=1, keepdim=True).clamp_min(1e-12)

    def _score(self, features: Float[Tensor, "samples dim"]) -> Float[Tensor, " samples"]:
        distances, _ = self.index.kneighbors(self._prepared(features).numpy())
        return torch.from_numpy(distances[:, -1].copy())

    def settings(self) -> dict[str, Any]:
        return {"k": self.k, "normalize": self.normalize}
