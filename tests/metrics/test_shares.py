"""Variance shares and the information floor: one pass = two passes, noise shares, bounds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ncollapse.collect.statistics.classes import ClassMoments
from ncollapse.collect.statistics.predictions import Predictions
from ncollapse.collect.statistics.spread import FeatureSpread
from ncollapse.metrics.catalog import METRICS
from ncollapse.metrics.information import Information
from ncollapse.metrics.shares import variance_shares

V, C, D, N = 40, 5, 6, 4000
RNG = np.random.default_rng(0)
CATEGORY = RNG.integers(C, size=V)
LABELS = RNG.integers(V, size=N)


def features(offset: float = 1e5):
    """Categories, tokens and contexts, far from the origin."""
    rng = np.random.default_rng(1)
    found = rng.normal(size=(C, D))[CATEGORY[LABELS]] * 2 + rng.normal(size=(V, D))[LABELS]
    return offset + found + rng.normal(size=(N, D)) * 3


def collected(h, labels, vocabulary=V, parts=((slice(None),),)):
    """Moments and totals of batches, each inner tuple in a part of its own, then merged."""
    held = []
    for batches in parts:
        moments = ClassMoments(vocabulary, h.shape[1], mode="trace")
        spread = FeatureSpread(h.shape[1])
        for batch in batches:
            rows, y = torch.from_numpy(h[batch]), torch.from_numpy(labels[batch])
            moments.update(rows, y)
            spread.update(rows, y)
        held.append((moments, spread))
    moments, spread = held[0]
    for other, more in held[1:]:
        moments.merge(other)
        spread.merge(more)
    return moments, spread


def shares(h, labels, category=None, vocabulary=V, **kwargs):
    moments, spread = collected(h, labels, vocabulary, **kwargs)
    group = None if category is None else torch.from_numpy(category)
    return variance_shares(moments.statistics(), moments.geometry(), group, spread.result())


def two_pass(h, label, category):
    """As the sums stand, with means found first; per feature (3, d)."""
    m, out = h.mean(0), np.zeros((3, h.shape[1]))
    for c in np.unique(category[label]):
        rows = category[label] == c
        mc = h[rows].mean(0)
        out[0] += rows.sum() * (mc - m) ** 2
        for v in np.unique(label[rows]):
            r = label == v
            mv = h[r].mean(0)
            out[1] += r.sum() * (mv - mc) ** 2
            out[2] += ((h[r] - mv) ** 2).sum(0)
    return out


def corrected(each, seen, k, n):
    noise = each[2] / (n - seen)
    first = each[0] - (k - 1) * noise, each[1] - (seen - k) * noise
    return np.stack([*first, each.sum(0) - first[0] - first[1]])


def test_one_pass_is_two_passes_whatever_the_offset_and_the_parts() -> None:
    h = features()
    want = two_pass(h, LABELS, CATEGORY)
    pieces = [np.array_split(np.arange(N)[i::4], 7) for i in range(4)]
    for parts in ([[slice(None)]], pieces):
        got = shares(h, LABELS, CATEGORY, parts=parts)
        assert got.squares.numpy() == pytest.approx(want.sum(1), rel=1e-10)
        assert float(got.plug_in.sum()) == pytest.approx(1)
        fixed = corrected(want.sum(1), V, C, N) / want.sum()
        assert got.corrected.numpy() == pytest.approx(fixed, rel=1e-9)
        # Totals per feature, 1e5 from the origin, lose digits in the mean alone.
        per = (corrected(want, V, C, N) / want.sum(0)).mean(1)
        assert got.standardised.numpy() == pytest.approx(per, rel=1e-8)
        assert got.largest == pytest.approx((want.sum(0) / want.sum()).max(), rel=1e-8)
    assert (got.tokens, got.categories, got.positions) == (V, C, N)
    assert got.within == pytest.approx(want[1:].sum() / N, rel=1e-10)


def test_turning_and_scaling_changes_nothing_and_names_of_tokens_do_not_matter() -> None:
    h = features(3.0)
    base = shares(h, LABELS, CATEGORY)
    turn, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(D, D)))
    turned = shares(h @ turn * 7, LABELS, CATEGORY)
    torch.testing.assert_close(turned.corrected, base.corrected)
    names = np.random.default_rng(3).permutation(V)
    other = np.empty(V, dtype=int)
    other[names] = 2 * CATEGORY
    renamed = shares(h, names[LABELS], other)
    torch.testing.assert_close(renamed.corrected, base.corrected)
    torch.testing.assert_close(renamed.standardised, base.standardised)
    scaled = shares(h * np.array([1e3, 1, 1, 1, 1, 1e-3]), LABELS, CATEGORY)
    torch.testing.assert_close(scaled.standardised, base.standardised)
    assert scaled.largest > 0.99 > base.largest


def test_noise_of_a_zipf_vocabulary_has_no_share_once_corrected() -> None:
    rng = np.random.default_rng(4)
    vocabulary, n = 20_000, 60_000
    weights = 1 / np.arange(1, vocabulary + 1)
    labels = rng.choice(vocabulary, n, p=weights / weights.sum())
    category = rng.integers(12, size=vocabulary)
    got = shares(rng.normal(size=(n, 16)), labels, category, vocabulary)
    assert got.noise_share == pytest.approx((got.tokens - 12) / (n - 1))
    assert (
        float(got.plug_in[1]) == pytest.approx(got.noise_share, abs=2e-3) and got.noise_share > 0.1
    )
    assert got.corrected.numpy() == pytest.approx([0, 0, 1], abs=3e-3)
    assert got.standardised.numpy() == pytest.approx([0, 0, 1], abs=3e-3)


def test_collapsed_tokens_are_all_share_of_the_token_and_singletons_are_not_told() -> None:
    means = np.random.default_rng(5).normal(size=(V, D))
    got = shares(means[LABELS], LABELS)
    assert got.corrected.numpy() == pytest.approx([0, 1, 0], abs=1e-12)
    assert got.categories == 1
    alone = shares(means, np.arange(V))
    assert alone.corrected.isnan().all()
    assert alone.plug_in.numpy() == pytest.approx([0, 1, 0], abs=1e-12)
    assert float(METRICS["lm_share_token"].evaluate(shares=alone)) != 0
    with pytest.raises(ValueError, match="all features are alike"):
        shares(np.ones((N, D)), LABELS)


def test_bad_maps_and_totals_are_said() -> None:
    h = features()
    moments, spread = collected(h, LABELS)
    held = moments.statistics(), moments.geometry()
    with pytest.raises(ValueError, match="token 39 occurs"):
        variance_shares(*held, torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="whole numbers from 0"):
        variance_shares(*held, torch.full((V,), -1))
    spread.update(torch.from_numpy(h[:5]))
    with pytest.raises(ValueError, match="4005 positions and the means of 4000"):
        variance_shares(*held, None, spread.result())
    with pytest.raises(ValueError, match="standardised"):
        row = METRICS["lm_share_token_standardised"]
        row.evaluate(shares=variance_shares(*held))
    bad = torch.zeros(3, D)
    bad[1, 2] = torch.nan
    with pytest.raises(ValueError, match="sample 8"):
        FeatureSpread(D).update(bad, torch.zeros(3, dtype=torch.int64), torch.tensor([7, 8, 9]))
    with pytest.raises(ValueError, match="at least one"):
        FeatureSpread(D).result()
    # What is ignored is not taken in.
    left = FeatureSpread(D)
    left.update(bad, torch.tensor([3, -100, 3]))
    assert left.result().count == 2


# ---- the floor ----------------------------------------------------------------------------------
def naive_floor(h, group, W, b, tokens):
    """Sample by sample: information, dispersion, floor and variance within groups."""
    info = disp = bound = var = 0.0
    for g in np.unique(group):
        rows = group == g
        T = tokens[g]
        Wg = W[T] - W[T].mean(0)
        z = h[rows] @ W[T].T + b[T]
        p = np.exp(z - z.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        i = (p * np.log((p + 1e-300) / (p.mean(0) + 1e-300))).sum(1).mean()
        c, w = h[rows] - h[rows].mean(0), rows.mean()
        info, disp = info + w * i, disp + w * ((c @ Wg.T) ** 2).sum(1).mean()
        op = np.linalg.norm(Wg, 2)
        bound += w * 4 * i / op**2 if op > 0 else 0.0
        var += w * (c**2).sum(1).mean()
    return info, disp, bound, var


@pytest.mark.parametrize("seed", range(40))
def test_the_floor_is_below_the_variance_for_random_heads(seed: int) -> None:
    rng = np.random.default_rng(seed)
    v, d, groups, n = (
        int(rng.integers(2, 30)),
        int(rng.integers(1, 12)),
        int(rng.integers(1, 5)),
        200,
    )
    W, b = rng.normal(size=(v, d)) * 10 ** rng.uniform(-1, 1), rng.normal(size=v)
    category = rng.integers(groups, size=v)
    labels = rng.integers(v, size=n)
    g = category[labels]
    h = rng.normal(size=(groups, d))[g] + rng.normal(size=(n, d)) * 10 ** rng.uniform(-2, 0.5)
    tokens = {c: np.flatnonzero(category == c) for c in range(groups)}
    head = torch.from_numpy(W), torch.from_numpy(b), torch.from_numpy(category)
    sums, of_logits = Predictions(*head), Predictions(*head)
    x, y = torch.from_numpy(h), torch.from_numpy(labels)
    sums.update(x[:90], y[:90])
    sums.update(x[90:], y[90:])
    of_logits.update(x, y, x @ head[0].T + head[1])
    found = Information.of(sums.result())
    info, disp, bound, var = naive_floor(h, g, W, b, tokens)
    for got in (found, Information.of(of_logits.result())):
        assert (got.nats, got.dispersion, got.floor) == pytest.approx(
            (info, disp, bound), rel=1e-8, abs=1e-11
        )
    assert found.floor <= var * (1 + 1e-9) and 4 * found.nats <= found.dispersion * (1 + 1e-9)
    if v >= 2 and d > 1:
        moments, _ = collected(h, labels, v)
        split = variance_shares(moments.statistics(), moments.geometry(), head[2])
        assert split.within == pytest.approx(var, rel=1e-9)
        share = METRICS["lm_information_floor"].evaluate(information=found, shares=split)
        assert float(share) == pytest.approx(bound / var, rel=1e-8, abs=1e-11) and 0 <= share <= 1


def test_the_floor_is_tight_for_two_even_tokens_and_nothing_for_collapsed_categories() -> None:
    x = torch.from_numpy(np.r_[-1e-3, 1e-3][np.random.default_rng(0).integers(2, size=4000)])[
        :, None
    ]
    sums = Predictions(torch.tensor([[1.0], [-1.0]], dtype=torch.float64))
    sums.update(x, torch.zeros(4000, dtype=torch.int64))
    found = Information.of(sums.result())
    assert found.floor == pytest.approx(float(x.var(correction=0)), rel=1e-3)
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    head = torch.randn(9, 4, generator=generator, dtype=torch.float64)
    collapsed = Predictions(head, None, torch.arange(9) % 3)
    labels = torch.arange(9).repeat(20)
    collapsed.update(centres[labels % 3], labels)
    assert Information.of(collapsed.result()).nats < 1e-12


def test_bad_categories_of_a_head_are_said() -> None:
    head = torch.zeros(4, 2)
    with pytest.raises(ValueError, match="the head 4 rows"):
        Predictions(head, None, torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="at least one"):
        Predictions(head).result()
    # A head that tells nothing apart has a floor of 0, not of 0/0.
    flat = Predictions(head)
    flat.update(torch.eye(5, 2), torch.tensor([0, 1, 2, 3, -100]))
    assert Information.of(flat.result()).floor == 0 and float(flat.counts.sum()) == 4
