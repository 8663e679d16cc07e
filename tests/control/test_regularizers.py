"""Penalties: their values are the metrics', their gradients right, their directions as promised."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import ncollapse as nc
from ncollapse.control import (
    CodingRate,
    DualityPenalty,
    FramePenalty,
    KoLeo,
    NC1Penalty,
    RateReduction,
    VarianceCovariance,
    batch_statistics,
    coding_rate,
    duality_penalty,
    frame_penalty,
    koleo,
    nc1_penalty,
    rate_reduction,
    variance_covariance,
)
from ncollapse.metrics.catalog import METRICS

K, D, N = 4, 6, 60


def batch(spread: float = 0.5, seed: int = 0, samples: int = N) -> tuple[Tensor, Tensor, Tensor]:
    """Features, unequal labels that miss class 2 of five, and a weight for all five."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.tensor([0, 0, 1, 3, 4])[torch.arange(samples) % 5]
    centres = torch.randn(5, D, generator=generator, dtype=torch.float64)
    noise = torch.randn(samples, D, generator=generator, dtype=torch.float64)
    weight = torch.randn(5, D, generator=generator, dtype=torch.float64)
    return centres[labels] + spread * noise, labels, weight


def moments(features: Tensor, labels: Tensor) -> nc.ClassMoments:
    found = nc.ClassMoments(5, D)
    found.update(features, labels)
    return found


# ---- values -----------------------------------------------------------------------------------
def test_every_statistic_of_a_batch_is_that_of_the_accumulator() -> None:
    features, labels, weight = batch()
    statistics, geometry = batch_statistics(features, labels, weight)
    wanted = moments(features, labels)
    reference = wanted.statistics()
    for name in ("counts", "traces", "macro", "micro", "present"):
        torch.testing.assert_close(getattr(statistics, name), getattr(reference, name))
    expected = wanted.geometry(weight)
    torch.testing.assert_close(geometry.means, expected.means)
    torch.testing.assert_close(geometry.weight, expected.weight)


@pytest.mark.parametrize("key", ["nc1_ratio", "nc1_cdnv", "nc1_fisher", "nc1_vci"])
def test_nc1_penalties_are_the_metrics(key: str) -> None:
    features, labels, _ = batch()
    found = moments(features, labels)
    wanted = METRICS[key].evaluate(statistics=found.statistics(), geometry=found.geometry())
    torch.testing.assert_close(nc1_penalty(features, labels, metric=key), wanted)
    torch.testing.assert_close(NC1Penalty(3.0, metric=key)(features, labels), 3 * wanted)
    logarithm = nc1_penalty(features, labels, metric=key, log=True, floor=0.5)
    torch.testing.assert_close(logarithm, (wanted + 0.5).log())


@pytest.mark.parametrize("classes", ["wide", "narrow", "coinciding"])
def test_fisher_without_a_scatter_agrees_with_the_metric(classes: str) -> None:
    """Where the class means lack full rank the metric itself takes over."""
    features, labels, _ = batch()
    if classes == "narrow":
        features = features[:, :2]
    if classes == "coinciding":
        features[labels == 1] += features[labels == 0].mean(0) - features[labels == 1].mean(0)
    found = nc.ClassMoments(5, features.shape[1])
    found.update(features, labels)
    wanted = METRICS["nc1_fisher"].evaluate(
        statistics=found.statistics(), geometry=found.geometry()
    )
    value = nc1_penalty(features, labels, metric="nc1_fisher")
    assert bool(value.isfinite())
    if classes != "coinciding":
        torch.testing.assert_close(value, wanted)


@pytest.mark.parametrize(
    ("frame", "key"),
    [
        ("simplex", "nc2_etf_means"),
        ("orthogonal", "nc2_orthogonal_means"),
        ("gof", "nc2_gof_means"),
    ],
)
def test_frame_penalties_are_the_metrics(frame: str, key: str) -> None:
    features, labels, _ = batch()
    wanted = METRICS[key].evaluate(geometry=moments(features, labels).geometry())
    torch.testing.assert_close(frame_penalty(features, labels, frame=frame), wanted)
    torch.testing.assert_close(FramePenalty(2.0, frame=frame)(features, labels), 2 * wanted)


