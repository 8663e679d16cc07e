"""The studies of optimizers and of contradictions: their bars, and what they measure."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from ncollapse.lab.data import Dataset
from ncollapse.lab.framed import best_frame
from ncollapse.lab.linear_codes import across, decay_for, descended, simplex_value
from ncollapse.lab.models import mlp
from ncollapse.lab.onsets import missed, variation
from ncollapse.lab.optimisers import MAKERS, ended
from ncollapse.lab.train import Settings
from ncollapse.studies import find

BARS = {
    "optimisers": {
        "equal": "≤ 1.25",
        "adamw-nc1": "≤ 2",
        "adamw-nc1-equal": "≤ 2",
        "adamw-nc3": "≥ 5",
        "adamw-nc3c": "≤ 2",
        "adamw-nc3c-equal": "≤ 2",
        "adamw-unseen": "≥ 0.8",
        "adamw-seen": "≤ 0.5",
        "deepest": "≤ 1",
        "adam": "≤ 0.2",
        "decoupled": "≤ 1.25",
        "muon-nc1": "≤ 0.5",
        "law-sgdw": "≤ 0.0001",
        "nc0": "≤ 0.001",
        "nc0-adamw": "≥ 0.05",
        "conv-unseen": "≥ 0.8",
    },
    "contradictions": {
        "grokking-logits": "≥ 0.3",
        "grokking-hidden": "≤ 0",
        "grokking-unseen": "≤ 0",
        "frame-plain": "≥ 0",
        "frame-adjusted": "≥ 2",
        "frame-loss": "-2 to 2",
        "thresholds-line": "≤ 0.01",
        "thresholds-recall": "≥ 0.2",
        "thresholds-others": "≤ 0.1",
        "depth-one": "0.9999 to 1.0001",
        "depth-more": "≤ 0.99",
        "depth-rank": "≤ 5",
        "depth-width": "≥ 1.05",
        "norm-constant": "≤ 0.08",
        "norm-tells": "≤ 0",
        "loss-reached": "≤ 0.05",
        "loss-sphere": "≥ 3",
        "loss-raw": "≥ 3",
    },
}


@pytest.mark.parametrize("name", BARS)
def test_bars_stand_as_they_were_committed(name: str) -> None:
    claims = find(name).claims
    assert {claim.id: str(claim.bar) for claim in claims} == {
        f"{name}-{key}": bar for key, bar in BARS[name].items()
    }
    assert all(claim.seeds >= 3 and claim.basis for claim in claims)


def _data() -> Dataset:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    inputs = torch.randn(60, 5, generator=generator) + 3 * functional.one_hot(labels, 5)
    return Dataset(inputs, labels, inputs, labels, ("a", "b", "c"))


@pytest.mark.parametrize("name", list(MAKERS))
def test_the_head_follows_the_law_of_its_decay_or_not(name: str) -> None:
    data, decay = _data(), 0.5
    model = mlp(5, (12, 8), 3, seed=0)
    how = Settings(epochs=6, batch_size=20)
    found = ended(name, decay, model, data, how, every=5)
    assert [row["epoch"] for row in found["looks"]] == [1, 6]
    assert 1 - found["nc3"] / 2 == pytest.approx(
        math.sqrt(1 - found["nc0"]) * (1 - found["nc3c"] / 2)
    )
    if name == "SGDW":
        assert found["off_law"] < 1e-5
    else:
        # Muon keeps it to bfloat16 alone; coupled decay and entrywise steps have another law.
        assert found["off_law"] > 1e-5


@pytest.mark.parametrize("matrices", [1, 3])
def test_the_simplex_is_critical_at_the_decay_that_is_given(matrices: int) -> None:
    K, fit = 5, 0.05
    decay, gap = decay_for(K, matrices, fit)
    scale = torch.tensor(gap, dtype=torch.float64, requires_grad=True)
    centred = torch.eye(K, dtype=torch.float64) - 1 / K
    loss = functional.cross_entropy(scale * centred, torch.arange(K))
    power = 2 / (matrices + 1)
    value = loss + decay / power * (K - 1) * scale**power
    value.backward()
    assert loss.item() == pytest.approx(fit)
    assert value.item() == pytest.approx(simplex_value(K, matrices, fit))
    assert abs(float(scale.grad)) < 1e-12


def test_one_matrix_ends_at_the_simplex_and_four_below_it() -> None:
    rows = [descended(6, M, 6 * w, 0.05, 0, steps=500) for M in (1, 4) for w in (1, 8)]
    found = across(rows, 6, 0.05)
    assert found["contradictions-depth-one"] == pytest.approx(1, abs=1e-6)
    assert found["contradictions-depth-more"] < 0.99
    assert rows[0]["rank"] == 5 and rows[-1]["rank"] < 5


def test_an_onset_is_told_by_what_is_the_same_at_every_onset() -> None:
    def run(speed: float, power: float) -> dict:
        steps = [10.0 * k for k in range(1, 60)]
        looks = [
            {"step": s, "norm": 10 - speed * s / 100, "clock": speed**power * s} for s in steps
        ]
        onset = min(looks, key=lambda row: abs(row["norm"] - 5))
        return {"looks": looks, "onset": onset}

    runs = [run(speed, 1) for speed in (1.0, 2.0, 4.0)]
    assert missed(runs, "norm") < 0.02 and missed(runs, "clock") < 0.02
    wrong = [run(speed, 0) for speed in (1.0, 2.0, 4.0)]
    assert missed(wrong, "norm") < 0.02 and missed(wrong, "clock") > 0.2
    assert math.isnan(missed([{**runs[0], "onset": None}, runs[1]], "norm"))
    assert variation([1.0, 3.0]) == pytest.approx(0.5)


def test_the_best_frame_is_of_its_kind() -> None:
    row = {
        "balanced": {"learned": 99, "frame 5": 80, "frame 5 adjusted": 90, "frame regression": 7}
    }
    assert best_frame(row, adjusted=False) == 80
    assert best_frame(row, adjusted=True) == 90
