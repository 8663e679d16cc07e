"""Forgetting: laws of its numbers, what they say of made features, and bad input."""

from __future__ import annotations

import json
import math

import pytest
import torch

from ncollapse.control import SimplexHead
from ncollapse.downstream.foldwise import left_out
from ncollapse.downstream.forgetting import forgetting_of_features, measure_forgetting
from ncollapse.downstream.subspace import (
    Estimate,
    Subspace,
    class_means,
    cross_cdnv,
    drawn_rank,
    effective_rank,
    occupied,
    random_energy,
)
from tests.models import K, blobs, net

WIDTH = 12


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def made(samples: int = 40, noise: float = 0.3, first: int = 0, classes: int = 3, seed: int = 0):
    """Features around random means, labels first.. in turns."""
    labels = torch.arange(samples) % classes
    means = 2 * normal(8, WIDTH, seed=5)
    rows = means[first + labels] + noise * normal(samples, WIDTH, seed=seed)
    return rows, first + labels


def rotation(dim: int = WIDTH) -> torch.Tensor:
    return torch.linalg.qr(normal(dim, dim, seed=9)).Q


# ---- the numbers --------------------------------------------------------------------------------
def test_energy_is_that_of_a_projection_and_random_directions_read_its_comparator() -> None:
    means = normal(4, WIDTH)
    span = Subspace.of(means)
    assert span.rank == 3
    rows = normal(20_000, WIDTH, seed=1)
    centred = (means - means.mean(0)).T
    projected = rows @ (centred @ torch.linalg.pinv(centred)).T
    torch.testing.assert_close(span.energy(rows), projected.norm(dim=1) / rows.norm(dim=1))
    root_mean_square = float(span.energy(rows).square().mean().sqrt())
    assert root_mean_square == pytest.approx(random_energy(3, WIDTH), rel=0.01)
    torch.testing.assert_close(span.energy(centred.T), torch.ones(4, dtype=torch.float64))
    assert float(span.energy(torch.zeros(1, WIDTH))) == 0
    offset = 1e3 * torch.ones(WIDTH, dtype=torch.float64)
    # What all means share spans nothing.
    torch.testing.assert_close(Subspace.of(means + offset).energy(rows), span.energy(rows))


@pytest.mark.parametrize("means", [torch.ones(1, 3), torch.ones(3, 3), torch.zeros(2, 3)])
def test_means_that_span_nothing_are_refused(means) -> None:
    with pytest.raises(ValueError, match="span nothing; at least two"):
        Subspace.of(means)


def test_effective_rank_of_known_spectra() -> None:
    frame = math.sqrt(5) * torch.cat([torch.eye(5), -torch.eye(5)])
    assert effective_rank(frame) == pytest.approx(5)
    assert effective_rank(frame + 7) == pytest.approx(5)
    assert effective_rank(torch.ones(4, 3)) == 0
    two = torch.tensor([[2.0, 0], [-2, 0], [0, 1], [0, -1]])
    share = torch.tensor([0.8, 0.2])
    assert effective_rank(two) == pytest.approx(math.exp(float(-(share * share.log()).sum())))
    rows = normal(200, WIDTH)
    assert drawn_rank(rows, 3, 0) < drawn_rank(rows, 30, 0) < effective_rank(rows)
    assert drawn_rank(rows, 300, 0) == effective_rank(rows)


def test_occupied_directions_do_not_count_empty_columns() -> None:
    rows = normal(50, 4).float() @ normal(4, WIDTH).float()
    assert occupied(rows) == occupied(torch.cat([rows, torch.zeros(50, 9)], 1)) == 4
    assert occupied(rows[:2]) == 2


def test_overlap_of_old_and_new_is_the_mean_over_pairs() -> None:
    (old, old_y), (new, new_y) = made(), made(first=3, seed=1)
    values = []
    for i in range(3):
        for j in range(3, 6):
            one, other = old[old_y == i], new[new_y == j]
            spread = sum(float((x - x.mean(0)).square().sum(1).mean()) for x in (one, other))
            values.append(spread / (2 * float((one.mean(0) - other.mean(0)).square().sum())))
    assert cross_cdnv(old, old_y, new, new_y) == pytest.approx(sum(values) / 9)
    # A class is no other one of itself.
    assert math.isnan(
        cross_cdnv(old[old_y == 0], old_y[old_y == 0], old[old_y == 0], old_y[old_y == 0])
    )


