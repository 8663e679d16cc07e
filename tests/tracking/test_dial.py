"""A dial in a plain loop: as HeldLoss to the bit, its readings in the trace, resumed, explained."""

from __future__ import annotations

import copy
import json
import math

import jsonschema
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

import ncollapse as nc
from ncollapse.control import HeldLoss, Thermostat
from ncollapse.record.document import json_schema
from ncollapse.tracking.hold import check_dial
from tests.models import K, blobs, built

INPUTS, LABELS = (part.double() if part.is_floating_point() else part for part in blobs(64))
FOUND = ("nc1_fisher", "target", "weight", "saturated")


def made() -> nn.Module:
    def make() -> nn.Module:
        body = [nn.Flatten(), nn.Linear(192, 24), nn.BatchNorm1d(24), nn.ReLU()]
        return nn.Sequential(*body, nn.Linear(24, K)).double()

    return built(make)


class Loop:
    """A plain loop over fixed batches of 16; `penalty` gives what is added to a batch's loss."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model.train()
        self.optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        self.batches = 0

    def step(self, penalty, parts: int = 1, target=functional.cross_entropy) -> None:
        self.optimizer.zero_grad()
        for _ in range(parts):
            start = 16 * (self.batches % 4)
            self.batches += 1
            part = slice(start, start + 16)
            loss = target(self.model(INPUTS[part]), LABELS[part])
            ((loss + penalty(LABELS[part])) / parts).backward()
        self.optimizer.step()


def same(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("online", [False, True])
def test_it_trains_as_held_loss_does(parts, online) -> None:
    first, second = Loop(made()), Loop(made())
    tracker = nc.Tracker(first.model, dial=Thermostat(0.1), online=online)
    held = HeldLoss(Thermostat(0.1), second.model)
    plain = Loop(made())
    for _ in range(5):
        first.step(tracker.penalty, parts)
        tracker.step(LABELS[:16])
        second.step(lambda _: 0, parts, held)
        plain.step(lambda _: 0, parts)
    assert same(first.model, second.model)
    assert not same(first.model, plain.model)


def last(tracker) -> dict[str, float | None]:
    rows = [row for row in tracker.trace.rows if (row.split, row.layer) == ("dial", "head")]
    return {row.key: row.value for row in rows if row.step == rows[-1].step}


def test_its_readings_reach_trace_loggers_and_documents(tmp_path) -> None:
    logged = []
    dial, loop = Thermostat(0.1), Loop(made())
    tracker = nc.Tracker(
        loop.model, dial=dial, every=2, output=tmp_path,
        loggers=[lambda values, step: logged.append((step, values))],
    )  # fmt: skip
    for _ in range(4):
        loop.step(tracker.penalty)
        tracker.step(LABELS[:16])
    found = last(tracker)
    assert tuple(found) == FOUND
    assert found == {
        "nc1_fisher": dial.reading, "target": 0.1, "weight": dial.weight, "saturated": 0.0
    }  # fmt: skip
    assert [step for step, _ in logged] == [2, 4]
    assert set(logged[0][1]) == {f"nc/dial/head/{key}" for key in FOUND}
    m = tracker.finish()
    assert m.value("nc1_fisher") == dial.reading
    m.save(tmp_path / "run")
    document = json.loads((tmp_path / "run/results.json").read_text())
    jsonschema.validate(document, json_schema())
    assert document["num_features"] == 24 and document["num_classes"] == K
    assert nc.Trace.load(tmp_path / "trace.csv").rows == tracker.trace.rows
    assert "dial" in m.summary()
    m.save_html(tmp_path / "report.html")
    assert not any(module._forward_hooks for module in loop.model.modules())


def test_data_and_online_are_read_beside_it() -> None:
    loop = Loop(made())
    tracker = nc.Tracker(
        loop.model, train=(INPUTS, LABELS), online=True, dial=Thermostat(0.1), every=1
    )
    loop.step(tracker.penalty)
    tracker.step(LABELS[:16])
    assert {row.split for row in tracker.trace.rows} == {"train", "online", "dial"}
    assert set(tracker.finish().results) == {"train", "online"}


def test_a_side_at_its_bound_is_a_sign() -> None:
    loop = Loop(made())
    # Sixteen samples do not say nc1_fisher.
    dial = Thermostat(1e-9, "nc1_ratio", max_weight=1e-4, patience=2)
    tracker = nc.Tracker(loop.model, dial=dial, every=1)
    loop.step(tracker.penalty)
    with pytest.warns(nc.NCollapseWarning, match="out of reach"):
        loop.step(tracker.penalty)
    tracker.step()
    assert last(tracker)["saturated"] == 1.0


def test_evaluation_adds_nothing_and_tells_nothing() -> None:
    model, dial = made().eval(), Thermostat(0.1)
    inputs, labels = INPUTS[:16], LABELS[:16]
    tracker = nc.Tracker(model, dial=dial)
    model(inputs)
    assert float(tracker.penalty(labels)) == 0 and math.isnan(dial.reading)
    model.train()
    with torch.no_grad():
        model(inputs)
        assert float(tracker.penalty(labels)) == 0
    tracker.step(labels)
    tracker.end_epoch()
    assert last(tracker)["nc1_fisher"] is None
    copied = copy.deepcopy(model)
    copied(inputs)
    with pytest.raises(ValueError, match="no forward pass of the model was heard"):
        tracker.penalty(labels)


def test_a_resumed_loop_goes_on_identically() -> None:
    def following(loop: Loop) -> nc.Tracker:
        return nc.Tracker(loop.model, dial=Thermostat(0.1), online=True, every=1)

    whole = Loop(made())
    tracker = following(whole)
    for step in range(6):
        whole.step(tracker.penalty)
        tracker.step(LABELS[:16])
        if step == 2:
            parts = (whole.model.state_dict(), whole.optimizer.state_dict(), tracker.state_dict())
            saved = copy.deepcopy(parts)
    again = Loop(made())
    resumed = following(again)
    again.model.load_state_dict(saved[0])
    again.optimizer.load_state_dict(saved[1])
    resumed.load_state_dict(saved[2])
    again.batches = 3
    for _ in range(3):
        again.step(resumed.penalty)
        resumed.step(LABELS[:16])
    assert same(whole.model, again.model)
    assert last(resumed) == last(tracker)


class Half:
    """A dial of somebody else's: no metric, no state."""

    def observe(self, features, target) -> None:
        self.seen = features, target

    def penalty(self):
        return self.seen[0].square().mean()


