"""The leap: where features go when their input is attacked, seen from the vertices of the simplex.

Vertices are centred class means of clean samples. All in float64; a class without clean samples has
a vertex of NaN, which is left out of maxima and means.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

# Below this cosine to every vertex a feature is between vertices.
BETWEEN = 0.7


@dataclass(frozen=True, eq=False)
class Vertices:
    """means: raw clean class means (classes, dim), NaN rows where there are no samples."""

    means: Float[Tensor, "classes dim"]

    @property
    def centre(self) -> Float[Tensor, " dim"]:
        """The mean of the class means there are."""
        return self.means.nanmean(0)

    @property
    def edges(self) -> Float[Tensor, "classes dim"]:
        """Class means about their centre."""
        return self.means - self.centre

    def cosines(self, features: Float[Tensor, "samples dim"]) -> Float[Tensor, "samples classes"]:
        """cos(h - μ_G, μ_c - μ_G) of every sample with every vertex, in [-1, 1]."""
        rows = functional.normalize(features.double() - self.centre, dim=1)
        return rows @ functional.normalize(self.edges, dim=1).T


def class_means(
    features: Float[Tensor, "samples dim"], groups: Int[Tensor, " samples"], num_classes: int
) -> Float[Tensor, "classes dim"]:
    """Means by group (a label, a target, a decision); NaN where a group is empty."""
    first = torch.zeros(num_classes, features.shape[1], dtype=torch.float64)
    total = first.index_add(0, groups, features.double())
    return total / torch.bincount(groups, minlength=num_classes)[:, None]


@dataclass(frozen=True, eq=False)
class Twins:
    """Clean samples and what the attack made of them, as the head sees them.

    clean, attacked: features (samples, dim); labels: the truth; predicted: what the head decides of
    the attacked ones, before: of the clean ones; groups: by what the attacked ones are grouped (the
    labels, unless the attack had targets); vertices: of the reference split. walked: numbers of the
    flipped samples whose way from x to its twin was walked; path: their cosines to all vertices
    along it, at equal steps from t = 0 to 1. None where none was.
    """

    clean: Float[Tensor, "samples dim"]
    attacked: Float[Tensor, "samples dim"]
    labels: Int[Tensor, " samples"]
    before: Int[Tensor, " samples"]
    predicted: Int[Tensor, " samples"]
    groups: Int[Tensor, " samples"]
    vertices: Vertices
    walked: Int[Tensor, " walked"] | None = None
    path: Float[Tensor, "walked points classes"] | None = None

    @property
    def flipped(self) -> Tensor:
        """Decided rightly before, and otherwise now (samples)."""
        return (self.before == self.labels) & (self.predicted != self.labels)

    def leapt(self) -> Float[Tensor, "flipped classes"]:
        """Cosines to all vertices of the flipped samples, attacked."""
        return self.vertices.cosines(self.attacked[self.flipped])


def flip_share(twins: Twins) -> Float[Tensor, ""]:
    """Share of the samples decided rightly that the attack flips, in [0, 1]; NaN without any."""
    right = twins.before == twins.labels
    return (twins.flipped.sum() / right.sum()).double()


def leap_own(twins: Twins) -> Float[Tensor, ""]:
    """Mean cosine of flipped samples to the vertex of their own class, in [-1, 1]; 1 where the
    attack moved nothing, -1/(K-1) where they stand at another vertex of a simplex."""
    return _along(twins, twins.labels)


def leap_predicted(twins: Twins) -> Float[Tensor, ""]:
    """Mean cosine of flipped samples to the vertex of the class they are taken for, in [-1, 1]."""
    return _along(twins, twins.predicted)


def leap_other(twins: Twins) -> Float[Tensor, ""]:
    """Mean over flipped samples of the largest cosine to a vertex of another class, in [-1, 1]."""
    cosines = twins.leapt().nan_to_num(nan=-torch.inf)
    if not cosines.shape[0]:
        return torch.tensor(torch.nan, dtype=torch.float64)
    return cosines.scatter(1, twins.labels[twins.flipped][:, None], -torch.inf).max(1).values.mean()


def leap_nearest(twins: Twins) -> Float[Tensor, ""]:
    """Share of flipped samples whose vertex of largest cosine is that of the class they are taken
    for, in [0, 1]."""
    found = twins.leapt().nan_to_num(nan=-torch.inf)
    return (found.argmax(1) == twins.predicted[twins.flipped]).double().mean()


def leap_between(twins: Twins) -> Float[Tensor, ""]:
    """Mean share of the straight path from x to its twin on which every vertex is farther than
    cosine .7, in [0, 1]: small where features leap, NaN where no flipped sample was walked."""
    if twins.path is None or not twins.path.shape[0]:
        return torch.tensor(torch.nan, dtype=torch.float64)
    return (twins.path.nan_to_num(nan=-torch.inf).max(2).values < BETWEEN).double().mean()


def mean_angle(twins: Twins, centred: bool = True) -> Float[Tensor, ""]:
    """Mean over classes of the angle in degrees between clean and attacked means, in [0, 180].

    centred: each about the mean of its own class means; else raw, which the common offset of ReLU
    features makes small. Attacked samples are grouped by `groups`, clean ones by their labels.
    Source: Su et al. 2024 (their code read).
    """
    K = twins.vertices.means.shape[0]
    first = Vertices(class_means(twins.clean, twins.labels, K))
    second = Vertices(class_means(twins.attacked, twins.groups, K))
    return angle_between(first, second, centred=centred)


def angle_between(first: Vertices, second: Vertices, *, centred: bool = True) -> Float[Tensor, ""]:
    """Mean angle in degrees of the class means that both have, in [0, 180]; NaN where none is."""
    rows = (first.edges, second.edges) if centred else (first.means, second.means)
    cosines = functional.cosine_similarity(*rows, dim=1)
    return torch.rad2deg(cosines.clamp(-1, 1).acos()).nanmean()


def mean_angle_raw(twins: Twins) -> Float[Tensor, ""]:
    """`mean_angle` without centring."""
    return mean_angle(twins, centred=False)


def centre_angle(twins: Twins) -> Float[Tensor, ""]:
    """Angle in degrees between the global means of clean and attacked samples, in [0, 180]."""
    first, second = twins.clean.double().mean(0), twins.attacked.double().mean(0)
    return torch.rad2deg(functional.cosine_similarity(first, second, dim=0).clamp(-1, 1).acos())


def _along(twins: Twins, classes: Int[Tensor, " samples"]) -> Float[Tensor, ""]:
    chosen = classes[twins.flipped]
    return twins.leapt().gather(1, chosen[:, None]).nanmean()
