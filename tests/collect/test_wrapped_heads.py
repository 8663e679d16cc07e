"""Heads inside wrappers: adapters, weights of few bits, compiled and parallel models."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import ncollapse as nc
from ncollapse.collect.tap.stream import ModelStream
from ncollapse.collect.tap.taps import Taps
from tests.models import K, blobs, built

D, WIDTH = 6, 16
INPUTS, LABELS = blobs(48, (D,))
PLAIN = {"null": False, "intervals": False, "decisions": False}


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(D, WIDTH)
        self.classifier = nn.Linear(WIDTH, K)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.encoder(x).relu())


class Adapted(nn.Module):
    """A linear layer with low-rank adapters by name, of which one is in use."""

    def __init__(self, base: nn.Linear, rank: int = 2) -> None:
        super().__init__()
        K, d = base.weight.shape
        self.base_layer = base
        self.lora_dropout = nn.ModuleDict({"default": nn.Dropout(0.5)})
        self.lora_A = nn.ModuleDict({"default": nn.Linear(d, rank, bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Linear(rank, K, bias=False)})
        self.scaling, self.active = {"default": 2.0}, ["default"]

    @property
    def weight(self) -> Tensor:
        return self.base_layer.weight

    @property
    def bias(self) -> Tensor:
        return self.base_layer.bias

    def change(self) -> Tensor:
        change = self.lora_B["default"].weight @ self.lora_A["default"].weight
        return self.scaling["default"] * change

    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        made = self.base_layer(x)
        for name in self.active:
            inner = self.lora_A[name](self.lora_dropout[name](x))
            made = made + self.lora_B[name](inner) * self.scaling[name]
        return made


class Saved(nn.Module):
    """A layer that is trained beside adapters: the one before, and copies, of which one is in use."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.original_module = base
        self.modules_to_save = nn.ModuleDict(
            {name: built(nn.Linear, WIDTH, K) for name in ("default", "other")}
        )
        nn.init.eye_(self.modules_to_save["other"].weight)
        self.active = "default"

    def forward(self, x: Tensor, *args: Any, **named: Any) -> Tensor:
        return self.modules_to_save[self.active](x, *args, **named)


class Peft(nn.Module):
    """A model inside two others, whose attributes are those of the inner one."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.base_model = nn.Module()
        self.base_model.model = model

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("base_model").model, name)

    def forward(self, *args: Any, **named: Any) -> Any:
        return self.base_model.model(*args, **named)


class FewBits(nn.Module):
    """A linear layer whose weight is kept as integers and a scale a row."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        scales = base.weight.detach().abs().amax(1) / 127
        self.register_buffer("weight", (base.weight / scales[:, None]).round().to(torch.int8))
        self.register_buffer("scales", scales)
        self.register_buffer("bias", base.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight.to(x.dtype)) * self.scales + self.bias


def read(model: nn.Module, batch_size: int = 20) -> tuple[Taps, Tensor]:
    taps = Taps(model)
    stream = ModelStream(taps, {"train": (INPUTS, LABELS)}, batch_size=batch_size)
    return taps, torch.cat([batch.features["head"] for batch in stream])


def assert_read(model: nn.Module, encoder: nn.Module, *, rtol: float = 1e-4) -> Taps:
    taps, features = read(model, len(INPUTS))  # What is quantised depends on its batch.
    with torch.no_grad():
        torch.testing.assert_close(features, encoder(INPUTS).relu())
        made = functional.linear(features, taps.head.weight, taps.head.bias)
        logits = model(INPUTS)
    torch.testing.assert_close(made, logits, rtol=rtol, atol=rtol * float(logits.abs().max()))
    return taps


def adapted() -> tuple[Base, nn.Module]:
    base = built(Base)
    base.classifier = built(Adapted, base.classifier)
    base.encoder = built(Adapted, base.encoder)
    return base, Peft(base).eval()


def test_an_adapter_on_the_head_is_part_of_it() -> None:
    base, model = adapted()
    taps = assert_read(model, base.encoder)
    assert taps.head.name == "base_model.model.classifier"
    inner = base.classifier
    torch.testing.assert_close(taps.head.weight, (inner.weight + inner.change()).detach())
    with torch.no_grad():  # Trained on, taken off, and named.
        inner.lora_B["default"].weight.mul_(3)
        taps.refresh()
        torch.testing.assert_close(taps.head.weight, inner.weight + inner.change())
    inner.active = []
    torch.testing.assert_close(assert_read(model, base.encoder).head.weight, inner.weight.detach())
    named = nc.measure(model, (INPUTS, LABELS), head="base_model.model.classifier", **PLAIN)
    assert named.document.config["head"]["origin"] == "asked for"


