"""Loaders of every kind give the same features; the model and the random states are put back."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from ncollapse.collect.keep.cache import FeatureCache, RecomputedSource, _write
from ncollapse.collect.tap.batches import as_loader, describe, unpack_batch
from ncollapse.collect.tap.preserve import preserved
from ncollapse.collect.tap.stream import ModelStream
from ncollapse.collect.tap.taps import Taps
from tests.models import K, blobs, net

INPUTS, LABELS = blobs()


def stream(*, layers=None, model=None, **options) -> ModelStream:
    options.setdefault("loaders", {"train": (INPUTS, LABELS)})
    return ModelStream(Taps(model or net(), layers), batch_size=7, **options)


def collected(found: ModelStream, layer: str = "head") -> torch.Tensor:
    return torch.cat([batch.features[layer] for batch in found])


def test_batches_of_any_size_give_the_features_of_the_whole() -> None:
    model = net().eval()
    assert torch.allclose(collected(stream()), model.features(INPUTS).detach(), atol=1e-6)


@pytest.mark.parametrize(
    "data",
    [
        DataLoader(TensorDataset(INPUTS, LABELS), batch_size=5),
        TensorDataset(INPUTS, LABELS),
        [(INPUTS[:20], LABELS[:20]), [INPUTS[20:], LABELS[20:, None]]],
        [{"x": INPUTS, "labels": LABELS}],
        iter([(INPUTS, LABELS)]),
    ],
    ids=["loader", "dataset", "list", "mapping", "iterator"],
)
def test_every_kind_of_loader(data) -> None:
    assert torch.allclose(collected(stream(loaders={"train": data})), collected(stream()))


def test_mode_and_random_states_are_put_back() -> None:
    model = net().train()
    model.stack.eval()
    shuffled = DataLoader(TensorDataset(INPUTS, LABELS), batch_size=5, shuffle=True)
    for batch in stream(model=model, loaders={"train": shuffled}):
        assert not model.training
        np.random.rand()
        torch.rand(1)
        assert batch.labels.numel() <= 5
    assert model.training and model.drop.training and not model.stack.training
    norm = model.stack[1]
    assert int(norm.num_batches_tracked) == 0  # the statistics of training were not touched


def test_an_error_inside_puts_everything_back_too(monkeypatch) -> None:
    model, kept = net().train(), []
    # The type checker of the tests draws from this generator itself, so it is watched instead.
    monkeypatch.setattr(random, "getstate", lambda: "before")
    monkeypatch.setattr(random, "setstate", kept.append)
    with pytest.raises(RuntimeError, match="boom"), preserved(model):
        raise RuntimeError("boom")
    assert model.training
    assert kept == ["before"]


def test_limit_cuts_before_the_model_runs() -> None:
    seen = []
    model = net()
    model.register_forward_hook(lambda m, i, o: seen.append(o.shape[0]))
    found = list(stream(model=model, limit=10))
    assert seen == [7, 3]
    assert sum(batch.labels.numel() for batch in found) == 10


def test_progress_counts_samples() -> None:
    calls: list[tuple[str, int, int]] = []
    list(stream(progress=lambda *call: calls.append(call)))
    assert calls[-1] == ("forward pass", 48, 48)
    assert [done for _, done, _ in calls] == sorted(done for _, done, _ in calls)


def test_mixed_precision_is_asked_for_by_dtype() -> None:
    found = collected(stream(autocast=torch.bfloat16))
    assert (found.double() - collected(stream()).double()).abs().max() < 0.1


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([], "split 'train' is empty"),
        ([(INPUTS, LABELS, LABELS)], r"a tuple of 3 \(tensor \[48, 3, 8, 8\] float32"),
        ([(INPUTS, LABELS, LABELS)], "pass unpack=lambda batch"),
        ([{"x": INPUTS}], "no labels; name them 'labels'"),
        ([INPUTS], r"tensor \[48, 3, 8, 8\]"),
        ([(INPUTS, LABELS.double())], "one integer class number a sample"),
        ([(INPUTS, torch.eye(K)[LABELS])], r"argmax\(1\)"),
        ([(INPUTS, ["a"] * 48)], "class numbers are needed"),
        ([(INPUTS, LABELS + 1)], r"label 4 of sample 3 in split 'train' lies outside"),
        ([(INPUTS, LABELS - 5)], "label -5 of sample 0"),
    ],
)
def test_bad_loaders_are_explained(data, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        list(stream(loaders={"train": data}))


@pytest.mark.parametrize(
    ("data", "said"),
    [(3, "data is a int"), (INPUTS, "data is a Tensor"), ((INPUTS, LABELS[:5]), "5 labels")],
)
def test_no_loader_is_explained(data, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        as_loader(data, 4)


def test_unpack_maps_anything() -> None:
    data = [(INPUTS, LABELS, "meta")]
    found = stream(loaders={"train": data}, unpack=lambda batch: (batch[0], batch[1]))
    assert torch.allclose(collected(found), collected(stream()))
    with pytest.raises(ValueError, match="unpack returned"):
        unpack_batch(data[0], lambda batch: batch)
    assert describe([1] * 9) == "a list of 9"


def test_limits_and_empty_splits_are_checked_first() -> None:
    with pytest.raises(ValueError, match="limit=0"):
        stream(limit=0)
    with pytest.raises(ValueError, match="no data was passed"):
        stream(loaders={})


# ---- cache ------------------------------------------------------------------------------------
def test_memory_and_disk_hold_the_same_rows() -> None:
    loaders = {"train": (INPUTS, LABELS), "test": (INPUTS[:13], LABELS[:13])}
    with FeatureCache() as memory, FeatureCache(budget=0) as disk:
        memory.fill(stream(layers="*", loaders=loaders))
        disk.fill(stream(layers="*", loaders=loaders))
        assert not memory.on_disk and disk.on_disk
        assert memory.layers == disk.layers
        folder = disk._temporary.name
        for layer in memory.layers:
            one, two = memory.source(layer), disk.source(layer)
            assert one.num_samples == 61 and one.splits == ("train", "test")
            assert torch.equal(one.labels, two.labels)
            for start, size in ((0, 61), (0, 8), (17, 5), (60, 3)):
                a = torch.cat(list(one.rows(start, size)))
                assert torch.equal(a, torch.cat(list(two.rows(start, size))))
                assert a.shape[0] == 61 - start
    assert not Path(folder).exists()


def test_rows_across_blocks_are_whole(monkeypatch) -> None:
    monkeypatch.setattr("ncollapse.collect.keep.cache.BLOCK_ROWS", 5)
    with FeatureCache() as cache:
        cache.fill(stream())
        source = cache.source("head")
        wanted = collected(stream())
        for start, size in ((0, 48), (3, 4), (4, 11), (47, 2)):
            assert torch.equal(torch.cat(list(source.rows(start, size))), wanted[start:])


def test_bfloat16_survives_the_disk() -> None:
    model = net().bfloat16()
    with FeatureCache(budget=0) as cache:
        cache.fill(stream(model=model, loaders={"train": (INPUTS.bfloat16(), LABELS)}))
        assert cache.source("head").dtype == torch.bfloat16
        assert torch.equal(
            torch.cat(list(cache.source("head").rows(0, 9))),
            collected(stream(model=model, loaders={"train": (INPUTS.bfloat16(), LABELS)})),
        )


def test_features_that_change_width_are_named() -> None:
    small = INPUTS[:, :, :6, :6]
    data = [(INPUTS, LABELS), (small, LABELS)]
    found = ModelStream(Taps(net(), "conv1", pool="flatten"), {"train": data})
    with (
        FeatureCache() as cache,
        pytest.raises(ValueError, match="layer 'conv1': features were 384"),
    ):
        cache.fill(found)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_says_what_to_do() -> None:
    sentence = "No space left on device.*raise the cache budget"
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(OSError, match=sentence):
        _write(full, INPUTS)


def test_without_a_cache_the_model_runs_again() -> None:
    wanted = collected(stream())
    codes = torch.zeros_like(LABELS)
    source = RecomputedSource(stream(), "head", LABELS, codes, ("train",))
    for start, size in ((0, 10), (5, 9), (47, 4)):
        assert torch.equal(torch.cat(list(source.rows(start, size))), wanted[start:])
    one_shot = stream(loaders={"train": iter([(INPUTS, LABELS)])})
    with pytest.raises(ValueError, match="read once only"):
        RecomputedSource(one_shot, "head", LABELS, codes, ("train",))
    generator = torch.Generator().manual_seed(0)
    moving = DataLoader(TensorDataset(INPUTS, LABELS), 8, shuffle=True, generator=generator)
    source = RecomputedSource(stream(loaders={"train": moving}), "head", LABELS, codes, ("train",))
    with pytest.raises(ValueError, match="another order at every look"):
        list(source.rows(0, 10))
