"""What an incremental classifier is made of: how it learns, a neck, and two kinds of head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ncollapse.control.frames import nearest_simplex
from ncollapse.control.heads import FrameHead, Normalize, SimplexHead
from ncollapse.linalg import unit_rows
from ncollapse.losses import CrossEntropy, DotRegression, Loss

HEADS = ("frame", "cosine")


@dataclass(frozen=True)
class Recipe:
    """How to learn sessions of classes.

    head: "frame", a fixed simplex under dot regression, or "cosine", learned rows of which new ones
    begin at their class means, under cross-entropy; logits are scale · cos. num_classes: of the
    frame, all that will ever come; None: it grows with them. width: of what enters the head.

    First session, backbone and all: epochs, batch_size, learning_rate (cosine schedule), momentum,
    weight_decay. epochs=0: the backbone is trained already. poc > 0 adds that much of
    `control.OverCollapsePrevention` (regions, radius), which keeps room around classes.
    Later sessions, the backbone frozen: steps of session_rate on all new samples and memory, the
    mean backbone feature of every earlier class, classes weighed alike; rate 0 leaves what is.

    Raises ValueError for values that cannot be.
    """

    head: str = "frame"
    num_classes: int | None = None
    width: int = 64
    scale: float = 10.0
    epochs: int = 60
    batch_size: int = 128
    learning_rate: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    steps: int = 100
    session_rate: float = 0.05
    poc: float = 0.0
    regions: int = 1
    radius: float = 0.3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.head not in HEADS:
            raise ValueError(f"head={self.head!r}; one of {', '.join(HEADS)} is needed")
        if self.num_classes is not None and self.head != "frame":
            raise ValueError("num_classes is of a frame that knows all classes; leave it out")
        low = {"width": 1, "batch_size": 2, "epochs": 0, "steps": 0}
        for name, least in low.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)}; at least {least} is needed")
        if self.scale <= 0 or self.learning_rate <= 0 or not 0 <= self.momentum < 1:
            raise ValueError(
                f"scale={self.scale}, learning_rate={self.learning_rate}, momentum="
                f"{self.momentum}; positive, positive, and in [0, 1) are needed"
            )
        if min(self.session_rate, self.weight_decay, self.poc) < 0:
            raise ValueError("session_rate, weight_decay and poc must not be negative")

    @property
    def loss(self) -> Loss:
        """Of one sample, by the head: dot regression up to the scale, or cross-entropy."""
        return DotRegression(self.scale**2) if self.head == "frame" else CrossEntropy()


class Neck(nn.Module):
    """A x + B φ(C x + c), φ LayerNorm and ReLU: a straight way and one hidden layer beside it,
    drawn by an own generator. Source: the form of Yang et al. 2023 (their code read)."""

    def __init__(self, in_features: int, width: int, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.straight = _drawn(in_features, width, generator)
        self.into = _drawn(in_features, 2 * width, generator)
        self.norm = nn.LayerNorm(2 * width)
        self.out = _drawn(2 * width, width, generator)

    def forward(self, features: Float[Tensor, "samples dim"]) -> Float[Tensor, "samples width"]:
        bent = self.out(functional.relu(self.norm(self.into(features))))
        return torch.as_tensor(self.straight(features) + bent)


def _drawn(inner: int, outer: int, generator: torch.Generator) -> nn.Linear:
    made: nn.Linear = nn.utils.skip_init(nn.Linear, inner, outer)
    with torch.no_grad():
        made.weight.copy_(torch.randn(outer, inner, generator=generator) * inner**-0.5)
        made.bias.zero_()
    return made


class CosineLinear(nn.Linear):
    """z = s r̂ h with learned rows r, r̂ = r/‖r‖: an nn.Linear whose weight is s r̂."""

    def __init__(self, rows: Float[Tensor, "classes dim"], scale: float) -> None:
        nn.Module.__init__(self)
        self.out_features, self.in_features = rows.shape
        self.scale = scale
        self.rows = nn.Parameter(rows.clone())
        self.register_parameter("bias", None)

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """s r̂ (K, d)."""
        return self.scale * unit_rows(self.rows)


class CosineHead(nn.Module):
    """Learned rows on the sphere: logits s cos(r_k, h), in [-s, s]."""

    def __init__(self, rows: Float[Tensor, "classes dim"], scale: float) -> None:
        super().__init__()
        self.prepare = Normalize()
        self.linear = CosineLinear(rows, scale)

    @property
    def weight(self) -> Tensor:
        """s r̂ (K, d)."""
        return self.linear.weight

    def forward(self, features: Float[Tensor, "samples dim"]) -> Float[Tensor, "samples classes"]:
        return torch.as_tensor(self.linear(self.prepare(features)))


def first_head(recipe: Recipe, classes: int) -> nn.Module:
    """A head for the first session. Raises ValueError where the frame has fewer rows than
    classes, and where the width cannot hold it."""
    if recipe.head == "cosine":
        generator = torch.Generator().manual_seed(recipe.seed)
        return CosineHead(torch.randn(classes, recipe.width, generator=generator), recipe.scale)
    total = recipe.num_classes or classes
    return SimplexHead(recipe.width, total, scale=recipe.scale, normalize=True, seed=recipe.seed)


def grown_head(head: nn.Module, recipe: Recipe, means: Float[Tensor, "new width"]) -> nn.Module:
    """The head with a row more for every new class, whose mean direction is given.

    Learned rows stay and new ones begin at the means; a frame becomes the simplex nearest to its
    rows and the means together. A frame that knew all classes stays as it is.
    """
    if recipe.num_classes is not None:
        return head
    rows = torch.cat([head.weight.detach() / recipe.scale, unit_rows(means)])  # type: ignore[operator]
    if isinstance(head, CosineHead):
        return CosineHead(rows, recipe.scale).to(rows.device)
    frame = nearest_simplex(rows.double())[0].cpu()
    made = FrameHead(partial(_kept, frame.tolist()), scale=recipe.scale, normalize=True)
    return made.to(rows.device)


def _kept(rows: Sequence[Sequence[float]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)
