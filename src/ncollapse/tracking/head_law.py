"""HeadSum: whether the classifier's sum follows its law along a training run, and what breaks it.

The law (`theory.subjects.head_sum`) holds whatever the backbone and the data, so a run that breaks
it tells of its plumbing: another loss than was meant, a step that was not the optimizer's, weights
that something else writes to.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ncollapse.collect.tap.listener import around_steps
from ncollapse.theory.subjects.head_sum import Rule
from ncollapse.tracking.head_breaks import LawReading, Seen, told
from ncollapse.tracking.head_rules import NoLaw, place_of, rule_of, users_of

# Gradients are looked through for penalties and clipping at every so manieth step.
OFTEN = 16
TINY = 1e-300


class HeadSum:
    """Follows s = Wᵀ1 of a classifier step by step, beside what its law predicts.

    >>> law = HeadSum(model, optimizer, head="fc")                            # doctest: +SKIP
    >>> train()                                                               # doctest: +SKIP
    >>> print(law.reading())                                                  # doctest: +SKIP
    the classifier's sum follows the law to 3e-07 over 400 steps

    head: the classifier, a module or its name; None takes the last linear layer. rule: the law of
    an optimizer that is not known here. scheduler: a torch scheduler, checked to move at most once
    between two steps. Nothing waits for the device but `reading`. Hooks stand on the optimizer
    until `close`.

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
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise ValueError(
                f"optimizer={type(optimizer).__name__}; the torch optimizer that steps the model "
                "is needed"
            )
        self.model, self.optimizer, self.rule = model, optimizer, rule
        self.module = head_of(model, head)
        self.scheduler = scheduler
        self.steps = self.skipped = self._idle = 0
        # Counts of what was seen, and notes, by name.
        self.counts: dict[str, int] = {}
        self.notes: dict[str, str] = {}
        self._none: NoLaw | None = None
        self._due, self._depth, self._looks = False, 0, 0
        self._seen: Tensor | None = None
        self._s: Tensor | None = None
        self._v: Tensor | None = None
        # Kept on the device: the last sum, and the largest of what was seen.
        self._last: Tensor | None = None
        self._scale: Tensor | None = None
        self._worst: Tensor | None = None
        self._moved: Tensor | None = None
        self._unbalanced: Tensor | None = None
        self._along: Tensor | None = None
        self._ties: Tensor | None = None
        self._coarse: Tensor | None = None
        self._epoch = getattr(scheduler, "last_epoch", None)
        self._handles = around_steps(optimizer, self._before, self._after)

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
        self._idle, self._due = 0, False
        group = place_of(self.optimizer, weight)
        rule: Rule | NoLaw
        if weight.dim() != 2:
            rule = NoLaw("shape", "the head has no weight (classes, dim) of its own")
        elif group is None:
            why = "is in no group of the optimizer" if weight.requires_grad else "is frozen"
            rule = NoLaw("frozen", f"the head's weight {why}, so no step is made with it")
        elif weight.grad is None:
            # The optimizer leaves it alone, decay and momentum too.
            self._count("still")
            return
        else:
            rule = self.rule or rule_of(self.optimizer, group)
        if isinstance(rule, NoLaw):
            self._none = rule
            return
        assert group is not None
        s = _sum(weight)
        if self._seen is not weight:
            self._begin(weight, group, s)
        elif self._last is not None:
            self._moved = _larger(self._moved, (s - self._last).norm())
        self._look(weight, s)
        self._watch_schedule()
        self._s, self._v = rule.step(self._s, self._v, float(group["lr"]))
        self._due = True

    def _compare(self) -> None:
        if not self._due:
            return
        assert self._s is not None
        self._last = _sum(self._weight())
        self._worst = _larger(self._worst, (self._last - self._s).norm())
        self.steps += 1

    def waited(self) -> None:
        """The loop believes that a step was made: counts those that the optimizer did not make."""
        if self._idle:
            self.skipped += 1
        self._idle += 1
        self._depth = 0

    def _begin(self, weight: Tensor, group: dict[str, Any], s: Tensor) -> None:
        if self._seen is not None:
            self._count("replaced")
        self._seen, self._s, self._last = weight, s, None
        size = torch.linalg.vector_norm(weight.detach(), dtype=torch.float64)
        self._scale = _larger(self._scale, torch.maximum(s.norm(), 0.1 * size))
        state = self.optimizer.state.get(weight, {})
        held = state.get("momentum_buffer")
        self._v = None if held is None else _sum(held)
        names = users_of(self.model, weight)
        if len(names) > 1:
            self.notes["tied"] = f"the weight stands at {' and at '.join(names)}"
        decays = [float(one.get("weight_decay", 0)) for one in self.optimizer.param_groups]
        if float(group.get("weight_decay", 0)) == 0 and max(decays) > 0:
            self.notes["excluded"] = (
                "the head's group has weight_decay 0 where others decay: its sum stays as it began"
            )

    def _look(self, weight: Tensor, s: Tensor) -> None:
        """What the gradient has along 1; a penalty on the weights has s there, and clipping entry
        by entry leaves many largest entries."""
        G = weight.grad
        assert G is not None
        pull, size = _sum(G), torch.linalg.vector_norm(G, dtype=torch.float64)
        part = pull.norm() / (math.sqrt(len(G)) * size).clamp_min(TINY)
        self._unbalanced = _larger(self._unbalanced, part)
        if self.steps % OFTEN == 0:
            self._looks += 1
            along = torch.nn.functional.cosine_similarity(pull, s, dim=0)
            self._along = along if self._along is None else torch.fmin(self._along, along)
            # Gradients of half precision have few digits, whatever they are kept in.
            few = [(G.to(kind).to(G.dtype) == G).all() for kind in (torch.bfloat16, torch.float16)]
            self._coarse = _larger(self._coarse, torch.stack(few).any().double())
            top = G.abs()
            self._ties = _larger(self._ties, (top == top.max()).sum().double())

    def _watch_schedule(self) -> None:
        epoch = getattr(self.scheduler, "last_epoch", None)
        if epoch is None:
            return
        if self._epoch is not None and epoch - self._epoch > 1:
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
        scale = _plain(self._scale) or 1.0
        weight = self._weight()
        return Seen(
            steps=self.steps,
            skipped=self.skipped,
            epsilon=torch.finfo(weight.dtype).eps if weight.is_floating_point() else 0.0,
            error=None if self._worst is None else _plain(self._worst) / scale,
            moved=_plain(self._moved) / scale,
            unbalanced=_plain(self._unbalanced),
            along=_plain(self._along),
            looks=self._looks,
            coarse=bool(_plain(self._coarse)),
            finite=self._last is None or bool(self._last.isfinite().all()),
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


def head_of(model: nn.Module, head: str | nn.Module | None) -> nn.Module:
    """The classifier by name, as it is, or the last linear layer of the model."""
    if isinstance(head, nn.Module):
        return head
    if head is not None:
        named = dict(model.named_modules())
        if head not in named:
            raise ValueError(f"head={head!r} is no module of {type(model).__name__}")
        return named[head]
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ValueError(
            f"{type(model).__name__} has no linear layer to take for its classifier; pass head=…"
        )
    return linear[-1]


def _sum(weight: Tensor) -> Tensor:
    """Wᵀ1, added up in float64 without a copy of W."""
    return weight.detach().sum(0, dtype=torch.float64)


def _larger(kept: Tensor | None, found: Tensor) -> Tensor:
    # What is not finite is told apart: it must not hide what was seen before.
    return found if kept is None else torch.fmax(kept, found)


def _plain(value: Tensor | None) -> float:
    return 0.0 if value is None else float(value)