def test_the_duality_penalty_is_the_metric() -> None:
    features, labels, weight = batch()
    wanted = METRICS["nc3_duality"].evaluate(geometry=moments(features, labels).geometry(weight))
    torch.testing.assert_close(duality_penalty(features, labels, weight), wanted)
    torch.testing.assert_close(DualityPenalty(2.0)(features, labels, weight), 2 * wanted)


def rate(rows: Tensor, epsilon: float) -> Tensor:
    n, d = rows.shape
    matrix = torch.eye(d, dtype=rows.dtype) + d / (n * epsilon**2) * rows.T @ rows
    return 0.5 * torch.logdet(matrix)


@pytest.mark.parametrize("samples", [5, N], ids=["fewer than dimensions", "more"])
def test_coding_rate_and_its_reduction_are_their_formulas(samples: int) -> None:
    features, labels, _ = batch(samples=samples)
    unit = features / features.norm(dim=1, keepdim=True)
    whole = rate(unit, 0.5)
    torch.testing.assert_close(coding_rate(features, epsilon=0.5), whole)
    parts = sum(
        (labels == k).sum() / samples * rate(unit[labels == k], 0.5) for k in labels.unique()
    )
    torch.testing.assert_close(rate_reduction(features, labels, epsilon=0.5), whole - parts)
    torch.testing.assert_close(CodingRate(2.0, epsilon=0.5)(features), -2 * whole)
    torch.testing.assert_close(RateReduction(epsilon=0.5)(features, labels), parts - whole)
    torch.testing.assert_close(coding_rate(features, normalize=False), rate(features, 0.5**0.5))


def test_koleo_and_variance_covariance_are_their_formulas() -> None:
    features, _, _ = batch()
    unit = features / features.norm(dim=1, keepdim=True)
    gaps = torch.cdist(unit, unit).fill_diagonal_(math.inf).amin(1)
    torch.testing.assert_close(koleo(features), -(gaps + 1e-8).log().mean())
    torch.testing.assert_close(KoLeo(0.3)(features), 0.3 * koleo(features))
    cov = torch.cov(features.T)
    hinge = (1.5 - (cov.diagonal() + 1e-4).sqrt()).clamp_min(0).mean()
    off = (cov**2).sum() - (cov.diagonal() ** 2).sum()
    found = variance_covariance(features, target=1.5, variance=2.0, covariance=0.5)
    torch.testing.assert_close(found, 2 * hinge + 0.5 * off / D)
    module = VarianceCovariance(3.0, target=1.5, variance=2.0, covariance=0.5)
    torch.testing.assert_close(module(features), 3 * found)
    few = features[:4]
    cov = torch.cov(few.T)
    off = (cov**2).sum() - (cov.diagonal() ** 2).sum()
    torch.testing.assert_close(variance_covariance(few, variance=0, covariance=1), off / D)


# ---- gradients ----------------------------------------------------------------------------------
PENALTIES = {
    **{key: lambda h, y, w, key=key: nc1_penalty(h, y, metric=key) for key in
       ("nc1_ratio", "nc1_cdnv", "nc1_fisher")},
    "log": lambda h, y, w: nc1_penalty(h, y, log=True),
    "simplex": lambda h, y, w: frame_penalty(h, y),
    "orthogonal": lambda h, y, w: frame_penalty(h, y, frame="orthogonal"),
    "duality": duality_penalty,
    "coding_rate": lambda h, y, w: coding_rate(h),
    "rate_reduction": lambda h, y, w: rate_reduction(h, y),
    "koleo": lambda h, y, w: koleo(h),
    "variance_covariance": lambda h, y, w: variance_covariance(h),
}  # fmt: skip


@pytest.mark.parametrize("name", PENALTIES)
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    features, labels, weight = batch(samples=20)
    assert torch.autograd.gradcheck(
        lambda h: PENALTIES[name](h, labels, weight), features.requires_grad_()
    )


