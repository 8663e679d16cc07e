"""Runs of the terminal-phase study: networks past zero error, and networks on random labels."""

from __future__ import annotations

import math

from ncollapse.lab.by_name import data_for, listed, train_by_name
from ncollapse.lab.looks import Looks
from ncollapse.lab.past_zero import KEYS, NUMBERS, phase_of
from ncollapse.lab.random_labels import shuffled_and_true
from ncollapse.lab.samples import subset
from ncollapse.lab.study import Outcome, Plan, outcome

# Training on random labels counts as collapsed below this.
COLLAPSED = 0.1


def networks(settings: Plan, seed: int) -> Outcome:
    """Every model with the loss of the part, from the first epoch to the last."""
    loss = settings["loss"]
    rows = []
    for number, name in enumerate(listed(settings["model"])):
        data = subset(data_for(name, settings, seed), settings["samples"], seed)
        looks = Looks(KEYS, settings["every"], f"{name} {loss} seed {seed}")
        train_by_name(name, settings, seed, data, label=f"{number}-{loss}", callbacks=[looks])
        rows.append({"model": name, "loss": loss, **phase_of(looks)})
    values = {}
    for key in (*NUMBERS, "nc4"):
        # The margin grows; everything else is to be small.
        worst = min if key == "margin" else max
        values[f"terminal-phase-{key}"] = worst(row["numbers"][key] for row in rows)
    return outcome(values, rows=rows)


def random_labels(settings: Plan, seed: int) -> Outcome:
    """One network on shuffled labels of some samples, and one on the true labels of the same."""
    plan = settings["random"]
    # One model alone takes the place of the one that is meant for random labels.
    name = settings["model"] if isinstance(settings["model"], str) else plan["model"]
    found, mean, classes = shuffled_and_true(name, settings, plan["samples"], seed)
    random, real = found["random"], found["true"]
    fits = random["train_error"] == 0
    both = fits and max(random["train_nc1"], real["train_nc1"]) <= COLLAPSED
    held_true = random["held_out"]
    values = {
        "nc1": random["train_nc1"] if fits else math.nan,
        "apart": mean["nc1"] / real["held_out"]["nc1"] if both else math.nan,
        "true-accuracy": held_true["accuracy"] * classes,
        "true-nc1": held_true["nc1"] / held_true["null"],
    }
    named = {f"terminal-phase-random-{key}": value for key, value in values.items()}
    # What follows from the lottery is kept as data.
    lottery = {"null": mean["nc1"] / mean["null"], "accuracy": mean["accuracy"] * classes}
    return outcome(named, lottery=lottery, **found)
