"""TargetView: what readings of regression collapse are made of, and the reading of each row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.collect.statistics.leftover import Leftover, row_space
from ncollapse.collect.statistics.targets import TargetMoments, TargetSummary
from ncollapse.metrics import nrc

TRACES = "second moments of the features were not kept; pass mode='full' or a larger memory budget"
HEADLESS = "no head was measured beside the features"


@dataclass(frozen=True, eq=False)
class Principal:
    """Eigenvalues of Σ_h, descending, and eigenvectors as columns."""

    values: Float[Tensor, " dim"]
    vectors: Float[Tensor, "dim dim"]

    @classmethod
    def of(cls, covariance: Float[Tensor, "dim dim"]) -> Principal:
        values, vectors = torch.linalg.eigh(covariance)
        return cls(values.flip(0).clamp_min(0), vectors.flip(1))

    @property
    def rank(self) -> int:
        """Directions in which features vary, as far as float64 tells."""
        cut = torch.finfo(torch.float64).eps * len(self.values) * float(self.values[0])
        return int((self.values > cut).sum())


@dataclass(frozen=True, eq=False)
class TargetView:
    """One split of one layer. principal: None where only traces were kept. left: means of the
    second look (`Leftover.result`); weight (n, d) and bias (n): of the head, where the layer feeds
    it."""

    summary: TargetSummary
    principal: Principal | None
    left: Mapping[str, Tensor]
    weight: Float[Tensor, "targets dim"] | None = None

    @classmethod
    def of_rows(
        cls,
        features: Float[Tensor, "samples dim"],
        targets: Float[Tensor, "samples targets"],
        weight: Float[Tensor, "targets dim"] | None = None,
        bias: Float[Tensor, " targets"] | None = None,
    ) -> TargetView:
        """Of samples in memory."""
        moments = TargetMoments(features.shape[1], targets.shape[1])
        moments.update(features, targets)
        summary = moments.result()
        assert summary.covariance is not None
        principal = Principal.of(summary.covariance)
        number = min(targets.shape[1], features.shape[1])
        left = Leftover(summary, principal.vectors[:, :number], weight, bias)
        left.update(features, targets)
        wide = None if weight is None else weight.to(torch.float64)
        return cls(summary, principal, left.result(), wide)

    @property
    def number(self) -> int:
        """n."""
        return self.summary.target_mean.numel()

    @property
    def width(self) -> int:
        """d."""
        return self.summary.mean.numel()

    @property
    def spectrum(self) -> Principal:
        """Raises ValueError where it was not kept, and where nothing varies."""
        if self.principal is None:
            raise ValueError(TRACES)
        if not bool(self.principal.values[0] > 0):
            raise ValueError("all features are alike, so no direction is principal")
        return self.principal

    @property
    def directions(self) -> Float[Tensor, "dim number"]:
        """The top n principal directions."""
        return self.spectrum.vectors[:, : self.number]

    @property
    def head(self) -> Float[Tensor, "targets dim"]:
        if self.weight is None:
            raise ValueError(HEADLESS)
        return self.weight

    @cached_property
    def gram(self) -> Float[Tensor, "targets targets"]:
        """G = WWᵀ."""
        return self.head @ self.head.T


# ---- readings -----------------------------------------------------------------------------------
def nrc1(view: TargetView, centred: bool = False) -> Tensor:
    """`nrc.off_share` of the top n principal directions. Raises ValueError for d ≤ n."""
    _some_left(view, view.directions.shape[1])
    return view.left["off_centred" if centred else "off_unit"]


def nrc2(view: TargetView, centred: bool = False) -> Tensor:
    """`nrc.off_share` of the row space of W. Raises ValueError for d ≤ n, and without a head."""
    if not bool((view.head != 0).any()):
        raise ValueError("the rows of the head are zero and span nothing")
    _some_left(view, row_space(view.head).shape[1])
    return view.left["head_off_centred" if centred else "head_off_unit"]


def _some_left(view: TargetView, taken: int) -> None:
    if view.width <= taken:
        raise ValueError(
            f"{taken} directions span all {view.width} features, so nothing can lie off them"
        )
    if not view.summary.variance > 0:
        raise ValueError("all features are alike, so they have no direction about their mean")


def nrc3(view: TargetView) -> Tensor:
    """`nrc.nrc3` at the best γ. Raises ValueError for one target, for which it is 0 always."""
    _several(view)
    return nrc.nrc3(view.gram, view.summary.target_covariance)


def gamma(view: TargetView) -> Tensor:
    """`nrc.best_gamma`."""
    _several(view)
    if not bool((view.gram != 0).any()):
        raise ValueError("the rows of the head are zero, so their Gram matrix has no direction")
    return torch.tensor(nrc.best_gamma(view.gram, view.summary.target_covariance))


def _several(view: TargetView) -> None:
    if view.number == 1:
        raise ValueError("with one target both matrices are one number, so it is 0 always")


def explained(view: TargetView) -> Tensor:
    """`nrc.top_share`."""
    return 1 - noise(view)


def noise(view: TargetView) -> Tensor:
    """1 - top_share, of the differences to the top n directions themselves, so that it is exact
    near 0. Raises ValueError for d ≤ n."""
    _some_left(view, view.directions.shape[1])
    return view.left["off"] / view.spectrum.values.sum()


def feature_rank(view: TargetView) -> Tensor:
    """`nrc.stable_rank` of Σ_h."""
    return nrc.stable_rank(view.spectrum.values)


def weight_rank(view: TargetView) -> Tensor:
    """`nrc.stable_rank` of W."""
    return nrc.stable_rank(torch.linalg.svdvals(view.head))


def cka(view: TargetView) -> Tensor:
    """`nrc.linear_cka`."""
    covariance = view.summary.covariance
    if covariance is None:
        raise ValueError(TRACES)
    return nrc.linear_cka(covariance, view.summary.cross, view.summary.target_covariance)


def aligned(view: TargetView) -> Tensor:
    """`nrc.alignment`."""
    return nrc.alignment(view.directions, view.head)


def linear(view: TargetView) -> Tensor:
    """`nrc.linear_error`."""
    found, summary = view.spectrum, view.summary
    return nrc.linear_error(found.values, found.vectors, summary.cross, summary.target_covariance)


def error(view: TargetView) -> Tensor:
    """Mean over targets of the head's squared error."""
    assert view.head is not None
    return view.left["errors"].mean()
