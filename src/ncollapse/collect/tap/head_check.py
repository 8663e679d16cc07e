"""Whether a layer that was heard makes the logits, and which weight and bias then stand for it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from ncollapse.collect.tap.forms import LINEAR, form_of, of_one_length
from ncollapse.collect.tap.head_layers import Matrix
from ncollapse.collect.tap.heads import ONE_LOGIT, Head
from ncollapse.collect.tap.outputs import Path
from ncollapse.collect.tap.relations import close, gap, relation

BENT = (
    "it is neither linear nor a cosine: W h + b, as s cos(w, h) + b, differs from what it returns"
)
# What follows a head that is one, so that no other name would help.
FOLLOWED = (
    "a ReLU follows it, which cuts its negative outputs to 0",
    "the largest of its outputs over tokens or places are the logits (max pooling)",
)
# What features of 7 or 8 bits may be off by, at the size of the largest output.
ROUGH = 0.1


def check_head(
    name: str,
    origin: str,
    ways: list[Matrix],
    features: Tensor,
    made: Tensor,
    logits: Tensor,
    *,
    output: Path = (),
    dims: tuple[int, ...] = (),
    rough: bool = False,
    probe: int = 0,
) -> Head | str:
    """The head where `logits` come from it, else one phrase that says what disagrees (BENT where
    what the layer returns is none of the forms of its matrix).

    ways: the matrices (weight, bias) that it may be. features: what entered it; made: what it
    returned; logits: what the model returned; output, dims, probe: as those of `Head`. rough:
    whether it rounds what enters to few bits.
    """
    if made.dim() < 2 or made.shape[-1] != logits.shape[-1]:
        return f"it is {made.shape[-1]} wide, the logits {logits.shape[-1]}"
    form, tolerance = LINEAR, ROUGH if rough else None
    way = next(
        (
            i
            for i, one in enumerate(ways)
            if close(_linear(features, one), made, tolerance=tolerance)
        ),
        None,
    )
    if way is None:
        found = form_of(features, ways, made) if len(dims) < 2 else None
        if found is None:
            return BENT
        way, form = found
    take, rows = "all", made
    related = relation(_flat(made), _flat(logits)) if made.dim() == logits.dim() else None
    if made.dim() == 3 and logits.dim() == 2:
        take = "token"
        place = matched_token(made, logits)
        rows = made[torch.arange(made.shape[0], device=made.device), place]
        related = relation(rows, logits)
        if related is None and (over := relation(made.mean(1), logits)) is not None:
            take, rows, related = "mean", made.mean(1), over
    if rows.shape != logits.shape:
        return f"it returns {tuple(made.shape)}, the model {tuple(logits.shape)}"
    if related is None:
        return unrelated(made, rows, logits)
    words = "head(features)" if form.plain else f"[{form.words(ways[way][1] is not None)}]"
    check = related.words.format(made=words)
    check += {"token": " at one token", "mean": " in the mean over tokens or places"}.get(take, "")
    if made.shape[-1] == 1:
        check += f"{ONE_LOGIT}, read as the rows -w/2 and w/2"
    if len(dims) > 1:
        check += f"; {len(dims)} heads are added up, and their features stand side by side"
    if rough:
        check += ", to the few bits that it rounds what enters to"
    if probe:
        check += "; its matrix is read off its images of unit vectors"
    equal = form.plain and of_one_length(features) and of_one_length(ways[way][0])
    check += "; features and rows have one length each" if equal else ""
    empty = Head(
        name, origin, features, None, take, check, related, output, dims, way, form, probe, equal
    )
    return weighted(empty, ways)


def unrelated(made: Tensor, rows: Tensor, logits: Tensor) -> str:
    """How what a layer makes differs from the logits, where those follow from it in no way that can
    be read. rows: those of `made` (samples, …, classes) that are nearest to the logits."""
    cut, largest = FOLLOWED
    if close(rows.relu(), logits):
        return cut
    if made.dim() == 3 and logits.dim() == 2:
        if close(made.relu().mean(1), logits):
            return f"{cut}, before the mean over places"
        if close(made.amax(1), logits):
            return largest
    return f"its output differs from the logits by up to {gap(rows, logits):.2g}"


def _linear(features: Tensor, matrix: Matrix) -> Tensor:
    weight, bias = matrix
    with torch.no_grad(), torch.autocast(features.device.type, enabled=False):
        shift = None if bias is None else bias.to(features.dtype)
        return functional.linear(features, weight.to(features.dtype), shift)


def _flat(value: Tensor) -> Tensor:
    return value.flatten(0, -2)


def weighted(head: Head, ways: list[Matrix]) -> Head:
    """The head with copies of the matrix that makes the logits now."""
    if head.way >= len(ways):
        return head
    weight, bias = head.form.matrix(ways[head.way])
    scale, shift = head.relation.scale, head.relation.shift
    weight = weight.cpu().clone() * scale if scale != 1 else weight.cpu().clone()
    bias = None if bias is None else bias.cpu().clone() * (scale if scale != 1 else 1)
    if shift is not None:
        bias = shift.to(weight) if bias is None else bias + shift.to(bias)
    if head.binary:
        weight = torch.cat([-weight / 2, weight / 2])
        bias = None if bias is None else torch.cat([-bias / 2, bias / 2])
    return replace(head, weight=weight, bias=bias)


def matched_token(made: Tensor, logits: Tensor) -> Tensor:
    """The token (samples) of made (samples, tokens, classes) whose row the logits are: padding and
    the choice of a last or first token are right without knowing the model."""
    return (made - logits[:, None, :]).abs().amax(2).argmin(1)
