"""The training core: resumed = never stopped, bit for bit; the recipe collapses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ncollapse.lab.data import digits
from ncollapse.lab.demo import FEATURES, Follow, run
from ncollapse.lab.models import mlp, penultimate
from ncollapse.lab.train import Settings, State, train
from ncollapse.measuring.measure import measure_source
from ncollapse.record.trace import Trace
from ncollapse.sources.features.files import open_source
from ncollapse.tracking.tracker import Tracker

DATA = digits()
SHORT = Settings(epochs=6, batch_size=64, checkpoint_every=1)


def network() -> torch.nn.Sequential:
    return mlp(64, (16,), 10, seed=1)


class StopAfter:
    """Callback: Ctrl-C in the middle of the epoch after the one named."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_start(self, state: State) -> None: ...

    def on_epoch_end(self, state: State) -> None:
        if state.epoch == self.epoch:
            raise KeyboardInterrupt

    def on_end(self, state: State) -> None: ...


def test_data_and_networks_are_the_same_every_time() -> None:
    assert torch.equal(digits().train_x, DATA.train_x)
    assert DATA.train_x.shape == (1198, 64)
    assert float(DATA.train_x.max()) == 1.0
    for one, two in zip(network().parameters(), network().parameters(), strict=True):
        assert torch.equal(one, two)


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path: Path) -> None:
    whole = train(network(), DATA, SHORT)
    settings = replace(SHORT, checkpoint=tmp_path / "c.pt")
    with pytest.raises(KeyboardInterrupt):
        train(network(), DATA, settings, [StopAfter(3)])
    resumed = train(network(), DATA, replace(settings, resume=True))
    assert resumed.history == whole.history
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_resuming_with_other_settings_is_refused(tmp_path: Path) -> None:
    settings = replace(SHORT, epochs=1, checkpoint=tmp_path / "c.pt")
    train(network(), DATA, settings)
    with pytest.raises(ValueError, match="another weight_decay"):
        train(network(), DATA, replace(settings, weight_decay=0.0, resume=True))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"epochs": 0}, "at least 1 epoch"),
        ({"batch_size": 1}, "batches of 2"),
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"momentum": 1.0}, "momentum=1.0"),
        ({"schedule": "warm"}, "schedule 'warm' is unknown"),
        ({"loss": "hinge"}, "loss 'hinge' is unknown"),
        ({"resume": True}, "needs checkpoint"),
    ],
)
def test_wrong_settings_are_explained(change: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Settings(**change)


@pytest.mark.parametrize("loss", ["ce", "mse"])
def test_both_losses_learn(loss: str) -> None:
    result = train(network(), DATA, replace(SHORT, epochs=8, loss=loss))
    assert result.history[-1].test_error < 0.15
    assert result.history[-1].train_loss < result.history[0].train_loss


def test_schedules_fall() -> None:
    for name in ("cosine", "step"):
        factors = [Settings(epochs=20, schedule=name).factor(epoch) for epoch in range(20)]
        assert factors[0] == 1.0
        assert factors == sorted(factors, reverse=True)
        assert factors[-1] < 0.02
    assert Settings(schedule="constant").factor(199) == 1.0


def test_following_leaves_training_as_it_was() -> None:
    model = network()
    tracker = Tracker(model, train=(DATA.train_x, DATA.train_y), batch_size=512)
    plain = train(network(), DATA, SHORT)
    followed = train(model, DATA, SHORT, [Follow(tracker)])
    assert plain.history == followed.history
    assert list(dict.fromkeys(row.epoch for row in tracker.trace.rows)) == [1, 2, 3, 4, 5, 6]
    stated = tracker.trace.series("train", "head", "train_error")[1]
    assert stated == [entry.train_error for entry in followed.history]


def test_reading_features_restores_the_mode() -> None:
    model = network().train()
    penultimate(model, DATA.test_x)
    assert model.training


def test_a_resumed_demo_keeps_its_trace(tmp_path: Path) -> None:
    whole = run(epochs=5, output=tmp_path / "a")

    def stop(state: State, _: dict) -> None:
        if state.epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(epochs=5, output=tmp_path / "b", report=stop)
    resumed = run(epochs=5, output=tmp_path / "b", resume=True)
    kept = resumed.measurement.trace
    assert kept is not None
    assert kept.rows == whole.measurement.trace.rows == Trace.load(tmp_path / "b/trace.csv").rows
    assert resumed.measurement.results == whole.measurement.results
    assert resumed.measurement.verdicts == whole.measurement.verdicts
    frames = [load_file(tmp_path / name / "frames.safetensors") for name in "ab"]
    assert frames[0].keys() == frames[1].keys()
    assert all(torch.equal(frames[0][name], frames[1][name]) for name in frames[0])


def test_the_feature_file_reads_as_the_model_does(tmp_path: Path) -> None:
    found = run(epochs=3, output=tmp_path).measurement
    again = measure_source(open_source(tmp_path / FEATURES))
    for split, layers in found.results.items():
        for key, reading in layers["head"].items():
            other = again.results[split]["head"][key]
            assert other.value == pytest.approx(reading.value, rel=1e-5, abs=1e-9), key


@pytest.mark.slow
def test_the_recipe_collapses() -> None:
    """The whole demo: textbook NC1 and NC3, and no answer of its verdicts is left open."""
    found = run()
    m = found.measurement
    assert found.training.zero_error_epoch is not None
    assert m.value("nc1_fisher") < 5e-3
    assert m.value("class_share") > 0.98
    assert m.value("nc3_alignment") > 0.95
    assert m.value("accuracy", "test") > 0.97
