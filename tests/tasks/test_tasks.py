"""Tasks are found by listing; the one that was taken is said, with why."""

from __future__ import annotations

import pytest

import ncollapse as nc
from ncollapse.sources.features.arrays import ArraySource
from ncollapse.tasks import chosen, tasks
from ncollapse.tasks.task import Task
from tests.data import make

CASE = make("task", counts=[20, 30, 25], dim=6)


def test_every_task_obeys_the_contract() -> None:
    assert "classification" in tasks()
    for name, task in tasks().items():
        assert isinstance(task, Task)
        assert task.name == name
        with pytest.raises(AttributeError):
            task.name = "other"


def test_the_task_that_was_found_is_said() -> None:
    found = nc.measure_features(CASE.features, CASE.labels, null=False, intervals=False)
    assert found.document.config["task"] == {
        "name": "classification",
        "why": "labels are class numbers",
        "counted": "classes",
    }
    asked = nc.measure_features(
        CASE.features, CASE.labels, null=False, intervals=False, task="classification"
    )
    assert asked.document.config["task"]["why"] == "it was asked for"
    assert asked.results == found.results


def test_an_unknown_task_names_the_known_ones() -> None:
    source = ArraySource(CASE.features, CASE.labels)
    with pytest.raises(ValueError, match="task 'ranking' is unknown; one of auto, classification"):
        chosen("ranking", source)
