"""One number back from a geometry: what is predicted is fitted again."""

from __future__ import annotations

import math

import pytest
import torch

import ncollapse as nc
from ncollapse.losses import named
from ncollapse.theory.predict import predict
from ncollapse.theory.subjects.fit import fit_tau
from ncollapse.theory.subjects.overlay import overlay

CASES = {
    "balanced": ([100] * 8, {}),
    "balanced without bias": ([100] * 8, {"bias": "none"}),
    "balanced, smoothed": ([50] * 5, {"loss": "ls", "smoothing": 0.1}),
    "two groups": ([120] * 5 + [12] * 5, {"bias": "none"}),
    "two groups with bias": ([120] * 5 + [12] * 5, {}),
    "mean squared error": ([120] * 3 + [12] * 3, {"loss": "mse"}),
    "rescaled": ([120] * 3 + [12] * 3, {"loss": "rescaled", "factor": 15, "target": 30}),
    "weighted": ([120] * 3 + [12] * 3, {"loss": "weighted"}),
    "merged": ([150] * 4 + [5] * 4, {"bias": "none", "weight_decay": 0.2}),
}


@pytest.mark.parametrize("case", CASES)
def test_tau_is_recovered_from_a_predicted_geometry(case) -> None:
    counts, settings = CASES[case]
    p = predict(counts, **{"weight_decay": 2e-2, "feature_decay": 1e-4, **settings})
    own = {k: v for k, v in settings.items() if k in ("smoothing", "gamma", "factor", "target")}
    loss = named(settings.get("loss", "ce"), counts, **own)
    fit = fit_tau(p.geometry, loss=loss)
    assert fit.tau == pytest.approx(p.problem.tau, rel=5e-4)
    assert fit.logit_error < 2e-3
    assert fit.warnings == ()
    assert fit.prediction.problem.weight_decay == fit.prediction.problem.feature_decay
    assert fit.prediction.problem.tau == pytest.approx(fit.tau)
    assert p.geometry.distance(fit.prediction.geometry).value < 2e-3
    assert fit.prediction.collapsed_classes == p.collapsed_classes


def error_of_the_fit(tau: float, counts: list[int], loss: str, bias: str) -> float:
    """Of τ, relative, on theory's own geometry."""
    decay = tau / math.sqrt(sum(counts))
    p = predict(counts, loss=loss, bias=bias, weight_decay=decay, feature_decay=decay)
    return abs(fit_tau(p.geometry, loss=named(loss, counts), bias=bias).tau / tau - 1)


BALANCED, UNEQUAL = [60] * 5, [120] * 3 + [12] * 3


@pytest.mark.parametrize("tau", [1e-6, 1e-3])
@pytest.mark.parametrize(
    ("counts", "loss", "bias"),
    [(UNEQUAL, "ce", "free"), (UNEQUAL, "mse", "none"), (BALANCED, "ce", "none")],
)
def test_tau_is_recovered_however_small_it_is(counts, loss, bias, tau) -> None:
    assert error_of_the_fit(tau, counts, loss, bias) <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("tau", [10.0**k for k in range(-6, 1)])
@pytest.mark.parametrize("bias", ["none", "free"])
@pytest.mark.parametrize("loss", ["ce", "mse", "focal", "ls"])
@pytest.mark.parametrize("counts", [BALANCED, UNEQUAL], ids=["balanced", "two groups"])
def test_tau_is_recovered_from_a_millionth_to_one(counts, loss, bias, tau) -> None:
    """Up to where everything vanishes: beyond, the geometry is zero and knows no τ."""
    decay = tau / math.sqrt(sum(counts))
    found = predict(counts, loss=loss, bias=bias, weight_decay=decay, feature_decay=decay)
    if found.rank == 0:
        assert tau == 1.0
    else:
        assert error_of_the_fit(tau, counts, loss, bias) <= 1e-3


def test_scale_of_features_against_classifier_does_not_matter() -> None:
    g = predict([60] * 3 + [6] * 3, weight_decay=1e-2).geometry
    scaled = nc.Geometry(g.means * 7, g.weight / 7, g.bias, g.counts)
    assert fit_tau(scaled).tau == pytest.approx(fit_tau(g).tau, rel=1e-3)


def test_heads_that_decide_nothing_are_fitted_with_a_warning() -> None:
    g = nc.Geometry.simplex_etf(5, 8)
    turned = nc.Geometry(g.means, -g.weight, None, torch.tensor([10] * 5))
    fit = fit_tau(turned)
    assert any("does not tell the class means apart" in said for said in fit.warnings)
    assert any("one number does not explain" in said for said in fit.warnings)
    assert fit.prediction.rank == 0


def test_margins_beyond_what_smoothing_allows_are_said() -> None:
    g = nc.Geometry.simplex_etf(5, 8)
    strong = nc.Geometry(20 * g.means, g.weight, None, torch.tensor([10] * 5))
    fit = fit_tau(strong, loss=named("ls", smoothing=0.2))
    assert any("exceeds what smoothing 0.2 allows" in said for said in fit.warnings)


def test_balanced_error_is_that_of_the_logits() -> None:
    """The closed form without a K × K matrix agrees with the matrix."""
    generator = torch.Generator().manual_seed(0)
    g = nc.Geometry.simplex_etf(6, 9)
    noise = 0.2 * torch.randn(6, 9, generator=generator, dtype=torch.float64)
    bias = torch.randn(6, generator=generator, dtype=torch.float64)
    rough = nc.Geometry(4 * g.means + noise, g.weight - noise, bias, torch.tensor([30] * 6))
    fit = fit_tau(rough)
    logits = rough.weight @ rough.means.T + bias[:, None]
    logits = logits - logits.mean(0)
    found = fit.prediction.solution.logits
    found = found - found.mean(0)
    assert fit.logit_error == pytest.approx(
        float((found - logits).norm() / logits.norm()), rel=1e-5
    )
    c = 1 / (math.exp(float(fit.prediction.logit_margins[0])) + 5)
    assert fit.tau == pytest.approx(c * math.sqrt(6), rel=1e-6)


def test_what_cannot_be_fitted_is_one_sentence() -> None:
    g = predict([60] * 3 + [6] * 3).geometry
    with pytest.raises(ValueError, match="no classifier weight"):
        fit_tau(nc.Geometry(g.means, counts=g.counts))
    with pytest.raises(ValueError, match="no class means"):
        fit_tau(nc.Geometry(weight=g.weight, counts=g.counts))
    with pytest.raises(ValueError, match="no class counts"):
        fit_tau(nc.Geometry(g.means, g.weight))
    with pytest.raises(ValueError, match="2 counts for a geometry of 6"):
        fit_tau(g, [3, 4])
    flat = nc.Geometry(torch.zeros_like(g.means), g.weight, None, g.counts)
    with pytest.raises(ValueError, match="nothing to fit"):
        fit_tau(flat)


def test_random_directions_are_far_and_seeded() -> None:
    p = predict([60] * 3 + [6] * 3, weight_decay=1e-2)
    found = [overlay(p.geometry, p, seed=seed) for seed in (0, 0, 1)]
    assert found[0].distance.value < 1e-6
    assert found[0].null.low > 0.3
    assert found[0].null == found[1].null != found[2].null
