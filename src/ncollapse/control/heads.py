"""Fixed heads: classifiers whose geometry is chosen, not learned.

Arguments stand as in nn.Linear: in_features, num_classes. A head maps features (…, d) to logits
(…, K); the linear layer inside is an nn.Linear to everything that looks for one, so measuring a
model finds it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ncollapse.control.frames import orthogonal_frame, rotation, simplex_frame
from ncollapse.geometry import Geometry

Frame = Float[Tensor, "classes dim"]


class FrameLinear(nn.Linear):
    """z = s F h + b with a fixed frame F (K, d): an nn.Linear whose weight is s F.

    F is the buffer `frame`; s a buffer or, with learn_scale, exp of a parameter; b a parameter or
    None. `build` makes F in float64: it is called again when the dtype changes, so precision lost
    in half precision comes back (a picklable function, for torch.save of whole models).
    """

    frame: Tensor
    log_scale: Tensor

    def __init__(
        self,
        build: Callable[[], Tensor],
        *,
        scale: float = 1.0,
        learn_scale: bool = False,
        bias: bool | Tensor = False,
    ) -> None:
        if not 0 < scale < float("inf"):
            raise ValueError(f"scale={scale}; a positive finite number is needed")
        # nn.Linear's own constructor would make a weight to learn and draw it at random.
        nn.Module.__init__(self)
        self._build = build
        exact = build()
        self.out_features, self.in_features = exact.shape
        dtype = torch.get_default_dtype()
        self.register_buffer("frame", exact.to(dtype))
        level = torch.tensor(float(scale), dtype=torch.float64).log().to(dtype)
        if learn_scale:
            self.log_scale = nn.Parameter(level)
        else:
            self.register_buffer("log_scale", level)
        if isinstance(bias, Tensor):
            self.bias = nn.Parameter(bias.detach().to(dtype).clone())
        elif bias:
            self.bias = nn.Parameter(torch.zeros(self.out_features, dtype=dtype))
        else:
            self.register_parameter("bias", None)

    @property
    def scale(self) -> Tensor:
        """s > 0."""
        return self.log_scale.exp()

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """s F (K, d)."""
        return self.scale * self.frame

    def forward(self, input: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch classes"]:
        return functional.linear(input, self.weight, self.bias)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> FrameLinear:
        before = self.frame
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        after = self.frame
        if before.dtype != after.dtype and not after.is_meta and not before.is_meta:
            exact = self._build()
            # A frame that was loaded or moved is nobody's to rebuild.
            if torch.equal(exact.to(before), before):
                self.frame = exact.to(after)
        return self

    def extra_repr(self) -> str:
        learned = ", learned scale" if isinstance(self.log_scale, nn.Parameter) else ""
        return f"{self.in_features}, {self.out_features}, fixed frame{learned}"


class Centre(nn.Module):
    """h - h̄: the batch mean in training, its running mean in evaluation (a share `momentum` of
    each batch), as batch normalisation does without touching the spread."""

    mean: Tensor
    seen: Tensor

    def __init__(self, num_features: int, momentum: float = 0.1) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(num_features))
        self.register_buffer("seen", torch.zeros((), dtype=torch.bool))

    def forward(self, features: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        if not self.training:
            return features - self.mean.to(features.dtype)
        mean = features.reshape(-1, features.shape[-1]).mean(0)
        with torch.no_grad():
            share = torch.where(self.seen, self.momentum, 1.0).to(self.mean.dtype)
            self.mean.lerp_(mean.to(self.mean.dtype), share)
            self.seen.fill_(True)
        return features - mean


class Normalize(nn.Module):
    """h/‖h‖, with the norm in at least float32."""

    def forward(self, features: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        wide = features.to(torch.promote_types(features.dtype, torch.float32))
        return functional.normalize(wide, dim=-1).to(features.dtype)


class FrameHead(nn.Module):
    """What fixed heads share: features are centred or normalized where asked, then z = s F h + b.

    build: makes F (K, d) in float64. scale: s > 0, learned (through its logarithm) with
    learn_scale. bias: b starts at 0 and is learned, or a tensor to start from. centre, normalize:
    what is done to features first, in this order; with normalize=True logits are at most s.
    """

    def __init__(
        self,
        build: Callable[[], Tensor],
        *,
        scale: float = 1.0,
        learn_scale: bool = False,
        bias: bool | Tensor = False,
        normalize: bool = False,
        centre: bool = False,
    ) -> None:
        super().__init__()
        self.linear = FrameLinear(build, scale=scale, learn_scale=learn_scale, bias=bias)
        steps: list[nn.Module] = [Centre(self.in_features)] if centre else []
        steps += [Normalize()] if normalize else []
        self.prepare = nn.Sequential(*steps)

    @property
    def in_features(self) -> int:
        return self.linear.in_features

    @property
    def out_features(self) -> int:
        return self.linear.out_features

    @property
    def weight(self) -> Tensor:
        """s F (K, d), what multiplies the prepared features."""
        return self.linear.weight

    @property
    def bias(self) -> Tensor | None:
        return self.linear.bias

    @property
    def geometry(self) -> Geometry:
        """The classifier as a Geometry, to compare with what is measured or predicted."""
        bias = None if self.bias is None else self.bias.detach().cpu()
        return Geometry(weight=self.weight.detach().cpu(), bias=bias)

    def forward(self, features: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch classes"]:
        return self.linear(self.prepare(features))


class SimplexHead(FrameHead):
    """A simplex equiangular tight frame that is never trained: unit rows with cosines -1/(K-1).

    What balanced cross-entropy, label smoothing and focal loss learn anyway, imposed from the
    start and for any class counts. Needs d ≥ K - 1. F is a buffer of the state dict; equal seeds
    give equal frames. seed=None lays it along the axes (d ≥ K), for features after a ReLU that
    are hardly wider than K. scale, learn_scale, bias, normalize, centre: as for FrameHead; with
    normalize=True raise the scale (cross-entropy: 10 to 30) or use DotRegressionLoss.

    Raises ValueError for K < 2 and for d < K - 1, where CodeHead serves.
    Sources: Papyan, Han, Donoho 2020; Zhu et al. 2021; Yang et al. 2022.

    >>> head = SimplexHead(in_features=512, num_classes=10)
    >>> head.weight.shape
    torch.Size([10, 512])
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        scale: float = 1.0,
        learn_scale: bool = False,
        bias: bool | Tensor = False,
        normalize: bool = False,
        centre: bool = False,
        seed: int | None = 0,
    ) -> None:
        super().__init__(
            partial(simplex_frame, num_classes, in_features, seed=seed),
            scale=scale,
            learn_scale=learn_scale,
            bias=bias,
            normalize=normalize,
            centre=centre,
        )