def test_any_dial_will_do() -> None:
    loop = Loop(made())
    tracker = nc.Tracker(loop.model, dial=Half(), every=1)
    LABELS[0], kept = -100, LABELS[0].clone()
    try:
        loop.step(tracker.penalty)
    finally:
        LABELS[0] = kept
    tracker.step()
    assert tracker.state_dict()["dial"] == {} and not tracker.trace.rows
    assert tracker._hold.dial.seen[0].shape == (15, 24)
    with pytest.raises(ValueError, match="the dial read nothing"):
        tracker.finish()


def test_a_sequence_is_held_at_the_token_that_is_classified() -> None:
    class Sequence(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.score = nn.Linear(6, 8), nn.Linear(8, K)

        def forward(self, x):
            return self.score(self.body(x))[:, -1]

    model, dial = built(Sequence), Half()
    tracker = nc.Tracker(model, dial=dial)
    x = torch.randn(5, 3, 6, generator=torch.Generator().manual_seed(0))
    model(x)
    tracker.penalty(torch.arange(5) % K)
    assert torch.equal(dial.seen[0], model.body(x)[:, -1])


def test_mistakes_are_explained() -> None:
    model, dial = made().train(), Thermostat(0.1)
    with pytest.raises(ValueError, match="no linear layer was found in ReLU"):
        nc.Tracker(nn.ReLU(), dial=dial)
    with pytest.raises(ValueError, match="head=False with a dial"):
        nc.Tracker(model, dial=dial, head=False, layers="1")
    for wrong in (0.1, Thermostat):
        with pytest.raises(ValueError, match=r"observe\(features, target\) and penalty"):
            check_dial(wrong)
    with pytest.raises(ValueError, match="no dial"):
        nc.Tracker(model, online=True).penalty(LABELS)
    with pytest.raises(ValueError, match="film needs samples"):
        nc.Tracker(model, dial=dial, film=True)
    tracker = nc.Tracker(model, dial=dial)
    model(INPUTS)
    with pytest.raises(ValueError, match="5 labels were passed for the 64 samples"):
        tracker.penalty(LABELS[:5])
    model(INPUTS)
    with pytest.warns(nc.NCollapseWarning, match="without the dial's penalty"):
        tracker.step(LABELS)
    model(INPUTS)
    tracker.step(LABELS)


# ---- digits ------------------------------------------------------------------------------------
def digits():
    found = load_digits()
    return torch.tensor(found.data / 16, dtype=torch.float32), torch.tensor(found.target)


def digits_net() -> nn.Module:
    def make() -> nn.Module:
        body = [nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 32)]
        return nn.Sequential(*body, nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10))

    return built(make)


def held_within(dial: Thermostat, model: nn.Module) -> float:
    """nc1_fisher over digits in training mode, as the dial sees it, over the target."""
    inputs, labels = digits()
    with torch.no_grad():
        features = copy.deepcopy(model).train()[:-1](inputs)
    m = nc.measure_features(features, labels, null=False, intervals=False)
    return m.value("nc1_fisher") / dial.target


def test_a_plain_loop_holds_digits_at_the_target() -> None:
    inputs, labels = digits()
    model, dial = digits_net().train(), Thermostat(0.2)
    tracker = nc.Tracker(model, dial=dial)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        for part in torch.randperm(1797, generator=generator).split(128):
            loss = functional.cross_entropy(model(inputs[part]), labels[part])
            optimizer.zero_grad()
            (loss + tracker.penalty(labels[part])).backward()
            optimizer.step()
            tracker.step()
        tracker.end_epoch()
    assert 0.65 < held_within(dial, model) < 1.35
