"""Sessions of classes: what heads keep, what is read, what models may be, and bad input."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import ncollapse as nc
from ncollapse.downstream.incremental import IncrementalLearner, Recipe, learn_incrementally
from ncollapse.downstream.incremental_heads import (
    CosineHead,
    Neck,
    first_head,
    grown_head,
)
from ncollapse.downstream.subspace import class_means
from ncollapse.linalg import unit_rows
from tests.models import built

SHAPE = (6,)


def sessions(samples: int = 16, seed: int = 0):
    """Three sessions of 3, 2 and 1 classes in the plane of an easy problem, and test samples."""
    generator = torch.Generator().manual_seed(seed)
    means = 3 * torch.randn(6, *SHAPE, generator=generator)

    def draw(classes):
        labels = torch.tensor(classes).repeat(samples)
        return means[labels] + 0.3 * torch.randn(len(labels), *SHAPE, generator=generator), labels

    return [draw([0, 1, 2]), draw([3, 4]), draw([5])], draw(list(range(6)))


def backbone() -> nn.Module:
    return built(lambda: nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU()))


def recipe(**more) -> Recipe:
    return Recipe(**{"epochs": 6, "steps": 30, "width": 8, "batch_size": 16, **more})


ARMS = {
    "known": {"num_classes": 6},
    "growing": {},
    "cosine": {"head": "cosine"},
    "poc": {"num_classes": 6, "poc": 1.0},
    "trained already": {"epochs": 0, "head": "cosine"},
}


@pytest.mark.parametrize("arm", ARMS)
def test_all_classes_of_an_easy_problem_are_learned(arm: str) -> None:
    parts, test = sessions()
    stages = []
    found = learn_incrementally(
        backbone(),
        parts,
        recipe(**ARMS[arm]),
        test=test,
        progress=lambda *said: stages.append(said),
    )
    assert found.final > 0.9 and not found.model.training
    assert [r.classes for r in found.sessions] == [(0, 1, 2), (3, 4), (5,)]
    assert len(found.sessions[-1].by_class) == 6
    assert math.isnan(found.sessions[0].old) and math.isnan(found.sessions[0].cdnv)
    assert all(r.cdnv >= 0 for r in found.sessions[1:])
    assert list(found.to_frame()["session"]) == [0, 1, 2]
    assert len(str(found).splitlines()) == 4
    assert stages[-1] == ("later session", 30, 30)
    # A model as any other: its head is found, and what it decides is what was read.
    measured = nc.measure(found.model, test=test, keys=("accuracy",), intervals=False)
    assert measured.value("accuracy", "test") == pytest.approx(found.final)


def test_readings_are_what_they_say() -> None:
    parts, test = sessions()
    learner = IncrementalLearner(backbone(), recipe(session_rate=0.0, steps=1))
    for data in parts[:2]:
        learner.learn(data)
    features, labels = learner.features(test)
    found = learner.evaluate(test)
    seen = labels < 5
    decided = learner.decide(features[seen])
    for k in range(5):
        right = (decided[labels[seen] == k] == k).double()
        assert found[k] == pytest.approx(float(right.mean()))
    whole = learn_incrementally(
        backbone(), parts[:2], recipe(session_rate=0.0, steps=1), test=test
    ).sessions[-1]
    assert whole.accuracy == pytest.approx(sum(found.values()) / 5)
    assert whole.old == pytest.approx(sum(found[k] for k in range(3)) / 3)
    assert whole.forgetting >= 0  # Rate 0 only adds classes to decide among.


def test_the_backbone_rests_after_the_first_session_and_copies_go_their_own_way() -> None:
    parts, test = sessions()
    body = backbone()
    learner = IncrementalLearner(body, recipe())
    learner.learn(parts[0])
    state = copy.deepcopy(body.state_dict())
    other = copy.deepcopy(learner)
    learner.learn(parts[1])
    for name, value in body.state_dict().items():
        assert torch.equal(value, state[name]), name
    assert other.order == [0, 1, 2] and learner.order == [0, 1, 2, 3, 4]
    other.learn(parts[1])
    torch.testing.assert_close(other.memory, learner.memory)
    assert other.evaluate(test) == learner.evaluate(test)
    means = class_means(*learner.features(parts[1]), 5)[3:]
    torch.testing.assert_close(learner.memory[3:].double(), means, atol=1e-5, rtol=1e-5)


def test_loaders_datasets_and_pairs_are_taken_and_the_global_state_is_left() -> None:
    parts, test = sessions()
    random = torch.get_rng_state()
    one = learn_incrementally(backbone(), parts, recipe(), test=test)
    again = learn_incrementally(backbone(), parts, recipe(), test=test)
    assert torch.equal(random, torch.get_rng_state())
    assert [r.by_class for r in one.sessions] == [r.by_class for r in again.sessions]
    mixed = [TensorDataset(*parts[0]), DataLoader(TensorDataset(*parts[1]), 8), [parts[2]]]
    found = learn_incrementally(backbone(), mixed, recipe(), test=TensorDataset(*test))
    assert found.final > 0.9
    # Labels need not be in order: rows of the head are in the order of arrival.
    turned = [(x, 7 - y) for x, y in parts]
    far = learn_incrementally(
        backbone(), turned, recipe(num_classes=6), test=(test[0], 7 - test[1])
    )
    assert far.final > 0.9 and far.sessions[1].classes == (3, 4)


# ---- heads --------------------------------------------------------------------------------------
def test_a_frame_grows_into_the_larger_simplex_and_learned_rows_stay() -> None:
    means = torch.randn(2, 8, generator=torch.Generator().manual_seed(1))
    plan = recipe(scale=10.0)
    head = first_head(plan, 3)
    grown = grown_head(head, plan, means)
    rows = grown.weight.double() / 10
    wanted = torch.full((5, 5), -0.25, dtype=torch.float64).fill_diagonal_(1.0)
    torch.testing.assert_close(rows @ rows.T, wanted, atol=1e-6, rtol=0)
    kept = (rows[:3] * head.weight.double() / 10).sum(1)
    assert float(kept.min()) > 0.5
    known = recipe(num_classes=9)
    fixed = first_head(known, 3)
    assert grown_head(fixed, known, means) is fixed
    learned = recipe(head="cosine")
    cosine = first_head(learned, 3)
    more = grown_head(cosine, learned, means)
    torch.testing.assert_close(more.weight[:3], cosine.weight)
    torch.testing.assert_close(more.weight[3:], 10 * unit_rows(means))
    assert isinstance(more, CosineHead) and float(more(means).detach().abs().max()) <= 10 + 1e-5


def test_the_neck_is_drawn_by_its_seed() -> None:
    random = torch.get_rng_state()
    one, other = Neck(4, 3, seed=1), Neck(4, 3, seed=1)
    assert torch.equal(random, torch.get_rng_state())
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(one(x), other(x)) and one(x).shape == (5, 3)
    assert not torch.equal(one(x), Neck(4, 3, seed=2)(x))


# ---- bad input ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"head": "round"}, "one of frame, cosine"),
        ({"head": "cosine", "num_classes": 6}, "leave it out"),
        ({"steps": -1}, "steps=-1; at least 0"),
        ({"batch_size": 1}, "batch_size=1; at least 2"),
        ({"scale": 0.0}, "positive"),
        ({"poc": -1.0}, "negative"),
    ],
)
def test_bad_recipes_are_refused(more, says) -> None:
    with pytest.raises(ValueError, match=says):
        recipe(**more)


PARTS, TEST = sessions(4)
X, Y = PARTS[0]


@pytest.mark.parametrize(
    ("body", "data", "test", "more", "says"),
    [
        (backbone, [], TEST, {}, "at least one session"),
        (backbone, [(X[:0], Y[:0])], TEST, {}, "without samples"),
        (backbone, [(X, Y - 1)], TEST, {}, "label -1 is negative"),
        (backbone, [(X, 0 * Y)], TEST, {}, "one class; at least 2"),
        (backbone, [PARTS[0], PARTS[0]], TEST, {"epochs": 1}, "class 0 was in an earlier"),
        (backbone, PARTS, TEST, {"num_classes": 4, "epochs": 1}, "4 rows and 5 classes"),
        (backbone, [PARTS[0]], PARTS[1], {"epochs": 1}, "test has no sample of class 0"),
        (backbone, [PARTS[0]], TEST, {"num_classes": 20}, "cannot hold a simplex"),
        (lambda: nn.Unflatten(1, (2, 3)), [PARTS[0]], TEST, {}, "returned shape \\(12, 2, 3\\)"),
        (lambda: built(nn.Linear, 5, 4), [PARTS[0]], TEST, {}, "failed on a batch of tensor"),
    ],
)
def test_bad_sessions_are_refused(body, data, test, more, says) -> None:
    with pytest.raises(ValueError, match=says):
        learn_incrementally(body(), data, recipe(**more), test=test)


def test_nothing_is_decided_before_anything_was_learned() -> None:
    with pytest.raises(ValueError, match="nothing was learned yet"):
        IncrementalLearner(backbone()).evaluate(TEST)
