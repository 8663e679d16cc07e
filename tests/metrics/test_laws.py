"""Laws that every metric of the catalog obeys; a new row is checked by itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ncollapse.collect.statistics.classes import ClassMoments
from ncollapse.collect.statistics.decisions import Decisions
from ncollapse.collect.statistics.directions import Directions
from ncollapse.collect.statistics.summary import ClassStatistics
from ncollapse.geometry import Geometry
from ncollapse.metrics.alignment import strongest
from ncollapse.metrics.catalog import of_task
from tests.data import make

# Laws of classes; those of other tasks stand in files of their own.
METRICS = of_task()

CASE = make("laws", counts=[30, 50, 20, 40], dim=6, dtype=np.float64, seed=3)
# Raw rows move with a common shift of the features; everything else does not.
RAW = {"dir_spread", "norm_cv", "raw_cosine"}
MOVED_BY_SHIFT = {"nc2_orthogonal_means", "nc2_gof_means", "nc3_duality_raw", *RAW}
SCALED = {"margin_min", "margin_mean"}


def values(
    features: np.ndarray, labels: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None
) -> dict[str, float]:
    count, dim = weight.shape
    moments = ClassMoments(count, dim)
    moments.update(torch.from_numpy(features), torch.from_numpy(labels))
    head = torch.from_numpy(weight).double()
    shift = None if bias is None else torch.from_numpy(bias).double()
    decided = Decisions(moments.means, torch.arange(count), count, head, shift)
    decided.update(torch.from_numpy(features), torch.from_numpy(labels))
    geometry = replace(moments.geometry(head), reads=strongest(head, count - 1))
    rays = Directions(count, dim)
    rays.update(torch.from_numpy(features), torch.from_numpy(labels))
    parts = {
        "rays": rays.result(),
        "statistics": moments.statistics(),
        "geometry": geometry,
        "decisions": decided,
    }
    return {key: float(row.evaluate(**parts)) for key, row in METRICS.items()}


def rotation(dim: int, seed: int = 5) -> np.ndarray:
    basis, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(dim, dim)))
    return basis


BASE = values(CASE.features, CASE.labels, CASE.weight)


@pytest.mark.parametrize("key", METRICS)
def test_a_rotation_of_features_and_head_changes_nothing(key: str) -> None:
    turn = rotation(6)
    turned = values(CASE.features @ turn, CASE.labels, CASE.weight.astype(float) @ turn)
    assert turned[key] == pytest.approx(BASE[key], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("key", METRICS)
def test_scaling_features_and_head_together(key: str) -> None:
    scaled = values(3 * CASE.features, CASE.labels, 3 * CASE.weight.astype(float))
    factor = 9 if key in SCALED else 1
    assert scaled[key] == pytest.approx(factor * BASE[key], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("key", [key for key in METRICS if key not in MOVED_BY_SHIFT])
def test_a_common_shift_changes_nothing_but_raw_rows(key: str) -> None:
    move = np.random.default_rng(6).normal(size=6)
    weight = CASE.weight.astype(float)
    # The bias takes the shift back, so that decisions stay the same.
    moved = values(CASE.features + move, CASE.labels, weight, -weight @ move)
    assert moved[key] == pytest.approx(BASE[key], rel=1e-8, abs=1e-12)


@pytest.mark.parametrize("key", sorted(MOVED_BY_SHIFT))
def test_raw_rows_do_move(key: str) -> None:
    moved = values(CASE.features + 5.0, CASE.labels, CASE.weight.astype(float))
    assert moved[key] != pytest.approx(BASE[key], rel=1e-3)


@pytest.mark.parametrize("key", METRICS)
def test_relabelling_classes_and_shuffling_samples_changes_nothing(key: str) -> None:
    rng = np.random.default_rng(7)
    names, order = rng.permutation(4), rng.permutation(len(CASE.labels))
    weight = np.empty_like(CASE.weight)
    weight[names] = CASE.weight
    other = values(CASE.features[order], names[CASE.labels][order], weight)
    assert other[key] == pytest.approx(BASE[key], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("count", [2, 4, 7])
def test_a_dual_simplex_gives_every_ideal_value(count: int) -> None:
    frame = Geometry.simplex_etf(count, count + 3)
    labels = np.repeat(np.arange(count), 5)
    found = values(frame.means.numpy()[labels], labels, frame.weight.numpy())
    for key, row in METRICS.items():
        if row.ideal is None or key.startswith(("nc2_orthogonal", "nc2_gof", "raw_cosine")):
            continue
        assert found[key] == pytest.approx(row.ideal, abs=1e-7), key


def test_an_orthogonal_frame_is_ideal_for_its_own_metrics() -> None:
    frame = Geometry.orthogonal([2.0] * 5, 8)
    for side in ("means", "weights"):
        assert float(METRICS[f"nc2_orthogonal_{side}"].evaluate(geometry=frame)) < 1e-12
        general = Geometry.orthogonal([1.0, 2.0, 3.0, 4.0, 5.0], 8)
        assert float(METRICS[f"nc2_gof_{side}"].evaluate(geometry=general)) < 1e-12
        assert float(METRICS["raw_cosine"].evaluate(geometry=general)) < 1e-12
        assert float(METRICS[f"nc2_orthogonal_{side}"].evaluate(geometry=general)) > 0.1
    # Centred, equally long orthogonal rows are a simplex: only raw rows tell the two apart.
    assert float(METRICS["nc2_etf_means"].evaluate(geometry=frame)) < 1e-12


@pytest.mark.parametrize("key", METRICS)
def test_values_stay_in_the_stated_range(key: str) -> None:
    row = METRICS[key]
    for seed in range(4):
        case = make("r", counts=[5, 9, 7], dim=4, spread=2.0, dtype=np.float64, seed=seed)
        found = values(case.features, case.labels, case.weight, case.bias)[key]
        assert row.lower is None or found >= row.lower
        assert row.upper is None or found <= row.upper


DIFFERENTIABLE = [k for k, row in METRICS.items() if not {"decisions", "rays"} & set(row.needs)]


@pytest.mark.parametrize("simplex", [False, True], ids=["general", "at-the-simplex"])
@pytest.mark.parametrize("key", DIFFERENTIABLE)
def test_every_metric_of_statistics_is_differentiable(key: str, simplex: bool) -> None:
    """Gradients by finite differences in general position, and finite at the frame itself, where
    equal singular values would break the derivative of an SVD."""
    moments = ClassMoments(4, 6)
    moments.update(torch.from_numpy(CASE.features), torch.from_numpy(CASE.labels))
    held = moments.statistics()
    frame = Geometry.simplex_etf(4, 6)
    start = frame.means if simplex else moments.means
    head = frame.weight if simplex else torch.from_numpy(CASE.weight).double()
    inputs = [t.clone().requires_grad_() for t in (start, head, held.traces, held.macro)]

    def evaluate(
        means: torch.Tensor, weight: torch.Tensor, traces: torch.Tensor, scatter: torch.Tensor
    ) -> torch.Tensor:
        symmetric = (scatter + scatter.T) / 2
        statistics = ClassStatistics(held.counts, traces, symmetric, symmetric)
        geometry = Geometry(means, weight, reads=strongest(head, 3))
        return METRICS[key].evaluate(statistics=statistics, geometry=geometry)

    if not simplex:
        assert torch.autograd.gradcheck(evaluate, inputs, eps=1e-6, atol=1e-5, rtol=1e-4)
    else:
        grads = torch.autograd.grad(evaluate(*inputs), inputs, allow_unused=True)
        assert all(g is None or bool(g.isfinite().all()) for g in grads)


def test_float32_features_read_like_float64_ones() -> None:
    narrow = values(CASE.features.astype(np.float32), CASE.labels, CASE.weight)
    for key, value in narrow.items():
        assert value == pytest.approx(BASE[key], rel=1e-4), key


def test_half_precision_features_are_read() -> None:
    moments = ClassMoments(4, 6)
    moments.update(torch.from_numpy(CASE.features).bfloat16(), torch.from_numpy(CASE.labels))
    share = METRICS["class_share"].evaluate(
        statistics=moments.statistics(), geometry=moments.geometry()
    )
    assert float(share) == pytest.approx(BASE["class_share"], rel=1e-2)
