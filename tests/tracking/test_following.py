"""Following: a callback for any trainer is this and its glue, and it reads what the others read."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional

import ncollapse as nc
from ncollapse.control import Thermostat
from ncollapse.tracking.following import Following, model_of
from ncollapse.tracking.loggers import numbers
from tests.models import K, blobs, built
from tests.tracking.test_dial import INPUTS, LABELS, Loop, made, same

TEST = blobs(32, seed=1)[0].double(), blobs(32, seed=1)[1]
KEYS = ("nc1_fisher", "nc1_ratio", "nc3_duality")


class Trainer:
    """A trainer that nobody heard of: it calls back before backward, after steps and in tests."""

    def __init__(self, model: nn.Module, callback=None) -> None:
        self.loop, self.callback = Loop(model), callback

    def fit(self, steps: int) -> None:
        for _ in range(steps):
            start = 16 * (self.loop.batches % 4)
            labels = LABELS[start : start + 16]
            self.loop.step(lambda _, labels=labels: self.callback.before_backward(labels))
            self.callback.after_step(labels)

    def test(self) -> None:
        model = self.loop.model.eval()
        self.callback.before_test(model)
        with torch.no_grad():
            for part in (slice(0, 20), slice(20, 32)):
                model(TEST[0][part])
                self.callback.after_test_batch(TEST[1][part])
        model.train()


class Callback:
    """All that such a trainer needs of its own."""

    def __init__(self, model: nn.Module, dial=None, state=None, **options) -> None:
        self.following = Following(dial, **options)
        self.following.load_state_dict(state or {})
        self.following.begin(model)

    def before_backward(self, labels):
        penalty = self.following.penalty(labels)
        return 0 if penalty is None else penalty

    def after_step(self, labels):
        self.following.step(labels)

    def before_test(self, model):
        (self.following.evaluation or self.following.watch(model)).start()

    def after_test_batch(self, labels):
        self.following.evaluation.observe(labels)


def trained(steps: int = 5, model: nn.Module | None = None, **options) -> Trainer:
    model = made() if model is None else model
    trainer = Trainer(model, Callback(model, **options))
    trainer.fit(steps)
    return trainer


def test_a_new_trainer_trains_and_reads_as_a_tracker_does() -> None:
    options = {"half_life": 50.0, "layers": "1"}
    trainer = trained(dial=Thermostat(0.1), keys=KEYS, **options)
    loop = Loop(made())
    tracker = nc.Tracker(loop.model, dial=Thermostat(0.1), online=True, keys=KEYS, **options)
    for _ in range(5):
        labels = LABELS[16 * (loop.batches % 4) :][:16]
        loop.step(tracker.penalty)
        tracker.step(labels)
    assert same(trainer.loop.model, loop.model)
    found = trainer.callback.following.readings()
    tracker.probe()
    assert found["online"] == numbers({"online": tracker.online})["online"]
    assert found["dial"]["head"]["nc1_fisher"] == tracker._hold.dial.reading
    assert set(found["online"]) == {"1", "head"} and set(found["online"]["head"]) == set(KEYS)


def test_validation_reads_what_measure_reads_again_and_again() -> None:
    trainer = trained(keys=KEYS)
    for _ in range(2):
        trainer.test()
        found = trainer.callback.following.evaluation.readings()
        m = nc.measure(trainer.loop.model, TEST, null=False, intervals=False, keys=KEYS)
        assert found["head"] == pytest.approx({key: m.value(key) for key in KEYS}, rel=1e-9)
        trainer.fit(1)


def test_a_state_is_taken_up_where_it_was_left() -> None:
    whole = trained(steps=6, dial=Thermostat(0.1), keys=KEYS)
    cut = trained(steps=3, dial=Thermostat(0.1), keys=KEYS)
    state = copy.deepcopy(cut.callback.following.state_dict())
    assert set(state) == {"online", "dial"}
    cut.callback = Callback(cut.loop.model, Thermostat(0.1), state, keys=KEYS)
    assert cut.callback.following.state_dict()["dial"]["batches"] == 3
    cut.fit(3)
    # The first callback listens still: it hears, and changes nothing.
    assert same(whole.loop.model, cut.loop.model)
    assert cut.callback.following.readings() == whole.callback.following.readings()


def test_nothing_read_is_nan_and_nothing_followed_is_nothing() -> None:
    model = made().train()
    following = Following(Thermostat(0.1), online=False)
    following.begin(model)
    assert following.active and not Following(online=False).active
    found = following.readings()["dial"]["head"]
    assert math.isnan(found["nc1_fisher"]) and found["target"] == 0.1
    nothing = Following(online=False)
    nothing.begin(model)
    nothing.step(LABELS)
    assert nothing.readings() == {} and nothing.penalty(LABELS) is None


def hooked(model: nn.Module) -> bool:
    return any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"half_life": 0.0}, "half_life=0"),
        ({"half_life": 3.0, "unit": "days"}, "unit 'days'"),
        ({"layers": "nothing"}, "matches nothing"),
        ({"head": "nothing"}, "no module of the model"),
        ({"pool": "max"}, "pool 'max' is unknown"),
    ],
)
@pytest.mark.parametrize("dial", [False, True])
def test_what_cannot_be_followed_is_said_and_leaves_no_hook(options, said, dial) -> None:
    model = made()
    following = Following(Thermostat(0.1) if dial else None, **options)
    with pytest.raises(ValueError, match=said):
        following.begin(model)
    assert not hooked(model)


def test_without_a_head_the_classes_must_be_known_and_no_hook_is_left() -> None:
    model = made()
    with pytest.raises(ValueError, match="pass num_classes"):
        Following(head=False, layers="1").begin(model)
    with pytest.raises(ValueError, match="head=False with a dial"):
        Following(Thermostat(0.1), head=False, layers="1", num_classes=K).begin(model)
    with pytest.raises(ValueError, match="half_life=0"):
        nc.Tracker(model, dial=Thermostat(0.1), online=True, half_life=0)
    assert not hooked(model)
    following = Following(head=False, layers="1", num_classes=K)
    following.begin(model)
    assert hooked(model)
    following.close()
    following.watch(model).close()
    assert not hooked(model)


def test_a_dial_asks_for_labels() -> None:
    model = made().train()
    following = Following(Thermostat(0.1), online=False)
    following.begin(model)
    assert following.penalty(None, strict=False) is None
    functional.cross_entropy(model(INPUTS), LABELS)
    with pytest.raises(ValueError, match="the dial needs the labels of every batch"):
        following.penalty(None)


def test_the_part_that_makes_the_logits() -> None:
    class Plain(nn.Module):
        pass

    class Own(Plain):
        def forward(self, x):
            return x

    def parts(kind: type[nn.Module]) -> nn.Module:
        module = kind()
        module.small, module.large = nn.Linear(2, 2), nn.Linear(9, 9)
        return module

    plain, own = built(parts, Plain), built(parts, Own)
    assert model_of(plain, None, Plain.forward) is plain.large
    assert model_of(own, None, Plain.forward) is own
    assert model_of(own, "small", Plain.forward) is own.small
    with pytest.raises(ValueError, match="'nut' is no module here; there are small, large"):
        model_of(own, "nut", Plain.forward)
    with pytest.raises(ValueError, match="no child with parameters"):
        model_of(Plain(), None, Plain.forward)
