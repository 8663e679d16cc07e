"""Training against over-collapse: every class is told apart from the regions that adjoin it.

A network that has collapsed maps a class and what lies around it in input space to one point, so
classes that come later fall on old ones. Following the idea of POC (Preventing the Over-Collapse
of Classes, for class-incremental learning), learned transformations move samples into regions
adjacent to their class, the regions are extra classes in training, and a pull without negatives
keeps a region's features near its class. The form of transformations and pull is this library's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from ncollapse.collect.tap.heads import candidates, unwrap
from ncollapse.collect.tap.listener import Listener
from ncollapse.collect.tap.outputs import logits_of
from ncollapse.linalg import unit_rows

Labels = Int[Tensor, " samples"]


class AdjacentRegions(nn.Module):
    """T learned maps x ↦ x + r ‖x‖ u_t(x)/‖u_t(x)‖, u_t(x) = a_t ⊙ x + b_t.

    Every sample moves by exactly the share r = radius of its own norm, so the region stays
    adjacent to the class; only the direction is learned. input_shape: of one sample.
    """

    def __init__(
        self, input_shape: Sequence[int], regions: int = 1, radius: float = 0.3, seed: int = 0
    ) -> None:
        super().__init__()
        if regions < 1 or not 0 < radius < float("inf"):
            raise ValueError(
                f"regions={regions}, radius={radius}; at least 1 and a positive number are needed"
            )
        self.regions, self.radius = regions, radius
        generator = torch.Generator().manual_seed(seed)
        shape = (regions, *input_shape)
        self.scale = nn.Parameter(0.1 * torch.randn(shape, generator=generator))
        self.shift = nn.Parameter(0.1 * torch.randn(shape, generator=generator))

    def forward(
        self, inputs: Float[Tensor, "samples ..."], region: Int[Tensor, " samples"]
    ) -> Float[Tensor, "samples ..."]:
        """Move sample i into region[i] of 0..T-1."""
        moves = self.scale[region] * inputs + self.shift[region]
        over = tuple(range(1, inputs.dim()))
        length = torch.linalg.vector_norm(moves, dim=over, keepdim=True).clamp_min(1e-12)
        reach = torch.linalg.vector_norm(inputs.detach(), dim=over, keepdim=True)
        return inputs + self.radius * reach * moves / length

    def overlap(self) -> Float[Tensor, ""]:
        """Mean cos² between the regions' parameters, in [0, 1]: 0 where they are distinct."""
        if self.regions < 2:
            return 0 * self.shift.sum()
        rows = torch.cat([self.scale.flatten(1), self.shift.flatten(1)], 1)
        unit = unit_rows(rows)
        count = self.regions * (self.regions - 1)
        return ((unit @ unit.T) ** 2 - torch.eye(self.regions, device=unit.device)).sum() / count


