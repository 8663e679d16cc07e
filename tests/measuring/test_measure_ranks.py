"""measure in a process group: one process's measurement on every rank, however samples are dealt."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import ncollapse as nc
from ncollapse.measuring.measure import measure_source
from ncollapse.sources.features.arrays import ArraySource
from tests.data import make
from tests.ranks import said_by, spawn

CASE = make("ranks", counts=[60, 45, 70, 26], dim=10, spread=0.3, offset=1.0)
X, Y = torch.from_numpy(CASE.features).float(), torch.from_numpy(CASE.labels)
ORDER = torch.randperm(len(Y), generator=torch.Generator().manual_seed(3))
DATA = TensorDataset(X[ORDER], Y[ORDER])
TEST = TensorDataset(X[:50], Y[:50])


def net() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        hidden = [nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU()]
        return nn.Sequential(*hidden, nn.Linear(8, 4))


def loader(data: Any, **kept: Any) -> DataLoader:
    return DataLoader(data, batch_size=16, **kept)


def whole(**kept: Any) -> nc.Measurement:
    data = {"train": loader(DATA), "test": loader(TEST)}
    return nc.measure(net(), data, layers="2", **kept)


@pytest.fixture(scope="module")
def one() -> nc.Measurement:
    return whole()


def numbers(found: nc.Measurement) -> dict[tuple[str, ...], Any]:
    rows = {}
    for split, layers in found.results.items():
        for layer, readings in layers.items():
            for key, reading in readings.items():
                rows[split, layer, key] = (reading.value, reading.null, reading.interval, reading.n)
    return rows


def same(left: nc.Measurement, right: nc.Measurement, rtol: float = 1e-12) -> None:
    one, two = numbers(left), numbers(right)
    assert one.keys() == two.keys()
    for place, (value, null, interval, n) in one.items():
        other = two[place]
        assert n == other[3], place
        assert value == pytest.approx(other[0], rel=rtol, abs=1e-14), place
        if null is not None:
            assert null.mean == pytest.approx(other[1].mean, rel=1e-9, abs=1e-12), place
        if interval is not None:
            assert interval == pytest.approx(other[2], rel=1e-8, abs=1e-10), place
    assert [v.sentence for v in left.verdicts] == [v.sentence for v in right.verdicts]


def measured(rank: int, kind: str) -> nc.Measurement:
    if kind == "dealt":
        return whole()
    if kind == "no cache":
        return whole(cache=False)
    if kind == "sampler":
        data = {
            name: loader(d, sampler=DistributedSampler(d, shuffle=name == "train"))
            for name, d in (("train", DATA), ("test", TEST))
        }
    else:
        # Rank 0 holds nothing of the training split, and all of the other.
        empty = TensorDataset(X[:0], Y[:0])
        data = {
            "train": loader(DATA if rank else empty),
            "test": loader(empty if rank else TEST),
        }
    return nc.measure(net(), data, layers="2")


@pytest.mark.parametrize(
    ("kind", "ranks"), [("dealt", 3), ("sampler", 4), ("own", 2), ("no cache", 2)]
)
def test_every_rank_measures_what_one_process_does(
    kind: str, ranks: int, one: nc.Measurement
) -> None:
    # A sampler makes other batches, whose float32 features may differ in the last digit.
    rtol = 1e-5 if kind == "sampler" else 1e-12
    for found in spawn(measured, ranks, kind):
        if kind == "sampler":
            assert found.document.num_samples == one.document.num_samples
            for place, (value, *_, n) in numbers(one).items():
                other = numbers(found)[place]
                assert n == other[3]
                assert value == pytest.approx(other[0], rel=rtol, abs=1e-6), place
        else:
            same(one, found)


def padded(rank: int) -> nc.Measurement:
    sampler = DistributedSampler(DATA, shuffle=False)
    assert sampler.total_size > len(DATA)
    return nc.measure(net().double(), DataLoader(DOUBLE, batch_size=16, sampler=sampler))


DOUBLE = TensorDataset(X[ORDER].double(), Y[ORDER])


def test_padding_of_a_sampler_is_counted_once() -> None:
    one = nc.measure(net().double(), loader(DOUBLE))
    for found in spawn(padded, 4):
        same(one, found, 1e-11)


def with_wrapper(rank: int) -> nc.Measurement:
    model = nn.parallel.DistributedDataParallel(net())
    return nc.measure(model, {"train": loader(DATA), "test": loader(TEST)}, layers="2")


def test_ddp_models_are_read_inside(one: nc.Measurement) -> None:
    for found in spawn(with_wrapper, 2):
        same(one, found)


def sharded(rank: int) -> nc.Measurement:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model = net()
    mesh = init_device_mesh("cpu", (2,))
    for layer in model:
        if isinstance(layer, nn.Linear):
            fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return nc.measure(model, {"train": loader(DATA), "test": loader(TEST)}, layers="2")


def test_sharded_models_are_read_in_full(one: nc.Measurement) -> None:
    for found in spawn(sharded, 2):
        same(one, found)


def faulty(rank: int, kind: str) -> str:
    labels = Y[ORDER].clone()
    if kind == "label" and rank == 1:
        labels[3] = 9
    x = X[ORDER].clone()
    if kind == "shape" and rank == 1:
        x = x[:, :7]
    if kind == "nan" and rank == 1:
        x[0], x[40, 2] = 0, torch.nan
    data = TensorDataset(x, labels)
    shuffle = kind == "shuffle"
    return said_by(lambda: nc.measure(net(), loader(data, shuffle=shuffle)))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("label", "rank 1: label 9 of sample 3"),
        ("shape", "rank 1: the model failed on a batch of tensor [16, 7]"),
        ("nan", "rank 1: model: features hold NaN"),
        ("shuffle", "shuffles without a DistributedSampler"),
    ],
)
def test_a_fault_on_one_rank_stops_all_with_its_reason(kind: str, said: str) -> None:
    for found in spawn(faulty, 2, kind):
        assert said in found.replace("Sequential:", "model:")


def of_source(rank: int, double: bool) -> nc.Measurement:
    return measure_source(rows(double), share=True)


def rows(double: bool) -> ArraySource:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20_001, 10, generator=generator) + 3
    y = torch.randint(0, 4, (20_001,), generator=generator)
    x[:, :4] += nn.functional.one_hot(y, 4)
    weight = torch.eye(4, 10)
    return ArraySource(x.double() if double else x, y, weight=weight)


@pytest.mark.parametrize("double", [True, False])
def test_sources_are_read_in_parts(double: bool) -> None:
    one = measure_source(rows(double))
    for found in spawn(of_source, 2, double):
        same(one, found)
        assert found.document.environment == one.document.environment
