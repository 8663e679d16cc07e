"""Small models and batches that stand for what users bring."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

K = 4
# Width of the body of a `Model`.
D = 6


def blobs(samples: int = 48, shape: tuple[int, ...] = (3, 8, 8), seed: int = 0):
    """Inputs around K random centres, and labels that take turns."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(samples) % K
    centres = torch.randn(K, *shape, generator=generator)
    noise = torch.randn(samples, *shape, generator=generator)
    return centres[labels] + 0.5 * noise, labels


class Model(nn.Module):
    """A body of width D, and logits by any function of the model and what the body makes."""

    def __init__(self, last: Callable[[Any, Tensor], Any], **parts: Any) -> None:
        super().__init__()
        self.last, self.body = last, nn.Sequential(nn.Linear(D, D), nn.Tanh())
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Any:
        return self.last(self, self.body(x))


def seeded(model: nn.Module, seed: int = 0) -> nn.Module:
    """Parameters drawn from an own generator; the global state is left alone."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def built(make, *arguments, **keywords):
    """A model whose constructor draws from the global generator, with that state put back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make(*arguments, **keywords)


class Net(nn.Module):
    """Two convolutions with an in-place ReLU between them, dropout, and a head called fc."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.stack = nn.Sequential(nn.Conv2d(6, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.drop = nn.Dropout(0.5)
        self.unused = nn.Linear(3, 3)
        self.fc = nn.Linear(8, K)

    def features(self, x: Tensor) -> Tensor:
        return self.stack(self.relu(self.conv1(x))).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.drop(self.features(x)))


def net() -> Net:
    model = seeded(built(Net))
    assert isinstance(model, Net)
    return model


class Encoder(nn.Module):
    """Tokens with a mask, a stack of encoder layers, the mean over real tokens, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(6, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 3)
        self.score = nn.Linear(16, K)

    def forward(self, inputs: Tensor, attention_mask: Tensor) -> Tensor:
        tokens = self.encoder(self.embed(inputs), src_key_padding_mask=~attention_mask)
        weight = attention_mask[:, :, None].float()
        return self.score((tokens * weight).sum(1) / weight.sum(1))


def encoded(samples: int = 48):
    """Batches for it, of sequences of 2 to 5 tokens."""
    inputs, labels = blobs(samples, (5, 6))
    lengths = torch.arange(samples) % 4 + 2
    mask = torch.arange(5)[None] < lengths[:, None]
    parts = zip(inputs.split(16), mask.split(16), labels.split(16), strict=True)
    return [{"inputs": x, "attention_mask": m, "labels": y} for x, m, y in parts]
