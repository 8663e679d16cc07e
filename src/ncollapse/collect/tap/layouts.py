"""Which axis of an output holds channels, and which samples: told by the layers that fix it.

A convolution puts channels second, a linear layer last; what stands between (activations, sums,
permutations) is followed by its sizes, and by its values where sizes agree. Where neither tells,
nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import permutations
from typing import Any

from torch import Tensor, nn
from torch.nn.modules import batchnorm, conv, pooling

from ncollapse.collect.tap.listener import Listener
from ncollapse.collect.tap.outputs import unnested

FIRST = (
    conv._ConvNd,
    batchnorm._NormBase,
    nn.GroupNorm,
    nn.Upsample,
    pooling._MaxPoolNd,
    pooling._AvgPoolNd,
    pooling._AdaptiveAvgPoolNd,
    pooling._AdaptiveMaxPoolNd,
    pooling._LPPoolNd,
)
NORMS = (nn.LayerNorm, nn.RMSNorm)
TRANSFORMERS = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
LAST = (nn.Linear, nn.Embedding, nn.RNNBase, nn.MultiheadAttention, *NORMS, *TRANSFORMERS)
# Two tensors are of one making where they correlate so much, and so many times more than turned.
KIN, CLEARLY, COMPARED = 0.1, 2.0, 64
# Ways to pool that say which axis is which: axes of samples and channels.
SAID = {"channels-first": (0, 1), "channels-last": (0, -1), "time-first": (1, 2)}


@dataclass(frozen=True)
class Layout:
    """Axes of samples and channels, and why, in words."""

    samples: int
    channels: int
    why: str = "asked for"

    def described(self, shape: Sequence[int]) -> str:
        sizes = [str(size) for size in shape]
        sizes[self.samples] = "samples"
        channels = self.channels % len(sizes)
        return f"axis {channels} of ({', '.join(sizes)}), {self.why}"


class AmbiguousError(ValueError):
    """An output whose axes could be read in more than one way."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a layer that fixes the axes put out, last before now: its name and kind, the output, the
    axis of channels, and that of samples where the layer says so."""

    name: str
    kind: str
    output: Tensor
    channels: int
    samples: int | None

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.output.shape)

    @property
    def size(self) -> int:
        """Number of channels."""
        return self.shape[self.channels]


class Layouts:
    """Hears the layers of a model that fix axes, and tells of any output which is which."""

    def __init__(self, model: nn.Module) -> None:
        self._fixing = dict(_fixing(model))
        self._time_first = any(
            getattr(module, "batch_first", True) is False for module in model.modules()
        )
        self._last: Evidence | None = None

    def open(self, listener: Listener) -> None:
        """Begin to hear; closing the listener ends it."""
        for name, module in self._fixing.items():
            listener.leaving(module, partial(self._keep, name, module))

    def forget(self) -> None:
        """Let go of the last pass."""
        self._last = None

    def _keep(self, name: str, module: nn.Module, output: Any) -> None:
        while isinstance(output, (tuple, list)) and output:
            output = output[0]
        if not isinstance(output, Tensor):
            return
        axis = _axis(module, output)
        if axis is not None:
            kind, order = type(module).__name__, _batch_first(module)
            samples = None if order is None or output.dim() != 3 else int(not order)
            self._last = Evidence(name, kind, unnested(output.detach())[0], axis, samples)

    def layout(
        self, name: str, module: nn.Module, value: Tensor, samples: int, mask: Tensor | None = None
    ) -> Layout:
        """That of an output just made, of three axes or more. Raises AmbiguousError, which names
        the readings and the options that decide."""
        shape = tuple(value.shape)
        order = self._sample_axis(name, value, samples)
        found = self._channel_axis(name, module, value, order)
        if found is not None:
            return Layout(order, *found)
        marked = mask is not None and len(shape) == 3 and mask.shape == shape[:2]
        if marked and shape[1] != shape[2]:
            return Layout(0, 2, "as the mask marks tokens along axis 1")
        raise AmbiguousError(_two_readings(shape))

    def _sample_axis(self, name: str, value: Tensor, samples: int) -> int:
        shape, last = value.shape, self._last
        if value.dim() != 3 or shape[1] != samples:
            return 0
        if shape[0] != samples:
            return 1
        if not self._time_first:
            return 0
        if last is not None and last.samples is not None and last.shape == tuple(shape):
            if last.name == name:
                return last.samples
            place = _turned(value, last.output, last.samples, (0, 1))
            if place is not None:
                return place
        raise AmbiguousError(
            f"the output has shape {tuple(shape)} in a batch of {samples}, and the model has parts "
            "that put time first: it may be (samples, time, dim) or (time, samples, dim); pass "
            f"pool='channels-last' or 'time-first', or another batch size than {samples}"
        )

    def _channel_axis(
        self, name: str, module: nn.Module, value: Tensor, order: int
    ) -> tuple[int, str] | None:
        last, shape = self._last, tuple(value.shape)
        if last is None:
            return None
        c, said = last.channels, f"as {last.kind} {last.name!r} puts them"
        axes = [axis for axis in range(len(shape)) if axis != order]
        hits = [axis for axis in axes if shape[axis] == last.size]
        if shape == last.shape:
            if hits == [c] or last.name == name:
                return c, said
            place = _turned(value, last.output, c, tuple(axes)) if c in axes else None
            return None if place is None else (place, f"{said}, by their values")
        alike = len(shape) == len(last.shape) and c in axes
        if alike and all(shape[a] == last.shape[a] for a in axes if a != c):
            return c, f"{said}, joined"
        if len(hits) != 1:
            return None
        fixing = any(isinstance(part, (*FIRST, *LAST)) for part in module.modules())
        moved = value.numel() == last.output.numel() or fixing
        return (hits[0], said) if moved or (alike and hits[0] == c) else None


def said_layout(how: object) -> Layout | None:
    """The layout that a way to pool names."""
    return Layout(*SAID[how]) if isinstance(how, str) and how in SAID else None


def _two_readings(shape: tuple[int, ...]) -> str:
    first, last = (f"{size} features" for size in (shape[1], shape[-1]))
    rest = "length" if len(shape) == 3 else "…"
    many = "tokens" if len(shape) == 3 else "…"
    return (
        f"the output has shape {shape}, and nothing tells its channels from its places: it may be "
        f"(samples, channels, {rest}), {first}, or (samples, {many}, channels), {last}; pass "
        "pool='channels-first' or pool='channels-last', for one layer by a dict of its name"
    )


def _fixing(model: nn.Module, prefix: str = "") -> list[tuple[str, nn.Module]]:
    """Layers that fix axes, by name. A transformer layer of torch is one: hooks inside it would
    change the way it computes."""
    found: list[tuple[str, nn.Module]]
    found = [(prefix, model)] if isinstance(model, (*FIRST, *LAST)) and prefix else []
    if isinstance(model, TRANSFORMERS):
        return found
    for name, child in model.named_children():
        found += _fixing(child, f"{prefix}.{name}" if prefix else name)
    return found


def _axis(module: nn.Module, output: Tensor) -> int | None:
    if output.dim() < 2:
        return None
    if isinstance(module, NORMS):
        if len(module.normalized_shape) != 1:
            return None
        if type(module).forward not in (nn.LayerNorm.forward, nn.RMSNorm.forward):
            # One that permutes first: its size tells where it is the only one.
            size = module.normalized_shape[0]
            hits = [axis for axis in range(1, output.dim()) if output.shape[axis] == size]
            return hits[0] if len(hits) == 1 else None
        return output.dim() - 1
    if isinstance(module, LAST):
        return output.dim() - 1
    return 1


def _batch_first(module: nn.Module) -> bool | None:
    if isinstance(module, TRANSFORMERS):
        module = module.self_attn
    found = getattr(module, "batch_first", None)
    return found if isinstance(found, bool) else None


def _turned(value: Tensor, output: Tensor, axis: int, axes: tuple[int, ...]) -> int | None:
    """Where the axis of a layer's output lies in a tensor of the same shape that was made of it:
    by the one permutation of these axes under which their values clearly correlate; None where
    none does."""
    if not value.is_floating_point():
        return None
    made, found = (_standard(one, axes) for one in (output, value))
    best: dict[int, float] = {}
    for order in permutations(axes):
        places = list(range(value.dim()))
        for old, new in zip(axes, order, strict=True):
            places[old] = new
        turned = made.permute(places)
        if turned.shape == found.shape:
            place = places.index(axis)
            best[place] = max(best.get(place, 0.0), float((turned * found).mean().abs()))
    place = max(best, key=lambda one: best[one])
    second = max((kin for one, kin in best.items() if one != place), default=0.0)
    return place if best[place] > max(KIN, CLEARLY * second) else None


def _standard(value: Tensor, axes: tuple[int, ...]) -> Tensor:
    """The values with mean 0 and variance 1, of few samples: cut along the axis that stays where
    it is, or both of (0, 1) alike."""
    few = value.detach()
    for axis in (0, 1):
        if axis not in axes or axes == (0, 1):
            few = few.narrow(axis, 0, min(COMPARED, few.shape[axis]))
    few = few.double()
    return (few - few.mean()) / few.std().clamp_min(1e-300)
