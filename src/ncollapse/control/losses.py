"""Losses as modules, reduced to the mean over samples, each with the geometry it leads to.

All wrap a per-sample loss of `ncollapse.losses`, which theory reads as well: what `nc.predict` says
of a loss is said of exactly this function. Means are over samples, (1/N) Σ, with
class weights too.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ncollapse.errors import NCollapseWarning
from ncollapse.losses import (
    CrossEntropy,
    DotRegression,
    Focal,
    Loss,
    MeanSquaredError,
    PerClass,
    RescaledSquaredError,
    SupervisedContrastive,
    class_dependent_temperature,
    logit_adjusted,
    vector_scaling,
)

Logits = Float[Tensor, "samples classes"]
Labels = Int[Tensor, " samples"]
Features = Float[Tensor, "samples dim"]
Scalar = Float[Tensor, ""]


class MeanLoss(nn.Module):
    """The mean over samples of any per-sample loss (logits, labels); `loss` holds it.

    In at least float32, whatever the logits' dtype and autocast. 0 for an empty batch.
    """

    def __init__(self, loss: Loss) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, logits: Logits, labels: Tensor) -> Scalar:
        _check_labels(logits, labels)
        with torch.autocast(logits.device.type, enabled=False):
            return _mean(self.loss(_wide(logits), labels))

    def extra_repr(self) -> str:
        return self.loss.name


class LabelSmoothingLoss(MeanLoss):
    """Cross-entropy with targets (1 - ε) e_y + ε/K.

    Geometry: balanced, the simplex, tighter than cross-entropy's at equal decay:
    nc.predict(counts, loss="ls", smoothing=ε). Sources: Szegedy et al. 2016, Zhou et al. 2022.
    """

    def __init__(self, smoothing: float = 0.1, weight: PerClass = None) -> None:
        super().__init__(CrossEntropy(smoothing, weight))


class MSELoss(MeanLoss):
    """½ ‖z - e_y‖², summed over classes.

    Geometry: a simplex with a free bias, an orthogonal frame without one, for equal counts;
    orthogonal directions of unequal length otherwise: nc.predict(counts, loss="mse", bias="none").
    Sources: Zhou et al. 2022, Tirer & Bruna 2022, Dang et al. 2023.
    """

    def __init__(self, weight: PerClass = None) -> None:
        super().__init__(MeanSquaredError(weight))


class RescaledMSELoss(MeanLoss):
    """½ (κ (z_y - M)² + Σ_{c≠y} z_c²).

    Geometry: the frames of squared error, with own logits near M and a decay that counts 1/κ:
    nc.predict(counts, loss="rescaled", factor=κ, target=M). Source: Hui & Belkin 2021.
    """

    def __init__(self, factor: float = 1.0, target: float = 1.0, weight: PerClass = None) -> None:
        super().__init__(RescaledSquaredError(factor, target, weight))


class FocalLoss(MeanLoss):
    """-(1 - p_y)^γ log p_y.

    Geometry: balanced, the simplex; nc.predict(counts, loss="focal", gamma=γ), whose certificate
    says whether it covers your γ and decay. Sources: Lin et al. 2017, Zhou et al. 2022.
    """

    def __init__(self, gamma: float = 2.0, weight: PerClass = None) -> None:
        super().__init__(Focal(gamma, weight))


class LogitAdjustedLoss(MeanLoss):
    """Cross-entropy of z + strength · log π, π_k = n_k/N, in training only.

    Geometry: rare classes get larger margins; without decay the shift is forgotten in the limit.
    nc.predict(counts, loss="la", strength=…). Source: Menon et al. 2021.
    """

    def __init__(self, counts: Sequence[int], strength: float = 1.0) -> None:
        super().__init__(logit_adjusted(counts, strength))


class ClassDependentTemperatureLoss(MeanLoss):
    """Cross-entropy of δ z, δ_k = (n_k/n_max)^γ, in training only.

    Geometry: margins of rare classes grow by 1/δ_k; nc.predict(counts, loss="cdt", gamma=γ).
    Sources: Ye et al. 2020, Behnia et al. 2023.
    """

    def __init__(self, counts: Sequence[int], gamma: float = 0.3) -> None:
        super().__init__(class_dependent_temperature(counts, gamma))


class VectorScalingLoss(MeanLoss):
    """Cross-entropy of δ z + ι: both adjustments together, in training only.

    Geometry: nc.predict(counts, loss="vs", gamma=γ, strength=…). Source: Kini et al. 2021.
    """

    def __init__(self, counts: Sequence[int], gamma: float = 0.3, strength: float = 1.0) -> None:
        super().__init__(vector_scaling(counts, gamma, strength))


class DotRegressionLoss(nn.Module):
    """Pull every feature along its own class's row of a fixed head, whatever the class counts.

    form "paper": mean of (z_y - √(E_W E_H))² / (2 √(E_W E_H)), of logits and labels. It takes the
    limit ‖h‖² ≤ E_H for granted: use it with a head that has normalize=True (E_W = scale²,
    E_H = 1); a warning says when own logits pass the limit. form "released": mean of
    ½ (w_yᵀh - ‖w_y‖‖h‖)² / ‖h‖, of features and weight too, with the lengths held constant in the
    gradient; features may have any length. Both agree at unit lengths.

    Geometry: features along the rows of the head, for any counts, as samples do not compete:
    nc.predict(counts, loss="dr", model="fixed-head", head=head.geometry). With a classifier that
    learns, own logits alone single no geometry out.

    In at least float32, whatever the dtype and autocast. 0 for an empty batch; a zero feature pulls
    with ½ ‖w_y‖² · 1e-8 in form "released". Raises ValueError for an unknown form, or when
    form="released" is called without features and weight. Source: Yang et al. 2022.

    >>> head = SimplexHead(512, 10, normalize=True)               # doctest: +SKIP
    >>> DotRegressionLoss()(head(features), labels)               # doctest: +SKIP
    """

    def __init__(
        self,
        weight_energy: float = 1.0,
        feature_energy: float = 1.0,
        *,
        form: str = "paper",
        weight: PerClass = None,
    ) -> None:
        super().__init__()
        if form not in ("paper", "released"):
            raise ValueError(f"form={form!r}; 'paper' or 'released' is needed")
        self.form = form
        self.loss = DotRegression(weight_energy, feature_energy, weight)
        self._checked = False

    def forward(
        self,
        logits: Logits,
        labels: Labels,
        features: Features | None = None,
        weight: Float[Tensor, "classes dim"] | None = None,
    ) -> Scalar:
        _check_labels(logits, labels)
        if self.form == "paper":
            self._check_limit(logits, labels)
            with torch.autocast(logits.device.type, enabled=False):
                return _mean(self.loss(_wide(logits), labels))
        if features is None or weight is None:
            raise ValueError(
                "form='released' compares directions; call it with logits, labels, features and "
                "weight (samples, dim), (classes, dim)"
            )
        features = _wide(features)
        rows = weight[labels].to(features.dtype)
        own = (features * rows).sum(1)
        with torch.no_grad():
            length = features.norm(dim=1).clamp_min(1e-8)
            reach = rows.norm(dim=1) * length
        values = 0.5 * (own - reach) ** 2 / length
        if self.loss.weight is not None:
            values = values * values.new_tensor(self.loss.weight)[labels]
        return _mean(values)

    def _check_limit(self, logits: Tensor, labels: Tensor) -> None:
        """Once: an own logit above √(E_W E_H) means that features are not limited."""
        if self._checked or torch.compiler.is_compiling() or labels.numel() == 0:
            return
        self._checked = True
        largest = float(logits.detach().gather(1, labels[:, None]).max())
        if largest > 1.05 * self.loss.target:
            warnings.warn(
                f"an own logit is {largest:.3g}, above the limit √(E_W E_H) = "
                f"{self.loss.target:.3g}: features are longer than feature_energy allows, and "
                "their direction is left open. Use a head with normalize=True, or "
                "form='released'",
                NCollapseWarning,
                stacklevel=5,
            )


class SupervisedContrastiveLoss(nn.Module):
    """Features of a class attract, all others in the batch repel; takes features, not logits.

    The mean of `ncollapse.losses.SupervisedContrastive` over the samples that have another of
    their class in the batch; 0 for a batch without pairs. Computed in at least float32. A
    feature of zeros has no direction: it is at a right angle to all others, and is not moved.

    Geometry: balanced, features on the sphere collapse to the simplex (Graf et al. 2021):
    nc.predict(counts, model="normalized") has the same frame. Raises ValueError for τ ≤ 0.
    Sources: Khosla et al. 2020, Graf et al. 2021.
    """

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        self.loss = SupervisedContrastive(temperature)

    def forward(self, features: Features, labels: Labels) -> Scalar:
        _check_labels(features, labels)
        with torch.autocast(features.device.type, enabled=False):
            values = self.loss(_wide(features), labels)
        paired = ((labels[:, None] == labels).sum(1) > 1).sum()
        return values.sum() / paired.clamp_min(1)


class PickAllLabelsLoss(nn.Module):
    """Cross-entropy of every label that a sample has: Σ_{k∈S} -log softmax(z)_k, mean over samples.

    labels (samples, K) of 0 and 1; a sample without a label costs nothing. Computed in at least
    float32. Geometry: samples with one label as a simplex, those with several along the sums of
    their single means (Li et al. 2024), `ncollapse.theory.solvers.multilabel.pick_all`.
    Raises ValueError for labels of another shape than the logits.
    """

    def forward(self, logits: Logits, labels: Tensor) -> Scalar:
        if labels.shape != logits.shape:
            raise ValueError(
                f"labels have shape {tuple(labels.shape)} and logits {tuple(logits.shape)}; one 0 "
                "or 1 a logit is needed"
            )
        with torch.autocast(logits.device.type, enabled=False):
            wide = _wide(logits)
            return _mean(-(labels.to(wide.dtype) * wide.log_softmax(1)).sum(1))


def _mean(values: Tensor) -> Scalar:
    """The mean, 0 of nothing."""
    return values.sum() / max(values.numel(), 1)


def _wide(values: Tensor) -> Tensor:
    """In at least float32: squares of half-precision logits overflow at 256."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _check_labels(rows: Tensor, labels: Tensor) -> None:
    if rows.shape[0] != labels.shape[0]:
        raise ValueError(
            f"{labels.shape[0]} labels for {rows.shape[0]} samples; one label a sample is needed"
        )
    if labels.dim() != 1 or labels.is_floating_point():
        raise ValueError(
            f"labels have shape {tuple(labels.shape)} and dtype {labels.dtype}; class numbers, one "
            "a sample, are needed: of one-hot rows pass labels.argmax(1)"
        )
