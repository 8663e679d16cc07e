"""Principal components of last-layer features that keep a chosen share of their variance."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.control.batches import check_features, working


class PrincipalFeatures:
    """Project features on the fewest directions that hold `share` of their variance.

    At collapse K - 1 directions hold almost everything; what is cut away are directions in which
    a class is spread for no use of the training task, and with it some over-fitting to it.

    share in (0, 1]: the part of tr Cov to keep. After `fit`: mean (d), components (r, d) with
    orthonormal rows, variances (r), kept (their share of the variance, ≥ share), all in float64.
    Raises ValueError for a share out of range, fewer than two samples, features that are not finite
    or do not vary, and use before `fit`.

    >>> projected = PrincipalFeatures(0.95).fit(train_features).transform(test_features)
    ... # doctest: +SKIP
    """

    mean: Tensor
    components: Tensor
    variances: Tensor
    kept: float

    def __init__(self, share: float = 0.95) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"share={share}; a number in (0, 1] is needed")
        self.share = share

    def fit(self, features: Float[Tensor, "samples dim"]) -> PrincipalFeatures:
        """Find the directions; returns self. A singular value decomposition of centred features:
        small variances are not lost in a squared matrix."""
        check_features(features)
        if features.shape[0] < 2:
            raise ValueError(f"{features.shape[0]} sample; at least 2 are needed")
        wide = features.detach().to(torch.float64)
        mean = wide.mean(0)
        _, values, rows = torch.linalg.svd(wide - mean, full_matrices=False)
        variances = values**2 / (features.shape[0] - 1)
        total = variances.sum()
        if not float(total) > 0:
            raise ValueError("the features do not vary, so no share of their variance can be kept")
        reached = variances.cumsum(0) / total
        # Rounding must not ask for directions beyond the rank.
        rank = int((reached < self.share - 1e-12).sum()) + 1
        self.mean, self.components = mean, rows[:rank]
        self.variances, self.kept = variances[:rank], float(reached[rank - 1])
        return self

    @property
    def rank(self) -> int:
        """Number of directions kept."""
        return int(self._fitted().shape[0])

    def transform(self, features: Float[Tensor, "samples dim"]) -> Float[Tensor, "samples rank"]:
        """Coordinates (samples, r) along the kept directions; differentiable."""
        components = self._fitted()
        wide = working(features)
        return (wide - self.mean.to(wide)) @ components.to(wide).T

    def inverse_transform(
        self, coordinates: Float[Tensor, "samples rank"]
    ) -> Float[Tensor, "samples dim"]:
        """Features (samples, d) with everything outside the kept directions removed."""
        wide = working(coordinates)
        return wide @ self._fitted().to(wide) + self.mean.to(wide)

    def _fitted(self) -> Tensor:
        found = getattr(self, "components", None)
        if found is None:
            raise ValueError("nothing is fitted; call fit(features) before transform")
        return found
