"""Geometry: ideal frames, distance and margin as laws."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ncollapse.geometry import LARGEST_GRAM, Geometry
from ncollapse.linalg import gram_gap
from ncollapse.pairs.sums import pair_sums


@pytest.mark.parametrize("count", [2, 3, 10, 50])
def test_a_simplex_has_equal_lengths_and_angles_in_the_fewest_dimensions(count: int) -> None:
    frame = Geometry.simplex_etf(count, count - 1)
    gram = frame.means @ frame.means.T
    target = torch.full((count, count), -1 / (count - 1), dtype=torch.float64)
    target.fill_diagonal_(1.0)
    torch.testing.assert_close(gram, target, rtol=0, atol=1e-12)
    torch.testing.assert_close(
        frame.means.sum(0), torch.zeros(count - 1).double(), atol=1e-12, rtol=0
    )


def test_frames_that_do_not_fit_say_which_width_is_needed() -> None:
    with pytest.raises(ValueError, match="at least 9 are needed"):
        Geometry.simplex_etf(10, 8)
    with pytest.raises(ValueError, match="at least 4 are needed"):
        Geometry.orthogonal([1.0] * 4, 3)
    with pytest.raises(ValueError, match="at least 2"):
        Geometry.simplex_etf(1, 8)


def test_distance_ignores_rotation_scale_and_width_but_not_class_order() -> None:
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(5, 8, generator=generator).double()
    weight = torch.randn(5, 8, generator=generator).double()
    one = Geometry(means, weight)
    turn, _ = torch.linalg.qr(torch.randn(8, 8, generator=generator).double())
    wider = torch.nn.functional.pad(means @ turn, (0, 3))
    two = Geometry(7 * wider + 3.0, 7 * torch.nn.functional.pad(weight @ turn, (0, 3)))
    assert one.distance(two).value < 1e-12
    assert one.distance(one.select(torch.tensor([1, 0, 2, 3, 4]))).value > 0.1
    assert one.distance(two).value == pytest.approx(two.distance(one).value)


def test_distance_from_identities_is_the_distance_of_matrices() -> None:
    generator = torch.Generator().manual_seed(1)
    rows = [torch.randn(LARGEST_GRAM + 1, 4, generator=generator).double() for _ in range(4)]
    found = gram_gap((rows[0], rows[1]), (rows[2], rows[3]))
    left, right = rows[0] @ rows[1].T, rows[2] @ rows[3].T
    wanted = float((left / left.norm() - right / right.norm()).norm())
    assert found == pytest.approx(wanted, rel=1e-9)


def test_the_simplex_has_the_largest_one_vs_rest_margin() -> None:
    frame = Geometry.simplex_etf(6, 9)
    torch.testing.assert_close(
        frame.one_vs_rest_margin(), torch.full((6,), 6 / 5, dtype=torch.float64), rtol=1e-9, atol=0
    )
    for seed in range(5):
        rows = torch.from_numpy(np.random.default_rng(seed).normal(size=(6, 9)))
        assert float(Geometry(rows).one_vs_rest_margin().min()) < 6 / 5


def test_shapes_that_disagree_are_named() -> None:
    with pytest.raises(ValueError, match="means, a weight or both"):
        Geometry()
    with pytest.raises(ValueError, match="disagree"):
        Geometry(torch.ones(3, 4), torch.ones(2, 4))
    with pytest.raises(ValueError, match="means have 4 features and weight 5"):
        Geometry(torch.ones(3, 4), torch.ones(3, 5))
    with pytest.raises(ValueError, match="share no block"):
        Geometry(means=torch.eye(3)).distance(Geometry(weight=torch.eye(3)))


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("count", [3, 1500])
def test_tiles_agree_with_the_whole_matrix(count: int, single: bool) -> None:
    generator = torch.Generator().manual_seed(2)
    rows = torch.randn(count, 16, generator=generator).double()
    # Some near-duplicates: their distances cancel in |a|² + |b|² - 2ab.
    rows[1] = rows[0] + 1e-5 * rows[2]
    offset = torch.randn(16, generator=generator).double()
    found = pair_sums(rows, offset, single=single)
    distance = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
    distance.fill_diagonal_(torch.inf)
    unit, raw = (r / r.norm(dim=1, keepdim=True) for r in (rows, rows + offset))
    pairs = torch.triu_indices(count, count, 1)
    cosines = (unit @ unit.T)[pairs[0], pairs[1]]
    tolerance = 1e-5 if single else 1e-9
    wanted = {
        "mean_abs_cosine": cosines.abs().mean(),
        "mean_abs_shifted": (cosines + 1 / (count - 1)).abs().mean(),
        "mean_abs_raw": (raw @ raw.T)[pairs[0], pairs[1]].abs().mean(),
        "inverse_distance": (distance**-2).sum(1),
        "nearest_distance": distance.min(1).values,
    }
    for name, value in wanted.items():
        torch.testing.assert_close(getattr(found, name), value, rtol=tolerance, atol=0, msg=name)
    assert torch.equal(found.nearest, distance.argmin(1))
    if not single:
        torch.testing.assert_close(found.var_cosine, cosines.var(correction=0))


def test_large_frames_are_repeated_in_float64() -> None:
    """An orthogonal frame has cosines of zero: float32 tiles cannot carry that."""
    rows = torch.eye(4200, dtype=torch.float64)
    found = pair_sums(rows, distances=False)
    assert float(found.mean_abs_cosine) == 0.0


def test_identities_agree_with_matrices_and_hand_over_to_tiles_where_they_cancel() -> None:
    from ncollapse.metrics import nc2

    generator = torch.Generator().manual_seed(3)
    rows = torch.randn(300, 20, generator=generator).double()
    geometry = Geometry(rows, rows + torch.randn(300, 20, generator=generator).double())
    frame = Geometry.simplex_etf(300, 299)
    near = Geometry(frame.means + 1e-7 * torch.randn(300, 299, generator=generator).double())
    readings = {}
    for limit in (LARGEST_GRAM, 10):
        nc2.LARGEST_GRAM = limit
        try:
            readings[limit] = [
                float(nc2.nc2_etf(geometry, "means")),
                float(nc2.nc2_etf(geometry, "weight")),
                float(nc2.nc2_orthogonal(geometry, "means")),
                float(nc2.nc2_equiangular(geometry, "weight")),
                float(nc2.nc2_etf(near, "means")),
                float(nc2.nc2_equiangular(near, "means")),
            ]
        finally:
            nc2.LARGEST_GRAM = LARGEST_GRAM
    assert readings[10] == pytest.approx(readings[LARGEST_GRAM], rel=1e-9)
    assert readings[10][4] < 1e-5
