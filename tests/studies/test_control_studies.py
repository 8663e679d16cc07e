"""The studies of control: what they combine, and the sizes that their claims name."""

from __future__ import annotations

import pytest

from ncollapse.studies import find
from ncollapse.studies.fixed_head.runs import combine


def test_differences_are_paired_within_folds() -> None:
    rows = [
        {"accuracy": {"learned": 0.9, "full": 0.92, "narrow": 0.9}},
        {"accuracy": {"learned": 0.5, "full": 0.51, "narrow": 0.4}},
    ]
    found = combine({"mlp": [{"seed": 0, "rows": rows}], "resnet": []})
    assert found["fixed-head-mlp-full"] == pytest.approx([2.0, 1.0])
    assert found["fixed-head-mlp-full-mean"] == pytest.approx([1.5])
    assert found["fixed-head-mlp-narrow"] == pytest.approx([0.0, -10.0])
    assert found["fixed-head-resnet-full-mean"] == []


def test_full_sizes_are_the_literal_claims() -> None:
    fixed = find("fixed-head").settings["full"]
    assert (fixed["folds"], fixed["seeds"]) == (5, 3)
    dial = find("thermostat").settings["full"]
    assert dial["points"] == [0.03, 0.1, 0.3, 1.0] and dial["seeds"] == 3
    assert find("over-collapse").settings["full"]["seeds"] >= 5
