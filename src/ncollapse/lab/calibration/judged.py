"""A reference model as a plain row: what is true of it, and the readings that verdicts rest on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ncollapse.answers.cuts import other_cuts
from ncollapse.answers.questions import judge, questions
from ncollapse.lab.calibration.populations import Sampled
from ncollapse.measuring.measure import measure_features
from ncollapse.record.readings import HEAD, Reading

ASKED = ("collapsed", "frame", "dual", "nearest")
SPLIT = "train"
Row = Mapping[str, Any]


def needed() -> tuple[str, ...]:
    """The readings that the four questions look at."""
    return tuple(dict.fromkeys(key for name in ASKED for key in questions()[name].needs))


def row(
    model: str, family: str, group: str, sample: Sampled, truths: Mapping[str, str]
) -> dict[str, Any]:
    """A model that was measured. group: models of one group stay in one half."""
    found = measure_features(
        sample.features, sample.labels, weight=sample.weight, bias=sample.bias, keys=needed()
    )
    document = found.document
    spectrum = document.config.get("between_scatter", {}).get(SPLIT, {})
    readings = {key: one.to_dict() for key, one in document.results[SPLIT][HEAD].items()}
    return {
        "model": model,
        "family": family,
        "group": group,
        "truth": dict(truths),
        "classes": document.num_classes,
        "features": document.num_features,
        "directions": spectrum.get("rank"),
        "readings": readings,
    }


@dataclass(frozen=True)
class Judged:
    """A model with its readings rebuilt, ready to be judged again with other cuts."""

    row: Row
    readings: dict[str, Reading]

    @classmethod
    def of(cls, row: Row) -> Judged:
        found = {key: Reading.from_dict(one) for key, one in row["readings"].items()}
        return cls(row, found)

    def answers(self) -> dict[str, str]:
        """By question, with the cuts that hold now."""
        verdicts = judge(
            {SPLIT: {HEAD: self.readings}},
            (),
            num_classes=self.row["classes"],
            num_features=self.row["features"],
            directions=self.row["directions"],
        )
        names = ((verdict.id.partition(":"), verdict.answer) for verdict in verdicts)
        found: dict[str, str] = {}
        for (name, _, split), answer in names:
            if name in ASKED and split in ("", SPLIT):
                found[name] = answer
        return found


def answered(
    models: Iterable[Judged], question: str, cuts: Mapping[str, float]
) -> list[tuple[str, str]]:
    """(truth, answer) to a question of every model that is asked it."""
    with other_cuts(cuts):
        return [
            (str(model.row["truth"][question]), model.answers()[question])
            for model in models
            if question in model.row["truth"]
        ]
