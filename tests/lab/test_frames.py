"""Frames and blocks that studies read: of what is known to be one."""

from __future__ import annotations

import pytest
import torch

from ncollapse.geometry import Geometry
from ncollapse.lab.blocks import block_errors
from ncollapse.lab.claims import Bar, noted, worst
from ncollapse.lab.cosines import apart
from ncollapse.lab.frames import frame_facts
from ncollapse.lab.networks import train_network
from ncollapse.lab.undecayed import aligned_loss, integration_error, late
from ncollapse.studies import studies
from ncollapse.studies.bars import BASIS, HISTORY, RETIRED
from ncollapse.theory.problems import ULPM


def test_facts_of_a_network_tell_the_simplex_from_the_orthogonal_frame() -> None:
    network = train_network((12,) * 10, 5e-3, epochs=1, bias=True)
    assert network.geometry.bias is not None
    simplex = Geometry.simplex_etf(10, 12).means
    for means, wanted in ((simplex, -1 / 9), (torch.eye(10, 12).double(), 0.0)):
        ideal = Geometry(means=means, weight=2 * means)
        object.__setattr__(network, "geometry", ideal)
        facts = frame_facts(network)
        assert max(facts["frame"].values()) < 1e-7 or wanted == 0.0
        assert facts["frame"]["means"] < 1e-7
        assert facts["cosines"] == pytest.approx([wanted, wanted], abs=1e-9)
        sides = facts["nearer"]
        assert (sides["means"] < 1) == (sides["weights"] < 1) == (wanted == 0.0)


def test_entries_of_a_block_are_held_against_their_mean() -> None:
    square = torch.tensor([[1.0, 0.2, 0.5], [0.2, 1.0, 0.5], [0.5, 0.5, 1.0]]).double()
    assert apart(square, (2, 1)) == 0.0
    square[0, 2] = 0.7
    assert apart(square, (2, 1)) == pytest.approx(0.1)
    assert apart(square, (3,)) > 0.2


def test_descent_and_the_solver_form_the_same_blocks_of_three_groups() -> None:
    found = block_errors([[2, 8], [2, 4], [2, 2]], 5e-3, seed=0)
    assert max(found["errors"].values()) < 1e-6
    assert found["counts"] == (8, 8, 4, 4, 2, 2)
    first, middle, last = (float(part.mean()) for part in found["norms"].split(2))
    assert first > middle > last


def test_late_flow_reads_margins_norms_and_powers() -> None:
    problem = ULPM((2, 2, 2), num_features=5)
    found = late(problem, range(2), 1e30)
    assert len(found.paths) == len(found.share) == 2
    assert all(0.97 < share < 1 for share in found.share)
    assert found.growth == pytest.approx([2.0, 2.0], rel=0.15)
    assert found.loss == pytest.approx([1.0, 1.0], rel=0.02)
    assert all(max(values) < -0.3 for values in found.powers.values())
    assert integration_error(problem, 0, 1e30) < 1e-7
    assert set(found.summary()["constants"]) == {"(1 - share) log t", "NC1 log t"}
    assert aligned_loss(problem, 1e6) > aligned_loss(problem, 1e7) > 0
    with pytest.raises(ValueError, match="equal counts"):
        late(ULPM((2, 3)), range(1), 10.0)


def test_notes_are_of_claims_that_are_made_and_retired_ones_are_not() -> None:
    alive = {claim.id: claim for study in studies() for claim in study.claims}
    assert set(BASIS) | set(HISTORY) <= set(alive)
    assert all(alive[name].basis == said for name, said in BASIS.items())
    assert all(alive[name].history == said for name, said in HISTORY.items())
    for study in studies():
        assert study.retired == RETIRED.get(study.name, {})
    plain = worst("a", "source", Bar(high=1))("text")
    (same,) = noted([plain], {"b": "x"}, {})
    assert same == plain
