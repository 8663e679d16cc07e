"""What a new task gets from frozen features: centres of a few shots, and linear probes.

Shots are drawn by an own generator, the same for every layer, so that differences between layers
are paired draw by draw. Intervals are over draws of the shots; the target samples stay the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

Features = Float[Tensor, "samples dim"]
Labels = Int[Tensor, " samples"]
KINDS = ("centres", "linear")
# Of more samples than this some are decided, evenly spread.
DECIDED = 4000


@dataclass(frozen=True)
class Probed:
    """Accuracy on the samples that were no shots: mean over draws with a 95 % interval of Student's
    t; `each` is one a draw, in the order of the draws. chance: 1/C."""

    accuracy: float
    low: float
    high: float
    each: tuple[float, ...]
    shots: int
    chance: float
    kind: str = "centres"


def few_shot_accuracy(
    features: Features,
    labels: Labels,
    *,
    shots: int = 5,
    draws: int = 100,
    kind: str = "centres",
    seed: int = 0,
) -> Probed:
    """Accuracy after `shots` samples a class, mean over `draws`: classes have equal numbers of
    shots, and all other samples are decided.

    kind "centres": nearest mean of the shots; "linear": logistic regression of scikit-learn on
    shots that are standardised together. Raises ValueError for one class, a class without a sample
    beyond its shots, and an unknown kind.
    """
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r} is unknown; {' or '.join(KINDS)} is needed")
    check_shots(labels, shots)
    classes, place = labels.unique(return_inverse=True)
    K = classes.numel()
    wide = features.detach().double()
    decide = _centres if kind == "centres" else _linear
    each = []
    for chosen in drawn_shots(place, shots, draws, seed):
        rest = torch.ones(place.numel(), dtype=torch.bool)
        rest[chosen.flatten()] = False
        if place.numel() > DECIDED:
            # The same evenly spread samples in every draw, at little cost.
            rest &= torch.arange(place.numel()) % (place.numel() // DECIDED + 1) == 0
        decided = decide(wide[chosen.flatten()], shots, K, wide[rest])
        each.append(float((decided == place[rest]).double().mean()))
    accuracy, low, high = interval(each)
    return Probed(accuracy, low, high, tuple(each), shots, 1 / K, kind)


def check_shots(labels: Labels, shots: int) -> None:
    """Raises ValueError where a class has no sample left beyond `shots`, or there is one class."""
    classes, counts = labels.unique(return_counts=True)
    if classes.numel() < 2:
        raise ValueError(
            f"the target holds {classes.numel()} class; a probe tells at least two apart"
        )
    if shots < 1:
        raise ValueError(f"shots={shots}; at least one sample a class is needed")
    if int(counts.min()) <= shots:
        few = int(counts.argmin())
        raise ValueError(
            f"shots={shots}, and target class {int(classes[few])} has {int(counts[few])} samples; "
            f"at least {shots + 1} are needed, one of them to decide: ask for fewer shots"
        )


def drawn_shots(place: Labels, shots: int, draws: int, seed: int) -> Iterator[Tensor]:
    """Per draw the numbers (C, shots) of the samples of each class that are shots."""
    generator = torch.Generator().manual_seed(seed)
    members = [(place == k).nonzero().flatten() for k in range(int(place.max()) + 1)]
    for _ in range(draws):
        yield torch.stack(
            [there[torch.randperm(there.numel(), generator=generator)[:shots]] for there in members]
        )


def _centres(rows: Tensor, shots: int, K: int, rest: Tensor) -> Tensor:
    centres = rows.unflatten(0, (K, shots)).mean(1)
    return torch.cdist(rest, centres).argmin(1)


def _linear(rows: Tensor, shots: int, K: int, rest: Tensor) -> Tensor:
    return fitted(rows, torch.arange(K).repeat_interleave(shots), rest).argmax(1)


def fitted(
    rows: Float[Tensor, "shots dim"], place: Int[Tensor, " shots"], rest: Float[Tensor, "rest dim"]
) -> Float[Tensor, "rest classes"]:
    """Probabilities of logistic regression on features that are standardised by `rows`; unit
    penalty of scikit-learn. Classes are 0..C-1, all present."""
    from sklearn.linear_model import LogisticRegression

    centre, scale = rows.mean(0), rows.std(0, unbiased=False)
    scale = torch.where(scale > 1e-12 * scale.max(), scale, torch.inf)
    rows, rest = (rows - centre) / scale, (rest - centre) / scale
    if rows.shape[0] < rows.shape[1]:
        # The penalty is round, so weights lie in the span of the rows: the same fit, smaller.
        turn = torch.linalg.qr(rows.T, mode="reduced").Q
        rows, rest = rows @ turn, rest @ turn
    model = LogisticRegression(max_iter=300)
    model.fit(rows.numpy(), place.numpy())
    return torch.from_numpy(model.predict_proba(rest.numpy()))


def probe_accuracy(
    features: Features, labels: Labels, *, folds: int = 3, seed: int = 0
) -> tuple[float, float, float]:
    """Accuracy of a linear probe on samples it was not fitted on, by `folds` stratified folds, and
    the 95 % interval of a share of so many samples (Wilson). The probe is fitted on (folds-1)/folds
    of the samples.

    Raises ValueError for one class and for classes with fewer samples than folds.
    """
    from sklearn.model_selection import StratifiedKFold

    check_shots(labels, folds - 1)
    _, place = labels.unique(return_inverse=True)
    wide = features.detach().double()
    right = 0
    split = StratifiedKFold(folds, shuffle=True, random_state=seed)
    for one, other in split.split(wide.numpy(), place.numpy()):
        fit, test = torch.as_tensor(one), torch.as_tensor(other)
        decided = fitted(wide[fit], place[fit], wide[test]).argmax(1)
        right += int((decided == place[test]).sum())
    n = place.numel()
    share, z = right / n, 1.96
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return share, max(middle - half, 0.0), min(middle + half, 1.0)


def interval(values: list[float] | tuple[float, ...]) -> tuple[float, float, float]:
    """Mean with a 95 % interval of Student's t; of one value it is not known (NaN)."""
    from scipy.stats import t

    n = len(values)
    mean = sum(values) / n
    if n < 2:
        return mean, math.nan, math.nan
    variance = sum((value - mean) ** 2 for value in values) / (n - 1)
    half = float(t.ppf(0.975, n - 1)) * math.sqrt(variance / n)
    return mean, mean - half, mean + half


def auc(scores: Float[Tensor, " samples"], positive: Tensor) -> float:
    """Chance that a positive sample scores above another one, ties count half: area under the ROC
    curve. In [0, 1], .5 for scores that say nothing."""
    from scipy.stats import rankdata

    ranks = torch.from_numpy(rankdata(scores.detach().double().numpy()))
    p = int(positive.sum())
    n = positive.numel() - p
    return float((ranks[positive].sum() - p * (p + 1) / 2) / (p * n))
