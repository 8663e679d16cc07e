"""Problems that have a geometry at their end: unconstrained features and their kin.

A problem knows no solver. f = (1/N) Σ ℓ(W h_i + b, y_i) + λ_W/2 ‖W‖² + λ_H/2 ‖H‖² + λ_b/2 ‖b‖²
with W (K, d), H (d, N), N = Σ n_k, unless a class says otherwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ncollapse.geometry import Geometry
from ncollapse.losses import (
    CrossEntropy,
    DotRegression,
    Focal,
    Loss,
    MeanSquaredError,
    RescaledSquaredError,
    SupervisedContrastive,
)

BIASES = ("none", "free")
FRAMES = ("simplex", "orthogonal")


@dataclass(frozen=True)
class Counted:
    """What all problems share: class counts n_k and the width d (None: as wide as needed).

    Raises ValueError for fewer than two classes, counts that are no positive whole numbers, and a
    width below 1.
    """

    counts: tuple[int, ...]
    num_features: int | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        counts = tuple(self.counts)
        if len(counts) < 2:
            raise ValueError(f"counts={list(counts)}: {len(counts)} class; at least 2 are needed")
        for k, count in enumerate(counts):
            if not (count > 0 and float(count).is_integer()):
                raise ValueError(
                    f"class {k} has count {count}; every class needs a positive whole number"
                )
        object.__setattr__(self, "counts", tuple(int(count) for count in counts))
        if self.num_features is not None and self.num_features < 1:
            raise ValueError(f"num_features={self.num_features}; at least 1 is needed")

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.counts)

    @property
    def num_samples(self) -> int:
        """N."""
        return sum(self.counts)

    @property
    def balanced(self) -> bool:
        return len(set(self.counts)) == 1


@dataclass(frozen=True)
class UFM(Counted):
    """Unconstrained features with weight decay: W, H and b are free variables.

    loss: any of `ncollapse.losses`. weight_decay λ_W and feature_decay λ_H: positive. bias:
    "none", "free", or a number λ_b > 0. nonnegative: H ≥ 0 (features after a ReLU).
    Source: Zhu et al. 2021; Mixon et al. 2020; Fang et al. 2021.
    """

    weight_decay: float = 5e-4
    feature_decay: float = 1e-5
    loss: Loss = field(default_factory=CrossEntropy)
    bias: str | float = "free"
    nonnegative: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("weight_decay", "feature_decay"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(
                    f"{name}={value}; a positive number is needed (without decay use ULPM)"
                )
        if isinstance(self.bias, str) and self.bias not in BIASES:
            raise ValueError(f"bias={self.bias!r}; 'none', 'free' or a number λ_b is needed")
        if not isinstance(self.bias, str) and not (self.bias > 0 and math.isfinite(self.bias)):
            raise ValueError(f"bias={self.bias}: λ_b must be positive; use 'free' for λ_b = 0")
        check_loss(self.loss, self.num_classes)

    @property
    def bias_decay(self) -> float | None:
        """λ_b: None without a bias, 0 for a free one."""
        if isinstance(self.bias, str):
            return None if self.bias == "none" else 0.0
        return float(self.bias)

    @property
    def tau(self) -> float:
        """τ = √(N λ_W λ_H): all that the logits depend on beside π and λ_b."""
        return math.sqrt(self.num_samples * self.weight_decay * self.feature_decay)

    @property
    def class_weights(self) -> tuple[float, ...]:
        """w_k, ones where the loss has none."""
        return self.loss.weight or (1.0,) * self.num_classes


@dataclass(frozen=True)
class NormalizedUFM(Counted):
    """Features and classifier rows on the unit sphere, no bias: min (1/N) Σ ℓ(t W h_i, y_i).

    temperature: t > 0, the scale of the logits. Source: Yaras et al. 2022.
    """

    temperature: float = 1.0
    loss: Loss = field(default_factory=CrossEntropy)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.temperature > 0:
            raise ValueError(f"temperature={self.temperature}; a positive number is needed")
        check_loss(self.loss, self.num_classes)


@dataclass(frozen=True)
class LPM(Counted):
    """Layer-peeled model: norms are constrained instead of decayed, no bias.

    min (1/N) Σ ℓ(W h_i, y_i) with (1/K) ‖W‖² ≤ E_W and (1/K) Σ_k (1/n_k) Σ ‖h_ki‖² ≤ E_H.
    weight_energy: E_W; feature_energy: E_H. Source: Fang et al. 2021.
    """

    weight_energy: float = 1.0
    feature_energy: float = 1.0
    loss: Loss = field(default_factory=CrossEntropy)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("weight_energy", "feature_energy"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)}; a positive number is needed")
        check_loss(self.loss, self.num_classes)


@dataclass(frozen=True)
class ULPM(Counted):
    """Cross-entropy of free W and H without decay or bias: gradient flow, no finite minimiser.

    The limit direction is a KKT point of min ½‖W‖² + ½‖H‖² with (w_y - w_j)ᵀh ≥ 1.
    Source: Ji et al. 2022.
    """


@dataclass(frozen=True)
class DeepLinearUFM(Counted):
    """Mean squared error of W_M ⋯ W_1 H without bias, every factor decayed.

    weight_decays: λ of each of the M ≥ 1 matrices, from the first to the last; feature_decay: λ_H.
    Source: Dang et al. 2023.
    """

    weight_decays: tuple[float, ...] = (5e-4, 5e-4)
    feature_decay: float = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "weight_decays", tuple(self.weight_decays))
        decays = (*self.weight_decays, self.feature_decay)
        if not self.weight_decays or not all(decay > 0 for decay in decays):
            raise ValueError(
                f"weight_decays={self.weight_decays}, feature_decay={self.feature_decay}; at least "
                "one matrix and positive decays are needed"
            )


@dataclass(frozen=True)
class GUFM(Counted):
    """Generalised unconstrained features: min (1/N) Σ ℓ(W x_i, y_i) + λ_W/2 ‖W‖², no bias, every
    feature x_i of unit norm and zero mean over its d entries, as after a layer normalisation.

    weight_decay: λ_W > 0. The limit of deep residual and transformer families.
    """

    weight_decay: float = 5e-4
    loss: Loss = field(default_factory=CrossEntropy)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.weight_decay > 0:
            raise ValueError(f"weight_decay={self.weight_decay}; a positive number is needed")
        check_loss(self.loss, self.num_classes)


@dataclass(frozen=True)
class FixedHead(Counted):
    """A classifier that is given and not trained: min over H alone of (1/N) Σ ℓ(W h_i + b, y_i),
    with ‖h_i‖² ≤ E_H for every sample, or + λ_H/2 ‖H‖².

    head: "simplex" (rows of cosines -1/(K-1), d ≥ K - 1) or "orthogonal" (d ≥ K), rows of squared
    length E_W; or a Geometry whose weight (K, d) it is; its bias, if it has one, stays as it is.
    weight_energy: E_W of a frame, default 1; a Geometry has its own lengths. feature_energy:
    E_H > 0, or feature_decay: λ_H > 0; not both, default E_H = 1. loss:
    any that reads logits, dot regression too. Raises ValueError outside these ranges.

    Samples do not compete, so that class counts do not move the optimum (with decay it depends on
    N λ_H). Sources: Zhu et al. 2021, Yang et al. 2022.
    """

    head: str | Geometry = "simplex"
    weight_energy: float | None = None
    feature_energy: float | None = None
    feature_decay: float | None = None
    loss: Loss = field(default_factory=CrossEntropy)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("weight_energy", "feature_energy", "feature_decay"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name}={value}; a positive number is needed")
        if self.feature_energy is not None and self.feature_decay is not None:
            raise ValueError(
                f"feature_energy={self.feature_energy} and feature_decay={self.feature_decay}: "
                "features are limited in length or decayed; pass one of the two"
            )
        if self.feature_energy is None and self.feature_decay is None:
            object.__setattr__(self, "feature_energy", 1.0)
        energy = head_energy(self.head, self.weight_energy)
        if isinstance(self.head, Geometry):
            self._check_given(self.head)
        else:
            object.__setattr__(self, "weight_energy", energy)
            least = self.num_classes - (self.head == "simplex")
            if self.num_features is not None and self.num_features < least:
                raise ValueError(
                    f"num_features={self.num_features} cannot hold the {self.head} head of "
                    f"{self.num_classes} classes; at least {least} are needed"
                )
        check_loss(self.loss, self.num_classes, fixed=True)

    def _check_given(self, head: Geometry) -> None:
        assert head.weight is not None
        classes, width = head.weight.shape
        if classes != self.num_classes:
            raise ValueError(
                f"the head has {classes} rows and counts has {self.num_classes} classes; one row "
                "a class, in its order, is needed"
            )
        if self.num_features not in (None, width):
            raise ValueError(
                f"num_features={self.num_features} and the head reads {width} features; leave "
                "num_features out"
            )
        object.__setattr__(self, "num_features", int(width))

    @property
    def radius(self) -> float:
        """√E_H, ∞ with decay."""
        return math.inf if self.feature_energy is None else math.sqrt(self.feature_energy)

    @property
    def effective_decay(self) -> float:
        """μ = N λ_H: each class minimises w_k ℓ + μ/2 ‖h‖². 0 without decay."""
        return self.num_samples * (self.feature_decay or 0.0)


Problem = UFM | NormalizedUFM | LPM | ULPM | DeepLinearUFM | GUFM | FixedHead


def head_energy(head: str | Geometry, weight_energy: float | None = None) -> float:
    """E_W of a head: of a frame as passed (default 1), of a Geometry its mean squared row length.

    Raises ValueError for an unknown frame, a Geometry without a finite, nonzero weight, and a
    weight_energy that is not that of the Geometry.
    """
    if not isinstance(head, Geometry):
        if head not in FRAMES:
            raise ValueError(
                f"head={head!r}; 'simplex', 'orthogonal' or a Geometry with a weight is needed"
            )
        return 1.0 if weight_energy is None else weight_energy
    if head.weight is None:
        raise ValueError("the head's geometry holds no weight; a classifier (K, d) is needed")
    energy = float(head.weight.square().sum(1).mean())
    biased = head.bias is None or bool(head.bias.isfinite().all())
    if not (math.isfinite(energy) and energy > 0 and biased):
        raise ValueError("the head's weight is zero or not finite; finite rows are needed")
    if weight_energy is not None and not math.isclose(energy, weight_energy, rel_tol=1e-6):
        raise ValueError(
            f"weight_energy={weight_energy} and the head's rows have the mean squared length "
            f"{energy:.6g}; leave weight_energy out, or scale the head"
        )
    return energy


def check_loss(loss: Loss, num_classes: int, *, fixed: bool = False) -> None:
    """ValueError when a loss is of no known kind, needs a fixed head (fixed=False), or has entries
    that do not match the classes."""
    if isinstance(loss, SupervisedContrastive):
        raise ValueError(
            "the supervised contrastive loss reads features, and theory solves for losses of "
            "logits; at equal counts its features collapse to the simplex of "
            'nc.predict(counts, model="normalized") with the default loss (Graf et al. 2021)'
        )
    if isinstance(loss, DotRegression) and not fixed:
        raise ValueError(
            "dot regression sees own logits only: with a classifier that learns no geometry is "
            "singled out (a free bias alone reaches the minimum, and without one every positive "
            "semidefinite A = W Mᵀ diag(√π) with the right diagonal does); predict for a fixed one "
            'with model="fixed-head"'
        )
    known = CrossEntropy | MeanSquaredError | RescaledSquaredError | Focal | DotRegression
    if not isinstance(loss, known):
        raise ValueError(
            f"theory does not predict for {getattr(loss, 'name', repr(loss))}; CrossEntropy (with "
            "smoothing, weight, scale, shift), MeanSquaredError, RescaledSquaredError, Focal or, "
            "for a fixed head, DotRegression of ncollapse.losses is needed "
            "(`ncollapse.losses.named` makes one from its short name)"
        )
    for name in ("weight", "scale", "shift"):
        values = getattr(loss, name, None)
        if values is not None and len(values) != num_classes:
            raise ValueError(
                f"the loss's {name} has {len(values)} entries and there are {num_classes} classes"
            )
