"""When collapse sets in, over settings of training, and what would have told it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ncollapse.lab.data import Dataset, digits
from ncollapse.lab.facts import Looks
from ncollapse.lab.models import mlp
from ncollapse.lab.study import Plan
from ncollapse.lab.train import Settings, State, train

# A run goes on for half as many epochs again, so that a sign that comes late is still seen.
LATER = 1.5


class _SeenError(Exception):
    """Enough was seen."""


@dataclass
class _UntilOnset(Looks):
    below: float = 0.1

    def on_epoch_end(self, state: State) -> None:
        super().on_epoch_end(state)
        first = onset_of(self.rows, self.below)
        if first is not None and state.epoch >= LATER * first["epoch"]:
            raise _SeenError


def onset_of(rows: Sequence[Mapping[str, float]], below: float) -> dict[str, float] | None:
    """The first look with nc1_ratio below a level: collapse sets in."""
    return next((dict(row) for row in rows if row["ratio"] < below), None)


def followed(plan: Plan, widths: Sequence[int], seed: int) -> list[dict[str, Any]]:
    """For each of the plan's settings a network with batch normalisation at a constant (rate,
    decay, batch size), looked at after every epoch, to half as many epochs past the onset of
    collapse again, `epochs` at most."""
    data = digits(seed=seed)
    return [_run(data, plan, widths, setting, seed) for setting in plan["settings"]]


def _run(
    data: Dataset, plan: Plan, widths: Sequence[int], setting: Sequence[float], seed: int
) -> dict[str, Any]:
    rate, decay, batch = setting
    model = mlp(data.num_features, widths, data.num_classes, seed=seed)
    looks = _UntilOnset(below=plan["below"])
    how = Settings(
        epochs=plan["epochs"],
        batch_size=int(batch),
        learning_rate=rate,
        weight_decay=decay,
        schedule="constant",
        seed=seed,
    )
    with contextlib.suppress(_SeenError):
        train(model, data, how, [looks])
    rows = [{**row, "clock": rate * decay * row["step"]} for row in looks.rows]
    return {"setting": list(setting), "looks": rows, "onset": onset_of(rows, plan["below"])}


def variation(values: Sequence[float]) -> float:
    """Standard deviation (ddof 0) over mean."""
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / len(values)) / mean


def missed(runs: Sequence[Mapping[str, Any]], key: str) -> float:
    """By how many decades of steps the onset is missed in the mean over runs, where it is told by
    the value that `key` has at the onset of the others (geometric mean): "norm" once it has fallen
    to it, "clock" = η λ step once it has come to it. Not seen by the end: the end counts. NaN where
    fewer than two runs have an onset."""
    known = [run for run in runs if run["onset"] is not None]
    if len(known) < 2:
        return math.nan
    errors = []
    for run in known:
        others = [math.log(other["onset"][key]) for other in known if other is not run]
        wanted = math.exp(sum(others) / len(others))
        errors.append(abs(math.log10(_told(run["looks"], key, wanted) / run["onset"]["step"])))
    return sum(errors) / len(errors)


def _told(looks: Sequence[Mapping[str, float]], key: str, wanted: float) -> float:
    if key == "clock":
        return wanted / looks[0]["clock"] * looks[0]["step"]
    top = max(range(len(looks)), key=lambda i: looks[i][key])
    later = (row["step"] for row in looks[top:] if row[key] <= wanted)
    return next(later, looks[-1]["step"])


def numbers(runs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The numbers of the contradictions study by claim."""
    at = [run["onset"]["norm"] for run in runs if run["onset"]]
    return {
        "contradictions-norm-constant": variation(at) if len(at) == len(runs) else math.nan,
        "contradictions-norm-tells": missed(runs, "norm") - missed(runs, "clock"),
    }
