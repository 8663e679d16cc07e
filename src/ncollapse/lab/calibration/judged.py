"""A reference model as a plain row: what is true of it, and the readings that verdicts rest on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ncollapse.answers.cuts import other_cuts
from ncollapse.answers.question import Asking
from ncollapse.answers.questions import questions
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
    asking: Asking

    @classmethod
    def of(cls, row: Row) -> Judged:
        readings = {key: Reading.from_dict(one) for key, one in row["readings"].items()}
        known = {"directions": row["directions"]}
        results = {SPLIT: {HEAD: readings}}
        return cls(row, Asking(results, (), row["classes"], row["features"], **known))

    def answer(self, question: str) -> str:
        """With the cuts that hold now."""
        return questions()[question].rule(self.asking, self.asking.reference).answer


def answered(
    models: Iterable[Judged], question: str, cuts: Mapping[str, float]
) -> list[tuple[str, str]]:
    """(truth, answer) to a question of every model that is asked it."""
    with other_cuts(cuts):
        return [
            (str(model.row["truth"][question]), model.answer(question))
            for model in models
            if question in model.row["truth"]
        ]