@pytest.mark.parametrize("name", PENALTIES)
def test_gradients_are_finite_at_collapse_and_in_half_precision(name: str) -> None:
    frame = nc.Geometry.simplex_etf(4, D).means
    labels = torch.arange(16) % 4
    for features in (frame[labels], frame[labels].to(torch.bfloat16)):
        leaf = features.clone().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value = PENALTIES[name](leaf, labels, frame)
        assert value.dtype in (torch.float32, torch.float64)
        value.backward()
        assert bool(leaf.grad.isfinite().all())


def moved(penalty, steps: int = 200, rate_: float = 0.3) -> tuple[float, float]:
    """nc1_ratio before and after descent on features alone."""
    features, labels, weight = batch()
    leaf = features.clone().requires_grad_()
    optimizer = torch.optim.SGD([leaf], lr=rate_)
    before = float(nc1_penalty(features, labels))
    for _ in range(steps):
        optimizer.zero_grad()
        penalty(leaf, labels, weight).backward()
        optimizer.step()
    return before, float(nc1_penalty(leaf.detach(), labels))


@pytest.mark.parametrize(
    ("penalty", "sign"),
    [
        (lambda h, y, w: NC1Penalty()(h, y), -1),
        (lambda h, y, w: NC1Penalty(log=True, floor=0.01)(h, y), -1),
        (lambda h, y, w: CodingRate()(h), 1),
        (lambda h, y, w: RateReduction()(h, y), 0),
        (lambda h, y, w: KoLeo(1.0)(h), 1),
    ],
)
def test_penalties_pull_or_push_as_they_say(penalty, sign: int) -> None:
    before, after = moved(penalty)
    assert math.isfinite(after)
    if sign:
        assert sign * (after - before) > 0


def test_frame_and_duality_penalties_reach_their_ideals() -> None:
    features, labels, weight = batch()
    leaf, rows = features.clone().requires_grad_(), weight.clone().requires_grad_()
    optimizer = torch.optim.SGD([leaf, rows], lr=1.0)
    for _ in range(320):
        optimizer.zero_grad()
        (frame_penalty(leaf, labels) ** 2 + duality_penalty(leaf, labels, rows) ** 2).backward()
        optimizer.step()
    assert float(frame_penalty(leaf.detach(), labels)) < 2e-3
    assert float(duality_penalty(leaf.detach(), labels, rows.detach())) < 2e-3


# ---- small and bad batches --------------------------------------------------------------------
@pytest.mark.parametrize(
    "name", [n for n in PENALTIES if n not in ("coding_rate", "rate_reduction")]
)
def test_a_batch_too_small_to_tell_weighs_nothing(name: str) -> None:
    leaf = torch.ones(1, D).requires_grad_()
    value = PENALTIES[name](leaf, torch.tensor([1]), torch.ones(5, D))
    value.backward()
    assert float(value.detach()) == 0
    assert not leaf.grad.any()


def test_samples_to_be_ignored_are_left_out() -> None:
    features, labels, _ = batch()
    more = torch.cat([features, 1e6 * torch.ones(1, D, dtype=torch.float64)])
    found = nc1_penalty(more, torch.cat([labels, torch.tensor([-100])]))
    torch.testing.assert_close(found, nc1_penalty(features, labels))


@pytest.mark.parametrize("name", PENALTIES)
def test_features_that_are_not_finite_are_named(name: str) -> None:
    features, labels, weight = batch()
    features[7, 2] = torch.inf
    with pytest.raises(ValueError, match=r"NaN or infinity, first in sample 7"):
        PENALTIES[name](features, labels, weight)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda h, y, w: nc1_penalty(h, y, metric="nc2_etf"), "one of nc1_ratio"),
        (lambda h, y, w: frame_penalty(h, y, frame="cube"), "one of simplex"),
        (lambda h, y, w: duality_penalty(h, y, w[:, :3]), "3 features and the batch 6"),
        (lambda h, y, w: nc1_penalty(h[:, :, None], y), "pool over space"),
        (lambda h, y, w: nc1_penalty(h, y[:3]), "one label"),
        (lambda h, y, w: nc1_penalty(h, y.double()), "integers"),
        (lambda h, y, w: koleo(h.long()), "floating-point"),
    ],
)
def test_bad_input_is_explained(call, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        call(*batch())
