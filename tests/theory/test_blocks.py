"""Grouped matrices against the dense ones they stand for."""

from __future__ import annotations

import time

import numpy as np
import pytest

from ncollapse.theory.solvers.blocks import BlockMatrix, Groups, complement_of_ones


def example(rng: np.random.Generator, counts=(9, 4, 9, 4, 4, 2, 9)) -> BlockMatrix:
    groups = Groups.of(counts)
    spread = np.where(groups.several, rng.standard_normal(groups.number), 0.0)
    return BlockMatrix(groups, spread, rng.standard_normal((groups.number, groups.number)))


def test_groups_are_classes_with_equal_entries() -> None:
    groups = Groups.of((9, 4, 9, 4), weight=(1, 1, 1, 2), shift=(0.5, 0.5, 0.5, 0.5))
    assert groups.number == 3 and groups.num_classes == 4 and groups.num_samples == 26
    assert groups.index.tolist() == [2, 0, 2, 1]
    assert groups.sizes.tolist() == [1, 1, 2] and groups.several.tolist() == [False, False, True]
    assert groups.counts.tolist() == [4, 4, 9] and groups.weight.tolist() == [1, 2, 1]
    assert groups.scale is None and groups.shift.tolist() == [0.5] * 3
    assert groups.members(2).tolist() == [0, 2]
    assert Groups.of((9, 4, 9, 4), merge=False).number == 4


def test_dense_is_the_stated_sum(rng) -> None:
    matrix = example(rng)
    groups = matrix.groups
    expected = np.zeros((7, 7))
    for i in range(groups.number):
        ones = (groups.index == i).astype(float)
        expected += matrix.spread[i] * (np.diag(ones) - np.outer(ones, ones) / ones.sum())
        for j in range(groups.number):
            other = (groups.index == j).astype(float)
            scale = np.sqrt(ones.sum() * other.sum())
            expected += matrix.core[i, j] * np.outer(ones, other) / scale
    np.testing.assert_allclose(matrix.dense(), expected, atol=1e-14)


def test_singular_values_norm_and_factors_are_those_of_the_dense(rng) -> None:
    matrix = example(rng)
    dense = matrix.dense()
    values = np.linalg.svd(dense, compute_uv=False)
    np.testing.assert_allclose(matrix.singular_values(), values, atol=1e-13)
    assert matrix.nuclear() == pytest.approx(values.sum())
    U, found, V = matrix.factors()
    np.testing.assert_allclose(found, values, atol=1e-13)
    np.testing.assert_allclose((U * found) @ V.T, dense, atol=1e-13)
    for basis in (U, V):
        np.testing.assert_allclose(basis.T @ basis, np.eye(7), atol=1e-13)
    U, found, V = matrix.factors(3)
    best = np.linalg.norm((U * found) @ V.T - dense, 2)
    assert U.shape == (7, 3) and best == pytest.approx(values[3])


def test_projection_averages_over_permutations_within_groups(rng) -> None:
    matrix = example(rng)
    again = BlockMatrix.project(matrix.groups, matrix.dense())
    np.testing.assert_allclose(again.core, matrix.core, atol=1e-13)
    np.testing.assert_allclose(again.spread, matrix.spread, atol=1e-13)
    full = rng.standard_normal((7, 7))
    projected = BlockMatrix.project(matrix.groups, full).dense()
    # The residual is orthogonal to the form.
    assert np.vdot(full - projected, dense_of(rng, matrix.groups)) == pytest.approx(0, abs=1e-12)


def dense_of(rng: np.random.Generator, groups: Groups) -> np.ndarray:
    spread = np.where(groups.several, rng.standard_normal(groups.number), 0.0)
    return BlockMatrix(groups, spread, rng.standard_normal((groups.number,) * 2)).dense()


@pytest.mark.parametrize("size", [2, 3, 10])
def test_complement_of_ones_is_orthonormal(size) -> None:
    basis = complement_of_ones(size)
    np.testing.assert_allclose(basis.T @ basis, np.eye(size - 1), atol=1e-14)
    np.testing.assert_allclose(basis.sum(0), 0, atol=1e-14)


def test_a_thousand_classes_in_two_groups_take_no_large_decomposition() -> None:
    groups = Groups.of((100,) * 500 + (10,) * 500)
    matrix = BlockMatrix(groups, np.array([1.0, 2.0]), np.eye(2))
    began = time.perf_counter()
    matrix.singular_values()
    matrix.nuclear()
    assert time.perf_counter() - began < 0.05
