"""What looks say about the terminal phase, on looks made by hand; and looks themselves."""

from __future__ import annotations

import math

import pytest
import torch

from ncollapse.lab.data import digits, long_tailed
from ncollapse.lab.features import features_of
from ncollapse.lab.looks import FEATURE_NORM, WEIGHT_NORM, Looks, look
from ncollapse.lab.models import conv, mlp, penultimate
from ncollapse.lab.past_zero import KEYS, phase_of
from ncollapse.lab.train import Epoch, Settings, State
from ncollapse.metrics.phase import ERROR

SMALL = long_tailed(digits(), [8] * 10)


def looks(errors: list[float], reading=lambda epoch: 1 / epoch) -> Looks:
    """Looks of a network whose training errors are given; its test decisions change until 6."""
    made = Looks(KEYS)
    for epoch, error in enumerate(errors, 1):
        values = dict.fromkeys(KEYS, reading(epoch))
        values |= {"margin_min": float(epoch), FEATURE_NORM: 2.0, WEIGHT_NORM: float(epoch)}
        made.trace.append(10 * epoch, {**values, ERROR: error}, split="train", epoch=epoch)
        made.trace.append(10 * epoch, values, split="test", epoch=epoch)
        made.decisions.append(torch.full((4,), min(epoch, 6), dtype=torch.int32))
    return made


def test_readings_are_compared_from_the_first_zero_error() -> None:
    found = phase_of(looks([0.5, 0.0, 0.1, 0.0, *[0.0] * 12]))
    numbers = found["numbers"]
    assert numbers["nc1"] == numbers["nc2"] == numbers["nc3"] == pytest.approx(2 / 16)
    assert numbers["margin"] == pytest.approx(8.0)
    first = found["since_first_zero"]
    assert (first["look"], first["later_errors"]) == (1, 1)
    assert first["nc1"] == numbers["nc1"] and first["margin"] == numbers["margin"]


def test_slopes_and_decisions_are_read_from_lasting_zero_error() -> None:
    found = phase_of(looks([0.5, 0.0, 0.1, 0.0, *[0.0] * 12]))
    assert found["zero_error_epoch"] == 4
    ends = found["readings"]["train"]["nc1_fisher"]
    assert ends["end"] / ends["zero"] == pytest.approx(4 / 16)
    numbers = found["numbers"]
    assert numbers["slopes"] == pytest.approx(-1.0)
    assert (numbers["decisions"], numbers["decisions-kept"]) == (0.0, 100.0)
    # The margin grew with the weights alone: over their norm it stands still.
    assert set(found["curves"]["margin_normalised"]) == {0.5}


def test_a_reading_that_rises_is_seen() -> None:
    numbers = phase_of(looks([0.0] * 9, reading=lambda epoch: float(epoch)))["numbers"]
    assert numbers["nc3"] == pytest.approx(9.0) and numbers["slopes"] == pytest.approx(1.0)


@pytest.mark.parametrize("errors", [[0.1] * 9, [0.1] * 6 + [0.0] * 3])
def test_without_a_terminal_phase_there_are_no_numbers(errors: list[float]) -> None:
    numbers = phase_of(looks(errors))["numbers"]
    assert all(math.isnan(value) for key, value in numbers.items() if key != "nc4")
    assert numbers["nc4"] == pytest.approx(100 / 9)


def test_a_look_reads_norms_of_features_and_head() -> None:
    model = mlp(64, (16, 16), 10)
    found = look(model, SMALL, KEYS)
    features = penultimate(model, SMALL.train_x)
    wanted = float(features.double().norm(dim=1).mean())
    assert found["train"][FEATURE_NORM] == pytest.approx(wanted)
    weight = model.get_submodule("head").weight
    assert found["test"][WEIGHT_NORM] == pytest.approx(float(weight.detach().norm()))
    seen = features_of(model, SMALL, "train")
    assert torch.equal(seen.features, features) and torch.equal(seen.labels, SMALL.train_y)


def test_a_network_that_diverges_is_named() -> None:
    model = mlp(64, (16, 16), 10)
    with torch.no_grad():
        next(model.parameters())[0, 0] = torch.nan
    state = State(model, SMALL, Settings(learning_rate=2.5), [Epoch(1, 3, 1e8, 0.9, 0.9)])
    with pytest.raises(ValueError, match=r"diverged by epoch 1: .* below 2\.5 is needed"):
        Looks(KEYS).on_epoch_end(state)


def test_looks_survive_a_checkpoint() -> None:
    made = looks([0.1, 0.0, 0.0])
    other = Looks(KEYS)
    other.load_state_dict(made.state_dict())
    assert other.trace.rows == made.trace.rows
    assert other.changed() == made.changed() == [0.0, 1.0, 1.0]


def test_convolutions_read_flat_digits() -> None:
    before = torch.random.get_rng_state()
    model = conv(10, (4, 8), seed=3)
    assert torch.equal(before, torch.random.get_rng_state())
    assert model(SMALL.train_x[:5]).shape == (5, 10)
    assert penultimate(model, SMALL.train_x[:5]).shape == (5, 8)
