"""Runs of the frames study: one network a loss on balanced digits."""

from __future__ import annotations

from ncollapse.lab.compared import CLASSES
from ncollapse.lab.frames import frame_facts
from ncollapse.lab.networks import train_network
from ncollapse.lab.study import Outcome, Plan, outcome

# Loss, and whether the head has a bias.
HEADS = {
    "ce": ("ce", True),
    "ls": ("ls", True),
    "focal": ("focal", True),
    "mse": ("mse", True),
    "mse without bias": ("mse", False),
}


def networks(settings: Plan, seed: int) -> Outcome:
    """Every loss with a bias, and mean squared error without one too."""
    counts = (settings["count"],) * CLASSES
    how = {"seed": seed, **{key: settings[key] for key in ("epochs", "learning_rate")}}
    rows = {}
    for name, (loss, bias) in HEADS.items():
        found = train_network(counts, settings["weight_decay"], loss=loss, bias=bias, **how)
        rows[name] = frame_facts(found)
    biased, bare = rows["mse"]["nearer"], rows["mse without bias"]["nearer"]
    values = {
        **{name: max(rows[name]["frame"].values()) for name in ("ce", "ls", "focal", "mse")},
        "bias": 1 / min(biased.values()),
        "orthogonal-means": bare["means"],
        "orthogonal-weights": bare["weights"],
        "nc1": max(row["nc1_debiased"] for row in rows.values()),
    }
    return outcome({f"frames-{key}": value for key, value in values.items()}, rows=rows)
