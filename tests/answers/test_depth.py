"""What is asked of several layers: where the network is finished, and whether separation is steady."""

from __future__ import annotations

import ncollapse as nc
from ncollapse.answers.depth import finished, steady
from ncollapse.answers.question import Asking
from ncollapse.record.readings import Reading


def layers(mismatch: list[float], fuzziness: list[float]) -> dict[str, dict[str, Reading]]:
    names = [f"block{i}" for i in range(len(mismatch) - 1)] + ["head"]
    return {
        name: {
            "nc4_mismatch": Reading(m, interval=(max(m - 0.004, 0), m + 0.004), n=1000),
            "nc1_fisher": Reading(f, n=1000),
        }
        for name, m, f in zip(names, mismatch, fuzziness, strict=True)
    }


def asked(mismatch: list[float], fuzziness: list[float]) -> tuple[str, str, str, str]:
    asking = Asking({"train": layers(mismatch, fuzziness)}, (), 4, 9)
    first, second = (rule(asking, asking.reference) for rule in (finished, steady))
    return first.answer, first.sentence, second.answer, second.sentence


def test_a_network_that_is_finished_early_can_be_cut() -> None:
    answer, sentence, law, _ = asked([0.4, 0.1, 0.004, 0.002, 0.0], [8, 4, 2, 1, 0.5])
    assert (answer, law) == ("yes", "yes")
    assert sentence.startswith("From block2 on (3 of 5 layers)") and "cut_after" in sentence


def test_one_that_is_finished_last_cannot() -> None:
    assert asked([0.4, 0.3, 0.2, 0.1, 0.004], [8, 4, 2, 1, 0.5])[0] == "no"
    # The last layers read alike: poolings of one vector are one layer.
    assert asked([0.4, 0.3, 0.2, 0.004, 0.004], [8, 4, 2, 0.5, 0.5])[0] == "no"
    # By its interval the reading may be above the cut.
    assert asked([0.4, 0.3, 0.008, 0.008, 0.0], [8, 4, 2, 1, 0.5])[0] == "partly"


def test_a_head_that_decides_otherwise_is_said() -> None:
    answer, sentence, *_ = asked([0.5, 0.5, 0.4, 0.3, 0.2], [8, 4, 2, 1, 0.5])
    assert answer == "no" and "No layer's nearest class centres" in sentence
    assert "differ on 20.0 %" in sentence


def test_no_law_where_separation_wanders_or_layers_are_few() -> None:
    flat = [0.0] * 8
    assert asked(flat, [5.7, 5.1, 4.6, 4.0, 4.2, 3.8, 6.0, 6.3])[2] == "no"
    assert asked(flat[:3], [8, 4, 2])[2] == "cannot tell"
    assert asked(flat[:5], [8, 4, 2, 1, 0.1])[2] in ("yes", "partly")
    assert asked(flat[:4], [8, 4, 0, 1])[2] == "not measured"


def test_they_are_verdicts_of_a_measured_model() -> None:
    import torch
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3)
        )
        labels = torch.arange(60) % 3
        inputs = 3 * torch.randn(3, 6)[labels] + torch.randn(60, 6)
    m = nc.measure(model, (inputs, labels), layers="*")
    assert [v.id for v in m.verdicts][-2:] == ["finished", "separation"]
    from ncollapse.report.terminal import render_layers

    shown = render_layers(m.document)
    assert "≠ model" in shown and "Better from layer to layer" in shown
    assert all(len(line) <= 130 for line in shown.splitlines())
