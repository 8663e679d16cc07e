"""How well scores tell foreign samples apart: AUROC, AUPR, FPR95, AUTC, and the interval of AUROC.

Scores: higher = more outlying. Labels: below 0 = out-of-distribution. Keys are pytorch-ood's.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ncollapse.sources.features.given import as_tensor

AUROC, AUPR_IN, AUPR_OUT = "AUROC", "AUPR-IN", "AUPR-OUT"
FPR, FPR_IN, AUTC = "FPR95TPR", "FPR95TPR-IN", "AUTC"
KEYS = (AUROC, AUPR_IN, AUPR_OUT, FPR, AUTC)
RATE = 0.95


def ood_metrics(scores: Any, labels: Any) -> dict[str, float]:
    """AUROC, AUPR-IN, AUPR-OUT, FPR95TPR, AUTC of scores (samples) and labels (samples).

    AUROC: P(outlier above inlier) + half of the ties. AUPR: by trapezoids with the inliers, the
    outliers as positives, not average precision. FPR95TPR has two readings, .10 against 1.00 on the
    same scores: under that key the outliers are positive, as in pytorch-ood: the share of inliers
    that are flagged where 95 % of the outliers are. FPR95TPR-IN, an addition, has the inliers
    positive, as ODIN and most papers: the share of outliers accepted where 95 % of the inliers are.
    AUTC: ½ (mean score of inliers + 1 - that of outliers), scores scaled to [0, 1]; NaN where all
    are equal. By scikit-learn's curves. All in [0, 1].
    Source: code of pytorch-ood read; AUTC: Humblot-Renaux et al. 2023 (remembered, not read).
    Raises ValueError for shapes that disagree, NaN or infinity, and one kind of sample only.
    """
    from sklearn import metrics

    values, foreign = _checked(scores, labels)
    fpr, tpr, _ = metrics.roc_curve(foreign, values, drop_intermediate=False)
    fpr_in, tpr_in, _ = metrics.roc_curve(~foreign, -values, drop_intermediate=False)
    return {
        AUROC: float(metrics.auc(fpr, tpr)),
        AUPR_IN: _aupr(~foreign, -values),
        AUPR_OUT: _aupr(foreign, values),
        FPR: float(fpr[np.argmax(tpr >= RATE)]),
        AUTC: _autc(values, foreign),
        FPR_IN: float(fpr_in[np.argmax(tpr_in >= RATE)]),
    }


def auroc_interval(scores: Any, labels: Any) -> tuple[float, float, float]:
    """AUROC and the ends of its 95 % interval by DeLong's variance: with the placements
    v_i = P(outlier i above an inlier) and u_j likewise, var v/n_out + var u/n_in; cut to [0, 1].

    Where no pair is in the wrong order (or all are) the variance is 0, and the ends are those of
    min(n_in, n_out) independent pairs that all agree: 1 - .025^(1/n) (Clopper & Pearson).
    Of the samples at hand, the model and detector fixed. Source: DeLong et al. 1988 (remembered,
    not read). Raises ValueError as `ood_metrics`.
    """
    values, foreign = _checked(scores, labels)
    inside, outside = np.sort(values[~foreign]), np.sort(values[foreign])
    above = _placements(inside, outside)
    below = 1 - _placements(outside, inside)
    area = float(above.mean())
    variance = sum(
        float(part.var(ddof=1)) / part.size if part.size > 1 else math.inf
        for part in (above, below)
    )
    half = 1.959963984540054 * math.sqrt(variance)
    if area in (0.0, 1.0):
        half = 1 - 0.025 ** (1 / min(inside.size, outside.size))
    return area, max(area - half, 0.0), min(area + half, 1.0)


def _placements(ordered: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each value the share of `ordered` below it, ties by half."""
    low = np.searchsorted(ordered, values, side="left")
    high = np.searchsorted(ordered, values, side="right")
    return np.asarray((low + high) / (2 * ordered.size), dtype=np.float64)


def _aupr(positive: NDArray[np.bool_], values: NDArray[np.float64]) -> float:
    from sklearn import metrics

    precision, recall, _ = metrics.precision_recall_curve(positive, values)
    return float(metrics.auc(recall, precision))


def _autc(values: NDArray[np.float64], foreign: NDArray[np.bool_]) -> float:
    low, high = values.min(), values.max()
    if low == high:
        return math.nan
    scaled = (values - low) / (high - low)
    return float((scaled[~foreign].mean() + 1 - scaled[foreign].mean()) / 2)


def _checked(scores: Any, labels: Any) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    found, marks = as_tensor(scores).flatten(), as_tensor(labels).flatten()
    if found.shape != marks.shape:
        raise ValueError(f"{found.numel()} scores for {marks.numel()} labels; one each is needed")
    values, foreign = found.double().numpy(), (marks < 0).numpy()
    if not np.isfinite(values).all():
        bad = int(np.flatnonzero(~np.isfinite(values))[0])
        raise ValueError(
            f"score {bad} is {values[bad]}; finite scores are needed: look at that sample's "
            "features"
        )
    if foreign.all() or not foreign.any():
        kind = "out-of-distribution (label < 0)" if foreign.all() else "in-distribution"
        raise ValueError(
            f"all {foreign.size} samples are {kind}; some of both kinds are needed, foreign ones "
            "with labels below 0"
        )
    return values, foreign


class OODMetrics:
    """`ood_metrics` of scores that come in batches, called as pytorch-ood's class of this name.

    >>> metrics = OODMetrics()                        # doctest: +SKIP
    >>> metrics.update(detector(inputs), labels)      # doctest: +SKIP
    >>> metrics.compute()["AUROC"]                    # doctest: +SKIP
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> OODMetrics:
        """Forget all batches."""
        self._scores: list[Any] = []
        self._labels: list[Any] = []
        return self

    def update(self, scores: Any, labels: Any) -> OODMetrics:
        """Add scores (samples) and labels (samples), below 0 for outliers."""
        self._scores.append(as_tensor(scores).flatten().double())
        self._labels.append(as_tensor(labels).flatten())
        return self

    def compute(self) -> dict[str, float]:
        """The numbers of all batches so far. Raises ValueError before the first."""
        import torch

        if not self._scores:
            raise ValueError("no scores were added; call update(scores, labels) first")
        return ood_metrics(torch.cat(self._scores), torch.cat(self._labels))