def test_paired_differences_have_an_interval_even_where_all_agree() -> None:
    yes, no = torch.ones(40, dtype=torch.bool), torch.zeros(40, dtype=torch.bool)
    one = Estimate.paired(yes, no)
    assert one.value == 1 and one.error > 0
    same = Estimate.paired(yes, yes)
    assert same.value == 0 and same.interval[0] < 0 < same.interval[1]
    whole = Estimate.mean([Estimate(0.2, 0.3), Estimate(0.4, 0.4)])
    assert (whole.value, whole.error) == pytest.approx((0.3, 0.25))


def test_errors_of_paired_differences_are_those_of_repeated_samples() -> None:
    generator = torch.Generator().manual_seed(0)
    draws = torch.rand(400, 100, 2, generator=generator) < torch.tensor([0.9, 0.6])
    values = torch.tensor([Estimate.paired(*one.unbind(1)).value for one in draws])
    errors = torch.tensor([Estimate.paired(*one.unbind(1)).error for one in draws])
    assert float(errors.mean()) == pytest.approx(float(values.std()), rel=0.12)


# ---- the probe ----------------------------------------------------------------------------------
def test_probe_and_means_decide_about_samples_that_they_have_not_seen() -> None:
    rows, labels = made(90, noise=1.5)
    found = left_out(rows, labels, folds=3)
    assert torch.equal(found.kept, torch.arange(90))
    turned = left_out(
        5 * torch.cat([rows @ rotation(), torch.zeros(90, 4)], 1) + 3, labels, folds=3
    )
    assert torch.equal(found.centres, turned.centres)
    assert float((found.probe == turned.probe).double().mean()) > 0.97
    lottery = torch.randint(3, (90,), generator=torch.Generator().manual_seed(1))
    guessed = left_out(normal(90, 60, seed=3), lottery, folds=3)
    # In-sample, 60 directions tell 90 samples apart; left out, they guess.
    assert float(guessed.probe.double().mean()) < 0.6


def test_past_the_limit_every_class_gives_its_share() -> None:
    rows, labels = made(400, classes=4)
    found = left_out(rows, labels, folds=2, samples=100)
    counts = torch.bincount(labels[found.kept])
    assert counts.tolist() == [25] * 4
    assert found.probe.numel() == found.kept.numel() == 100


# ---- the reading --------------------------------------------------------------------------------
def shallow(seed: int = 0):
    """Features that tell all classes apart, under a head whose old rows point away."""
    old, new = made(60, seed=seed), made(60, first=3, seed=seed + 1)
    means = class_means(torch.cat([old[0], new[0]]), torch.cat([old[1], new[1]]), 6)
    weight = means - means.mean(0)
    weight[:3] = -weight[:3]
    return old, new, weight


def test_a_head_that_forgot_is_told_from_features_that_did_not() -> None:
    old, new, weight = shallow()
    found = forgetting_of_features(old, new, weight=weight, buffer=made(9, seed=4))
    assert found.head < 0.1 and found.probe > 0.95 and found.centres > 0.95
    assert found.gap == pytest.approx(found.probe - found.head)
    assert found.gap_interval[0] > 0.8
    assert "head has forgotten more" in found.verdict
    assert found.rank_of_span == 5 and found.dim == WIDTH
    assert [c.label for c in found.classes] == [0, 1, 2]
    assert all(c.buffer_count == 3 and 1 <= c.buffer_rank <= 2 for c in found.classes)
    assert all(c.buffer_rank < c.rank for c in found.classes)
    frame = found.to_frame()
    assert len(frame) == 3 and frame["probe"].mean() == pytest.approx(found.probe)
    assert max(map(len, str(found).splitlines())) <= 80
    data = found.to_dict()
    json.dumps(data)
    assert all(len(row) == len(data["columns"]) for row in data["rows"])