def test_an_adapter_that_has_learned_nothing_yet_is_read_with_what_it_will_learn() -> None:
    base, model = adapted()
    nn.init.zeros_(base.classifier.lora_B["default"].weight)
    taps, _ = read(model)
    with torch.no_grad():
        nn.init.ones_(base.classifier.lora_B["default"].weight)
        taps.refresh()
        inner = base.classifier
        torch.testing.assert_close(taps.head.weight, inner.weight + inner.change())


def test_a_tracker_of_a_model_in_training_reads_its_adapter_without_dropout() -> None:
    base, model = adapted()
    model.train()
    nc.measure(model, (INPUTS, LABELS), **PLAIN)
    assert all(part.training for part in model.modules())
    tracker = nc.Tracker(model, train=(INPUTS, LABELS), every="epoch")
    tracker.end_epoch()
    inner = base.classifier
    head = tracker._taps.head
    assert head is not None
    torch.testing.assert_close(head.weight, (inner.weight + inner.change()).detach())


@pytest.mark.parametrize("active", ["default", "other"])
def test_of_copies_of_the_head_the_one_in_use_is_read(active: str) -> None:
    base = built(Base)
    base.classifier = Saved(base.classifier)
    base.classifier.active = active
    model = Peft(base).eval()
    taps = assert_read(model, base.encoder)
    assert taps.head.name.endswith(f"classifier.modules_to_save.{active}")


def test_weights_of_few_bits_are_read_as_what_they_do() -> None:
    model = built(Base).eval()
    exact = model.classifier.weight.detach().clone()
    model.classifier = FewBits(model.classifier)
    taps = assert_read(model, model.encoder)
    assert "unit vectors" in taps.head.check
    held = model.classifier.weight * model.classifier.scales[:, None]
    torch.testing.assert_close(taps.head.weight, held)
    assert not torch.equal(taps.head.weight, exact)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", ["qint8", "float16"])
def test_a_dynamically_quantised_head_is_read(dtype: str) -> None:
    quantise = getattr(torch.ao.quantization, "quantize_dynamic", None)
    if quantise is None or torch.backends.quantized.engine == "none":
        pytest.skip("this torch quantises nothing")
    plain = built(Base).eval()
    model = quantise(copy.deepcopy(plain), {nn.Linear}, dtype=getattr(torch, dtype))
    taps = assert_read(model, model.encoder, rtol=0.05)
    weight = model.classifier.weight()
    weight = weight.dequantize() if weight.is_quantized else weight
    assert torch.equal(taps.head.weight, weight)
    assert torch.equal(taps.head.bias, plain.classifier.bias)
    found = nc.measure(model, (INPUTS, LABELS), **PLAIN)
    right = nc.measure(plain, (INPUTS, LABELS), **PLAIN)
    assert found.value("nc3_alignment") == pytest.approx(right.value("nc3_alignment"), abs=0.03)


def compiled(model: Base, what: str) -> nn.Module:
    """The model compiled as a whole, in place or in part, and run, so that no hook is heard."""
    made: nn.Module = model
    if what == "whole":
        made = torch.compile(model, backend="eager")
    elif what == "in place":
        model.compile(backend="eager")
    elif what == "head":
        model.classifier = torch.compile(model.classifier, backend="eager")
    elif what == "head in place":
        model.classifier.compile(backend="eager")
    elif what == "parallel, compiled":
        made = torch.compile(nn.DataParallel(model), backend="eager")
    elif what == "parallel":
        made = nn.DataParallel(model)
    with torch.no_grad():
        for rows in (48, 20, 8):
            made(INPUTS[:rows])
    return made


@pytest.mark.parametrize(
    "what",
    ["whole", "in place", "head", "head in place", "parallel", "parallel, compiled"],
)
def test_compiled_and_parallel_models_are_read_as_what_they_were_made_from(what: str) -> None:
    plain = built(Base).eval()
    right = nc.measure(plain, (INPUTS, LABELS), **PLAIN)
    model = compiled(copy.deepcopy(plain), what)
    found = nc.measure(model, (INPUTS, LABELS), batch_size=20, **PLAIN)
    for key in ("nc1_fisher", "nc2_etf_means", "nc3_alignment"):
        assert found.value(key) == pytest.approx(right.value(key), rel=1e-4), key
    assert "classifier" in found.document.config["head"]["name"]
    with torch.no_grad():  # It is compiled as before.
        torch.testing.assert_close(model(INPUTS), plain(INPUTS))


class UnitRows(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return functional.normalize(weight, dim=1)


def test_a_parametrised_weight_is_the_one_that_is_made() -> None:
    model = built(Base).eval()
    nn.utils.parametrize.register_parametrization(model.classifier, "weight", UnitRows())
    taps = assert_read(model, model.encoder)
    torch.testing.assert_close(taps.head.weight.norm(dim=1), torch.ones(K))
    with torch.no_grad():
        model.classifier.parametrizations.weight.original[0].mul_(-1)
    taps.refresh()
    assert torch.equal(taps.head.weight, model.classifier.weight)
