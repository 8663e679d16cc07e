"""What features still tell, sample by sample: a linear probe and class means that left it out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# Of the probe: inverse decay, for features of total variance 1, and steps at most.
INVERSE_DECAY, STEPS = 100.0, 2000


@dataclass(frozen=True, eq=False)
class LeftOut:
    """kept: places (samples) of the samples that were decided about; probe, centres: whether each
    was decided rightly by what had not seen it; probe_said, centres_said: the labels decided."""

    kept: Int[Tensor, " kept"]
    probe: Bool[Tensor, " kept"]
    centres: Bool[Tensor, " kept"]
    probe_said: Int[Tensor, " kept"]
    centres_said: Int[Tensor, " kept"]


def left_out(
    features: Float[Tensor, "samples dim"],
    labels: Int[Tensor, " samples"],
    *,
    folds: int = 5,
    samples: int = 10_000,
    seed: int = 0,
) -> LeftOut:
    """Decisions about every sample by a probe and by class means of the other folds.

    The probe is scikit-learn's multinomial logistic regression with decay, on features that are
    centred and divided by one number, the root of their total variance over the other folds: it
    does not depend on rotation, scale, or columns that hold nothing. Class means decide by the
    nearest. Folds are stratified by class and drawn by `seed`; a class of fewer samples than folds
    lowers their number. Past `samples` in all, every class gives the same share of its own, at
    least one a fold. Raises ValueError for fewer than two classes, and for a class of one sample.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    classes, place = labels.unique(return_inverse=True)
    if classes.numel() < 2:
        raise ValueError("a probe tells classes apart; samples of at least 2 are needed")
    counts = torch.bincount(place)
    if int(counts.min()) < 2:
        alone = int(classes[int(counts.argmin())])
        raise ValueError(
            f"class {alone} has one sample, so nothing can be told of it by others; give at least "
            "2 of every class, or leave it out"
        )
    number = min(folds, int(counts.min()))
    if number < 2:
        raise ValueError(f"folds={folds}; at least 2 are needed")
    kept = _thinned(place, counts, samples, number, seed)
    rows, target = features[kept].double().cpu().numpy(), place[kept].cpu().numpy()
    said = np.zeros((2, len(target)), dtype=np.int64)
    split = StratifiedKFold(number, shuffle=True, random_state=seed)
    for rest, test in split.split(rows, target):
        seen, own, asked = rows[rest], target[rest], rows[test]
        centre = seen.mean(0)
        scale = np.sqrt(np.square(seen - centre).sum(1).mean())
        probe = LogisticRegression(C=INVERSE_DECAY, max_iter=STEPS)
        probe.fit((seen - centre) / max(scale, 1e-300), own)
        said[0, test] = probe.predict((asked - centre) / max(scale, 1e-300))
        means = np.stack([seen[own == k].mean(0) for k in range(len(classes))])
        said[1, test] = nearest(asked, means)
    decided = torch.from_numpy(said)
    right = decided == torch.from_numpy(target)
    return LeftOut(kept, *right, *classes.cpu()[decided])


def nearest(rows: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Which mean (classes, dim) lies nearest to each row (samples, dim)."""
    near = means @ rows.T - 0.5 * np.square(means).sum(1)[:, None]
    return np.asarray(near.argmax(0))


def _thinned(place: Tensor, counts: Tensor, samples: int, folds: int, seed: int) -> Tensor:
    """All samples in order, or the same share of every class."""
    if len(place) <= samples:
        return torch.arange(len(place))
    generator = torch.Generator().manual_seed(seed)
    found = []
    for k, count in enumerate(counts.tolist()):
        there = (place.cpu() == k).nonzero().flatten()
        wanted = max(folds, count * samples // len(place))
        found.append(there[torch.randperm(count, generator=generator)[:wanted]])
    return torch.cat(found).sort().values
