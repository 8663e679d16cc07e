"""Digits in sessions and in domains: who sees what, and where gradients turn round."""

from __future__ import annotations

import pytest
import torch

from ncollapse.lab.data import digits
from ncollapse.lab.domains import Adversarial, turned
from ncollapse.lab.sessions import Sessions, first_of, only, shuffled_classes
from ncollapse.studies.domain_shift.runs import combine


def test_sessions_and_validation_share_no_sample() -> None:
    data = shuffled_classes(3)
    found = Sessions.of(data, 6, ((6, 7), (8, 9)), 5)
    assert [sorted(set(y.tolist())) for _, y in found.data] == [[0, 1, 2, 3, 4, 5], [6, 7], [8, 9]]
    assert [y.bincount()[y.unique()].tolist() for _, y in found.data[1:]] == [[5, 5], [5, 5]]
    parts = [*found.data, found.validation]
    assert sum(len(y) for _, y in parts) == len(data.train_y)
    rows = torch.cat([x for x, _ in parts])
    assert len(rows.unique(dim=0)) == len(data.train_x.unique(dim=0))
    assert sorted(found.validation[1].unique().tolist()) == list(range(10))


def test_classes_are_renumbered_and_kept_apart() -> None:
    one, plain = shuffled_classes(3), digits(seed=3)
    assert torch.equal(one.train_x, plain.train_x)
    assert not torch.equal(one.train_y, plain.train_y)
    two = only(one, (2, 5))
    assert set(two.train_y.tolist()) == set(two.test_y.tolist()) == {2, 5}
    few, rest = first_of(one.train_y, (2, 5), 3)
    assert one.train_y[few].tolist() == [2] * 3 + [5] * 3
    assert not set(few.tolist()) & set(rest.tolist())


def test_images_turn_about_their_middle() -> None:
    images = torch.rand(3, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(turned(images, 0.0), images)
    quarter = turned(images, 90.0).view(3, 8, 8)
    whole = [torch.rot90(images.view(3, 8, 8), k, (1, 2)) for k in (1, -1)]
    assert min(float((quarter - w).abs().max()) for w in whole) < 1e-5
    torch.testing.assert_close(turned(turned(images, 90.0), -90.0), images)


def test_the_gradient_comes_back_reversed_and_scaled() -> None:
    x = torch.rand(8, 64, generator=torch.Generator().manual_seed(0))
    gradients = {}
    for strength in (1.0, -1.0, 3.0):
        model = Adversarial(64, [16], 3, strength, 0)
        out = model(x)
        assert out.shape == (8, 13)
        out[:, 10:].square().sum().backward()
        gradients[strength] = [p.grad.clone() for p in model.body.parameters()]
        own = [p.grad for p in model.adversary.parameters()]
        gradients[f"own {strength}"] = [p.clone() for p in own]
    # A strength of -1 is no reversal.
    for one, other, thrice in zip(*(gradients[s] for s in (1.0, -1.0, 3.0)), strict=True):
        torch.testing.assert_close(one, -other)
        torch.testing.assert_close(thrice, 3 * one)
    for one, other in zip(gradients["own 1.0"], gradients["own 3.0"], strict=True):
        torch.testing.assert_close(one, other)


def test_the_best_strength_is_chosen_by_the_other_seeds() -> None:
    def run(*values: float):
        return {"rows": [{"unseen": value} for value in values]}

    table = {"sweep": [run(0.5, 0.9, 0.4), run(0.6, 0.5, 0.5), run(0.7, 0.5, 0.6)]}
    # Seeds 1 and 2 like the first, 0 and 2 the second, 0 and 1 the second.
    found = combine(table)["domain-shift-unseen"]
    assert found == pytest.approx([10.0, 0.0, -10.0])
