"""Rare classes under a fixed frame and under a learned head, with and without logit adjustment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from ncollapse.control.losses import DotRegressionLoss, LogitAdjustedLoss
from ncollapse.control.surgery import fix_head
from ncollapse.lab.data import digits, long_tailed
from ncollapse.lab.evaluate import decisions
from ncollapse.lab.networks import bare
from ncollapse.lab.readings import recalls
from ncollapse.lab.study import Plan
from ncollapse.lab.train import Loss, Settings, train


def arms(counts: Sequence[int], scales: Sequence[float]) -> dict[str, tuple[float | None, Loss]]:
    """Scale of the frame (None: a learned head) and loss by name."""
    adjusted: Loss = LogitAdjustedLoss(counts)
    plain: Loss = nn.functional.cross_entropy
    found: dict[str, tuple[float | None, Loss]] = {
        "learned": (None, plain),
        "learned adjusted": (None, adjusted),
        "frame regression": (1.0, DotRegressionLoss()),
    }
    for scale in scales:
        found[f"frame {scale:g}"] = (scale, plain)
        found[f"frame {scale:g} adjusted"] = (scale, adjusted)
    return found


def compared(plan: Plan, ratio: float, seed: int) -> dict[str, Any]:
    """Mean test recall over the classes (per cent) by arm, of networks from one start on digits of
    which half the classes are `ratio` times rarer; and over the rare half alone."""
    whole = digits(seed=seed)
    half, many = whole.num_classes // 2, plan["samples"]
    counts = [many] * half + [max(2, round(many / ratio))] * (whole.num_classes - half)
    data = long_tailed(whole, counts, seed)
    balanced, rare = {}, {}
    for name, (scale, loss) in arms(counts, plan["scales"]).items():
        model = bare(data, seed, plan["widths"])
        if scale is not None:
            fix_head(model, head="simplex", bias=False, normalize=True, scale=scale, seed=seed)
        train(model, data, Settings.of(plan, loss=loss, seed=seed))
        recall = recalls(decisions(model, data, "test")[0], data.test_y)
        balanced[name] = 100 * sum(recall) / len(recall)
        rare[name] = 100 * sum(recall[half:]) / (len(recall) - half)
    return {"ratio": ratio, "counts": counts, "balanced": balanced, "rare": rare}


def best_frame(row: dict[str, Any], *, adjusted: bool) -> float:
    """Of a `compared`: the best mean recall of a frame, over its scales and losses."""
    names = [name for name in row["balanced"] if name.startswith("frame")]
    return max(row["balanced"][n] for n in names if n.endswith("adjusted") == adjusted)


def numbers(row: dict[str, Any]) -> dict[str, float]:
    """The numbers of the contradictions study by claim, of a `compared`."""
    recall = row["balanced"]
    adjusted = recall["learned adjusted"]
    return {
        "contradictions-frame-plain": recall["frame regression"] - recall["learned"],
        "contradictions-frame-adjusted": adjusted - best_frame(row, adjusted=False),
        "contradictions-frame-loss": best_frame(row, adjusted=True) - adjusted,
    }
