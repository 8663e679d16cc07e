"""Pooling averages over space and time, never over channels, and refuses where nothing tells."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ncollapse as nc
from ncollapse.collect.tap.layouts import Layout
from ncollapse.collect.tap.pooling import POOLS, Shape, check_pool, pool
from ncollapse.collect.tap.stream import ModelStream
from ncollapse.collect.tap.taps import Taps
from tests.models import K, blobs, built, net, seeded

FIRST, LAST = Layout(0, 1), Layout(0, -1)


def test_pooling_by_layout() -> None:
    image = torch.arange(2 * 3 * 4 * 4.0).reshape(2, 3, 4, 4)
    tokens = torch.arange(2 * 5 * 3.0).reshape(2, 5, 3)
    mask = torch.tensor([[1, 1, 0, 0, 0], [1, 1, 1, 1, 1]])
    cls = Shape(2, class_token=True)
    space = image.mean((2, 3))
    cases = [
        (image, "auto", Shape(2), FIRST, space, "mean over space"),
        (image, "channels-first", Shape(2), None, space, "mean over space"),
        (image.permute(0, 2, 3, 1), "auto", Shape(2), LAST, space, "mean over space"),
        (image.permute(0, 2, 3, 1), "channels-last", Shape(2), None, space, "mean over space"),
        (image, "flatten", Shape(2), FIRST, image.flatten(1), "flatten"),
        (tokens, "auto", Shape(2), LAST, tokens.mean(1), "mean over tokens"),
        (tokens, "auto", Shape(2), FIRST, tokens.mean(2), "mean over space"),
        (tokens, "auto", cls, LAST, tokens[:, 0], "class token"),
        (tokens, "mean", cls, LAST, tokens.mean(1), "mean over tokens"),
        (tokens, "last", Shape(2), LAST, tokens[:, -1], "last token"),
        (tokens, "last", Shape(2), None, tokens[:, -1], "last token"),
        (tokens, "last", Shape(2, mask), LAST, tokens[[0, 1], [1, 4]], "last token"),
        (
            tokens.transpose(0, 1),
            "auto",
            Shape(2),
            Layout(1, 2),
            tokens.mean(1),
            "mean over tokens",
        ),
        (tokens.transpose(0, 1), "time-first", Shape(2), None, tokens.mean(1), "mean over tokens"),
        (image[:, :, 0, 0], "auto", Shape(2), None, image[:, :, 0, 0], "none"),
    ]
    for value, how, shape, layout, wanted, name in cases:
        found, said = pool(value, how, shape, layout)
        assert torch.allclose(found, wanted), (name, how)
        assert said == name
    found, said = pool(tokens, "auto", Shape(2, mask), LAST)
    assert torch.allclose(found[0], tokens[0, :2].mean(0))
    assert torch.allclose(found[1], tokens[1].mean(0))
    assert said == "masked mean over tokens"
    for how in POOLS:
        check_pool(how)


def test_padding_never_enters_the_masked_mean() -> None:
    tokens = torch.ones(2, 4, 3)
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0]])
    plain, _ = pool(tokens, "mean", Shape(2, mask), LAST)
    tokens[0, 2:], tokens[1, 3:] = 1e6, -1e6
    assert torch.equal(pool(tokens, "mean", Shape(2, mask), LAST)[0], plain)


def test_half_precision_is_averaged_in_float32() -> None:
    value = torch.full((2, 3, 64, 64), 1.001, dtype=torch.bfloat16)
    found, _ = pool(value, "auto", Shape(2), FIRST)
    assert found.dtype == torch.float32
    assert float(found[0, 0]) == float(value[0, 0, 0, 0])


@pytest.mark.parametrize(
    ("value", "how", "layout", "said"),
    [
        (torch.zeros(2, 3, dtype=torch.int64), "auto", None, "floating-point"),
        (torch.zeros(2), "auto", None, "no vector a sample"),
        (torch.zeros(3, 4), "auto", None, "3 rows for 2 labels"),
        (torch.zeros(2, 3, 4, 4), "cls", None, "holds no tokens"),
        (torch.zeros(2, 3, 4), "cls", FIRST, "holds no tokens"),
        (torch.zeros(2, 3, 4, 4), lambda output: output, None, "made shape"),
        (torch.zeros(2, 3, 4, 4), "auto", None, "pool='channels-first' or pool='channels-last'"),
    ],
)
def test_what_cannot_be_pooled_is_explained(value, how, layout, said) -> None:
    with pytest.raises(ValueError, match=said):
        pool(value, how, Shape(2), layout)


# ---- which axis is which ----------------------------------------------------------------------
class Body(nn.Module):
    """Anything, averaged over its right axes into a head."""

    def __init__(self, body: nn.Module, axes: tuple[int, ...], dim: int) -> None:
        super().__init__()
        self.body, self.axes, self.head = body, axes, nn.Linear(dim, K)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean(self.axes))


class Call(nn.Module):
    """Layers with any function of them and the input."""

    def __init__(self, call, *layers: nn.Module) -> None:
        super().__init__()
        self.call, self.layers = call, nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.call(x, *self.layers)


def block(x, conv, norm):
    return norm(conv(x)).relu() + 0.05 * x


def permuted(x, mix, norm):
    """Channels last inside, first outside, as ConvNeXt has it."""
    return 0.1 * x + norm(mix(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)


def patches(x, conv):
    return conv(x).flatten(2).transpose(1, 2)


def recurrent(x, cell):
    return cell(x.transpose(0, 1))[0]


C = 6
IMAGE, SQUARE, SIGNAL = (C, 8, 12), (C, C, C), (C, 20)
# What is measured, the shape of a sample, the right axes, and whether sizes leave it open.
CASES = {
    "conv1d": (lambda: nn.Conv1d(C, C, 3), SIGNAL, (2,), False),
    "norm after conv1d": (
        lambda: nn.Sequential(nn.Conv1d(C, C, 3), nn.BatchNorm1d(C), nn.ReLU()),
        SIGNAL,
        (2,),
        False,
    ),
    "conv1d as long as wide": (lambda: nn.Conv1d(C, C, 1), (C, C), (2,), False),
    "conv2d": (lambda: nn.Conv2d(C, C, 1), IMAGE, (2, 3), False),
    "conv2d as high as wide": (lambda: nn.Conv2d(C, C, 1), SQUARE, (2, 3), False),
    "block": (lambda: Call(block, nn.Conv2d(C, C, 1), nn.BatchNorm2d(C)), IMAGE, (2, 3), False),
    "block as high as wide": (
        lambda: Call(block, nn.Conv2d(C, C, 1), nn.BatchNorm2d(C)),
        SQUARE,
        (2, 3),
        False,
    ),
    "joined": (
        lambda: Call(lambda x, conv: torch.cat([x, conv(x)], 1)[:, :C], nn.Conv2d(C, C, 1)),
        IMAGE,
        (2, 3),
        False,
    ),
    "pooled by a function": (
        lambda: Call(lambda x, c: nn.functional.max_pool2d(c(x), (2, 3)), nn.Conv2d(C, C, 1)),
        IMAGE,
        (2, 3),
        False,
    ),
    "pooled to as many places as channels": (
        lambda: Call(lambda x, c: nn.functional.max_pool2d(c(x), 2), nn.Conv2d(C, C, 1)),
        IMAGE,
        (2, 3),
        True,
    ),
    "channels last": (
        lambda: Call(lambda x, mix: mix(x.permute(0, 2, 3, 1)).relu(), nn.Linear(C, C)),
        IMAGE,
        (1, 2),
        False,
    ),
    "channels last inside": (
        lambda: Call(permuted, nn.Linear(C, C), nn.LayerNorm(C)),
        IMAGE,
        (2, 3),
        False,
    ),
    "channels last inside, as high as wide": (
        lambda: Call(permuted, nn.Linear(C, C), nn.LayerNorm(C)),
        SQUARE,
        (2, 3),
        False,
    ),
    "channels last, all turned": (
        lambda: Call(lambda x, mix: mix(x.permute(0, 2, 3, 1)).relu(), nn.Linear(C, C)),
        SQUARE,
        (1, 2),
        False,
    ),
    "patches": (lambda: Call(patches, nn.Conv2d(C, C, 4, 4)), IMAGE, (1,), True),
    "patches of another width": (
        lambda: Call(lambda x, conv: patches(x, conv)[..., :C], nn.Conv2d(C, C, 2, 2)),
        IMAGE,
        (1,),
        False,
    ),
    "time first": (lambda: Call(recurrent, nn.GRU(C, C)), (20, C), (0,), False),
    "time first, as long as the batch": (
        lambda: Call(recurrent, nn.GRU(C, C)),
        (12, C),
        (0,),
        False,
    ),
    "time first, back again, as long as the batch": (
        lambda: Call(lambda x, cell: recurrent(x, cell).transpose(0, 1).clone(), nn.GRU(C, C)),
        (12, C),
        (1,),
        False,
    ),
    "a function of time first, as long as the batch": (
        lambda: Call(lambda x, cell: recurrent(x, cell).cos().sort(2)[0] ** 9, nn.GRU(C, C)),
        (12, C),
        (0,),
        True,
    ),
    "a function alone": (lambda: Call(lambda x: x.sin()), IMAGE, (2, 3), True),
}


@pytest.mark.parametrize("name", CASES)
def test_auto_averages_over_places_or_says_that_it_cannot_tell(name: str) -> None:
    make, shape, axes, open_ = CASES[name]
    inputs, labels = blobs(32, shape)
    model = seeded(built(lambda: Body(make(), axes, C))).eval()
    data = [(inputs[:12], labels[:12]), (inputs[12:24], labels[12:24]), (inputs[24:], labels[24:])]

    def read(**options: Any) -> tuple[Taps, Tensor]:
        taps = Taps(model, ["body"], **options)
        batches = list(ModelStream(taps, {"train": data}))
        return taps, torch.cat([batch.features["body"] for batch in batches])

    by_hand = {(2, 3): "channels-first", (2,): "channels-first", (0,): "time-first"}
    if open_:
        with pytest.raises(ValueError, match=r"layer 'body': the output has shape .* pass"):
            read()
        _, found = read(pool={"body": by_hand.get(axes, "channels-last")})
    else:
        taps, found = read()
        assert taps.channels["body"].startswith("axis ")
    with torch.no_grad():
        right = torch.cat([model.body(part).mean(axes) for part, _ in data])
    torch.testing.assert_close(found, right)


def test_an_open_layer_of_a_pattern_is_left_out_and_the_word_is_said(caplog) -> None:
    inputs, labels = blobs(24, SQUARE)
    unlike = Call(lambda x, conv: x.sin() + 0 * conv(x).sum(), built(nn.Conv2d, C, C, 1))
    model = built(lambda: Body(unlike, (2, 3), C))
    with caplog.at_level(logging.INFO, "ncollapse"):
        found = nc.measure(model, (inputs, labels), layers="bod*", null=False, intervals=False)
    assert list(found.results["train"]) == ["head"]
    assert "layer 'body' is left out" in caplog.text and "channels-first" in caplog.text


def test_the_axis_that_was_taken_is_said(caplog) -> None:
    model, inputs = net().eval(), blobs()[0]
    with caplog.at_level(logging.INFO, "ncollapse"), Taps(model, "*") as taps, torch.no_grad():
        taps.begin(inputs.shape[0])
        taps.end(model(inputs))
    assert taps.channels["conv1"] == "axis 1 of (samples, 6, 8, 8), as Conv2d 'conv1' puts them"
    assert taps.channels["relu"] == taps.channels["conv1"]
    assert "tap  stack.2: channels are axis 1" in caplog.text
