"""Problems that have a geometry at their end: unconstrained features and their kin.

A problem knows no solver. f = (1/N) Σ ℓ(W h_i + b, y_i) + λ_W/2 ‖W‖² + λ_H/2 ‖H‖² + λ_b/2 ‖b‖²
with W (K, d), H (d, N), N = Σ n_k, unless a class says otherwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ncollapse.losses import CrossEntropy, Focal, Loss, MeanSquaredError, RescaledSquaredError

BIASES = ("none", "free")


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


Problem = UFM | NormalizedUFM | LPM | ULPM | DeepLinearUFM | GUFM


def check_loss(loss: Loss, num_classes: int) -> None:
    """ValueError when a loss is of no known kind or its entries do not match the classes."""
    if not isinstance(loss, CrossEntropy | MeanSquaredError | RescaledSquaredError | Focal):
        raise ValueError(
            f"theory does not predict for {getattr(loss, 'name', repr(loss))}; CrossEntropy (with "
            "smoothing, weight, scale, shift), MeanSquaredError or Focal of ncollapse.losses is "
            "needed (`ncollapse.losses.named` makes one from its short name)"
        )
    for name in ("weight", "scale", "shift"):
        values = getattr(loss, name, None)
        if values is not None and len(values) != num_classes:
            raise ValueError(
                f"the loss's {name} has {len(values)} entries and there are {num_classes} classes"
            )
