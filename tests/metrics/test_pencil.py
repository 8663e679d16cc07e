"""NC1 in the span of the means against singular values, and errors from influences."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ncollapse as nc
from ncollapse.collect.statistics.classes import ClassMoments
from ncollapse.collect.statistics.residuals import Residuals
from ncollapse.linalg import add_symmetric, factored, mirrored
from ncollapse.metrics import influence
from ncollapse.metrics.catalog import METRICS
from ncollapse.metrics.nc1 import nc1_fisher, nc1_vci
from ncollapse.metrics.pencil import whitened
from ncollapse.metrics.population.sample import Sample

CASES = {
    "ordinary": (10, 24, 30, 1.0),
    "collapsed": (10, 24, 30, 1e-6),
    "well apart": (6, 24, 60, 0.2),
    "more classes than features": (30, 12, 20, 0.3),
    "wide": (10, 96, 20, 1.0),
    "fewer samples than features": (8, 60, 9, 1.0),
    "many more features": (6, 300, 6, 1.0),
}
EXTRAS = ("", "dead units", "copies")


def drawn(name: str, extra: str = "", seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    K, d, n, noise = CASES[name]
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(K), rng.integers(max(2, n // 2), n + n // 2, K))
    size = (1 + np.arange(d)) ** -0.5
    turn = np.linalg.qr(rng.standard_normal((d, d)))[0]
    means = 1.5 * rng.standard_normal((K, d)) * size + 0.3
    rows = (means[labels] + noise * rng.standard_normal((len(labels), d)) * size) @ turn
    if extra == "dead units":
        rows = np.hstack([rows, np.zeros((len(rows), 7)), np.full((len(rows), 2), 0.25)])
    if extra == "copies":
        rows = np.hstack([rows, rows[:, :5]])
    return rows, labels


def slow(rows: np.ndarray, labels: np.ndarray, weighting: str) -> tuple[float, float]:
    """nc1_fisher and nc1_vci from singular values of the centred samples."""
    K, counts = labels.max() + 1, np.bincount(labels)
    p = np.full(K, 1 / K) if weighting == "macro" else counts / len(labels)
    means = np.stack([rows[labels == c].mean(0) for c in range(K)])
    within = (rows - means[labels]) * np.sqrt(p / counts)[labels][:, None]
    between = (means - p @ means) * np.sqrt(p)[:, None]

    def directions(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        _, size, axes = np.linalg.svd(matrix, full_matrices=False)
        keep = size > size[0] * 1e-13 * max(rows.shape)
        return size[keep], axes[keep]

    size, axes = directions(between)
    fisher = ((within @ axes.T / size) ** 2).sum() / K
    total, axes = directions(np.vstack([within, between]))
    # What is not explained, summed from within: nothing cancels.
    _, _, right = np.linalg.svd(between @ axes.T / total)
    rank = len(size)
    seen = right[:rank]
    return fisher, (((within @ axes.T / total) @ seen.T) ** 2).sum() / rank


@pytest.mark.parametrize("weighting", ["macro", "micro"])
@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize("name", CASES)
def test_values_are_those_of_singular_values(name: str, extra: str, weighting: str) -> None:
    rows, labels = drawn(name, extra)
    fisher, vci = slow(rows, labels, weighting)
    m = nc.measure_features(
        rows, labels, weighting=weighting, definition=weighting, null=False, intervals=False,
        decisions=False,
    )  # fmt: skip
    assert m.value("nc1_fisher") == pytest.approx(fisher, rel=1e-9)
    free = len(labels) - labels.max() - 1
    if free <= min(CASES[name][1], rows.shape[1]):
        assert m.results["train"]["head"]["nc1_vci"].value is None
    else:
        assert m.value("nc1_vci") == pytest.approx(vci, rel=1e-9)


@pytest.mark.parametrize("extra", EXTRAS)
def test_derivatives_are_those_of_differences(extra: str) -> None:
    rows, labels = drawn("ordinary", extra)
    moments = ClassMoments(10, rows.shape[1])
    moments.update(torch.from_numpy(rows), torch.from_numpy(labels))
    statistics, means = moments.statistics(), moments.geometry().means
    step = torch.zeros_like(means)
    # Along directions that features occupy: elsewhere a derivative at constant rank is another one.
    step[:, :24] = 1e-6 * torch.randn(10, 24, generator=torch.Generator().manual_seed(1)).double()
    if extra == "copies":
        step[:, 24:] = step[:, :5]
    for metric in (nc1_fisher, nc1_vci):
        own = means.clone().requires_grad_()
        metric(statistics, nc.Geometry(own)).backward()
        sides = [float(metric(statistics, nc.Geometry(means + s * step))) for s in (1, -1)]
        wanted = (sides[0] - sides[1]) / 2
        assert float((own.grad * step).sum()) == pytest.approx(wanted, rel=1e-4)


def test_a_factor_keeps_the_rank_and_the_rows() -> None:
    generator = torch.Generator().manual_seed(0)
    for size, dim in ((8, 20), (8, 8), (20, 8)):
        means = torch.randn(size, dim, generator=generator, dtype=torch.float64)
        means[1] = means[0]
        p = torch.rand(size, generator=generator, dtype=torch.float64) + 0.1
        p = p / p.sum()
        rows = (means - p @ means) * p.sqrt()[:, None]
        found = factored(rows, p.sqrt())
        assert found.rank == min(size - 2, dim)
        torch.testing.assert_close(found.left @ found.F, rows)
        torch.testing.assert_close(found.F @ found.pinv, torch.eye(found.rank).double())
        torch.testing.assert_close(found.pinv @ found.left.T, torch.linalg.pinv(rows))
        sizes = torch.linalg.svdvals(rows)
        largest, least = found.extremes()
        assert largest == pytest.approx(float(sizes[0]), rel=1e-6)
        assert least == pytest.approx(float(sizes[found.rank - 1]), rel=1e-6)
    with pytest.raises(ValueError, match="coincide"):
        factored(torch.zeros(4, 3).double(), torch.full((4,), 0.5).double())


def test_directions_without_spread_explain_what_means_differ_by_in_them() -> None:
    """Of three features the last is constant within classes."""
    S = torch.diag(torch.tensor([1.0, 2.0, 0.0])).double()
    F = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 5.0]]).double()
    found = whitened(S, F)
    assert found.rank == 2 and found.free is not None and found.free.shape == (2, 1)
    torch.testing.assert_close(found.shrunk(), torch.diag(torch.tensor([0.5, 0.0])).double())


def test_block_triangles_are_the_whole_product() -> None:
    rows = torch.randn(300, 517, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    products = torch.zeros(517, 517, dtype=torch.float64)
    add_symmetric(products, rows[:100])
    add_symmetric(products, rows[100:])
    torch.testing.assert_close(mirrored(products), rows.T @ rows, rtol=1e-12, atol=1e-12)


# ---- influences -------------------------------------------------------------------------------------
def held(rows: np.ndarray, labels: np.ndarray, number: int = 8192) -> tuple[Sample, Residuals]:
    moments = ClassMoments(int(labels.max()) + 1, rows.shape[1])
    moments.update(torch.from_numpy(rows), torch.from_numpy(labels))
    residuals = Residuals(moments, torch.float64, rows=number)
    residuals.update(torch.from_numpy(rows), torch.from_numpy(labels))
    return Sample.of(moments.statistics(), moments.geometry(), "macro"), residuals


@pytest.mark.parametrize("key", ["nc1_fisher", "nc1_vci"])
@pytest.mark.parametrize("name", ["well apart", "more classes than features", "collapsed"])
def test_influences_are_what_swapping_a_sample_changes(key: str, name: str) -> None:
    """A sample for another of its class, in 300 copies of the data: to first order u_i - u_j."""
    rows, labels = drawn(name)
    copies, i, j = 300, 0, 1
    row = METRICS[key]
    kept: list[torch.Tensor] = []
    sample, residuals = held(rows, labels)
    plain = influence.error_of
    try:
        influence.error_of = lambda u, r: kept.append(u) or plain(u, r)
        influence.standard_error(row, sample, residuals)
    finally:
        influence.error_of = plain
    big, each = np.tile(rows, (copies, 1)), np.tile(labels, copies)
    sides = []
    for gone, new in ((j, i), (i, j)):
        moved = big.copy()
        moved[gone] = rows[new]
        sides.append(float(row.population(held(moved, each)[0]).log()))
    slope = (sides[0] - sides[1]) / 2 * copies
    if row.scale != "log":
        raise AssertionError("both rows are read on the scale of logarithms")
    assert slope == pytest.approx(float(kept[0][i] - kept[0][j]), rel=0.15, abs=2e-4)


@pytest.mark.parametrize("key", ["nc1_fisher", "nc1_vci"])
def test_errors_from_some_samples_are_those_from_all(key: str) -> None:
    rng = np.random.default_rng(5)
    labels = np.repeat(np.arange(6), 800)
    rows = rng.standard_normal((6, 16))[labels] + 0.5 * rng.standard_normal((len(labels), 16))
    sample, whole = held(rows, labels)
    _, some = held(rows, labels, 1500)
    exact = influence.standard_error(METRICS[key], sample, whole)[1]
    assert influence.standard_error(METRICS[key], sample, some)[1] == pytest.approx(exact, rel=0.08)


# ---- samples that are kept ---------------------------------------------------------------------------
def test_kept_samples_are_a_share_of_every_class_by_place_alone() -> None:
    rng = np.random.default_rng(0)
    counts = np.array([3000, 40, 1, 500])
    labels = rng.permutation(np.repeat(np.arange(4), counts))
    rows = rng.standard_normal((len(labels), 5))
    _, one = held(rows, labels, 400)
    kept = torch.bincount(one.labels, minlength=4)
    assert kept.tolist() == [round(3000 * 400 / 3541), 8, 1, round(500 * 400 / 3541)]
    order = np.argsort(labels, kind="stable")
    _, other = held(rows[order], labels[order], 400)
    torch.testing.assert_close(one.rows, other.rows)
    assert not one.whole and held(rows, labels)[1].whole
    assert len(np.unique(one._wanted.numpy())) == len(one.labels)


# ---- few samples in many dimensions --------------------------------------------------------------------
def test_in_their_span_few_samples_read_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    labels = np.arange(40) % 4
    rows = rng.standard_normal((4, 150))[labels] + 0.3 * rng.standard_normal((40, 150))
    weight, bias = rng.standard_normal((4, 150)), rng.standard_normal(4)
    split = np.where(np.arange(40) < 28, "train", "test")

    def measured() -> nc.Measurement:
        return nc.measure_features(rows, labels, weight=weight, bias=bias, split=split)

    inside = measured()
    monkeypatch.setattr("ncollapse.measuring.layers.spanned", lambda source, budget: source)
    plain = measured()
    assert inside.document.num_features == plain.document.num_features == 150
    for name in ("train", "test"):
        for key, reading in plain.results[name]["head"].items():
            other = inside.results[name]["head"][key]
            for part in ("value", "estimate", "floor"):
                mine, theirs = getattr(reading, part), getattr(other, part)
                if part == "floor" and METRICS[key].floor == "rounding" and theirs is not None:
                    continue  # an approximation there
                assert theirs == (None if mine is None else pytest.approx(mine, rel=1e-9)), key
            if reading.null is not None:
                assert other.null.mean == pytest.approx(reading.null.mean, rel=1e-9, abs=1e-12)
    torch.testing.assert_close(inside.geometry.means, plain.geometry.means)
    assert torch.equal(inside.geometry.weight, plain.geometry.weight)
    assert [v.answer for v in inside.verdicts] == [v.answer for v in plain.verdicts]
