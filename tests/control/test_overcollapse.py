"""Principal features keep their share; adjacent regions stay near and are told apart."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from ncollapse.control import AdjacentRegions, OverCollapsePrevention, PrincipalFeatures
from tests.models import K, blobs, built, net


def features(samples: int = 200, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.tensor([4.0, 2.0, 1.0, 0.5, 1e-6])
    turn = torch.linalg.qr(torch.randn(5, 5, generator=generator)).Q
    return (torch.randn(samples, 5, generator=generator) * sizes) @ turn + 10


@pytest.mark.parametrize(("share", "rank"), [(0.5, 1), (0.9, 2), (0.97, 3), (0.9999, 4)])
def test_the_fewest_directions_that_hold_the_share_are_kept(share: float, rank: int) -> None:
    rows = features()
    fitted = PrincipalFeatures(share).fit(rows)
    assert fitted.rank == rank
    assert fitted.kept >= share
    projected = fitted.transform(rows)
    assert projected.shape == (200, rank)
    found = projected.double().var(0).sum() / rows.double().var(0).sum()
    assert float(found) == pytest.approx(fitted.kept, abs=1e-5)
    torch.testing.assert_close(
        fitted.components @ fitted.components.T, torch.eye(rank, dtype=torch.float64)
    )


def test_everything_can_be_kept_and_gradients_pass() -> None:
    rows = features()
    fitted = PrincipalFeatures(1.0).fit(rows)
    torch.testing.assert_close(fitted.inverse_transform(fitted.transform(rows)), rows)
    few = PrincipalFeatures(1.0).fit(rows[:3])
    assert few.rank == 2
    leaf = rows.clone().requires_grad_()
    fitted.transform(leaf).sum().backward()
    assert bool(leaf.grad.isfinite().all())


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: PrincipalFeatures(0.0), r"\(0, 1\]"),
        (lambda: PrincipalFeatures().transform(torch.ones(3, 4)), "call fit"),
        (lambda: PrincipalFeatures().fit(torch.ones(3, 4)), "do not vary"),
        (lambda: PrincipalFeatures().fit(torch.ones(1, 4)), "at least 2"),
        (lambda: PrincipalFeatures().fit(torch.full((3, 4), torch.nan)), "NaN"),
        (lambda: AdjacentRegions((3,), 0), "at least 1"),
        (lambda: OverCollapsePrevention(nn.Flatten(), (3, 8, 8)), "no linear layer"),
        (lambda: poc(net()).loss(blobs()[0], blobs()[1] + K), "needed"),
        (lambda: poc(nn.Sequential(net(), nn.Flatten(0))).loss(*blobs()), "pass head=NAME"),
    ],
)
def test_bad_input_is_explained(call, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        call()


def poc(model: nn.Module, **kept) -> OverCollapsePrevention:
    for part in model.modules():
        # Dropout would draw from the global generator.
        if isinstance(part, nn.Dropout):
            part.p = 0.0
            part.eval()
    return OverCollapsePrevention(model, (3, 8, 8), **kept)


def test_every_sample_moves_by_its_share() -> None:
    inputs, labels = blobs()
    regions = AdjacentRegions((3, 8, 8), regions=3, radius=0.2)
    moved = regions(inputs, labels % 3)
    found = (moved - inputs).flatten(1).norm(dim=1) / inputs.flatten(1).norm(dim=1)
    torch.testing.assert_close(found, torch.full((48,), 0.2))
    assert 0 <= float(regions.overlap().detach()) <= 1
    assert float(AdjacentRegions((3,)).overlap().detach()) == 0


def small() -> nn.Sequential:
    return built(
        lambda: nn.Sequential(
            nn.Flatten(), nn.Linear(192, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, K)
        )
    )


def test_regions_are_learned_and_the_model_is_used_as_it_is() -> None:
    inputs, labels = blobs()
    model = small()
    prevention = poc(model, regions=2, radius=0.3)
    optimizer = torch.optim.SGD(
        [*model.parameters(), *prevention.parameters()], lr=0.05, momentum=0.9
    )
    losses = []
    for _ in range(60):
        loss = prevention.loss(inputs, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]
    logits = model.eval()(inputs)
    assert logits.shape == (48, K)
    assert float((logits.argmax(1) == labels).float().mean()) > 0.95
    # Told apart from its regions by the classes that are dropped afterwards.
    region = torch.arange(48) // 24
    with torch.no_grad():
        moved = prevention.transformations(inputs, region)
        hidden = model[:-1](moved)
        everything = torch.cat([model[-1](hidden), prevention.extra(hidden)], 1)
    assert float((everything.argmax(1) >= K).float().mean()) > 0.9


def test_running_statistics_are_those_of_unmoved_samples() -> None:
    inputs, labels = blobs()
    model = small()
    twin = copy.deepcopy(model)
    poc(model).loss(inputs, labels)
    twin(inputs)
    torch.testing.assert_close(model[2].running_mean, twin[2].running_mean)
    torch.testing.assert_close(model[2].running_var, twin[2].running_var)
    assert model[2].momentum == twin[2].momentum


def test_it_resumes() -> None:
    inputs, labels = blobs()
    model = small()
    first, second = poc(model, seed=1, regions=2), poc(model, seed=2, regions=2)
    first.loss(inputs, labels)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    with torch.no_grad():
        assert float(first.loss(inputs, labels)) == float(second.loss(inputs, labels))


def test_targets_of_regions_are_classes_of_their_own() -> None:
    """With logits that say everything, the loss is what the extra classes make it."""
    inputs, labels = blobs()
    model = small().eval()
    prevention = poc(model, regions=2, pull=0.0, apart=0.0)
    with torch.no_grad():
        prevention.extra.weight.zero_()
        prevention.extra.bias.fill_(50.0)
        found = float(prevention.loss(inputs, labels))
        own = torch.cat([model(inputs), torch.full((48, 2 * K), 50.0)], 1)
        moved = torch.log(torch.tensor(2.0 * K))
        wanted = 0.5 * float(functional.cross_entropy(own, labels)) + 0.5 * float(moved)
    assert found == pytest.approx(wanted, rel=1e-4)
