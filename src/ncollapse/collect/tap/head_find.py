"""Which of the layers that were heard makes the logits, or why none does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ncollapse.collect.tap.batches import Tokens
from ncollapse.collect.tap.head_check import BENT, FOLLOWED, check_head
from ncollapse.collect.tap.head_layers import Matrix
from ncollapse.collect.tap.heads import Candidate, Head, Loose
from ncollapse.collect.tap.outputs import Path, place_named
from ncollapse.collect.tap.pooling import of_tokens
from ncollapse.collect.tap.relations import close

SUM = " + "
Outputs = list[tuple[Path, Tensor]]
READ = (
    "what a head makes may be shifted, scaled, softly capped (tanh), squashed (softmax, sigmoid), "
    "averaged over tokens or places, or over two heads"
)


class HeadNotFoundError(ValueError):
    """No layer that was heard makes the logits."""


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer: what entered (…, dim), and what it made (…, classes), for few rows where
    few are compared, None where none is."""

    entered: Tensor
    made: Tensor | None


@dataclass(frozen=True, eq=False)
class Heard:
    """A forward pass: the calls of layers that may be the head, best guess first, and which tokens
    are compared where every token is a sample. asked: the only one that may be it."""

    calls: Mapping[str, Call]
    known: Mapping[str, Candidate | Loose]
    few: Tokens | None = None
    asked: str | None = None

    def head(self, outputs: Outputs, *, otherwise: str, aside: str) -> Head:
        """The layer that makes one of the outputs. Raises HeadNotFoundError, whose sentence ends
        with `otherwise`, where none does (`aside`: why a layer may not have been heard), and
        ValueError where several make one each."""
        outputs = [(place, self.few_rows(plain(logits))) for place, logits in outputs]
        found: list[Head] = []
        reasons: list[str] = []
        for name in self.known:
            if self.asked not in (None, name):
                continue
            if name not in self.calls or self.calls[name].made is None:
                reasons.append(f"{name!r}: its tap did not fire{aside}")
                continue
            tried = [self._check([name], logits, place) for place, logits in outputs]
            heads = [one for one in tried if isinstance(one, Head)]
            found += sorted(heads, key=lambda one: one.relation.rank)[:1]
            said = [one for one in tried if isinstance(one, str)]
            telling = [one for one in said if "wide, the logits" not in one] or said
            reasons += [] if heads else [f"{name!r}: {telling[0]}"]
        if not found:
            found = self._pairs(outputs)
        if not found:
            raise HeadNotFoundError(self._unfound(reasons, outputs, otherwise))
        return self._chosen(found, dict(outputs))

    def call(self, parts: list[str]) -> Call:
        """That of one layer, or of several whose outputs are added up."""
        calls = [self.calls[name] for name in parts]
        if len(calls) == 1:
            return calls[0]
        made = [call.made for call in calls if call.made is not None]
        total = sum(made[1:], made[0]) if len(made) == len(calls) else None
        return Call(torch.cat([call.entered for call in calls], -1), total)

    def few_rows(self, value: Tensor) -> Tensor:
        """The rows of few tokens, where those are what is compared."""
        return of_tokens(value, self.few) if self.few is not None and value.dim() == 3 else value

    # ---- candidates ---------------------------------------------------------------------------
    def _pairs(self, outputs: Outputs) -> list[Head]:
        """Two layers whose outputs are added up or averaged."""
        names = [name for name in self.calls if name in self.known]
        found = []
        for pair in combinations(names, 2):
            first, second = (self.calls[name] for name in pair)
            if self.asked not in (None, *pair) or first.made is None or second.made is None:
                continue
            alike = first.made.shape == second.made.shape
            if alike and first.entered.shape[:-1] == second.entered.shape[:-1]:
                tried = [self._check(list(pair), logits, place) for place, logits in outputs]
                found += [one for one in tried if isinstance(one, Head)]
        return found

    def _check(self, parts: list[str], logits: Tensor, place: Path) -> Head | str:
        call = self.call(parts)
        assert call.made is not None
        dims = tuple(self.calls[name].entered.shape[-1] for name in parts)
        ways = matrices_beside([self.known[name] for name in parts], dims, call.made.shape[-1])
        entered = self.few_rows(call.entered.detach())
        first = self.known[parts[0]]
        check = partial(
            check_head,
            SUM.join(parts),
            first.origin,
            features=entered,
            made=call.made,
            logits=logits,
            output=place,
            dims=dims,
        )
        found = check(ways, rough=first.rough)
        if found is BENT and len(parts) == 1:
            axes = call.entered.dim()
            probed = first.probed(dims[0], call.made.shape[-1], axes)
            found = check(probed, probe=axes) if probed else found
        return found

    # ---- more than one ------------------------------------------------------------------------
    def _chosen(self, found: list[Head], outputs: dict[Path, Tensor]) -> Head:
        """The plainest; where several outputs could be the logits, the end of a chain of layers."""
        ends = found
        if len({head.output for head in found}) > 1:
            ends = [
                head
                for head in found
                if not any(
                    self._feeds(head, other, outputs) for other in found if other is not head
                )
            ]
        if len({head.output for head in ends}) == 1:
            return min(ends, key=lambda head: head.relation.rank)
        ends = ends or found
        listed = ", ".join(f"{place_named(head.output)} by {head.name!r}" for head in ends)
        raise ValueError(
            f"more than one output could be the logits, for a layer makes each: {listed}; pass "
            f"head={ends[-1].name!r}, or whichever tells the classes"
        )

    def _feeds(self, head: Head, other: Head, outputs: dict[Path, Tensor]) -> bool:
        """Whether what one layer makes, its positive or unit part, or what is returned of it,
        enters the other."""
        made = self.call(head.name.split(SUM)).made
        entered = self.few_rows(self.call(other.name.split(SUM)).entered.detach())
        assert made is not None
        forms = (made, made.relu(), functional.normalize(made, dim=-1), outputs[head.output])
        return any(close(form, entered) for form in forms)

    # ---- none ---------------------------------------------------------------------------------
    def _unfound(self, reasons: list[str], outputs: Outputs, otherwise: str) -> str:
        if not all(bool(rows.isfinite().all()) for _, rows in outputs):
            return (
                "the logits of the first batch hold NaN or infinity, so that no head can be "
                "checked; finite ones are needed: measure an earlier checkpoint, or look for what "
                "makes them"
            )
        reasons = _telling(reasons)
        listed = "; ".join(reasons[:4]) + ("; …" if len(reasons) > 4 else "")
        said = f"no linear layer reproduces the logits ({listed or 'none was called'})"
        norms = [rows.float().norm(dim=-1) for _, rows in outputs if rows.shape[-1] > 1]
        if norms and all(bool(((one - 1).abs() < 1e-3).all()) for one in norms):
            said += "; what the model returns has unit length, as embeddings have"
        if otherwise and all(any(why in one for why in FOLLOWED) for one in reasons):
            return f"{said}; pass {otherwise.removeprefix(', or ')}"
        if self.asked is None:
            return f"{said}; pass head=NAME of the layer whose output the model returns{otherwise}"
        return f"{said}; {READ}: pass head=NAME of a layer of which that holds{otherwise}"


