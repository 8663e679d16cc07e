"""Time scales against simulation, RNC1, and the delay that a trace shows or is too short for."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from ncollapse.downstream.delay import Delay, decades, grokking_delay, half_way
from ncollapse.downstream.grokking import PopulationVariance, efold_steps, rnc1, time_scales
from ncollapse.downstream.views import View
from ncollapse.record.trace import Trace


def folds(optimizer_of, curvature: float, steps: int = 2000) -> float:
    """Steps a fold of x² under an optimiser, on the loss ½ c x², past the first transient."""
    x = torch.ones(1, dtype=torch.float64, requires_grad=True)
    optimizer = optimizer_of([x])
    values = []
    for _ in range(steps):
        values.append(math.log(float(x.detach()) ** 2))
        x.grad = curvature * x.detach().clone()
        optimizer.step()
    late = np.array(values[steps // 4 :])
    return -1 / float(np.polyfit(np.arange(len(late)), late, 1)[0])


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_decay_folds_squares_in_this_many_steps(momentum: float) -> None:
    rate, decay = 0.05, 1e-3
    seen = folds(lambda x: torch.optim.SGD(x, rate, momentum, weight_decay=decay), 0.0)
    assert seen == pytest.approx(efold_steps(rate, decay, momentum), rel=0.01)
    # What a reading without the momentum would miss by.
    assert efold_steps(rate, decay) / efold_steps(rate, decay, momentum) == pytest.approx(
        1 / (1 - momentum)
    )


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_fit_takes_the_same_formula_with_the_curvature(momentum: float) -> None:
    found = time_scales(0.05, 1e-4, momentum, curvature=2e-3)
    seen = folds(lambda x: torch.optim.SGD(x, 0.05, momentum), 2e-3)
    assert seen == pytest.approx(found.fit, rel=0.02)
    assert found.ratio == pytest.approx(20)


def test_decay_beside_the_gradient_knows_no_momentum() -> None:
    seen = folds(lambda x: torch.optim.AdamW(x, 1e-2, weight_decay=0.3), 0.0)
    assert seen == pytest.approx(efold_steps(1e-2, 0.3), rel=0.01)


@pytest.mark.parametrize("bad", [(0.0, 1.0, 0.0), (0.1, 0.0, 0.0), (0.1, 1.0, 1.0)])
def test_rates_that_are_none_are_refused(bad: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="are needed"):
        efold_steps(*bad)


def test_rnc1_is_its_formula_and_free_of_scale() -> None:
    draw = torch.Generator().manual_seed(0)
    labels = torch.tensor([3, 3, 3, 8, 8, 1, 1, 1, 1])
    features = torch.randn(9, 4, generator=draw, dtype=torch.float64) + 2
    within = sum(
        float(((f := features[labels == k]) - f.mean(0)).square().sum()) for k in (1, 3, 8)
    )
    assert rnc1(features, labels) == pytest.approx(within / 9 / features.norm(dim=1).mean() ** 2)
    turn = torch.linalg.qr(torch.randn(4, 4, generator=draw, dtype=torch.float64)).Q
    assert rnc1(7 * features @ turn, labels) == pytest.approx(rnc1(features, labels))
    assert rnc1(features[labels == 3].mean(0) * torch.ones(9, 1), labels) == pytest.approx(0)
    with pytest.raises(ValueError, match="all features are zero"):
        rnc1(torch.zeros(9, 4), labels)
    assert PopulationVariance().read(View("test", "head", torch.zeros(9, 4), labels)) == {
        "rnc1": None
    }


# ---- the delay ----------------------------------------------------------------------------------
def rising(steps: np.ndarray, middle: float, low: float, high: float) -> np.ndarray:
    return low + (high - low) / (1 + (middle / steps) ** 4)


def trace(train: float, test: float, last: float = 1e5, looks: int = 60) -> Trace:
    found = Trace()
    steps = np.unique(np.geomspace(1, last, looks).astype(int))
    curves = {
        ("train", "accuracy"): rising(steps, train, 0.1, 1.0),
        ("test", "accuracy"): rising(steps, test, 0.1, 0.9),
        ("train", "class_share"): rising(steps, 2 * train, 0.4, 0.99),
        ("test", "class_share"): rising(steps, 1.1 * test, 0.3, 0.9),
    }
    for (split, key), values in curves.items():
        for step, value in zip(steps.tolist(), values, strict=True):
            found.append(step, {key: float(value)}, split=split)
    return found


def test_a_delay_is_found_in_a_saved_trace(tmp_path: Path) -> None:
    trace(100, 5000).save(tmp_path / "trace.csv")
    found = grokking_delay(Trace.load(tmp_path / "trace.csv"))
    assert found.status == "grokked" and "a factor of 50" in str(found)
    assert found.train == pytest.approx(100, rel=0.02)
    assert found.test == pytest.approx(5000, rel=0.02)
    assert found.decades == pytest.approx(math.log10(50), abs=0.01)
    assert found.together == pytest.approx(-math.log10(1.1), abs=0.01)
    assert found.precedes == pytest.approx(math.log10(25), abs=0.01)
    assert set(found.to_dict()) >= {"status", "decades", "together", "precedes"}


def test_no_delay_is_said_only_of_what_followed_at_once() -> None:
    assert grokking_delay(trace(100, 150)).status == "no delay"


@pytest.mark.parametrize(
    ("shown", "match"),
    [
        (trace(100, 5000, looks=6), "readings of accuracy and 8"),
        (trace(100, 5000, last=1000), "not risen"),
        (trace(100, 5000, last=6000), "still moved"),
        (trace(1e9, 1e10), "training accuracy did not rise"),
    ],
)
def test_a_trace_too_short_is_called_so(shown: Trace, match: str) -> None:
    found = grokking_delay(shown)
    assert found.status == "too short" and match in found.sentence
    assert isinstance(found, Delay)


def test_a_trace_without_both_splits_is_refused() -> None:
    with pytest.raises(ValueError, match="no 'accuracy' of split 'valid'"):
        grokking_delay(trace(100, 5000), test="valid")
    without = Trace([row for row in trace(100, 5000).rows if row.key == "accuracy"])
    found = grokking_delay(without)
    assert found.status == "grokked" and found.collapse_test is None and found.together is None


def test_half_way_is_the_last_crossing_and_scales_with_steps() -> None:
    steps, values = [1, 10, 100, 1000, 10000], [0.0, 0.8, 0.2, 0.9, 1.0]
    found = half_way(steps, values)
    assert found is not None and 100 < found < 1000
    assert half_way([7 * step for step in steps], values) == pytest.approx(7 * found)
    assert half_way(steps, [1 - value for value in values]) == pytest.approx(found)
    assert half_way(steps, [0.5] * 5) is None and half_way([1], [0.5]) is None
    assert half_way(steps, [0.0, 0.0, 0.0, 0.0, 0.01], least=0.05) is None
    assert decades(None, 3.0) is None and decades(3.0, 30.0) == pytest.approx(1)
