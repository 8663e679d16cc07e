"""Population values of NC2 and NC3: of class means without their noise.

Rows of the scale "square" are given as squares x = θ², which are means of squares and biased by
what the jackknife takes away; those of the scale "folded" as (θ, mean square) of signed numbers a
with θ = mean |a|. Weights are known exactly.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.metrics.population.sample import CannotTellError, Sample
from ncollapse.pairs.rows import TINY

CENTRE = "the mean of some class is not told from the centre of all"
ORIGIN = "the mean of some class is not told from zero"


def _norms(gram: Tensor, why: str) -> Tensor:
    """Row norms from a Gram matrix; every one has to stand clear of noise."""
    square = gram.diagonal(dim1=-2, dim2=-1)
    if float(square.min()) <= 0:
        raise CannotTellError(why)
    return square.sqrt()


def _cosines(sample: Sample, raw: bool, why: str) -> Tensor:
    """Cosines over all pairs; formed once."""
    kept: dict[bool, Tensor] = sample.__dict__.setdefault("_cosines", {})
    if raw not in kept:
        gram = sample.raw_gram if raw else sample.gram
        unit = 1 / _norms(gram, why)
        i, j = torch.triu_indices(gram.shape[-1], gram.shape[-1], 1)
        kept[raw] = (gram * unit[..., :, None] * unit[..., None, :])[..., i, j]
    return kept[raw]


def _frame(size: int, simplex: bool) -> Tensor:
    eye = torch.eye(size, dtype=torch.float64)
    return (eye - 1 / size) / math.sqrt(size - 1) if simplex else eye / math.sqrt(size)


def _gap(gram: Tensor, *, simplex: bool) -> Tensor:
    length = torch.linalg.matrix_norm(gram)[..., None, None]
    return ((gram / length - _frame(gram.shape[-1], simplex)) ** 2).sum((-2, -1))


def _folded(signed: Tensor) -> Tensor:
    return torch.stack([signed.abs().mean(-1), (signed**2).mean(-1)], -1)


def nc2_equinorm(sample: Sample) -> Float[Tensor, ...]:
    """Square of std/mean of the norms."""
    norms = _norms(sample.gram, CENTRE)
    return norms.var(-1) / norms.mean(-1) ** 2


def nc2_equiangular(sample: Sample) -> Float[Tensor, ...]:
    """Variance of the cosines over pairs."""
    return _cosines(sample, False, CENTRE).var(-1, correction=0)


def nc2_maxangle(sample: Sample) -> Float[Tensor, two]:
    """Mean |cos + 1/(K-1)| over pairs, and its mean square."""
    return _folded(_cosines(sample, False, CENTRE) + 1 / (sample.num_classes - 1))


def nc2_gof(sample: Sample) -> Float[Tensor, two]:
    """Mean |cos| over pairs of raw means, and its mean square."""
    return _folded(_cosines(sample, True, ORIGIN))


def raw_cosine(sample: Sample) -> Float[Tensor, ...]:
    """Cosines over pairs of raw means, of which the largest |cos| is read."""
    return _cosines(sample, True, ORIGIN)


def nc2_etf(sample: Sample) -> Float[Tensor, ...]:
    """‖G/‖G‖ - E‖², G the centred Gram matrix."""
    _norms(sample.gram, CENTRE)
    return _gap(sample.gram, simplex=True)


def nc2_orthogonal(sample: Sample) -> Float[Tensor, ...]:
    """‖G/‖G‖ - I/√K‖², G the Gram matrix of raw means."""
    _norms(sample.raw_gram, ORIGIN)
    return _gap(sample.raw_gram, simplex=False)


def _eigenvalues(sample: Sample) -> Tensor:
    """Of the centred Gram matrix, found once for all ranks."""
    kept: Tensor | None = sample.__dict__.get("_eigenvalues")
    if kept is None:
        kept = sample.__dict__["_eigenvalues"] = torch.linalg.eigvalsh(sample.gram)
    return kept


def nc2_rank(sample: Sample) -> Float[Tensor, ...]:
    """exp of the entropy of the eigenvalues of the centred Gram matrix, over K - 1; only of means
    without noise, which fills all directions."""
    share = _eigenvalues(sample).clamp_min(0)
    share = (share / share.sum(-1, keepdim=True)).clamp_min(TINY)
    return torch.exp(-(share * share.log()).sum(-1)) / (sample.num_classes - 1)


def nc2_participation(sample: Sample) -> Float[Tensor, ...]:
    """(tr G)²/‖G‖²/(K - 1), G the centred Gram matrix."""
    _norms(sample.gram, CENTRE)
    gram = sample.gram
    trace = gram.diagonal(dim1=-2, dim2=-1).sum(-1)
    return (trace / torch.linalg.matrix_norm(gram)) ** 2 / (sample.num_classes - 1)


def nc2_stable_rank(sample: Sample) -> Float[Tensor, ...]:
    """tr G/λ_max/(K - 1); only of means without noise, as `nc2_rank`."""
    values = _eigenvalues(sample)
    return values.sum(-1) / values[..., -1] / (sample.num_classes - 1)


# ---- NC3: rows of the classifier are fixed, so ⟨w_c, m_c⟩ has no bias, only lengths have --------
def _dots(sample: Sample) -> tuple[Tensor, Tensor]:
    head = sample.head
    if head is None:
        raise CannotTellError("no classifier was given")
    return head, (head * sample.centred).sum(-1)


def nc3_alignment(sample: Sample) -> Float[Tensor, ...]:
    """Mean of ⟨w_c, m_c⟩/(‖w_c‖ ‖m_c‖)."""
    head, dots = _dots(sample)
    return (dots / (head.norm(dim=-1) * _norms(sample.gram, CENTRE))).mean(-1)


def nc3_duality(sample: Sample) -> Float[Tensor, ...]:
    """2 - 2 ⟨W, M⟩/(‖W‖ ‖M‖)."""
    head, dots = _dots(sample)
    length = (_norms(sample.gram, CENTRE) ** 2).sum(-1).sqrt()
    return 2 - 2 * dots.sum(-1) / (head.norm() * length)


def nc3_duality_centred(sample: Sample) -> Float[Tensor, ...]:
    """The same of the head less its mean row: ⟨W, M⟩ stays, M being centred."""
    head, dots = _dots(sample)
    length = (_norms(sample.gram, CENTRE) ** 2).sum(-1).sqrt()
    return 2 - 2 * dots.sum(-1) / ((head - head.mean(0)).norm() * length)


def nc0(sample: Sample) -> Float[Tensor, ...]:
    """‖Σ w‖²/(K Σ ‖w‖²) of the rows as they are."""
    gram = sample.gram
    trace = (_norms(gram, ORIGIN) ** 2).sum(-1)
    return gram.sum((-2, -1)) / (sample.num_classes * trace)


def nc3_duality_raw(sample: Sample) -> Float[Tensor, ...]:
    """2 - 2 ⟨W, A⟩/(‖W‖ ‖A‖) of the raw means A."""
    head, _ = _dots(sample)
    length = (_norms(sample.raw_gram, ORIGIN) ** 2).sum(-1).sqrt()
    return 2 - 2 * (head * sample.means).sum((-2, -1)) / (head.norm() * length)


def nc3_product(sample: Sample) -> Float[Tensor, ...]:
    """2 - 2 ⟨WMᵀ, E⟩/‖WMᵀ‖, the square of the norm less (1 - 1/K) Σ tr(WΣ_cWᵀ)/n_c, the noise of
    the logits of class means, Σ_c taken proportional to Σ_W [approximation]."""
    K, product = sample.num_classes, sample.logits
    _norms(sample.gram, CENTRE)
    square = (product**2).sum((-2, -1))
    if bool(sample.noise.any()):
        noise = (1 - 1 / K) * (sample.noise / sample.within).sum()
        square = square - noise * sample.head_spread
    if bool((square <= 0).any()):
        raise CannotTellError("the logits of class means are not told from noise")
    return 2 - 2 * (product * _frame(K, True)).sum((-2, -1)) / square.sqrt()


def nc3_balance(sample: Sample) -> Float[Tensor, ...]:
    """2 - 2 ‖W̃Mᵀ‖²/(‖W̃W̃ᵀ‖ ‖MMᵀ‖), the square of the logits less their noise, as in
    `nc3_product`."""
    _dots(sample)
    _norms(sample.gram, CENTRE)
    logits = sample.logits
    square = ((logits - logits.mean(-2, keepdim=True)) ** 2).sum((-2, -1))
    whole = sample if sample.whole is None else sample.whole
    if bool(sample.noise.any()):
        # Of a part of the samples Σ_W is taken proportional to that of all.
        share = (sample.noise / sample.within).sum() * float(sample.within / whole.within)
        square = square - (1 - 1 / sample.num_classes) * share * _centred_spread(whole)
    if bool((square <= 0).any()):
        raise CannotTellError("the logits of class means are not told from noise")
    return 2 - 2 * square / (_centred_length(whole) * torch.linalg.matrix_norm(sample.gram))


def _centred_length(sample: Sample) -> float:
    """‖W̃W̃ᵀ‖ of the head's rows less their mean; one for all parts of the samples."""
    if "_centred_length" not in sample.__dict__:
        assert sample.head is not None
        rows = sample.head - sample.head.mean(0)
        gram = rows @ rows.T if len(rows) <= rows.shape[1] else rows.T @ rows
        sample.__dict__["_centred_length"] = float(torch.linalg.matrix_norm(gram))
    return float(sample.__dict__["_centred_length"])


def _centred_spread(sample: Sample) -> float:
    """tr(W̃ Σ_W W̃ᵀ), the rows less their mean; one for all parts of the samples."""
    if "_centred_spread" not in sample.__dict__:
        if sample.scatter is None or sample.head is None:
            raise CannotTellError("Σ_W was not kept, so the noise of the logits is unknown")
        middle = sample.head.mean(0)
        mean = float(middle @ sample.scatter @ middle) * sample.stretch
        sample.__dict__["_centred_spread"] = sample.head_spread - len(sample.head) * mean
    return float(sample.__dict__["_centred_spread"])
