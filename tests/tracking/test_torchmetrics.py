"""NeuralCollapseMetric under the real torchmetrics: merging, collections, two gloo processes."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from ncollapse.sources.specs.optional import optional
from tests.data import CASES, make
from tests.ranks import spawn
from tests.tracking.test_metric import same

optional("torchvision")
torchmetrics = pytest.importorskip("torchmetrics")

from ncollapse.tracking.metric import NeuralCollapse  # noqa: E402
from ncollapse.tracking.torchmetrics import NeuralCollapseMetric  # noqa: E402

CASE = CASES[0]
X, Y = torch.from_numpy(CASE.features), torch.from_numpy(CASE.labels)
W = torch.from_numpy(CASE.weight)
K, D = W.shape


def plain(part: slice = slice(None), features=X, **options):
    metric = NeuralCollapse(K, D, **options)
    metric.update(features[part], Y[part])
    return metric.compute()


def fed(*parts: slice, features=X, **options) -> NeuralCollapseMetric:
    metric = NeuralCollapseMetric(K, D, **options)
    for part in parts or (slice(None),):
        metric.update(features[part], Y[part])
    return metric


@pytest.mark.parametrize("options", [{}, {"mode": "trace"}, {"definition": "micro"}])
def test_it_reads_what_the_plain_metric_reads(options) -> None:
    metric = fed(slice(0, 250), slice(250, 400), slice(400, None), **options)
    same(metric.compute(), plain(**options))
    metric.reset()
    metric.update(X[:300], Y[:300])
    same(metric.compute(), plain(slice(0, 300), **options))


def test_forward_gives_the_batch_and_merges() -> None:
    metric = NeuralCollapseMetric(K, D)
    same(metric(X[:300], Y[:300]), plain(slice(0, 300)))
    same(metric(X[300:], Y[300:]), plain(slice(300, None)))
    same(metric.compute(), plain())


def test_merging_is_exact_near_collapse() -> None:
    """Plain sums of float32 features, or sums about different pilots, would be noise here."""
    case = make("tight", counts=[60] * 10, dim=32, spread=1e-5, offset=10)
    features, labels = torch.from_numpy(case.features), torch.from_numpy(case.labels)
    first, second = NeuralCollapseMetric(K, D), NeuralCollapseMetric(K, D)
    whole = NeuralCollapse(K, D)
    whole.update(features, labels)
    first.update(features[:200], labels[:200])
    second.update(features[200:].double(), labels[200:])
    first.merge_state(second)
    same(first.compute(), whole.compute(), 1e-5)
    metric = NeuralCollapseMetric(K, D)
    metric.update(features[:200], labels[:200])
    metric.merge_state({"state": second.state})
    same(metric.compute(), whole.compute(), 1e-5)


@pytest.mark.parametrize("groups", [True, False])
def test_in_a_collection(groups) -> None:
    made = torchmetrics.MetricCollection(
        {
            "all": NeuralCollapseMetric(K, D, keys=("nc1_ratio",)),
            "some": NeuralCollapseMetric(K, D, keys=("nc1_fisher",)),
            "skips": NeuralCollapseMetric(K, D, keys=("nc1_cdnv",), ignore_index=-1),
        },
        prefix="val_",
        compute_groups=groups,
    )
    # The first batch reads the same for all three; grouping by it alone would be wrong.
    made.update(X[:300], Y[:300])
    made.update(X[300:], Y[300:])
    if groups:
        assert sorted(map(sorted, made.compute_groups.values())) == [["all", "some"], ["skips"]]
    found = made.compute()
    for key in ("nc1_ratio", "nc1_fisher", "nc1_cdnv"):
        assert float(found[f"val_{key}"]) == pytest.approx(float(plain()[key]))
    made["skips"].update(X[:1], torch.tensor([-1]))
    made.reset()
    made.clone()(X, Y)


def test_copies_pickles_and_half_keep_the_state() -> None:
    metric = fed()
    metric.set_head(W)
    for other in (
        copy.deepcopy(metric),
        pickle.loads(pickle.dumps(metric)),
        metric.clone(),
        copy.deepcopy(metric).half(),
    ):
        assert other.state.dtype == torch.float64
        same(other.compute(), metric.compute())
        other.update(X, Y)
    assert "nc3_duality" in metric.compute()
    figure, axes = metric.plot()
    assert axes.get_figure() is figure
    metric.persistent(True)
    again = NeuralCollapseMetric(K, D)
    again.persistent(True)
    again.load_state_dict(metric.state_dict())
    again.update(X[:0], Y[:0])
    same(again.compute(), plain())


def test_bad_arguments_are_explained() -> None:
    with pytest.raises(ValueError, match="num_classes=1"):
        NeuralCollapseMetric(1, 4)
    with pytest.raises(ValueError, match="definition 'mine'"):
        NeuralCollapseMetric(2, 4, definition="mine")
    with pytest.raises(ValueError, match="lies outside"):
        NeuralCollapseMetric(2, D).update(X, Y)
    with pytest.raises(ValueError, match="dist_sync_on_stop"):
        NeuralCollapseMetric(2, D, dist_sync_on_stop=True)


def shared(rank: int) -> int:
    case = make("tight", counts=[40] * 6, dim=16, spread=1e-4, offset=10)
    x, y = torch.from_numpy(case.features), torch.from_numpy(case.labels)
    # Uneven shares; class 0 is seen by rank 0 alone, and other pilots differ.
    third = torch.arange(len(y)) % 3 == 0
    mine = third & (y != 0) if rank else ~third | (y == 0)
    metric, plain_ = NeuralCollapseMetric(6, 16), NeuralCollapse(6, 16)
    for part in mine.nonzero().flatten().split(32):
        metric.update(x[part], y[part])
        plain_.update(x[part], y[part])
    whole = NeuralCollapse(6, 16)
    whole.update(x, y)
    expected = whole.compute()
    for found in (metric.compute(), plain_.sync().compute(), plain_.sync().compute()):
        for key, value in expected.items():
            gap = abs(float(found[key]) - float(value)) / max(1e-9, abs(float(value)))
            assert gap < 1e-5, (rank, key, float(found[key]), float(value))
    # After compute the metric holds its own samples again.
    metric.update(x[:0], y[:0])
    assert int(metric._unpack(metric.state).counts.sum()) == int(mine.sum())
    return rank


def test_two_processes_read_what_one_reads() -> None:
    assert spawn(shared, 2) == [0, 1]
