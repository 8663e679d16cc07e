"""Laws of what layers say together, and of the weight that reads them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

import ncollapse as nc
from ncollapse.collect.tap.taps import Taps
from ncollapse.metrics.alignment import LARGEST, span_alignment, span_share, strongest
from ncollapse.metrics.depth import depth_of, effective_depth, finished, monotone, separation_law
from ncollapse.record.readings import Reading


# ---- the law of data separation -----------------------------------------------------------------
def test_an_exact_law_is_found_exactly() -> None:
    found = separation_law([3.0 * 0.7**layer for layer in range(6)])
    assert found.rate == pytest.approx(0.7, rel=1e-12)
    assert found.correlation == pytest.approx(-1, abs=1e-12)
    assert found.half_life == pytest.approx(math.log(2) / math.log(1 / 0.7))
    assert found.low == pytest.approx(0.7) and found.high == pytest.approx(0.7)


def test_the_unit_of_the_features_and_the_divisor_of_nc1_do_not_matter() -> None:
    D = np.random.default_rng(0).uniform(0.1, 5, 7)
    first, other = separation_law(D.tolist()), separation_law((17 * D).tolist())
    assert other.rate == pytest.approx(first.rate)
    assert other.correlation == pytest.approx(first.correlation)


def test_the_interval_holds_the_rate_in_nineteen_of_twenty() -> None:
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(400):
        D = np.exp(-0.3 * np.arange(8) + 0.2 * rng.normal(size=8))
        found = separation_law(D.tolist())
        assert found.low is not None and found.high is not None
        held += found.low <= math.exp(-0.3) <= found.high
    assert 365 <= held <= 393


def test_no_law_is_told_by_its_correlation() -> None:
    found = separation_law([5.7, 5.1, 4.6, 4.0, 4.2, 3.8, 6.0, 6.3])
    assert found.correlation == pytest.approx(0.14, abs=0.02)
    assert found.half_life is None


@pytest.mark.parametrize("bad", [[1.0], [], [1.0, 0.0], [1.0, math.nan], [1.0, -2.0]])
def test_what_has_no_rate_is_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="layers|positive"):
        separation_law(bad)


# ---- from where on ------------------------------------------------------------------------------
def test_finished_means_from_there_on() -> None:
    assert finished([0.5, 0.001, 0.2, 0.004, 0.0], 0.01) == 3
    assert finished([0.0, 0.0], 0.01) == 0
    assert finished([0.0, 0.5], 0.01) is None
    assert finished([0.0, None], 0.01) is None
    assert finished([None, 0.0], 0.01) == 1


def test_the_ends_of_intervals_put_the_layer_earlier_and_later() -> None:
    def row(value: float, low: float, high: float) -> dict[str, Reading]:
        return {"nc4_mismatch": Reading(value, interval=(low, high))}

    layers = {"a": row(0.02, 0.008, 0.04), "b": row(0.009, 0.004, 0.02), "c": row(0, 0, 0.005)}
    found = effective_depth(layers, 0.01)
    assert (found.layer, found.number, found.total) == ("b", 2, 3)
    assert (found.earliest, found.latest) == ("a", "c")
    assert "between a and c" in str(found)


def test_monotone_forgives_rounding_only() -> None:
    assert monotone([3.0, 2.0, 2.0 * (1 + 1e-12), 1.0]) is True
    assert monotone([3.0, 2.0, 2.001]) is False
    assert monotone([3.0, None, 2.0]) is None
    assert monotone([3.0]) is None


def test_a_tolerance_is_a_share() -> None:
    results = {"train": {"head": {"nc4_mismatch": Reading(0.0)}}}
    with pytest.raises(ValueError, match="tolerance=1.5"):
        depth_of(results, tolerance=1.5)
    with pytest.raises(ValueError, match="'test' was not measured"):
        depth_of(results, split="test")


# ---- alignment with the next weight -------------------------------------------------------------
def test_a_weight_that_reads_the_means_is_aligned_and_one_beside_them_is_not() -> None:
    frame = nc.Geometry.simplex_etf(4, 9)
    spanned = strongest(frame.means, 3)
    assert float(span_alignment(nc.Geometry(frame.means, reads=spanned))) == pytest.approx(1)
    _, _, axes = torch.linalg.svd(frame.means)
    beside = nc.Geometry(frame.means, reads=axes[3:6])
    assert float(span_alignment(beside)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("spread", [1.0, 1e-7])
def test_the_quick_way_to_a_span_is_left_where_rows_all_but_lie_in_fewer_directions(
    spread: float,
) -> None:
    generator = torch.Generator().manual_seed(0)
    rows, reads = torch.randn(2, 6, 20, generator=generator, dtype=torch.float64)
    rows[5] = rows[4] + spread * rows[5]
    U, _ = torch.linalg.qr(rows.T)
    V, _ = torch.linalg.qr(reads.T)
    wanted = float((V.T @ U).square().sum() / 6)
    quick = span_share(rows, V.T)
    assert (quick is None) == (spread < 1)
    means = torch.cat((rows, -rows.sum(0, keepdim=True)))
    for found in (quick, span_alignment(nc.Geometry(means, reads=V.T))):
        if found is not None:
            assert float(found) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("shape", [(30, 12), (12, 30), (12, 12)])
def test_strongest_are_the_right_singular_vectors(shape: tuple[int, int]) -> None:
    W = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    wanted = torch.linalg.svd(W).Vh[:5]
    found = strongest(W, 5)
    assert found is not None
    assert torch.allclose((found @ wanted.T).abs(), torch.eye(5, dtype=torch.float64), atol=1e-9)


def test_a_large_weight_is_read_by_a_few_products_or_not_at_all() -> None:
    generator = torch.Generator().manual_seed(0)
    scale = torch.cat([torch.tensor([9.0, 8, 7]), torch.ones(LARGEST - 2)])[:, None]
    W = scale * torch.randn(LARGEST + 1, LARGEST + 1, generator=generator)
    found = strongest(W, 3)
    assert found is not None
    images = torch.linalg.vector_norm(W.double() @ found.T, dim=0)
    assert torch.allclose(found @ found.T, torch.eye(3, dtype=torch.float64), atol=1e-8)
    assert float(images[0]) >= float(torch.linalg.matrix_norm(W, 2)) * (1 - 1e-6)
    assert strongest(W, LARGEST // 2) is None


@pytest.fixture
def own_random() -> Iterator[None]:
    """New layers draw from the global generator, which tests leave as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


