"""certify: the share of the loss that is geometry not reached, with its parts, at every look."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

import ncollapse as nc
from ncollapse.downstream.views import View
from ncollapse.losses import CrossEntropy, Focal, MeanSquaredError
from ncollapse.tracking.certifying import KEYS, Certify

COUNTS = (40, 25, 10)
LABELS = torch.repeat_interleave(torch.arange(3), torch.tensor(COUNTS))


def view(W: torch.Tensor, H: torch.Tensor, b: torch.Tensor | None = None) -> View:
    return View("train", "head", H, LABELS, None, W, b)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("loss", ["ce", "mse", CrossEntropy(0.1)], ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_parts_sum_to_the_gap_and_none_is_negative(loss, bias: bool) -> None:
    watcher = Certify(loss)
    known = {"ce": CrossEntropy(), "mse": MeanSquaredError()}.get(loss, loss)
    for seed in range(8):
        W, b = draw(3, 5, seed=seed), draw(3, seed=9) if bias else None
        H = seed * W[LABELS] / 3 + draw(75, 5, seed=20 + seed) / (1 + seed)
        found = watcher.read(view(W, H, b))
        assert tuple(found) == KEYS
        value, least, gap, *parts, tau = found.values()
        logits = H @ W.T if b is None else H @ W.T + b
        assert value == pytest.approx(float(known(logits, LABELS).mean()), rel=1e-12)
        assert 0 <= least <= value and 0 <= gap <= 1
        assert all(part >= 0 for part in parts) and sum(parts) == pytest.approx(gap, abs=1e-12)
        assert tau is None or tau > 0


def test_the_optimum_has_no_gap_and_every_fault_its_own_part() -> None:
    g = nc.predict(COUNTS, weight_decay=2e-3, feature_decay=1e-3).geometry
    watcher = Certify()
    gap, spread, shape, idle = KEYS[2:6]
    best = watcher.read(view(g.weight, g.means[LABELS], g.bias))
    assert best[gap] < 1e-3
    # Noise within classes that keeps their means, along what the head sees.
    noise = draw(75, g.means.shape[1], seed=3)
    for rows in noise.split(COUNTS):
        rows -= rows.mean(0)
    loud = watcher.read(view(g.weight, g.means[LABELS] + noise, g.bias))
    assert loud[spread] > 0.1 and loud[shape] < 2e-3
    # An offset in a direction that the head does not see, and a sum of the rows.
    wide = torch.cat([g.means, torch.full((3, 1), 5.0)], 1)
    head = torch.cat([g.weight, torch.zeros(3, 1)], 1) + 2 * draw(1, wide.shape[1])
    off = watcher.read(view(head, wide[LABELS], g.bias))
    assert off[idle] > 0.1 and off[spread] < 1e-9 and off[shape] < 2e-3
    # Two classes that share a mean.
    means = g.means.clone()
    means[2] = means[1]
    merged = watcher.read(view(g.weight, means[LABELS], g.bias))
    assert merged[shape] > 0.1 and merged[spread] < 1e-9


def test_scale_of_head_against_features_moves_nothing() -> None:
    W, H, b = draw(3, 5), draw(75, 5, seed=1), draw(3, seed=2)
    one, other = Certify().read(view(W, H, b)), Certify().read(view(100 * W, H / 100, b))
    assert list(one.values()) == pytest.approx(list(other.values()), rel=1e-3, abs=1e-9)
    turn, _ = torch.linalg.qr(draw(5, 5, seed=4))
    turned = Certify().read(view(W @ turn, H @ turn, b))
    assert list(one.values()) == pytest.approx(list(turned.values()), rel=1e-3, abs=1e-9)


def net(classes: int = 3) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, classes))


def test_a_tracker_writes_it_to_the_trace(tmp_path: Path) -> None:
    model, X = net(), draw(75, 6).float() + nn.functional.one_hot(LABELS, 6)
    tracker = nc.Tracker(model, train=(X, LABELS), certify=True, every=10, output=tmp_path)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    for _ in range(30):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(X), LABELS).backward()
        optimizer.step()
        tracker.step()
    trace = nc.Trace.load(tmp_path / "trace.csv")
    _, losses = trace.series("train", "head", "ufm_loss")[:2]
    with torch.no_grad():
        assert losses[-1] == pytest.approx(
            float(nn.functional.cross_entropy(model(X), LABELS)), rel=1e-5
        )
    for key in KEYS:
        found = trace.series("train", "head", key)[1]
        assert len(found) == 3 and all(v is not None and math.isfinite(v) for v in found)
    tracker.finish(null=False, intervals=False)


def test_what_cannot_be_certified_is_said_before_training() -> None:
    X = draw(75, 6).float()
    data = {"train": (X, LABELS)}
    for wrong, said in (
        ({"online": True}, "needs samples"),
        ({**data, "head": False}, "compares losses of a head"),
        ({**data, "task": "regression"}, "global optimum of classes only"),
        ({**data, "tokens": True}, "not of tokens"),
    ):
        with pytest.raises(ValueError, match=said):
            nc.Tracker(net(), certify=True, **wrong)
    with pytest.raises(ValueError, match="no loss that theory knows"):
        nc.Tracker(net(), certify="hinge", **data)
    for other in (nn.MSELoss(), nn.functional.cross_entropy, 0.1):
        said = "no loss that theory knows; pass True for cross-entropy, your nn.CrossEntropyLoss"
        with pytest.raises(ValueError, match=said):
            nc.Tracker(net(), certify=other, **data)
    for other in (Focal(2.0), "focal"):
        with pytest.raises(ValueError, match="not convex"):
            nc.Tracker(net(), certify=other, **data)
    both = nn.CrossEntropyLoss(torch.ones(3), label_smoothing=0.1)
    with pytest.raises(ValueError, match="certify knows each of the two alone"):
        nc.Tracker(net(), certify=both, **data)
    few = nc.Tracker(net(), train=(X, LABELS), certify=CrossEntropy(weight=(1.0, 2.0)))
    with pytest.raises(ValueError, match="weight has 2 entries and there are 3 classes"):
        few.probe()
    with pytest.raises(ValueError, match="class 2 has no sample in split 'train'; pass samples"):
        nc.Tracker(net(), train=(X[:65], LABELS[:65]), certify=True).probe()


def test_labels_that_are_no_classes_are_told_as_what_they_are() -> None:
    X, Y = draw(75, 6).float(), draw(75, 3, seed=1).float()
    for targets in (Y, Y[:, :1], Y[:, 0]):
        width = targets.shape[1] if targets.dim() == 2 else 1
        said = (
            "targets are numbers .torch.float32., as of a regression, and certify knows losses of c"
        )
        with pytest.raises(ValueError, match=f"{said}.* pass task='regression'"):
            nc.Tracker(net(width), train=(X, targets), certify=True).probe()
        nc.Tracker(net(width), train=(X, targets), task="regression").probe()
    with pytest.raises(ValueError, match="a sample has several labels, and certify knows losses"):
        nc.Tracker(net(), train=(X, (Y > 0).float()), certify=True).probe()
    with pytest.raises(ValueError, match="class 2 and the head 1 row, as of ordered grades"):
        Certify().read(view(draw(1, 5), draw(75, 5)))
    with pytest.raises(ValueError, match="class 2 and the head 2 rows: leave"):
        Certify().read(view(draw(2, 5), draw(75, 5)))


@pytest.mark.parametrize(
    "criterion",
    [
        nn.CrossEntropyLoss(),
        nn.CrossEntropyLoss(label_smoothing=0.1),
        nn.CrossEntropyLoss(torch.tensor([1.0, 3.0, 9.0])),
    ],
    ids=["plain", "smoothed", "weighted"],
)
def test_the_criterion_of_training_is_taken_as_it_is(criterion: nn.CrossEntropyLoss) -> None:
    """The loss is that of torch to rounding, and its floor that of `predict` at the fitted τ."""
    W, b, H = 0.3 * draw(3, 5), draw(3, seed=2), draw(75, 5, seed=1)
    found = Certify(criterion).read(view(W, H, b))
    weight = None if criterion.weight is None else criterion.weight.double()
    smoothing = criterion.label_smoothing
    theirs = nn.functional.cross_entropy(H @ W.T + b, LABELS, weight, label_smoothing=smoothing)
    assert found["ufm_loss"] == pytest.approx(float(theirs), rel=1e-12)
    size = float(W.norm()) * math.sqrt(float(H.square().sum()) / 75)
    scaled = None if weight is None else 75 * weight / (weight[LABELS].sum())
    decay = found["ufm_tau"] / math.sqrt(75)
    best = nc.predict(
        COUNTS,
        loss=CrossEntropy(smoothing, None if scaled is None else tuple(scaled.tolist())),
        weight_decay=decay,
        feature_decay=decay,
    )
    line = best.certificate.lower_bound - found["ufm_tau"] * size
    assert found["ufm_floor"] == pytest.approx(line, abs=1e-4 * float(theirs))


def test_features_of_single_precision_lose_nothing_that_is_told() -> None:
    """Logits are then made in single precision, as the network makes its own."""
    W, b, H = 0.3 * draw(3, 5), draw(3, seed=2), draw(3, 5)[LABELS] + draw(75, 5, seed=1)
    exact = Certify().read(view(W, H.float().double(), b))
    quick = Certify().read(view(W, H.float(), b))
    assert list(exact.values()) == pytest.approx(list(quick.values()), rel=1e-4, abs=1e-9)
