"""HeadSum: whether the classifier's sum follows its law along a training run, and what breaks it.

The law (`theory.subjects.head_sum`) holds whatever the backbone and the data, so a run that breaks
it tells of its plumbing: another loss than was meant, a step that was not the optimizer's, weights
that something else writes to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ncollapse.collect.tap.listener import around_steps
from ncollapse.theory.subjects.head_sum import Rule
from ncollapse.tracking.head_breaks import LawReading, Seen, told
from ncollapse.tracking.head_path import CHUNK, OFTEN, SumPath, sum_of
from ncollapse.tracking.head_rules import NoLaw, Place, users_of

# Sums of the same numbers, made on one device and on another.
SAME = 1e-5


class HeadSum:
    """Follows s = Wᵀ1 of a classifier step by step, beside what its law predicts.

    >>> law = HeadSum(model, optimizer, head="fc")                            # doctest: +SKIP
    >>> train()                                                               # doctest: +SKIP
    >>> print(law.reading())                                                  # doctest: +SKIP
    the classifier's sum follows the law to 3e-07 over 400 steps

    head: the classifier, a module or its name; None takes the last linear layer. rule: the law of
    an optimizer that is not known here. scheduler: a torch scheduler, checked to move at most once
    between two steps. Nothing waits for the device but `reading` and `state_dict` (where a gradient
    scaler undoes steps on the device: every 64 steps). Steps with a closure, accumulated gradients
    and overflows are followed. Hooks stand on the optimizer until `close`.

    Raises ValueError for a head that is not there or has no weight with two axes, and for an
    optimizer without parameters.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Any,
        head: str | nn.Module | None = None,
        *,
        rule: Rule | None = None,
        scheduler: Any = None,
    ) -> None:
        optimizer = plain(optimizer)
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise ValueError(
                f"optimizer is a {type(optimizer).__name__}; the torch optimizer that steps the "
                "model is needed"
            )
        self.model, self.optimizer, self.rule = model, optimizer, rule
        self.name = head_of(model, head)
        self.scheduler = scheduler
        self.skipped = self._idle = 0
        # Counts of what was seen, and notes, by name.
        self.counts: dict[str, int] = {}
        self.notes: dict[str, str] = {}
        self._none: NoLaw | None = None
        self._depth = 0
        self._due: tuple[Rule, float] | None = None
        self._seen: Tensor | None = None
        self._place = Place(optimizer)
        self._path = SumPath()
        # Kept on the device: the size of the sum at its start, and what gradients looked like.
        self._scale: Tensor | None = None
        self._ties: Tensor | None = None
        self._coarse: Tensor | None = None
        self._goes_on: dict[str, Any] | None = None
        self._epoch: int | None = None
        self._handles = around_steps(optimizer, self._before, self._after)

    @property
    def steps(self) -> int:
        """Steps that were held against the law."""
        return self._path.steps

    @property
    def module(self) -> nn.Module | None:
        """The classifier as it stands now; None where it is gone."""
        module: nn.Module | None = self.model
        for part in self.name.split(".") if self.name else ():
            module = None if module is None else module._modules.get(part)
        return module

    # ---- fed by the optimizer ---------------------------------------------------------------
    def _before(self) -> None:
        # A subclass's step that calls its parent's is one step.
        self._depth += 1
        if self._depth == 1:
            self._safely(self._predict)

    def _after(self) -> None:
        self._depth = max(self._depth - 1, 0)
        if self._depth == 0:
            self._safely(self._compare)

    @torch.no_grad()
    def _safely(self, look: Callable[[], None]) -> None:
        """A training step is not ours to break off: what cannot be read ends the following."""
        if self._none is not None and self._none.name == "unread":
            return
        try:
            look()
        except (ValueError, TypeError, RuntimeError) as error:
            self._none = NoLaw("unread", f"the step cannot be read ({error})")

    def _predict(self) -> None:
        weight = self._weight()
        tries, self._idle, self._due = max(self._idle, 1), 0, None
        if self._seen is not None and self._seen is not weight:
            self._count("replaced")
            self._seen = None
        rule = self._law(weight)
        if isinstance(rule, NoLaw):
            self._none = rule
            return
        self._none = None
        if self._seen is None:
            self._begin(weight)
        self._watch_schedule(tries)
        self._path.before(weight)
        group = self._place.of(weight)
        assert group is not None
        self._due = rule, float(group["lr"])

    def _law(self, weight: Tensor) -> Rule | NoLaw:
        group = self._place.of(weight)
        if weight.dim() != 2:
            return NoLaw("shape", "the head has no weight (classes, dim) of its own")
        if not isinstance(weight, nn.Parameter):
            made = "the head's weight is made of other parameters (a parametrization, weight norm)"
            return NoLaw("shape", f"{made}, and their steps have no law that is known here")
        if group is None or not weight.requires_grad:
            why = "is in no group of the optimizer" if weight.requires_grad else "is frozen"
            return NoLaw("frozen", f"the head's weight {why}, so no step is made with it")
        return self.rule or self._place.rule(group)

    def _compare(self) -> None:
        # A step with a closure has its gradient only now.
        weight, gradient = self._weight(), self._weight().grad
        if self._due is None:
            return
        if gradient is None:
            # The optimizer left it alone, decay and momentum too.
            self._count("still")
            return
        rule, rate = self._due
        if self.steps % (OFTEN if self.steps < CHUNK else CHUNK) == 0:
            self._look(weight, gradient)
        self._path.after(weight, gradient, rule, rate, getattr(self.optimizer, "found_inf", None))

    def waited(self) -> None:
        """The loop believes that a step was made: counts those that the optimizer did not make."""
        if self._idle:
            self.skipped += 1
        self._idle += 1
        self._depth = 0

    def _begin(self, weight: Tensor) -> None:
        held = self.optimizer.state.get(weight, {}).get("momentum_buffer")
        self._seen, s = weight, self._path.begin(weight, held)
        size = torch.linalg.vector_norm(weight.detach(), dtype=torch.float64)
        scale = torch.maximum(s.norm(), 0.1 * size)
        self._scale = scale if self._scale is None else _larger(self._scale.to(scale), scale)
        if self._goes_on is not None:
            self._resume(weight, held)
        names = users_of(self.model, weight)
        if len(names) > 1:
            self.notes["tied"] = f"the weight stands at {' and at '.join(names)}"
        decays = [float(one.get("weight_decay", 0)) for one in self.optimizer.param_groups]
        group = self._place.of(weight)
        if group is not None and float(group.get("weight_decay", 0)) == 0 and max(decays) > 0:
            self.notes["excluded"] = (
                "the head's group has weight_decay 0 where others decay: its sum stays as it began"
            )

    def _resume(self, weight: Tensor, held: Tensor | None) -> None:
        """Whether the run goes on from where it was saved; waits for the device, once."""
        kept, self._goes_on = self._goes_on or {}, None
        group = self._place.of(weight) or {}
        if "s" in kept and not _same(kept["s"], weight):
            self._count("other weights")
        if held is None:
            if float(group.get("momentum", 0)) and ("momentum" in kept or not kept):
                self._count("no momentum")
        elif "momentum" in kept and not _same(kept["momentum"], held):
            self._count("other momentum")

    # ---- going on after an interruption -------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """The sum, that of its momentum, and what was seen so far: tensors and plain numbers."""
        with torch.no_grad():
            kept = self._path.state_dict()
        weight = self._weight()
        if self._seen is weight:
            held = self.optimizer.state.get(weight, {}).get("momentum_buffer")
            kept["s"] = sum_of(weight).cpu()
            kept |= {} if held is None else {"momentum": sum_of(held).cpu()}
        more = {"scale": self._scale, "ties": self._ties, "coarse": self._coarse}
        kept |= {name: one.cpu() for name, one in more.items() if one is not None}
        return kept | {"skipped": self.skipped, "counts": dict(self.counts)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state, before the first step: weights and momentum of the optimizer
        must then be those of the moment at which it was saved. An empty one says only that there
        were steps before."""
        self._goes_on = dict(state)
        self._path.load_state_dict(state)
        for name in ("scale", "ties", "coarse"):
            found = state.get(name)
            setattr(self, f"_{name}", None if found is None else torch.as_tensor(found))
        self.skipped, self.counts = int(state.get("skipped", 0)), dict(state.get("counts", {}))

    def _look(self, weight: Tensor, gradient: Tensor) -> None:
        """Weights that have grown round the sum by more. Clipping entry by entry leaves many
        largest entries; gradients of half precision have few digits, whatever they are kept in."""
        size = 0.1 * torch.linalg.vector_norm(weight.detach(), dtype=torch.float64)
        self._scale = _larger(self._scale, size.nan_to_num(posinf=0.0))
        kinds = (torch.bfloat16, torch.float16)
        few = [(gradient.to(kind).to(gradient.dtype) == gradient).all() for kind in kinds]
        self._coarse = _larger(self._coarse, torch.stack(few).any().double())
        top = gradient.abs()
        self._ties = _larger(self._ties, (top == top.max()).sum().double())

    def _watch_schedule(self, tries: int) -> None:
        """A scheduler may move once for every step that was tried, overflows too."""
        epoch = getattr(self.scheduler, "last_epoch", None)
        if epoch is None:
            return
        if self._epoch is not None and epoch - self._epoch > tries:
            self._count("schedule")
        self._epoch = epoch

    def _count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def _weight(self) -> Tensor:
        found = getattr(self.module, "weight", None)
        return found if isinstance(found, Tensor) else torch.zeros(0)

    # ---- what came of it --------------------------------------------------------------------
    def seen(self) -> Seen:
        """What was seen so far, in plain numbers; waits for the device."""
        path = self._path
        with torch.no_grad():
            path.flush()
        scale = _plain(self._scale) or 1.0
        weight = self._weight()
        return Seen(
            steps=self.steps,
            skipped=self.skipped + path.voided,
            epsilon=torch.finfo(weight.dtype).eps if weight.is_floating_point() else 0.0,
            error=None if path.worst is None else _plain(path.worst) / scale,
            moved=_plain(path.moved) / scale,
            unbalanced=_plain(path.unbalanced),
            along=_plain(path.along),
            looks=path.looks,
            coarse=bool(_plain(self._coarse)),
            finite=path.last is None or bool(path.last.isfinite().all()),
            ties=int(_plain(self._ties)),
            counts=dict(self.counts),
            notes=dict(self.notes),
            none=self._none,
            optimizer=type(self.optimizer).__name__,
        )

    def reading(self) -> LawReading:
        """The verdict so far."""
        return told(self.seen())

    def close(self) -> None:
        """Take the hooks off the optimizer."""
        for handle in self._handles:
            handle.remove()
        self._handles = []


def plain(optimizer: Any) -> Any:
    """The optimizer that steps, out of what trainers wrap around it: hooks belong there."""
    while isinstance(inner := getattr(optimizer, "optimizer", None), torch.optim.Optimizer):
        optimizer = inner
    return optimizer


def head_of(model: nn.Module, head: str | nn.Module | None) -> str:
    """The name of the classifier in a model: of a module, as it is, or of the last linear layer."""
    named = dict(model.named_modules())
    if isinstance(head, nn.Module):
        found = [name for name, module in named.items() if module is head]
        if not found:
            raise ValueError(
                f"the head is no module of {type(model).__name__}; pass one of its own"
            )
        return found[0]
    if head is not None:
        if head not in named:
            linear = [name for name, module in named.items() if isinstance(module, nn.Linear)]
            raise ValueError(
                f"head={head!r} is no module of {type(model).__name__}; pass one of its linear "
                f"layers: {', '.join(linear[:8]) or 'it has none'}"
            )
        return head
    linear = [name for name, module in named.items() if isinstance(module, nn.Linear)]
    if not linear:
        raise ValueError(
            f"{type(model).__name__} has no linear layer to take for its classifier; pass head=…"
        )
    return linear[-1]


def _larger(kept: Tensor | None, found: Tensor) -> Tensor:
    # What is not finite must not hide what was seen before.
    return found if kept is None else torch.fmax(kept.to(found.device), found)


def _same(kept: Tensor, weight: Tensor) -> bool:
    """Whether a kept sum is that of these rows, up to rounding."""
    found, size = sum_of(weight), torch.linalg.vector_norm(weight.detach(), dtype=torch.float64)
    return bool((kept.to(found) - found).norm() <= SAME * torch.maximum(found.norm(), size))


def _plain(value: Tensor | None) -> float:
    return 0.0 if value is None else float(value)