class OverCollapsePrevention:
    """The loss of one training step that keeps a class and its adjacent regions apart.

    `loss(inputs, labels)` runs the model on a batch and on the batch moved by one transformation a
    sample, drawn by an own generator, and returns

        CE over K (T + 1) classes of both  +  pull · mean(1 - cos(f(T_t x), stop f(x)))
            +  apart · overlap

    with f what enters the model's head. The K logits of classes are the model's own, the K·T
    extra ones come from a linear layer held here, so at test time the model is used as it is:
    running statistics of batch normalisation are of unmoved samples alone. Train `parameters()`
    (transformations and extra layer) beside the model's own. A step costs two forward and backward
    passes.

    head: name of the layer that makes the logits, found where not given. Raises ValueError for a
    model without a linear head, for outputs that are not (samples, K) logits, for an empty batch,
    and for labels outside 0..K-1. Source: the idea is that of "POC: Preventing the Over-Collapse of
    Classes for Class-Incremental Learning" (OpenReview wwbVYrOMIW); the form is this library's.

    >>> poc = OverCollapsePrevention(model, input_shape=(3, 32, 32))              # doctest: +SKIP
    >>> optimizer = SGD([*model.parameters(), *poc.parameters()], lr=0.1)         # doctest: +SKIP
    >>> poc.loss(inputs, labels).backward()                                       # doctest: +SKIP
    """

    def __init__(
        self,
        model: nn.Module,
        input_shape: Sequence[int],
        *,
        regions: int = 1,
        radius: float = 0.3,
        pull: float = 0.1,
        apart: float = 0.1,
        head: str | None = None,
        seed: int = 0,
    ) -> None:
        self.model = model
        inner = unwrap(model)
        found = candidates(inner, head, linear=True)
        if not found:
            raise ValueError(
                f"{type(inner).__name__} holds no linear layer; a model whose last layer makes "
                "the logits is needed"
            )
        self._head = found[0].module
        assert isinstance(self._head, nn.Linear)
        weight = self._head.weight
        self.num_classes, width = self._head.out_features, self._head.in_features
        self.pull, self.apart = pull, apart
        self.transformations = AdjacentRegions(input_shape, regions, radius, seed)
        self._generator = torch.Generator().manual_seed(seed)
        extra: nn.Linear = nn.utils.skip_init(nn.Linear, width, self.num_classes * regions)
        with torch.no_grad():
            drawn = torch.randn(extra.weight.shape, generator=self._generator)
            extra.weight.copy_(drawn * width**-0.5)
            extra.bias.zero_()
        self.extra = extra.to(device=weight.device, dtype=weight.dtype)
        self.transformations.to(device=weight.device, dtype=weight.dtype)

    def parameters(self) -> Iterator[nn.Parameter]:
        """What is learned here: the transformations and the layer of extra classes."""
        yield from self.transformations.parameters()
        yield from self.extra.parameters()

    def loss(self, inputs: Float[Tensor, "samples ..."], labels: Labels) -> Float[Tensor, ""]:
        """The scalar to call backward on."""
        K, T = self.num_classes, self.transformations.regions
        if labels.numel() == 0:
            raise ValueError("the batch is empty; at least one sample is needed")
        if labels.numel() and not bool(((labels >= 0) & (labels < K)).all()):
            raise ValueError(
                f"labels reach from {int(labels.min())} to {int(labels.max())}; class numbers from "
                f"0 to {K - 1}, the outputs of the head, are needed"
            )
        region = torch.randint(T, labels.shape, generator=self._generator).to(labels.device)
        features, logits = self._run(inputs)
        with _running_statistics_kept(self.model):
            moved_features, moved_logits = self._run(self.transformations(inputs, region))
        # Region t of class c is class K + t K + c.
        targets = torch.cat([labels, K + region * K + labels])
        found = torch.cat([logits, moved_logits])
        separate = functional.cross_entropy(found, targets)
        moved_features = moved_features.flatten(1)
        still = features.detach().flatten(1)
        near = (unit_rows(moved_features) * unit_rows(still)).sum(1)
        overlap = self.transformations.overlap()
        return separate + self.pull * (1 - near).mean() + self.apart * overlap

    def _run(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Features that enter the head, and logits of classes and regions."""
        caught: list[Tensor] = []
        with Listener(self.model, gradients=True) as listener:
            listener.entering(self._head, lambda entered, _: caught.append(entered))
            output = logits_of(self.model(inputs))
            listener.check()
        if output is None or not caught or output.shape != (inputs.shape[0], self.num_classes):
            shape = None if output is None else tuple(output.shape)
            raise ValueError(
                f"the model returned logits of shape {shape}; ({inputs.shape[0]}, "
                f"{self.num_classes}) made by its head is needed: pass head=NAME"
            )
        return caught[-1], torch.cat([output, self.extra(caught[-1])], 1)

    def state_dict(self) -> dict[str, object]:
        """Transformations, extra layer and the generator."""
        return {
            "transformations": self.transformations.state_dict(),
            "extra": self.extra.state_dict(),
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Restore what `state_dict` gave."""
        transformations, extra = state["transformations"], state["extra"]
        generator = state["generator"]
        assert isinstance(transformations, dict)
        assert isinstance(extra, dict)
        assert isinstance(generator, Tensor)
        self.transformations.load_state_dict(transformations)
        self.extra.load_state_dict(extra)
        self._generator.set_state(generator)


@contextmanager
def _running_statistics_kept(model: nn.Module) -> Iterator[None]:
    """Batch normalisation uses the batch, but does not remember it."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    before = [module.momentum for module in norms]
    for module in norms:
        module.momentum = 0.0
    try:
        yield
    finally:
        for module, momentum in zip(norms, before, strict=True):
            module.momentum = momentum
