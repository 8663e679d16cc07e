"""A measured model is the model of before: what it holds, its modes, and how it trains on."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import ncollapse as nc
from ncollapse.collect.tap.preserve import evaluating, preserved
from ncollapse.collect.tap.stream import ModelStream
from ncollapse.collect.tap.taps import Taps
from tests.models import built

K, D, WIDTH = 3, 6, 8
LABELS = torch.arange(36) % K
INPUTS = torch.randn(36, 5, D, generator=torch.Generator().manual_seed(0)) + LABELS[:, None, None]
PLAIN = {"null": False, "intervals": False, "decisions": False}


class Net(nn.Module):
    """A linear layer, any part, the mean over places, and a head."""

    def __init__(self, part: nn.Module | None = None, inner: nn.Module | None = None) -> None:
        super().__init__()
        self.inner = nn.Linear(D, WIDTH) if inner is None else inner
        self.part = nn.Identity() if part is None else part
        self.head = nn.Linear(WIDTH, K)

    def forward(self, x: Tensor) -> Tensor:
        found = self.part(self.inner(x).relu())
        return self.head(found.mean(1))


class Merging(nn.Linear):
    """Merges its update into the weight in eval mode, as adapters do."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.a, self.b = (
            nn.Parameter(torch.randn(1, inputs)),
            nn.Parameter(torch.randn(outputs, 1)),
        )
        self.merged = False

    def train(self, mode: bool = True) -> Any:
        super().train(mode)
        if mode == self.merged:
            self.weight.data += (self.b.data @ self.a.data) * (-1 if mode else 1)
            self.merged = not mode
        return self

    def forward(self, x: Tensor) -> Tensor:
        made = super().forward(x)
        return made if self.merged else made + x @ self.a.T @ self.b.T


class Rotary(nn.Module):
    """Keeps a table made in the forward pass, as an attribute or a buffer."""

    def __init__(self, *, buffer: bool) -> None:
        super().__init__()
        if buffer:
            self.register_buffer("table", None, persistent=False)
        else:
            self.table: Any = None

    def forward(self, x: Tensor) -> Tensor:
        if self.table is None or self.table.shape[0] < x.shape[1]:
            self.table = torch.arange(x.shape[1] * x.shape[2]).view(x.shape[1:]).to(x).cos()
        return x * self.table[: x.shape[1]]


class Counter(nn.Module):
    """Counts in a buffer: replaced in eval mode, changed in place in training."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.scale.mul_(0.9)
        else:
            self.scale = self.scale * 0.5
        return x * self.scale


class Average(nn.Module):
    """An exponential moving average of what passes, in any mode."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        self.mean.lerp_(x.detach().mean((0, 1)), 0.1)
        return x - self.mean


class Noisy(nn.Module):
    """Draws from all global generators whatever the mode."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.1 * torch.rand(1) + random.random() + np.random.rand()


class Recurrent(nn.LSTM):
    def forward(self, x: Tensor, hx: Any = None) -> Any:
        return super().forward(x, hx)[0]


class Images(nn.Module):
    """Convolution and BatchNorm over the inputs as one-channel images."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, WIDTH, 3, padding=1), nn.BatchNorm2d(WIDTH)
        self.head = nn.Linear(WIDTH, K)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.conv(x[:, None])).relu().mean((2, 3)))


class Norm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.transpose(1, 2)).transpose(1, 2)


def frozen() -> nn.Module:
    model = Net(Norm())
    model.train()
    model.part.eval()
    for parameter in model.part.parameters():
        parameter.requires_grad_(False)
    return model


class KeepsFrozen(Net):
    """Its train() leaves the norm in eval mode."""

    def __init__(self) -> None:
        super().__init__(Norm())

    def train(self, mode: bool = True) -> Any:
        super().train(mode)
        self.part.eval()
        return self


def tied() -> nn.Module:
    model = Net(nn.Linear(WIDTH, WIDTH))
    model.extra = nn.Linear(WIDTH, WIDTH)
    model.extra.weight = model.part.weight
    return model


def hooked() -> nn.Module:
    model = Net()
    model.seen = []
    model.inner.register_forward_hook(lambda m, i, o: o + 0.1)
    model.head.register_forward_pre_hook(lambda m, i: (i[0] * 2,))
    return model


def mixed() -> nn.Module:
    model = Net(nn.Sequential(nn.Dropout(0.5), nn.Linear(WIDTH, WIDTH), nn.Dropout(0.5)))
    model.train()
    model.part[0].eval()
    return model


