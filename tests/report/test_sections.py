"""Sections of the page: found by the task that a document names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import ncollapse as nc
from ncollapse.record.run import Run
from ncollapse.report.sections import sections
from ncollapse.report.sections.section import Shown


@pytest.fixture(scope="module")
def run() -> Run:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 20)
    features = rng.normal(size=(80, 6)) + 3 * np.eye(4, 6)[labels]
    return nc.measure_features(features, labels).run()


def titles(run: Run) -> list[str]:
    return [section.title for section in sections(Shown(run))]


def of_task(run: Run, task: object) -> Run:
    config = {name: value for name, value in run.document.config.items() if name != "task"}
    config = config if task is None else {**config, "task": task}
    return replace(run, document=replace(run.document, config=config))


def test_a_task_has_its_sections_and_older_documents_those_of_classes(run: Run) -> None:
    assert titles(run)[:3] == ["How far from noise", "Class means", "Classes"]
    assert titles(of_task(run, None)) == titles(run)


@pytest.mark.parametrize("name", ["nothing_of_that_name", "../html", ""])
def test_a_task_without_sections_has_none(run: Run, name: str) -> None:
    assert titles(of_task(run, {"name": name})) == []


def test_what_cannot_be_drawn_says_why(run: Run) -> None:
    bare = replace(run, geometries={}, classes=())
    found = {section.title: section for section in sections(Shown(bare))}
    assert found["Class means"].figure is None and "geometry.safetensors" in (
        found["Class means"].empty
    )
    assert found["Training"].figure is None and "ncollapse demo" in found["Training"].empty
