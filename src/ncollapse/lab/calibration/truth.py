"""What is true of a population, without the statistics that verdicts are made of.

The rules stand in words above the claims of the study. Answers are "yes", "not yes", "no" and
"undecided".
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

YES, NOT_YES, NO, UNDECIDED = "yes", "not yes", "no", "undecided"
# Ratios of distances: every class below, one class above, the usual class above.
NEAR, APART, MIXED = 0.08, 0.12, 0.55
# Cosines off the simplex and norms, for yes and not yes; cosines of orthogonal means.
COSINE, NORM = (0.1, 0.25), (1.15, 1.5)
ORTHOGONAL = 0.05
# Degrees between rows and means: all within, one beyond, the median beyond.
ANGLES = (25.0, 40.0, 66.0)
# Shares of decisions that differ: below, above, far above.
SHARES = (0.007, 0.015, 0.15)


def collapsed(
    features: Float[Tensor, "samples dim"], labels: Int[Tensor, " samples"], seed: int = 0
) -> str:
    """By median squared distances of pairs within classes, to the nearest other class, and to any
    other class."""
    generator = torch.Generator().manual_seed(seed)
    features = features.double()
    kinds = [features[labels == k] for k in labels.unique().tolist()]
    means = torch.stack([rows.mean(0) for rows in kinds])
    gaps = torch.cdist(means, means)
    gaps.fill_diagonal_(torch.inf)
    nearest = gaps.argmin(1).tolist()

    def apart(one: Tensor, other: Tensor) -> float:
        a = one[torch.randint(len(one), (4000,), generator=generator)]
        b = other[torch.randint(len(other), (4000,), generator=generator)]
        square = ((a - b) ** 2).sum(1)
        # A sample beside itself is no pair.
        return float(square[square > 0].median()) if bool((square > 0).any()) else 0.0

    within = [apart(rows, rows) for rows in kinds]
    near = [apart(rows, kinds[j]) for rows, j in zip(kinds, nearest, strict=True)]
    across = [apart(kinds[i], kinds[i - 1]) for i in range(len(kinds))]
    worst = max(s / o for s, o in zip(within, near, strict=True))
    middle = [float(torch.tensor(some).median()) for some in (within, across)]
    usual = middle[0] / max(middle[1], 1e-300)
    if usual >= MIXED:
        return NO
    if worst <= NEAR:
        return YES
    return NOT_YES if worst >= APART else UNDECIDED


def frame(means: Float[Tensor, "classes dim"]) -> str:
    """By the cosine of centred means that is farthest off the simplex, and their norms."""
    means = means.double()
    K = len(means)
    if K < 3:
        return UNDECIDED
    centred = means - means.mean(0)
    off = ~torch.eye(K, dtype=torch.bool)
    deviation = (cosines_of(centred) + 1 / (K - 1))[off].abs()
    norms = centred.norm(dim=1)
    ratio = float(norms.max() / norms.min().clamp_min(1e-300))
    orthogonal = float(cosines_of(means)[off].abs().max()) <= ORTHOGONAL
    few = int(torch.linalg.matrix_rank(centred, rtol=1e-6)) < K - 1
    if few or orthogonal or float(deviation.median()) >= COSINE[1]:
        return NO
    worst = float(deviation.max())
    if worst <= COSINE[0] and ratio <= NORM[0]:
        return YES
    return NOT_YES if worst >= COSINE[1] or ratio >= NORM[1] else UNDECIDED


def dual(weight: Float[Tensor, "classes dim"], means: Float[Tensor, "classes dim"]) -> str:
    """By the angles between rows of the head and centred means."""
    weight, means = weight.double(), means.double()
    cosines = torch.cosine_similarity(weight, means - means.mean(0), dim=1)
    angles = torch.rad2deg(torch.arccos(cosines.clamp(-1, 1)))
    if float(angles.median()) >= ANGLES[2]:
        return NO
    if float(angles.max()) <= ANGLES[0]:
        return YES
    return NOT_YES if float(angles.max()) >= ANGLES[1] else UNDECIDED


def nearest(least: float, most: float) -> str:
    """By bounds on the share of decisions that differ."""
    if least >= SHARES[2]:
        return NO
    if most <= SHARES[0]:
        return YES
    return NOT_YES if least >= SHARES[1] else UNDECIDED


def differing(
    features: Float[Tensor, "samples dim"],
    labels: Int[Tensor, " samples"],
    centres: Float[Tensor, "classes dim"],
    logits: Float[Tensor, "samples classes"],
    counts: Int[Tensor, " classes"],
) -> float:
    """The share of samples that logits and nearest centres put into different classes, classes
    weighed by `counts`."""
    other = torch.cdist(features.double(), centres.double()).argmin(1) != logits.argmax(1)
    each = torch.stack([other[labels == k].double().mean() for k in range(len(counts))])
    return float((each * counts).sum() / counts.sum())


def cosines_of(rows: Float[Tensor, "classes dim"]) -> Float[Tensor, "classes classes"]:
    """Cosines of all pairs of rows."""
    unit = torch.nn.functional.normalize(rows, dim=1)
    return unit @ unit.T