# ---- a model's layers ---------------------------------------------------------------------------
class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.lin = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.relu(self.lin(x))


class Net(nn.Module):
    """Declared in another order than it runs in; one block runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 3)
        self.second = Block(8)
        self.first = Block(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.second(self.second(self.first(x))))


@pytest.fixture(scope="module")
def measured() -> nc.Measurement:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Net()
        labels = torch.arange(90) % 3
        inputs = 2 * torch.randn(3, 8)[labels] + torch.randn(90, 8)
    return nc.measure(model, (inputs, labels), layers="*")


def test_layers_stand_as_they_ran_and_every_call_is_a_layer(measured: nc.Measurement) -> None:
    assert list(measured.results["train"]) == ["first", "second", "second#2", "head"]
    assert measured.document.config["layers"]["first"]["read_by"] == "second.lin"
    assert "read_by" not in measured.document.config["layers"]["second#2"]
    assert measured.depth().layers == ("first", "second", "second#2", "head")


def test_every_layer_is_held_against_what_the_model_decides(measured: nc.Measurement) -> None:
    layers = measured.results["train"]
    last, head = layers["second#2"]["nc4_mismatch"], layers["head"]["nc4_mismatch"]
    # What enters the head is what the last block leaves.
    assert last.value == head.value and last.interval == head.interval
    assert layers["first"]["nc4_mismatch"].null is not None
    assert "accuracy" not in layers["first"]


def test_a_loader_without_a_cache_reads_the_same(measured: nc.Measurement) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Net()
        labels = torch.arange(90) % 3
        inputs = 2 * torch.randn(3, 8)[labels] + torch.randn(90, 8)
    again = nc.measure(model, (inputs, labels), layers="*", cache=False)
    for layer, readings in measured.results["train"].items():
        for key, reading in readings.items():
            assert again.value(key, layer=layer) == pytest.approx(reading.value, rel=1e-12), key


def test_a_model_that_repeats_a_layer_as_it_pleases_is_refused(own_random: None) -> None:
    class Moody(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block, self.head = Block(4), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for _ in range(len(x)):
                x = self.block(x)
            return self.head(x)

    taps = Taps(Moody(), "block")
    with taps:
        for size in (2, 3):
            taps.begin(samples=size)
            out = taps.model(torch.zeros(size, 4))
            if size == 2:
                assert set(taps.end(out)) == {"block", "block#2", "head"}
            else:
                with pytest.raises(ValueError, match="another number of times"):
                    taps.end(out)


def test_convolutions_and_encoders_name_who_reads_them(own_random: None) -> None:
    conv = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    model = nn.Sequential(conv, nn.Linear(6, 3))
    taps = Taps(model, "0.*")
    with taps, torch.no_grad():
        taps.begin(samples=5)
        taps.end(model(torch.randn(5, 1, 8, 8)))
    assert {name: reader.name for name, reader in taps.readers.items()} == {
        "0.0": "0.2",
        "0.1": "0.2",
        "0.2": "1",
        "0.3": "1",
        "0.4": "1",
    }
    assert tuple(taps.readers["0.0"].weight.shape) == (6 * 9, 4)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    taps = Taps(encoder, "layers.*", head=False)
    with taps, torch.no_grad():
        taps.begin(samples=5)
        taps.end(encoder.eval()(torch.randn(5, 3, 8)))
    assert {name: reader.name for name, reader in taps.readers.items()} == {"layers.0": "layers.1"}
