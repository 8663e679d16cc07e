"""A model cut short: run up to a layer, then a head refitted there in closed form."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ncollapse.collect.tap.batches import MASKS, Batch, Unpack, as_loader, unpack_batch
from ncollapse.collect.tap.heads import is_sharded, unwrap
from ncollapse.collect.tap.layouts import said_layout
from ncollapse.collect.tap.listener import Listener
from ncollapse.collect.tap.outputs import unnested
from ncollapse.collect.tap.pooling import Pool, Shape, check_pool, first_tensor, pool
from ncollapse.collect.tap.preserve import preserved
from ncollapse.collect.tap.stream import device_of, explained
from ncollapse.collect.tap.taps import HEAD, called
from ncollapse.control.cut_look import CutAwayError, Look, call_of, look, refuse, shortened
from ncollapse.control.refit import HEADS, RefittedHead, moments_for, refitted
from ncollapse.control.surgery import Footprint

log = logging.getLogger("ncollapse")
ALIKE = 1e-3


class Reached(BaseException):
    """The layer has answered, with `output`. Not an Exception: a model that catches its own errors
    must not catch this."""

    def __init__(self, output: Any) -> None:
        super().__init__("the layer was reached; nothing after it runs")
        self.output = output


@dataclass(frozen=True)
class Fitted:
    """How a head came about: by "least-squares" or "nearest", its ridge, samples, classes
    present."""

    how: str
    ridge: float
    samples: int
    classes: int

    def __str__(self) -> str:
        name = {"nearest": "nearest class centre"}.get(
            self.how, f"least squares with ridge {self.ridge:g}"
        )
        return f"{name} on {self.samples:,} samples of {self.classes} classes"


class CutModel(nn.Module):
    """What `cut_after` returns: cut(inputs) → logits (samples, classes).

    body: a copy of the model without the parts that are not used up to the cut; its forward pass
    is broken off when `layer` has answered for the `call`-th time of `calls` in a pass. head: a
    `RefittedHead`. before, after: `Footprint` of the model and of this one. blocks: those of the
    model; blocks_left: those that run. pooling: how features are made of the layer's output, as
    readings name it. Inputs are those of the model, tensors or keywords; gradients pass. Hooks are
    there only while a pass runs. `state_dict` loads into a cut of the same model at the same layer.
    """

    def __init__(
        self, body: nn.Module, layer: str, how: Pool, seen: Look, before: Footprint
    ) -> None:
        super().__init__()
        self.body = body
        self.layer, self.call, self.calls = layer, seen.call, seen.calls
        self.before, self.pooling = before, seen.pooling
        self.blocks, self.blocks_left = seen.blocks, seen.blocks_left
        self.head: nn.Module = nn.Identity()
        self.fitted: Fitted | None = None
        self._how, self._layout, self._class_token = how, seen.layout, seen.class_token

    @property
    def after(self) -> Footprint:
        return Footprint.of(self)

    def forward(self, *inputs: Any, **named: Any) -> Float[Tensor, "samples classes"]:
        return torch.as_tensor(self.head(self.features(*inputs, **named)))

    def features(self, *inputs: Any, **named: Any) -> Float[Tensor, "samples dim"]:
        """What enters the head. Raises ValueError when the pass ends before the layer has answered
        often enough, and for outputs that cannot be pooled."""
        value = first_tensor(self._reached(inputs, named))
        if value is None:
            raise ValueError(f"layer {self.layer!r} returned no tensor")
        found = next((named[key] for key in MASKS if isinstance(named.get(key), Tensor)), None)
        given = found if found is not None and found.dim() == 2 else None
        value, real = unnested(value)
        layout = said_layout(self._how) or self._layout
        rows = value.shape[layout.samples if layout is not None and value.dim() > 2 else 0]
        shape = Shape(rows, given if real is None else real, self._class_token)
        return pool(value, self._how, shape, layout, gradients=torch.is_grad_enabled())[0]

    def _reached(self, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
        times = 0

        def stop(output: Any) -> None:
            nonlocal times
            times += 1
            if times == self.call:
                raise Reached(output)

        with Listener(self.body) as listener:
            listener.leaving(self.body.get_submodule(self.layer), stop)
            try:
                self.body(*inputs, **named)
            except Reached as reached:
                return reached.output
            except CutAwayError:
                pass
        raise ValueError(
            f"the forward pass went past the cut when layer {self.layer!r} had answered {times} "
            f"times, and it is cut after call {self.call}; a model that goes other ways for other "
            "inputs cannot be cut here"
        )

    def describe(self) -> str:
        """Where the model was cut, how many blocks and parameters are left, and what head it got,
        in sentences."""
        kept, old = self.after.parameters, self.before.parameters
        dim = self.head.linear.in_features if isinstance(self.head, RefittedHead) else 0
        made = "as they are" if self.pooling == "none" else self.pooling
        which = f" (call {self.call} of {self.calls} in a pass)" if self.calls > 1 else ""
        return (
            f"{type(self.body).__name__} cut after {self.layer!r}{which}: {self.blocks_left} of "
            f"{self.blocks} blocks and {kept:,} parameters (head included) are left of {old:,}, "
            f"{kept / max(old, 1):.1%}. Head: {self.fitted}; {dim} features, {made}. The "
            "given model is as it was: this is a copy"
        )


def cut_after(
    model: nn.Module,
    layer: str | None,
    data: Any,
    *,
    head: str = "least-squares",
    pool: Pool = "auto",
    ridge: float = 1e-3,
    num_classes: int | None = None,
    unpack: Unpack | None = None,
    ignore_index: int | None = -100,
    batch_size: int = 128,
) -> CutModel:
    """The model up to `layer`, with a head refitted there on `data` in closed form, in eval mode.

    Later blocks are neither run nor kept. data: as in `ncollapse.measure`, read once; labels equal
    to `ignore_index` are left out. head: "least-squares", ridge regression on one-hot targets with
    centred features, where `ridge` counts in mean eigenvalues of their covariance (memory O(d²)),
    or "nearest", the nearest class centre (O(K d)), which is what nc4 and PFC3 read. pool: how a
    layer's output becomes one vector a sample, as in measuring. Of a layer that is called several
    times in a pass NAME is the first call and NAME#2 the second, as measuring names them.
    num_classes: by default as many as the model's own logits.

    The model itself is deep-copied, without what is not used up to the cut, and is left as it was:
    weights, modes, buffers, hooks. Where a model looks at its later parts before the cut, so that
    it cannot run without them, all are kept.

    >>> cut = cut_after(model, "layer3.1", train_loader)        # doctest: +SKIP
    >>> print(cut.describe())                                   # doctest: +SKIP

    Raises ValueError for a layer that does not exist (naming the nearest) or is never reached, or
    not as often, labels outside 0..K-1, fewer than two classes, outputs that cannot be
    pooled, unknown heads, a negative ridge, and models that are sharded or cannot be copied.
    """
    if head not in HEADS:
        raise ValueError(f"head={head!r} is unknown; one of {', '.join(HEADS)} is needed")
    if not 0 <= ridge < float("inf"):
        raise ValueError(f"ridge={ridge}; a finite number ≥ 0 is needed")
    check_pool(pool)
    if layer is None:
        raise ValueError(
            "layer=None, which effective_depth says where no layer decides as the model does, so "
            "nothing can be cut: name a layer, or read with a larger tolerance"
        )
    model = unwrap(model)
    if is_sharded(model):
        raise ValueError("the model's parameters are sharded; gather them first, then cut")
    name, call = called(layer), call_of(layer)
    if name not in dict(model.named_modules()) or name in ("", HEAD) or not call:
        refuse(model, layer, HEAD)
    device = device_of(model)
    cut: CutModel | None = None
    moments = like = None
    for raw in as_loader(data, batch_size):
        batch = unpack_batch(raw, unpack)
        if not batch.labels.numel():
            continue
        if cut is None:
            seen = look(model, name, call, batch, pool)
            cut = _copied(model, name, pool, seen, batch)
            num_classes = num_classes or seen.classes
        with preserved(cut.body), torch.no_grad(), explained(batch.inputs):
            like = batch.run(cut.features, device)
        if moments is None:
            if num_classes is None:
                raise ValueError("the model returns no logits to count; pass num_classes")
            moments = moments_for(head, num_classes, like.shape[1], ignore_index)
        moments.update(like.cpu(), batch.labels.cpu())
    if cut is None or moments is None or like is None:
        raise ValueError("the data hold no sample; a head cannot be refitted on none")
    cut.head, present = refitted(moments, head, ridge, like)
    cut.fitted = Fitted(head, ridge, moments.num_samples, present)
    return cut.eval()


def _copied(model: nn.Module, layer: str, how: Pool, seen: Look, batch: Batch) -> CutModel:
    """The cut around the shortest copy that still gives what the whole model gave."""
    before = Footprint.of(model)
    cut = CutModel(shortened(model, seen.idle), layer, how, seen, before)
    try:
        with preserved(cut.body), torch.no_grad():
            found = batch.run(cut.features, device_of(model))
        if _alike(found, seen.features):
            return cut
    except Exception as error:
        log.info("cut  %s does not run without its later parts (%s)", layer, error)
    return CutModel(shortened(model, {}), layer, how, seen, before)


def _alike(found: Tensor, known: Tensor) -> bool:
    """Up to the rounding of another way to compute the same."""
    if found.shape != known.shape:
        return False
    gap, size = (float(one.abs().max()) for one in (found - known, known))
    return gap <= ALIKE * size
