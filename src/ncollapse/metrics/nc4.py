"""NC4, nearest-class-centre decisions: shares over samples, whatever the class weighting."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.collect.statistics.decisions import Decisions


def _share(hits: Tensor, decisions: Decisions) -> Float[Tensor, ""]:
    return hits.sum().to(torch.float64) / decisions.counts.sum()


def nc4_mismatch(decisions: Decisions, *, plain: bool = False) -> Float[Tensor, ""]:
    """Share of samples where argmax(Wh + b) ≠ argmin ‖h - μ_c‖. In [0, 1], ideal 0.

    The means are those of the reference split, each without the sample that is decided on and
    distances without the noise of the mean; plain: as published. Source: Papyan, Han, Donoho 2020.
    """
    return _share(decisions.mismatch_plain if plain else decisions.mismatch, decisions)


def accuracy(decisions: Decisions) -> Float[Tensor, ""]:
    """Share of samples that the head classifies rightly, argmax(Wh + b) = y. In [0, 1]."""
    return _share(decisions.correct_head, decisions)


def ncc_accuracy(decisions: Decisions, *, plain: bool = False) -> Float[Tensor, ""]:
    """Share of samples whose nearest class centre is their own class. In [0, 1].

    Distances as in `nc4_mismatch`.
    """
    return _share(decisions.centre_plain if plain else decisions.correct_centre, decisions)


def margin_min(decisions: Decisions) -> Float[Tensor, ""]:
    """Smallest logit margin z_y - max_{j≠y} z_j; positive when every sample is right."""
    return decisions.margin_min


def margin_mean(decisions: Decisions) -> Float[Tensor, ""]:
    """Mean logit margin z_y - max_{j≠y} z_j, in units of the logits."""
    return decisions.margin_sum / decisions.counts.sum()