def test_rotation_scale_and_empty_columns_change_nothing() -> None:
    old, new, weight = shallow()
    turn = 3 * torch.cat([rotation(), torch.zeros(WIDTH, 5)], 1)
    there = forgetting_of_features(
        (old[0] @ turn, old[1]), (new[0] @ turn, new[1]), weight=weight @ turn
    )
    here = forgetting_of_features(old, new, weight=weight)
    for key in ("energy", "energy_new", "energy_centred", "random", "cdnv", "head", "centres"):
        assert getattr(there, key) == pytest.approx(getattr(here, key), rel=1e-9), key
    assert there.classes[0].rank == pytest.approx(here.classes[0].rank)


def test_features_off_the_span_have_less_energy_than_random_ones() -> None:
    new = made(60, noise=0.0)
    basis = Subspace.of(class_means(*new, 3)).basis
    rows, labels = made(60, first=3)
    rows = rows - rows @ basis @ basis.T
    found = forgetting_of_features((rows, labels), new)
    assert found.energy < 1e-6 < found.random < found.energy_new
    assert found.head is found.gap is found.gap_interval is None
    assert found.verdict.startswith("No head was read")
    assert "–" in str(found)


def test_a_model_is_read_at_its_head_or_at_a_layer_and_left_as_it_was() -> None:
    model, (x, y) = net(), blobs(48)
    model.train()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    old, new = (x[y < 2], y[y < 2]), (x[y >= 2], y[y >= 2])
    found = measure_forgetting(model, old=old, new=new, folds=3)
    assert model.training and torch.equal(random, torch.get_rng_state())
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name
    model.eval()
    with torch.no_grad():
        right = model(old[0]).argmax(1) == old[1]
        arrays = forgetting_of_features(
            (model.features(old[0]), old[1]),
            (model.features(new[0]), new[1]),
            weight=model.fc.weight,
            bias=model.fc.bias,
            folds=3,
        )
    both = [float(right[old[1] == k].double().mean()) for k in (0, 1)]
    assert found.head == pytest.approx(sum(both) / 2)
    assert found.energy == pytest.approx(arrays.energy) and found.probe == arrays.probe
    layer = measure_forgetting(model, old=old, new=new, layer="stack", pool="mean", folds=3)
    assert layer.head is None and layer.energy == pytest.approx(found.energy)


def test_a_fixed_head_on_unit_features_is_read_too() -> None:
    model = net()
    model.fc = SimplexHead(8, K, normalize=True)
    x, y = blobs(48)
    found = measure_forgetting(model, old=(x[y < 2], y[y < 2]), new=(x[y >= 2], y[y >= 2]), folds=2)
    assert found.head is not None and 0 <= found.energy <= 1


# ---- bad input ----------------------------------------------------------------------------------
GOOD = made()


@pytest.mark.parametrize(
    ("old", "new", "more", "says"),
    [
        (GOOD, (GOOD[0][:0], GOOD[1][:0]), {}, "new: features have shape"),
        (GOOD, (GOOD[0][GOOD[1] == 1], GOOD[1][GOOD[1] == 1]), {}, "span nothing"),
        (GOOD, made(first=3)[0], {}, "pair \\(features, labels\\)"),
        (GOOD, (made(first=3)[0][:, :5], made(first=3)[1]), {}, "12 features and new 5"),
        ((GOOD[0], GOOD[1].double()), GOOD, {}, "integers"),
        ((GOOD[0] * torch.nan, GOOD[1]), GOOD, {}, "sample 0 is not finite"),
        ((GOOD[0][:1], GOOD[1][:1]), made(first=3), {}, "class 0 has one sample"),
        (GOOD, made(first=3), {"weight": torch.ones(4, WIDTH)}, "outside the head's classes 0..3"),
        (GOOD, made(first=3), {"weight": torch.ones(6, 3)}, "12 columns"),
        (GOOD, made(first=3), {"folds": 1}, "at least 2"),
    ],
)
def test_bad_features_are_said_in_a_sentence(old, new, more, says) -> None:
    with pytest.raises(ValueError, match=says):
        forgetting_of_features(old, new, **more)


def test_bad_data_of_models_are_said_in_a_sentence() -> None:
    x, y = blobs()
    with pytest.raises(ValueError, match="old is None"):
        measure_forgetting(net(), old=None, new=(x, y))
    with pytest.raises(ValueError, match="outside the head's classes"):
        measure_forgetting(net(), old=(x, y + K), new=(x, y))
    with pytest.raises(ValueError, match="'old' is empty"):
        measure_forgetting(net(), old=[], new=(x, y))