MODELS: dict[str, Callable[[], nn.Module]] = {
    "mlp": lambda: Net(nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh())),
    "in eval mode": lambda: Net().eval(),
    "batch norm": Images,
    "dropout": lambda: Net(nn.Dropout(0.5)),
    "one dropout of two in eval mode": mixed,
    "frozen norm": frozen,
    "norm that train() keeps frozen": KeepsFrozen,
    "merging adapter": lambda: Net(inner=Merging(D, WIDTH)),
    "merging adapter in eval mode": lambda: Net(inner=Merging(D, WIDTH)).eval(),
    "rotary table": lambda: Net(Rotary(buffer=False)),
    "buffer made in forward": lambda: Net(Rotary(buffer=True)),
    "counter": lambda: Net(Counter()),
    "moving average": lambda: Net(Average()),
    "lstm": lambda: Net(Recurrent(WIDTH, WIDTH, batch_first=True)),
    "transformer layer": lambda: Net(nn.TransformerEncoderLayer(WIDTH, 2, 8, batch_first=True)),
    "tied weights": tied,
    "spectral norm by hooks": lambda: Net(nn.utils.spectral_norm(nn.Linear(WIDTH, WIDTH))),
    "spectral norm": lambda: Net(nn.utils.parametrizations.spectral_norm(nn.Linear(WIDTH, WIDTH))),
    "weight norm": lambda: Net(nn.utils.parametrizations.weight_norm(nn.Linear(WIDTH, WIDTH))),
    "draws numbers": lambda: Net(Noisy()),
    "hooks of its own": hooked,
    "parallel": lambda: nn.DataParallel(Net(nn.Dropout(0.5))),
    "compiled": lambda: torch.compile(Net(nn.Dropout(0.5)), backend="eager"),
    "scripted body": lambda: Net(torch.jit.script(nn.Sequential(nn.Linear(WIDTH, WIDTH)))),
}


def held(model: nn.Module) -> dict[str, Any]:
    """All that a model holds by name, its modes and hooks, and the states of global generators."""
    kept: dict[str, Any] = {
        name: value.detach().clone() for name, value in model.state_dict().items()
    }
    kept |= {f"{name} trained": p.requires_grad for name, p in model.named_parameters()}
    for name, module in model.named_modules():
        kept[f"{name} mode"] = module.training
        kept[f"{name} hooks"] = len(module._forward_hooks) + len(module._forward_pre_hooks)
    kept["torch"], kept["numpy"] = torch.get_rng_state(), np.random.get_state()[1].tolist()
    return kept


def same(a: dict[str, Any], b: dict[str, Any], name: str) -> None:
    assert a.keys() == b.keys(), name
    for key, value in a.items():
        if isinstance(value, Tensor) and value.is_floating_point():
            # Merging and taking out again rounds; nothing else may differ by a bit.
            gap = 1e-6 if "merging" in name else 0
            assert torch.allclose(value, b[key], rtol=0, atol=gap), f"{name}: {key}"
        else:
            equal = torch.equal(value, b[key]) if isinstance(value, Tensor) else value == b[key]
            assert equal, f"{name}: {key}"


def trained(model: nn.Module) -> dict[str, Any]:
    """What two steps from equal random states make of a model."""
    drawn, plain = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        random.seed(1)
        np.random.seed(1)
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            functional.cross_entropy(model(INPUTS), LABELS).backward()
            optimizer.step()
        found = {k: v.detach().clone() for k, v in model.state_dict().items()}
    np.random.set_state(drawn)
    random.setstate(plain)
    return found


def measured(model: nn.Module) -> None:
    for _ in ModelStream(Taps(model), {"train": (INPUTS, LABELS)}, batch_size=20):
        pass


def tracked(model: nn.Module) -> None:
    nc.Tracker(model, train=(INPUTS, LABELS), keys=["nc1_ratio"]).end_epoch()


@pytest.mark.parametrize("name", MODELS)
def test_a_measured_model_is_as_before_and_trains_on_as_if_nothing_had_been(name: str) -> None:
    model = built(MODELS[name])
    twin = built(MODELS[name])
    for look in (measured, tracked if "norm" in name else measured):
        before = held(model)
        look(model)
        same(before, held(model), name)
        tensors = [*model.parameters(), *model.buffers()]
        assert not any(tensor.is_inference() for tensor in tensors)
    same(trained(twin), trained(model), name)


def test_a_lazy_model_is_as_after_its_first_pass() -> None:
    model = nn.Sequential(
        nn.Flatten(), nn.LazyLinear(WIDTH), nn.LazyBatchNorm1d(), nn.LazyLinear(K)
    )
    found = [nc.measure(model, train=(INPUTS, LABELS), **PLAIN) for _ in range(2)]
    assert found[0].value("nc1_ratio") == found[1].value("nc1_ratio")
    assert type(model[3]) is nn.Linear and all(module.training for module in model.modules())
    assert int(model[2].num_batches_tracked) == 0
    trained(model)


def test_modes_are_put_back_after_an_error_and_by_as_few_calls_as_can_be() -> None:
    calls = []

    class Told(nn.Linear):
        def train(self, mode: bool = True) -> Any:
            calls.append((self, mode))
            return super().train(mode)

    model = built(lambda: nn.Sequential(Told(2, 2), nn.Dropout(), Told(2, 2)))
    model[2].eval()
    calls.clear()
    with pytest.raises(RuntimeError, match="boom"), preserved(model):
        assert not any(module.training for module in model.modules())
        raise RuntimeError("boom")
    assert (model[0], True) in calls and (model[2], True) not in calls
    assert [module.training for module in model] == [True, True, False]
    model.eval()
    calls.clear()
    with evaluating(model):
        assert not calls
    assert not calls
