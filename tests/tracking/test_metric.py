"""NeuralCollapse: what measure reads, batch by batch, merged and reset."""

from __future__ import annotations

import math
import pickle

import pytest
import torch

import ncollapse as nc
from ncollapse.tracking.metric import NeuralCollapse
from tests.data import CASES

CASE = CASES[0]
X, Y = torch.from_numpy(CASE.features), torch.from_numpy(CASE.labels)
W, B = torch.from_numpy(CASE.weight), torch.from_numpy(CASE.bias)
K, D = W.shape


def fed(*parts: slice, **options) -> NeuralCollapse:
    metric = NeuralCollapse(K, D, **options)
    for part in parts or (slice(None),):
        metric.update(X[part], Y[part])
    return metric


def same(a, b, relative=1e-6) -> None:
    assert a.keys() == b.keys()
    for key in a:
        assert float(a[key]) == pytest.approx(float(b[key]), rel=relative, abs=1e-9), key


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_reads_what_measure_reads(case) -> None:
    features, labels = torch.from_numpy(case.features), torch.from_numpy(case.labels)
    weight, bias = torch.from_numpy(case.weight), torch.from_numpy(case.bias)
    metric = NeuralCollapse(*weight.shape)
    for start in range(0, len(labels), 50):
        metric.update(features[start : start + 50], labels[start : start + 50])
    found = metric.compute(weight, bias)
    m = nc.measure_features(features, labels, weight=weight, bias=bias, null=False)
    assert "nc3_duality" in found and "nc1_fisher" in found
    for key, value in found.items():
        assert value.dtype == torch.float64 and value.shape == ()
        expected = m.value(key)
        if expected is None:
            assert math.isnan(value)
        else:
            assert float(value) == pytest.approx(expected, rel=2e-5, abs=1e-7), key


def test_merged_is_whole_and_reset_is_new() -> None:
    whole = fed()
    first, second, third = fed(slice(0, 200)), fed(slice(200, 450)), fed(slice(450, None))
    first.merge_state([second, third])
    same(first.compute(W), whole.compute(W))
    two = fed(slice(0, 200))
    two.merge_state(fed(slice(200, None)))
    same(two.compute(), whole.compute())
    whole.reset()
    with pytest.raises(ValueError, match="at least two classes"):
        whole.compute()
    whole.update(X[:300], Y[:300])
    same(whole.compute(), fed(slice(0, 300)).compute())


def test_calling_gives_the_batch_and_keeps_the_whole() -> None:
    metric = NeuralCollapse(K, D)
    batch = metric(X[:300], Y[:300])
    same(batch, fed(slice(0, 300)).compute())
    last = metric.forward(X[300:], Y[300:], weight=W)
    same(last, fed(slice(300, None)).compute(W))
    same(metric.compute(), fed().compute())


def test_without_a_process_group_sync_is_a_copy() -> None:
    metric = fed(definition="micro", keys=("nc1_fisher", "nc1_ratio"))
    merged = metric.sync()
    same(merged.compute(), metric.compute())
    assert merged.definition == "micro"
    merged.update(X, Y)
    assert metric.moments.num_samples == len(Y)


def test_state_is_saved() -> None:
    metric = fed(slice(0, 300))
    again = NeuralCollapse(K, D)
    again.load_state_dict(pickle.loads(pickle.dumps(metric.state_dict())))
    same(again.compute(), metric.compute())
    with pytest.raises(ValueError, match="these are"):
        NeuralCollapse(K + 1, D).load_state_dict(metric.state_dict())


def test_chosen_keys_and_definitions() -> None:
    found = fed(keys=("nc3_duality", "nc1_ratio"), definition="micro").compute()
    assert list(found) == ["nc1_ratio", "nc3_duality"]
    # Asked for, but there is no head.
    assert math.isnan(found["nc3_duality"])
    papyan = fed(definition="papyan2020").compute()["nc1_fisher"]
    m = nc.measure_features(X, Y, definition="papyan2020", null=False)
    assert float(papyan) == pytest.approx(m.value("nc1_fisher"), rel=1e-5)
    trace = fed(mode="trace").compute()
    assert "nc1_ratio" in trace and "nc1_fisher" not in trace
    assert math.isnan(fed(mode="trace", keys=("nc1_fisher",)).compute()["nc1_fisher"])


def test_absent_classes_are_named_once() -> None:
    metric = NeuralCollapse(K + 2, D)
    metric.update(X, Y)
    with pytest.warns(nc.NCollapseWarning, match=f"2 of {K + 2} classes .*: {K}, {K + 1}"):
        found = metric.compute()
    same(found, metric.compute())
    same(found, fed().compute())


def test_plot_returns_figure_and_axes() -> None:
    import matplotlib
    from matplotlib.figure import Figure

    backend = matplotlib.rcParams._get_backend_or_none()
    metric = fed(keys=("nc1_ratio", "nc1_fisher"))
    figure, axes = metric.plot()
    assert isinstance(figure, Figure) and len(axes.lines[0].get_xdata()) == 2
    curves, axes = metric.plot([metric.compute()] * 3)
    assert list(axes.lines[0].get_xdata()) == [1, 2, 3]
    assert metric.plot(metric.compute(), ax=axes) == (curves, axes)
    figure.canvas.draw()
    assert matplotlib.rcParams._get_backend_or_none() == backend


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        ((1, 4), {}, "num_classes=1"),
        ((3, 4), {"keys": ("nc9",)}, "key 'nc9'"),
        ((3, 4), {"definition": "mine"}, "definition 'mine'"),
        ((3, 4), {"mode": "half"}, "mode 'half'"),
    ],
)
def test_bad_arguments_are_explained(arguments, options, said) -> None:
    with pytest.raises(ValueError, match=said):
        NeuralCollapse(*arguments, **options)


def test_bad_batches_are_explained() -> None:
    metric = NeuralCollapse(K, D)
    with pytest.raises(ValueError, match="lies outside"):
        metric.update(X, Y + 1)
    with pytest.raises(ValueError, match="features have shape"):
        metric.update(X[:, 1:], Y)
    with pytest.raises(ValueError, match="cannot be merged"):
        metric.merge_state(NeuralCollapse(K + 1, D))