class OrthogonalHead(FrameHead):
    """Orthonormal rows that are never trained: the frame of bias-free squared loss (NC2B).

    Needs d ≥ K. Arguments as for SimplexHead. Raises ValueError for K < 2 and d < K.
    Source: Zhou et al. 2022.
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        scale: float = 1.0,
        learn_scale: bool = False,
        bias: bool | Tensor = False,
        normalize: bool = False,
        centre: bool = False,
        seed: int | None = 0,
    ) -> None:
        super().__init__(
            partial(orthogonal_frame, num_classes, in_features, seed=seed),
            scale=scale,
            learn_scale=learn_scale,
            bias=bias,
            normalize=normalize,
            centre=centre,
        )


class GeometryHead(FrameHead):
    """Any Geometry as a fixed head: F is its weight, or its centred means where it has no weight.

    Impose what theory predicts for your class counts, or what another model measured:
    GeometryHead(nc.predict(counts).geometry, in_features=512). in_features: d of the model, at
    least that of the geometry; rows are turned into it by a seeded rotation (None: filled up with
    zeros). rows: "weight" or "means", which to take. bias: True starts from the geometry's own
    where it has one. Raises ValueError when d is smaller than the geometry's, or a part is missing.
    """

    def __init__(
        self,
        geometry: Geometry,
        in_features: int | None = None,
        *,
        rows: str | None = None,
        scale: float = 1.0,
        learn_scale: bool = False,
        bias: bool = False,
        normalize: bool = False,
        centre: bool = False,
        seed: int | None = None,
    ) -> None:
        frame = _rows_of(geometry, rows).detach().cpu().clone()
        width = frame.shape[1] if in_features is None else in_features
        if width < frame.shape[1]:
            raise ValueError(
                f"in_features={width} cannot hold a geometry of {frame.shape[1]} dimensions; pass "
                f"at least {frame.shape[1]}"
            )
        start = geometry.bias if bias and geometry.bias is not None else bias
        super().__init__(
            partial(_turned, frame, width, seed),
            scale=scale,
            learn_scale=learn_scale,
            bias=start,
            normalize=normalize,
            centre=centre,
        )


def _rows_of(geometry: Geometry, which: str | None) -> Tensor:
    if not isinstance(geometry, Geometry):
        raise ValueError(
            f"geometry is a {type(geometry).__name__}; a Geometry is needed: "
            "nc.Geometry(weight=…), or the .geometry of a measurement or a prediction"
        )
    which = which or ("weight" if geometry.weight is not None else "means")
    if which not in ("weight", "means"):
        raise ValueError(f"rows={which!r} is unknown; 'weight' or 'means' is needed")
    found = geometry.weight if which == "weight" else geometry.means
    if found is None:
        raise ValueError(
            f"rows={which!r}, which this geometry does not hold; it needs them as "
            f"Geometry({which}=…), or pass rows={'means' if which == 'weight' else 'weight'!r}"
        )
    return found if which == "weight" else geometry.centred_means


def _turned(frame: Tensor, width: int, seed: int | None) -> Tensor:
    if seed is None:
        return functional.pad(frame, (0, width - frame.shape[1]))
    return frame @ rotation(frame.shape[1], width, seed)
