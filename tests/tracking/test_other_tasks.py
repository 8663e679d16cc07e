"""A tracker's probes read what labels mean, not classes only."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import ncollapse as nc


@pytest.fixture(autouse=True)
def own_random_state():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def numbers() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(120, 6, generator=generator)
    targets = inputs[:, :2] @ torch.tensor([[1.0, 0.5], [0.0, 1.0]])
    return nn.Sequential(nn.Linear(6, 12), nn.Linear(12, 2)), inputs, targets


def test_probes_of_a_regression_read_what_measure_reads() -> None:
    model, inputs, targets = numbers()
    tracker = nc.Tracker(model, train=(inputs, targets))
    tracker.end_epoch()
    rows = {row.key: row.value for row in tracker.trace.rows}
    direct = nc.measure(model, train=(inputs, targets), null=False, intervals=False)
    found = direct.results["train"]["head"]
    assert set(rows) == {"nrc1", "nrc1_centred", "nrc2", "nrc2_centred", "nrc3"}
    assert rows == {key: found[key].value for key in rows}
    whole = tracker.finish(null=False, intervals=False)
    assert whole.document.config["task"]["name"] == "regression"


def test_probes_of_ordered_grades_and_a_task_that_is_insisted_on() -> None:
    _, inputs, targets = numbers()
    grades = (targets[:, 0] > 0).long() + (targets[:, 0] > 1).long()
    model = nn.Sequential(nn.Linear(6, 12), nc.control.OrdinalHead(12, 3))
    tracker = nc.Tracker(model, train=(inputs, grades))
    tracker.probe()
    assert {row.key for row in tracker.trace.rows} == {
        "onc1", "onc2_rank", "onc2_alignment", "onc3", "onc3_order"
    }  # fmt: skip
    classes = nn.Sequential(nn.Linear(6, 12), nn.Linear(12, 3))
    with pytest.raises(ValueError, match="3 rows but a sample has 1 targets"):
        nc.Tracker(classes, train=(inputs, grades), task="regression").probe()


def test_no_numbers_are_counted_a_class() -> None:
    model, inputs, targets = numbers()
    with pytest.raises(ValueError, match="leave per_class out"):
        nc.Tracker(model, train=(inputs, targets), per_class=5)
