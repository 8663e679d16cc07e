"""Scores that guess, without training, how well features serve a target task.

One kernel gives two of them: tr(Σ_T⁺Σ_B) of the target's features is (C-1)(1 - VCI), and it is the
H-score. All take target features (samples, d) and labels (samples); none but LEEP knows the source.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ncollapse.collect.statistics.classes import ClassMoments
from ncollapse.errors import NCollapseWarning
from ncollapse.metrics.nc1 import between_of, between_scatter_factor, nc1_vci
from ncollapse.metrics.pencil import unexplained_share, whitened

Features = Float[Tensor, "samples dim"]
Labels = Int[Tensor, " samples"]
# Fewer samples a dimension than this make VCI and H-score read how few there are.
FEW = 5
SHRINKAGES = ("none", "ledoit-wolf")


# ---- VCI and H-score: one kernel ----------------------------------------------------------------
def vci(features: Features, labels: Labels, *, shrinkage: str = "none") -> float:
    """Variability collapse index 1 - tr(Σ_T⁺Σ_B)/rank Σ_B, samples alike. In [0, 1], ideal 0.

    shrinkage "ledoit-wolf" shrinks Σ_W toward a multiple of the identity: of use where samples are
    few. Warns with `NCollapseWarning` where there are fewer than 5 samples a dimension and nothing
    is shrunk: the value then says how few, not how collapsed; NaN where N - K ≤ rank of Σ_W.
    Raises ValueError for one class, shapes that disagree and features that are not finite.
    Source: Xu & Liu 2023.
    """
    return _kernel(features, labels, shrinkage)[0]


def h_score(features: Features, labels: Labels, *, shrinkage: str = "none") -> float:
    """tr(cov(f)⁺ cov(E[f|y])), population covariances: (rank Σ_B)(1 - VCI), with rank = C - 1
    wherever d ≥ C - 1. In [0, C - 1], the larger the better. Sources: Bao et al. 2019; shrunk:
    Ibrahim, Ponomareva, Mazumder 2021 (remembered, not read); the identity is derived here."""
    index, rank = _kernel(features, labels, shrinkage)
    return rank * (1 - index)


def _kernel(features: Tensor, labels: Tensor, shrinkage: str) -> tuple[float, int]:
    """VCI and the rank of Σ_B."""
    if shrinkage not in SHRINKAGES:
        raise ValueError(f"shrinkage {shrinkage!r} is unknown; {' or '.join(SHRINKAGES)} is needed")
    wide, place, K = checked(features, labels)
    n, d = wide.shape
    if shrinkage == "none" and n < FEW * d:
        warnings.warn(
            f"{n} target samples of {d} features: VCI and H-score need some {FEW * d}, and read "
            "sampling below; pass shrinkage='ledoit-wolf', or samples that were held out",
            NCollapseWarning,
            stacklevel=3,
        )
    moments = ClassMoments(K, d)
    moments.update(wide, place)
    statistics, geometry = moments.statistics(), moments.geometry()
    rank = min(d, K - 1)
    if shrinkage == "none":
        return float(nc1_vci(statistics, geometry, weighting="micro")), rank
    means = moments.means
    shrunk = ledoit_wolf(wide - means[place])
    factor = between_of(statistics, geometry, "micro", "micro")
    rows = between_scatter_factor(statistics, geometry, "micro", "micro")
    statistics = replace(statistics, micro=shrunk)
    return float(unexplained_share(rows, shrunk, factor, whitened(shrunk, factor.F))), rank


def ledoit_wolf(residuals: Features) -> Float[Tensor, "dim dim"]:
    """Covariance (divisor n) of residuals, shrunk toward a multiple of the identity by the share
    that Ledoit & Wolf 2004 derive."""
    from sklearn.covariance import ledoit_wolf as shrunk

    found, _ = shrunk(residuals.numpy(), assume_centered=True)
    return torch.from_numpy(found)


# ---- LEEP ---------------------------------------------------------------------------------------
def leep(source: Float[Tensor, "samples classes"], labels: Labels) -> float:
    """Mean log Σ_z P(y|z) θ_z of source probabilities θ (samples, source classes), rows that sum to
    1; P(y|z) from the joint of target labels and θ. ≤ 0, ideal 0; -H(y) where the source's
    decisions say nothing about the target. Source: Nguyen et al. 2020 (remembered, not read)."""
    theta, place, K = checked(source, labels)
    if bool((theta < 0).any()) or bool(((theta.sum(1) - 1).abs() > 1e-3).any()):
        raise ValueError(
            "source probabilities have rows that do not sum to 1; pass softmax(logits) of the model"
        )
    joint = torch.zeros(K, theta.shape[1], dtype=torch.float64).index_add(0, place, theta)
    given = joint / joint.sum(0).clamp_min(torch.finfo(torch.float64).tiny)
    return float((given[place] * theta).sum(1).log().mean())


# ---- TransRate ----------------------------------------------------------------------------------
def transrate(features: Features, labels: Labels, *, epsilon: float = 1e-4) -> float:
    """R(Z) - Σ_c n_c/n R(Z_c), R(Z) = ½ log det(I + ZᵀZ/(n ε)) of features centred over all
    samples, in nats. ≥ 0, the larger the better; it has a scale (ε in squared feature units).

    The common code averages the classes alike; here they weigh n_c/n, as in rate reduction. Source:
    Huang et al. 2022 (remembered, not read; common code read).
    """
    if epsilon <= 0:
        raise ValueError(f"epsilon={epsilon}; a positive number is needed")
    wide, place, K = checked(features, labels)
    wide = wide - wide.mean(0)
    whole = _rate(wide, epsilon)
    parts = ((place == k).nonzero().flatten() for k in range(K))
    return whole - sum(len(part) / len(wide) * _rate(wide[part], epsilon) for part in parts)


def _rate(rows: Tensor, epsilon: float) -> float:
    n, d = rows.shape
    gram = rows.T @ rows if d <= n else rows @ rows.T
    sizes = torch.linalg.eigvalsh(gram).clamp_min(0)
    return float(0.5 * torch.log1p(sizes / (n * epsilon)).sum())


# ---- NCTI ---------------------------------------------------------------------------------------
@dataclass(frozen=True)
class NCTIParts:
    """What NCTI is made of, for one model: nuclear norm of the centred features of a shrunk linear
    discriminant, mean posterior of the true class, log of the summed nuclear norms of posteriors by
    class. They mean something beside those of other models alone."""

    separation: float
    nearest: float
    variability: float


def ncti_parts(features: Features, labels: Labels) -> NCTIParts:
    """The three parts for one model's target features, each standardised (divided by the root mean
    variance) first: the published shrinkage exp(-Σ variances) depends on units.

    PCA to 64 directions, a linear discriminant with shrinkage exp(-Σ of the first 32 variances).
    Source: Wang et al. 2023 (authors' code read; the standardisation is ours).
    """
    from sklearn.decomposition import PCA
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    wide, place, K = checked(features, labels)
    scale = float(wide.var(0).mean().sqrt())
    rows = ((wide - wide.mean(0)) / (scale or 1.0)).numpy()
    pca = PCA(n_components=min(64, *rows.shape), svd_solver="full")
    reduced = pca.fit_transform(rows)
    reduced = reduced[:, pca.explained_variance_ > 1e-12 * pca.explained_variance_.max()]
    shrink = math.exp(-float(pca.explained_variance_[:32].sum()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if shrink <= 1e-10:
            model = LinearDiscriminantAnalysis(solver="svd")
        else:
            model = LinearDiscriminantAnalysis(solver="eigen", shrinkage=shrink)
        shown = torch.from_numpy(model.fit_transform(reduced, place.numpy()))
    posterior = torch.from_numpy(model.predict_proba(reduced))
    compact = sum(float(torch.linalg.matrix_norm(posterior[place == k], "nuc")) for k in range(K))
    return NCTIParts(
        float(torch.linalg.matrix_norm(shown - shown.mean(0), "nuc")),
        float(posterior.gather(1, place[:, None]).mean()),
        math.log(compact),
    )


def ncti(models: Sequence[NCTIParts]) -> list[float]:
    """One score a model: separation + nearest - variability, each between 0 and 1 over the models
    given. In [-1, 2], the larger the better; it ranks this set and no other, so that two models at
    least are needed (ValueError)."""
    if len(models) < 2:
        raise ValueError(
            f"{len(models)} model; NCTI compares the models of a set, at least two are needed"
        )
    table = torch.tensor([[m.separation, m.nearest, m.variability] for m in models]).double()
    span = table.max(0).values - table.min(0).values
    # A part that is alike in all models tells none apart.
    unit = (table - table.min(0).values) / torch.where(span > 0, span, 1.0)
    return (unit[:, 0] + unit[:, 1] - unit[:, 2]).tolist()


def checked(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, int]:
    """Features in float64, labels as places 0..C-1 among the classes present, C. Raises ValueError
    for shapes that disagree, features that are not finite, and one class."""
    if features.dim() != 2 or labels.shape != features.shape[:1] or features.shape[0] == 0:
        raise ValueError(
            f"features have shape {tuple(features.shape)} and labels {tuple(labels.shape)}; "
            "(samples, dim) and one label a sample are needed"
        )
    wide = features.detach().to("cpu", torch.float64)
    if not bool(wide.isfinite().all()):
        raise ValueError("target features hold NaN or infinity; remove or repair those samples")
    classes, place = labels.cpu().unique(return_inverse=True)
    if classes.numel() < 2:
        raise ValueError(
            f"the target holds one class ({int(classes[0])}); what tells classes apart needs at "
            "least two"
        )
    return wide, place, classes.numel()
