"""How a head layer makes logits of its features h and a matrix W (classes, dim), besides W h + b.

A cosine head divides features, rows, or both, by their lengths; a head of prototypes takes squared
distances. Each is linear in what it looks at: features as the head sees them, and the matrix that
works on those.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ncollapse.collect.tap.head_layers import Matrix
from ncollapse.collect.tap.relations import ENOUGH, close, multiple

# Plainest first. What {s} stands before, and whether features and rows are divided by their length.
FORMS: dict[str, tuple[str, bool, bool]] = {
    "linear": ("{s}W h + b", False, False),
    "unit rows": ("{s}w/‖w‖ · h + b", False, True),
    "unit features": ("{s}w · h/‖h‖ + b", True, False),
    "cosine": ("{s}cos(w, h) + b", True, True),
    "distance": ("-{s}‖w - h‖²", False, False),
}


@dataclass(frozen=True)
class Form:
    """One of FORMS with its factor s: what a layer makes is linear(features(h), *matrix((W, b))),
    for the form "distance" up to a constant a sample."""

    name: str = "linear"
    scale: float = 1.0

    @property
    def plain(self) -> bool:
        """Whether the layer makes W h + b."""
        return self == LINEAR

    @property
    def unit(self) -> bool:
        """Whether features are divided by their length."""
        return FORMS[self.name][1]

    def features(self, value: Tensor) -> Tensor:
        """Features (…, dim) as the head sees them: h/‖h‖ where it looks at their direction alone,
        with the length in at least float32."""
        if not self.unit:
            return value
        wide = value.to(torch.promote_types(value.dtype, torch.float32))
        return functional.normalize(wide, dim=-1)

    def matrix(self, matrix: Matrix) -> Matrix:
        """The weight and bias that work on those features."""
        weight, bias = matrix
        if self.name == "distance":
            wide = weight.double()
            return 2 * self.scale * weight, (-self.scale * wide.square().sum(1)).to(weight.dtype)
        if FORMS[self.name][2]:
            wide = weight.to(torch.promote_types(weight.dtype, torch.float32))
            weight = functional.normalize(wide, dim=1).to(weight.dtype)
        return (weight if self.scale == 1 else self.scale * weight), bias

    def words(self, bias: bool) -> str:
        """What the layer makes, as a formula."""
        scale = "" if self.scale == 1 else f"{self.scale:.4g} · "
        return FORMS[self.name][0].format(s=scale).removesuffix("" if bias else " + b")


LINEAR = Form()


def form_of(
    features: Tensor, ways: list[Matrix], made: Tensor, *, only: str | None = None
) -> tuple[int, Form] | None:
    """Which of the matrices makes `made` (…, classes) of features (…, dim), and in which form; the
    plainest one, or `only` one. None where none does, or there are too few numbers to tell."""
    if made.numel() < ENOUGH:
        return None
    h, target = features.double(), made.double()
    for name in FORMS if only is None else (only,):
        for way, (weight, bias) in enumerate(ways):
            base, shift = _bare(name, h, weight.double()), 0 if bias is None else bias.double()
            if name == "distance" and bias is not None:
                continue
            scale = multiple(base, target - shift)
            size = target.abs().max()
            if scale > 0 and close(scale * base + shift, target, size, made.dtype):
                return way, Form(name, _rounded(scale))
    return None


def _bare(name: str, features: Tensor, weight: Tensor) -> Tensor:
    """What a form makes without its factor and bias."""
    if name == "distance":
        return (
            2 * functional.linear(features, weight)
            - features.square().sum(-1, keepdim=True)
            - weight.square().sum(1)
        )
    form = Form(name)
    return functional.linear(form.features(features), form.matrix((weight, None))[0])


def _rounded(scale: float) -> float:
    """A factor of few digits is that, not what rounding made of it."""
    short = float(f"{scale:.5g}")
    return short if abs(scale - short) < 2e-6 * short else scale


def of_one_length(rows: Tensor) -> bool:
    """Whether rows (…, dim) of more than one entry all have one length, to a part in a thousand,
    and are several."""
    if rows.shape[-1] < 2 or rows[..., 0].numel() < 2:
        return False
    lengths = rows.float().norm(dim=-1)
    return bool(lengths.max() - lengths.min() <= 1e-3 * lengths.max()) and bool(lengths.max() > 0)
