"""What a device keeps of the classifier's sum: a row a step, compared with its law in batches.

A training step is not to wait for the device, nor to start many small operations on it. So a step
leaves sums of K × d numbers in rows that are there already, and the law, which is linear in where s
and its momentum began, is laid over CHUNK of them at once: two numbers a step, made on the host.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ncollapse.theory.subjects.head_sum import Rule

CHUNK = 64
# The gradient's direction is looked at in every so manieth step.
OFTEN = 16
TINY = 1e-300
SEEN = ("worst", "moved", "unbalanced", "along")


class SumPath:
    """s = Wᵀ1 before and after each step, 1ᵀG and ‖G‖, beside the predicted path.

    worst: largest ‖s - predicted‖; moved: largest change of s between two steps; unbalanced:
    largest ‖1ᵀG‖/(√K ‖G‖); along: least cosine of 1ᵀG with s over `looks` looks. All of them stay
    on the device, None until seen, and are of what was finite. voided: steps that an overflow
    undid on the device.
    """

    def __init__(self) -> None:
        self.worst: Tensor | None = None
        self.moved: Tensor | None = None
        self.unbalanced: Tensor | None = None
        self.along: Tensor | None = None
        self.last: Tensor | None = None
        self.steps = self.looks = self.voided = 0
        self._rows: tuple[Tensor, Tensor, Tensor, Tensor] | None = None
        self._views: list[tuple[Tensor, ...]] = []
        self._plan: list[tuple[Rule, float]] = []
        self._overflows: list[Tensor | None] = []
        self._start: tuple[Tensor, Tensor | None] | None = None
        self._classes = 1

    def begin(self, weight: Tensor, momentum: Tensor | None) -> Tensor:
        """Start a path at a parameter (K, d) as it is; returns its sum (d)."""
        self.flush()
        s = sum_of(weight)
        self._start = s, None if momentum is None else sum_of(momentum)
        self.last, self._classes = None, len(weight)
        own = weight.dtype if weight.dtype in (torch.float32, torch.float64) else torch.float32
        wide = s.new_zeros((CHUNK, len(s)), dtype=own)
        sizes = s.new_zeros(CHUNK, dtype=own)
        self._rows = wide, torch.zeros_like(wide), torch.zeros_like(wide), sizes
        self._views = list(zip(*(rows.unbind(0) for rows in self._rows), strict=True))
        return s

    def before(self, weight: Tensor) -> None:
        """Before a step."""
        _into(weight, self._views[len(self._plan)][0])

    def after(
        self, weight: Tensor, gradient: Tensor, rule: Rule, rate: float, overflow: Any = None
    ) -> None:
        """After a step by a rule at a learning rate; overflow: not 0 on the device where the step
        was undone there."""
        _, after, pull, size = self._views[len(self._plan)]
        _into(weight, after)
        _into(gradient, pull)
        torch.linalg.vector_norm(gradient.detach(), dtype=size.dtype, out=size)
        self._plan.append((rule, rate))
        self._overflows.append(overflow if isinstance(overflow, Tensor) else None)
        self.steps += 1
        if len(self._plan) == CHUNK:
            self.flush()

    def flush(self) -> None:
        """Compare what was kept."""
        number = len(self._plan)
        if not number:
            return
        assert self._rows is not None and self._start is not None
        before, after, pull, size = (_wide(rows[:number]) for rows in self._rows)
        made = self._made()
        s, v = self._start
        path, held = _coefficients(self._plan, made, v is not None)
        # Without waiting: what is sent is small and left alone.
        weights = torch.from_numpy(np.concatenate([path, held]))
        weights = weights.to(s.device, non_blocking=True)
        predicted = weights @ torch.stack([s, torch.zeros_like(s) if v is None else v])
        self._start = predicted[number - 1], predicted[number] if self._begun(made, v) else None
        self.worst = _larger(self.worst, (after - predicted[:number]).norm(dim=1))
        ends = after if self.last is None else torch.cat([self.last[None], after])
        begins = before[number - len(ends) + 1 :]
        if len(begins):
            self.moved = _larger(self.moved, (begins - ends[:-1]).norm(dim=1))
        part = pull.norm(dim=1) / (math.sqrt(self._classes) * size).clamp_min(TINY)
        self.unbalanced = _larger(self.unbalanced, part)
        first = self.steps - number
        looks = [row for row in range(number) if (first + row) % OFTEN == 0]
        if looks:
            self.looks += len(looks)
            cosine = torch.nn.functional.cosine_similarity(pull[looks], before[looks], dim=1)
            least = cosine.nan_to_num(nan=1.0).min()
            self.along = (
                least if self.along is None else torch.fmin(self.along.to(least.device), least)
            )
        self.last = after[-1]
        self._plan, self._overflows = [], []

    # ---- going on after an interruption ---------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """What was seen: tensors and plain numbers."""
        self.flush()
        kept = {name: getattr(self, name) for name in SEEN}
        counts = {"steps": self.steps, "looks": self.looks, "voided": self.voided}
        return {name: one.cpu() for name, one in kept.items() if one is not None} | counts

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """What was seen before an interruption counts on; the path begins anew."""
        for name in SEEN:
            found = state.get(name)
            setattr(self, name, None if found is None else torch.as_tensor(found).double())
        self.steps, self.looks = int(state.get("steps", 0)), int(state.get("looks", 0))
        self.voided = int(state.get("voided", 0))

    def _made(self) -> list[bool]:
        """Whether each step was made; asks the device only where a scaler may have undone one."""
        known = [found for found in self._overflows if found is not None]
        if not known:
            return [True] * len(self._plan)
        flags = iter(torch.stack([found.flatten()[0] for found in known]).tolist())
        made = [found is None or not next(flags) for found in self._overflows]
        self.voided += made.count(False)
        return made

    def _begun(self, made: list[bool], v: Tensor | None) -> bool:
        stepped = any(
            kept and (rule.momentum or rule.decoupled)
            for kept, (rule, _) in zip(made, self._plan, strict=True)
        )
        return v is not None or stepped


def _coefficients(
    plan: list[tuple[Rule, float]], made: list[bool], held: bool
) -> tuple[np.ndarray, np.ndarray]:
    """s after each step (steps, 2) and the momentum at the end (1, 2), by s and the momentum at the
    start."""
    s, v = np.array([1.0, 0.0]), np.array([0.0, 1.0]) if held else None
    path = []
    for (rule, rate), kept in zip(plan, made, strict=True):
        if kept:
            s, v = rule.step(s, v, rate)
        path.append(s)
    return np.stack(path), np.zeros((1, 2)) if v is None else v[None]


def sum_of(weight: Tensor) -> Tensor:
    """Wᵀ1, added up in float64."""
    return weight.detach().sum(0, dtype=torch.float64)


def _wide(rows: Tensor) -> Tensor:
    return rows.to(torch.float64, copy=True)


def _into(weight: Tensor, row: Tensor) -> None:
    # In the weights' own precision: torch adds up in a tree, and float64 would cost ten times that.
    torch.sum(weight.detach(), 0, dtype=row.dtype, out=row)


def _larger(kept: Tensor | None, found: Tensor) -> Tensor:
    # What is not finite must not hide what was seen before.
    largest = found.nan_to_num(nan=0.0, posinf=math.inf).max()
    return largest if kept is None else torch.fmax(kept.to(largest.device), largest)
