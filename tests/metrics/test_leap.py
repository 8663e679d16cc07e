"""The leap: closed forms on simplices, invariance, and classes that are not there."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ncollapse.metrics.catalog import of_task
from ncollapse.metrics.leap import Twins, Vertices, angle_between, class_means

K, D = 4, 6


def simplex(offset: float = 3.0) -> torch.Tensor:
    rows = torch.zeros(K, D, dtype=torch.float64)
    rows[:, :K] = torch.eye(K, dtype=torch.float64) - 1 / K
    return rows + offset


def leaping(share: float = 1.0, noise: float = 0.0) -> Twins:
    """Every sample goes a share of the way to the vertex of the next class, which is taken."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % K
    goal = (labels + 1) % K
    means = simplex()
    clean = means[labels] + noise * torch.randn(40, D, generator=generator, dtype=torch.float64)
    hostile = torch.lerp(clean, means[goal], share)
    vertices = Vertices(means)
    t = torch.linspace(0, 1, 21, dtype=torch.float64)
    path = torch.stack([vertices.cosines(torch.lerp(clean, hostile, float(x))) for x in t], 1)
    return Twins(clean, hostile, labels, labels, goal, labels, vertices, torch.arange(40), path)


def read(twins: Twins) -> dict[str, float]:
    return {key: float(row.evaluate(twins=twins)) for key, row in of_task("attack").items()}


def test_a_whole_leap_on_a_simplex_has_its_closed_form() -> None:
    found = read(leaping())
    assert found["flip_share"] == 1
    assert found["leap_own"] == pytest.approx(-1 / (K - 1))
    assert found["leap_predicted"] == found["leap_other"] == pytest.approx(1)
    assert found["leap_nearest"] == 1
    assert found["mean_angle"] == pytest.approx(torch.rad2deg(torch.tensor(-1 / (K - 1)).acos()))
    assert found["centre_angle"] == pytest.approx(0, abs=1e-5)


def test_the_way_on_a_straight_edge_has_its_closed_form() -> None:
    """At t the edge is (1-t) a + t b with a·b = -a²/(K-1): cosine to a is (1-t - t/(K-1)) over
    √((1-t)² + t² - 2t(1-t)/(K-1))."""
    t = torch.linspace(0, 1, 21, dtype=torch.float64)
    length = ((1 - t) ** 2 + t**2 - 2 * t * (1 - t) / (K - 1)).sqrt()
    own, other = (1 - t - t / (K - 1)) / length, (t - (1 - t) / (K - 1)) / length
    path = leaping().path
    assert path is not None
    assert torch.allclose(path.max(2).values, torch.maximum(own, other).expand(40, 21))
    wanted = float((torch.maximum(own, other) < 0.7).double().mean())
    assert read(leaping())["leap_between"] == pytest.approx(wanted)
    assert 0 < wanted < 0.7


def test_nothing_that_moved_reads_as_clean() -> None:
    still = leaping(share=0.0)
    found = read(still)
    assert found["leap_own"] == pytest.approx(1) and found["leap_between"] == 0
    for key in ("mean_angle", "mean_angle_raw", "centre_angle"):
        assert found[key] == pytest.approx(0, abs=1e-5)


def test_grouped_by_target_a_whole_leap_is_the_clean_simplex() -> None:
    twins = leaping()
    by_target = replace(twins, groups=twins.predicted)
    assert read(by_target)["mean_angle"] == pytest.approx(0, abs=1e-5)
    assert read(twins)["mean_angle"] > 90


def test_rotation_scale_and_shift_change_nothing_that_is_centred() -> None:
    generator = torch.Generator().manual_seed(1)
    turn, _ = torch.linalg.qr(torch.randn(D, D, generator=generator, dtype=torch.float64))
    twins = leaping(0.8, noise=0.1)

    def moved(rows: torch.Tensor) -> torch.Tensor:
        return 7 * rows @ turn + 2

    other = replace(
        twins,
        clean=moved(twins.clean),
        attacked=moved(twins.attacked),
        vertices=Vertices(moved(twins.vertices.means)),
    )
    first, second = read(twins), read(other)
    for key in first:
        if key not in ("mean_angle_raw", "centre_angle"):
            assert first[key] == pytest.approx(second[key], abs=1e-9), key


def test_a_common_offset_hides_the_angle_of_raw_means() -> None:
    found = read(leaping())
    assert found["mean_angle_raw"] < 0.2 * found["mean_angle"]


def test_classes_without_samples_are_left_out() -> None:
    """A fifth class that no clean sample has changes no reading but is taken sometimes."""
    twins = leaping(0.9, noise=0.05)
    wide = Vertices(torch.cat([twins.vertices.means, torch.full((1, D), torch.nan)]).double())
    path = twins.path
    assert path is not None
    more = torch.cat([path, torch.full((*path.shape[:2], 1), torch.nan)], 2)
    other = replace(twins, vertices=wide, path=more)
    first, second = read(twins), read(other)
    assert all(first[key] == pytest.approx(second[key]) for key in first)
    taken = twins.predicted.clone()
    taken[0] = K
    assert torch.isfinite(torch.tensor(list(read(replace(other, predicted=taken)).values()))).all()


def test_without_flips_leaps_are_not_read() -> None:
    still = replace(leaping(0.0), predicted=leaping().labels, path=None, walked=None)
    found = read(still)
    assert found["flip_share"] == 0
    for key in ("leap_own", "leap_other", "leap_predicted", "leap_nearest", "leap_between"):
        assert found[key] != found[key]


def test_means_are_those_of_groups_and_angles_of_those_that_both_have() -> None:
    rows = torch.arange(8.0)[:, None].double()
    found = class_means(rows, torch.tensor([0, 0, 2, 2, 2, 0, 0, 2]), 3)
    assert found[0] == 3 and found[2] == 4 and found[1].isnan()
    few = Vertices(torch.cat([simplex()[:3], torch.full((1, D), torch.nan).double()]))
    assert float(angle_between(few, few)) == pytest.approx(0, abs=1e-5)
