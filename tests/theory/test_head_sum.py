"""The sum of the classifier's rows: the recursion is what optimisers do, its spectrum is exact."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from ncollapse.theory.subjects.head_sum import (
    Rule,
    critical_decay,
    predict_sum,
    spectral_radius,
    time_scale,
)

RULES = {
    "plain": Rule(2e-2),
    "momentum": Rule(2e-2, 0.9),
    "dampened": Rule(2e-2, 0.9, dampening=0.5),
    "nesterov": Rule(2e-2, 0.9, nesterov=True),
}


def trained(rule: Rule, loss, *, clip: float | None = None) -> tuple[np.ndarray, list[float]]:
    """The path of Wᵀ1 in a small network in float64, and its learning rates."""
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(48, 5, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 4, (48,), generator=generator)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 4)).double()
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=0.1,
        momentum=rule.momentum,
        weight_decay=rule.weight_decay,
        dampening=rule.dampening,
        nesterov=rule.nesterov,
    )
    sums, rates = [model[2].weight.detach().sum(0).numpy().copy()], []
    for step in range(30):
        rate = 0.1 * (1 + math.cos(step / 10))
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        loss(model(X), y).backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        rates.append(rate)
        sums.append(model[2].weight.detach().sum(0).numpy().copy())
    return np.stack(sums), rates


def off(measured: np.ndarray, predicted: np.ndarray) -> float:
    return float(np.abs(measured - predicted).max() / np.abs(measured[0]).max())


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("clip", [None, 0.05])
def test_sgd_follows_the_law_whatever_the_data(name: str, clip: float | None) -> None:
    sums, rates = trained(RULES[name], nn.functional.cross_entropy, clip=clip)
    assert off(sums, predict_sum(sums[0], rates, RULES[name])) < 1e-12


def test_squared_errors_break_it() -> None:
    def squares(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (z - nn.functional.one_hot(y, 4)).square().mean()

    sums, rates = trained(RULES["momentum"], squares)
    assert off(sums, predict_sum(sums[0], rates, RULES["momentum"])) > 0.1


@pytest.mark.parametrize("nesterov", [False, True])
def test_orthogonalised_momentum_keeps_the_law_of_decoupled_decay(nesterov: bool) -> None:
    rng = np.random.default_rng(0)
    W, B, beta, decay = rng.normal(size=(4, 7)), np.zeros((4, 7)), 0.9, 0.1
    rule, sums = Rule(decay, beta, nesterov=nesterov, decoupled=True), [W.sum(0)]
    for _ in range(20):
        gradient = rng.normal(size=(4, 7))
        gradient -= gradient.mean(0)
        B = beta * B + gradient
        U, size, V = np.linalg.svd(gradient + beta * B if nesterov else B, full_matrices=False)
        keep = size > 1e-10 * size[0]
        W = (1 - 0.05 * decay) * W - 0.05 * U[:, keep] @ V[keep]
        sums.append(W.sum(0))
    assert off(np.stack(sums), predict_sum(sums[0], [0.05] * 20, rule)) < 1e-12


@pytest.mark.parametrize("name", RULES)
def test_a_run_goes_on_from_its_momentum(name: str) -> None:
    rule, rates = RULES[name], [0.05] * 40
    whole = predict_sum([1.0, -2.0], rates, rule)
    s, v = whole[0], None
    for rate in rates[:20]:
        s, v = rule.step(s, v, rate)
    assert np.allclose(predict_sum(s, rates[20:], rule, v)[-1], whole[-1], rtol=1e-13)


@pytest.mark.parametrize("name", RULES)
def test_the_spectrum_says_how_fast_the_sum_goes(name: str) -> None:
    rule = RULES[name]
    path = np.abs(predict_sum([1.0], [0.05] * 3000, rule)[:, 0])
    slope = np.polyfit(np.arange(500, 3001), np.log(path[500:]), 1)[0]
    assert slope == pytest.approx(math.log(spectral_radius(0.05, rule)), abs=1e-5)
    assert time_scale(0.05, rule) == pytest.approx(-1 / (2 * slope), rel=1e-2)


def test_time_scales_and_the_critical_decay() -> None:
    assert time_scale(0.1, Rule(5e-4, 0.9)) == pytest.approx(0.1 / (2 * 5e-5), rel=0.01)
    decoupled = Rule(5e-4, 0.9, decoupled=True)
    assert time_scale(0.1, decoupled) == pytest.approx(1 / (2 * 5e-5), rel=0.01)
    assert time_scale(0.1, Rule(0.0, 0.9)) == math.inf
    critical = critical_decay(0.1, 0.9)
    assert spectral_radius(0.1, Rule(4 * critical, 0.9)) == pytest.approx(math.sqrt(0.9))
    assert spectral_radius(0.1, Rule(0.9 * critical, 0.9)) > math.sqrt(0.9)
    last = 2 * 1.9 / 0.1
    assert spectral_radius(0.1, Rule(1.001 * last, 0.9)) > 1
    assert spectral_radius(0.1, Rule(0.999 * last, 0.9)) < 1


@pytest.mark.parametrize(
    "wrong",
    [{"momentum": 1.0}, {"weight_decay": -1.0}, {"nesterov": True}, {"weight_decay": math.nan}],
)
def test_rules_that_no_optimiser_has_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="need"):
        Rule(**wrong)


def test_a_sum_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        predict_sum([math.nan], [0.1], Rule())
