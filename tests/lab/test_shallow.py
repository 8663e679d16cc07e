"""Training of shallow networks: the flow's arithmetic, its data, and fits that reach the bound."""

from __future__ import annotations

import pytest
import torch

from ncollapse.lab import rays, shallow
from ncollapse.theory.subjects.shallow import shallow_bound


@pytest.mark.parametrize("seed", [0, 1])
def test_separable_data_are_separable(seed: int) -> None:
    X, y = rays.separable(3, 20, 20, 2.0, seed)
    gram = X @ X.T
    same = y[:, None] == y
    assert float(gram[same].min()) > 0 > float(gram[~same].max())
    lengths = X.norm(dim=1)
    assert 0.8 <= float(lengths.min()) < float(lengths.max()) <= 1.2


def test_tiny_losses_are_followed_as_others_are(monkeypatch) -> None:
    X, y = rays.separable(3, 8, 6, 0.5, 0)
    known = rays.flow(X, y, 12, scale=1.0, steps=3000, rate=0.1)
    assert float((known[0] @ known[1].T).amax()) > 60
    monkeypatch.setattr(rays, "TINY_ODDS", -1e9)
    for mine, plain in zip(known, rays.flow(X, y, 12, scale=1.0, steps=3000, rate=0.1),
                           strict=True):  # fmt: skip
        torch.testing.assert_close(mine, plain, rtol=1e-9, atol=1e-9)


def test_the_flow_keeps_layers_balanced_and_classes_apart() -> None:
    X, y = rays.separable(3, 8, 6, 0.5, 0)
    features, head = rays.flow(X, y, 12, scale=1e-2, steps=4000)
    decided = (features @ head.T).argmax(1)
    assert bool((decided == y).all())
    found = rays.readings(features, y, ("raw_cosine", "dir_spread", "nc1_ratio"), head)
    assert found["raw_cosine"] == 0 and found["dir_spread"] < 1e-3 < found["nc1_ratio"]


def test_a_fit_on_feasible_data_comes_near_the_bound_and_never_below() -> None:
    data = shallow.blobs(40, 2, 3, 6, 0, tests=5)
    assert data.test.shape == (15, 40)
    found = shallow.fit_two_layers(
        data.inputs, data.labels, 24, decay=2e-3, steps=800, polish=100, seed=0
    )
    bound = shallow_bound([6] * 3, 2e-3, 2e-3)
    assert bound <= found.risk < 1.05 * bound
    plain = shallow.fit_two_layers(
        data.inputs, data.labels, 24, decay=2e-3, on_features=False, steps=300, polish=50
    )
    key = ("nc1_ratio",)
    collapsed = rays.readings(found.features, data.labels, key)["nc1_ratio"]
    assert collapsed < rays.readings(plain.features, data.labels, key)["nc1_ratio"]
    assert torch.equal(found.network(data.inputs), found.features @ found.head.T)
