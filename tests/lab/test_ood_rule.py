"""Pairs of networks and foreign data, and how the rule of advise_ood is set on them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import ncollapse as nc
from ncollapse.downstream import advice as advising
from ncollapse.downstream.ood import DETECTORS
from ncollapse.lab import ood_rule
from ncollapse.lab.ood_pairs import SEEN, known, plans, rows_of


@pytest.mark.parametrize("name", SEEN)
def test_foreign_data_is_not_what_is_trained_on(name: str) -> None:
    found, again = known(name, 3), known(name, 3)
    seen, total = SEEN[name]
    assert found.data.num_classes == seen
    assert set(found.data.train_y.tolist()) == set(range(seen))
    assert torch.equal(found.data.train_x, again.data.train_x)
    assert set(found.foreign) == {"shuffled", "noise"} | ({"unseen"} if total > seen else set())
    shuffled = found.foreign["shuffled"]
    assert not torch.equal(shuffled, found.data.test_x)
    torch.testing.assert_close(shuffled.sort(0).values, found.data.test_x.sort(0).values)
    known_rows = {row.numpy().tobytes() for row in found.data.train_x}
    for inputs in found.foreign.values():
        assert torch.equal(inputs, again.foreign["shuffled"]) or bool(inputs.isfinite().all())
        assert not any(row.numpy().tobytes() in known_rows for row in inputs)
    with pytest.raises(ValueError, match="data 'cats' is unknown"):
        known("cats", 0)


def test_a_plan_gives_a_row_for_each_foreign_set() -> None:
    (plan,) = plans(small=True)
    rows = rows_of({**plan, "data": "wine"}, 5)
    assert [row["foreign"] for row in rows] == ["unseen", "shuffled", "noise"]
    for row in rows:
        assert set(row["auroc"]) <= {kind.name for kind in DETECTORS}
        assert all(0 <= value <= 1 for value in row["auroc"].values())
    assert len(plans()) == 6


def pairs(seed: int = 0) -> list[dict[str, object]]:
    """Pairs on which the width decides: narrow ones want one score, wide ones another."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, object]] = []
    for number in range(20):
        width = 4 if number % 2 else 40
        case = rng.standard_normal((30, width)).astype(np.float32)
        split = ["train"] * 15 + ["test"] * 15
        m = nc.measure_features(case, np.arange(30) % 3, split=split, null=False, intervals=False)
        good = "knn" if width == 4 else "vim"
        rows.append(
            {"document": m.document, "auroc": {"knn": 0.7, "vim": 0.7, good: 0.9, "msp": 0.85}}
        )
    return rows


def test_the_rule_finds_the_reading_that_decides(monkeypatch) -> None:
    rows = pairs()
    found = json.loads(json.dumps(ood_rule.set_on(rows)))
    assert found["set_on"]["rule"] == 1.0 and found["set_on"]["always"] < 1
    assert found["always"]["score"] == "msp"
    monkeypatch.setattr(advising, "evidence", lambda: found)
    named = [advising.rule_of(row["document"]).score for row in rows]
    assert advising.within(rows, named) == 1.0
    assert advising.within(rows) == 0.0
    assert advising.within(rows, near=0.06) == 1.0


def test_the_shipped_rule_names_detectors_and_says_how_it_did() -> None:
    found = advising.evidence()

    def leaves(node):
        if "score" in node:
            return {node["score"]}
        assert node["reading"] in found["words"]
        return leaves(node["below"]) | leaves(node["above"])

    names = {kind.name for kind in DETECTORS}
    assert leaves(found["rule"]) | {found["always"]["score"]} <= names == set(found["titles"])
    held = found["held_out"]
    assert held["pairs"] >= 30
    beats = held["rule"] - held["always"] >= 0.01
    assert found["used"] == ("rule" if beats else "always")