def _telling(reasons: list[str]) -> list[str]:
    """Those of layers as wide as the logits, if any; of a layer and its weight, one."""
    near = [one for one in reasons if "wide, the logits" not in one] or reasons
    said: dict[str, str] = {}
    for one in near:
        name, _, why = one.partition(": ")
        said.setdefault(name.removesuffix(".weight'").rstrip("'"), f"{name}: {why}")
    return list(said.values())


def matrices_beside(
    layers: list[Candidate | Loose], dims: tuple[int, ...], classes: int | None
) -> list[Matrix]:
    """The matrices (classes, dim) that a layer may be now; of several, side by side with their
    biases added up."""
    each = [one.matrices(dim, classes) for one, dim in zip(layers, dims, strict=True)]
    if len(each) == 1 or not all(each):
        return each[0] if len(each) == 1 else []
    shifts = [bias for (_, bias), *_ in each if bias is not None]
    total = sum(shifts[1:], shifts[0]) if shifts else None
    return [(torch.cat([weight for (weight, _), *_ in each], 1), total)]


def plain(logits: Tensor) -> Tensor:
    """Logits (samples) or (samples, classes, 1, …) as (samples, classes)."""
    logits = logits.detach()
    if logits.dim() == 1:
        return logits[:, None]
    if logits.dim() > 2 and logits.shape[2:].numel() == 1:
        return logits.flatten(1)
    return logits


def scripted(model: nn.Module) -> str:
    """Why layers may not have been heard."""
    if any(isinstance(part, torch.jit.ScriptModule) for part in model.modules()):
        return " (TorchScript runs its layers unseen: measure the model that it was made from)"
    return ""
