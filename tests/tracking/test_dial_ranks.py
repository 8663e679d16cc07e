"""Two processes hold one reading, and one without a validation batch hinders nobody."""

from __future__ import annotations

import pytest

from ncollapse.collect.tap.taps import Taps
from ncollapse.control import Thermostat
from ncollapse.tracking.evaluation import Evaluation
from tests.models import blobs, net
from tests.ranks import said_by, spawn

INPUTS, LABELS = blobs(64)
FEATURES = INPUTS.flatten(1).double()


def observed(dial: Thermostat, rows: list[slice]) -> list[tuple[float, float]]:
    found = []
    for part in rows:
        dial.observe(FEATURES[part].requires_grad_(), LABELS[part])
        found.append((dial.reading, dial.weight))
    return found


def uneven(rank: int) -> list[tuple[float, float]]:
    # Rank 1 lacks the last classes in its first batch, and holds fewer samples.
    cuts = ([slice(0, 30), slice(32, 48)], [slice(30, 32), slice(48, 64)])
    return observed(Thermostat(0.1, "nc1_ratio"), cuts[rank])


def test_all_ranks_read_what_one_process_reads_and_weigh_alike() -> None:
    whole = observed(Thermostat(0.1, "nc1_ratio"), [slice(0, 32), slice(32, 64)])
    first, second = spawn(uneven, 2)
    assert first == second
    assert first[0] == pytest.approx(whole[0], rel=1e-10)
    # Each rank forgets a class by its own few samples: the last batch but one weighs 1/1000.
    assert first[1] == pytest.approx(whole[1], rel=1e-4)


def alone(rank: int) -> float:
    dial = Thermostat(0.1, "nc1_ratio", together=False)
    return observed(dial, [slice(32 * rank, 32 * rank + 32)])[0][0]


def test_a_dial_may_hold_each_rank_by_itself() -> None:
    first, second = spawn(alone, 2)
    assert first != second
    assert second == observed(Thermostat(0.1, "nc1_ratio"), [slice(32, 64)])[0][0]


def evaluated(rank: int, given: tuple[slice, ...]) -> dict[str, dict[str, float]]:
    model = net().eval()
    evaluation = Evaluation(Taps(model, ["stack", "conv*"]))
    evaluation.start()
    if given[rank].stop:
        model(INPUTS[given[rank]])
        evaluation.observe(LABELS[given[rank]])
    return evaluation.readings()


def test_a_rank_without_a_batch_adds_nothing_and_finds_the_same() -> None:
    whole = evaluated(0, (slice(0, 64),))
    for given in ((slice(0, 64), slice(0)), (slice(0), slice(0, 64))):
        first, second = spawn(evaluated, 2, given)
        assert first == second
        assert list(first) == list(whole) == ["conv1", "stack", "head"]
        for layer, values in whole.items():
            assert first[layer] == pytest.approx(values, rel=1e-9)
    assert spawn(evaluated, 2, (slice(0), slice(0))) == [{}, {}]


def disagreeing(rank: int) -> str:
    model = net().eval()
    evaluation = Evaluation(Taps(model, ["stack", "conv1"][rank]))

    def read() -> None:
        evaluation.start()
        model(INPUTS)
        evaluation.observe(LABELS)
        evaluation.readings()

    return said_by(read)


def test_ranks_that_differ_are_told_so() -> None:
    for said in spawn(disagreeing, 2):
        assert "rank 0 read layers" in said and "rank 1" in said
