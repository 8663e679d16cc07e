"""Heads that are not W h + b: cosines, unit rows or features, distances, and matrices that are made
of parameters at each call."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import ncollapse as nc
from ncollapse.collect.tap.forms import FORMS, Form, form_of
from ncollapse.collect.tap.stream import ModelStream
from ncollapse.collect.tap.taps import Taps
from ncollapse.errors import NCollapseWarning
from tests.models import D, K, Model, blobs, built

INPUTS, LABELS = blobs(48, (D,))
PLAIN = {"null": False, "intervals": False, "decisions": False}
DECIDED = {"null": False, "intervals": False}


class Rows(nn.Module):
    """A head of one's own: rows of classes, and what is made of them, features and a bias."""

    def __init__(
        self,
        make: Callable[[Tensor, Tensor], Tensor],
        *,
        bias: bool = False,
        scale: float | None = None,
        inner: nn.Module | None = None,
        buffer: bool = False,
    ) -> None:
        super().__init__()
        if buffer:
            self.register_buffer("prototypes", torch.randn(K, D))
        else:
            self.prototypes = nn.Parameter(torch.randn(K, D))
        self.bias = nn.Parameter(torch.randn(K)) if bias else None
        self.scale = 1.0 if scale is None else nn.Parameter(torch.tensor(float(scale)))
        self.inner, self.make = inner, make

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        x = x if self.inner is None else self.inner(x)
        made = self.scale * self.make(x, self.prototypes)
        return made if self.bias is None else made + self.bias


class CosineLinear(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return cosine(x, self.weight) if self.bias is None else cosine(x, self.weight) + self.bias


def cosine(x: Tensor, w: Tensor) -> Tensor:
    return functional.linear(functional.normalize(x), functional.normalize(w))


def slow_cosine(x: Tensor, w: Tensor) -> Tensor:
    return functional.cosine_similarity(x[:, None], w[None], dim=-1)


def unit_rows(x: Tensor, w: Tensor) -> Tensor:
    return functional.linear(x, w / w.norm(dim=1, keepdim=True))


def unit_features(x: Tensor, w: Tensor) -> Tensor:
    return functional.linear(x / (x.norm(dim=1, keepdim=True) + 1e-6), w)


def distance(x: Tensor, w: Tensor) -> Tensor:
    return -(x[:, None] - w[None]).square().sum(-1)


def head(m: Any, h: Tensor) -> Tensor:
    return m.fc(h)


def parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape))


def same(h: Tensor) -> Tensor:
    return h


def unit(h: Tensor) -> Tensor:
    return functional.normalize(h, dim=-1)


def factors(m: Any) -> Tensor:
    return m.W + 2 * m.B @ m.A


LOW = {"W": (K, D), "B": (K, 2), "A": (2, D)}
# Logits, parts, what the head sees of what the body makes, and words of the check.
Case = tuple[Callable[..., Any], dict[str, Callable[[], Any]], Callable[[Tensor], Tensor], str]
CASES: dict[str, Case] = {
    "cosine": (head, {"fc": lambda: Rows(cosine)}, unit, "[cos(w, h)]"),
    "scaled cosine": (head, {"fc": lambda: Rows(cosine, scale=16)}, unit, "[16 · cos(w, h)]"),
    "cosine and bias": (
        head,
        {"fc": lambda: Rows(cosine, scale=3, bias=True)},
        unit,
        "[3 · cos(w, h) + b]",
    ),
    "cosine, then a scale": (
        lambda m, h: 30 * m.fc(h),
        {"fc": lambda: CosineLinear(D, K, bias=False)},
        unit,
        "30 · [cos(w, h)]",
    ),
    "cosine under softmax": (
        lambda m, h: m.fc(h).softmax(1),
        {"fc": lambda: Rows(slow_cosine, scale=5)},
        unit,
        "softmax of [5 · cos(w, h)]",
    ),
    "a linear layer that takes cosines": (
        head,
        {"fc": lambda: CosineLinear(D, K)},
        unit,
        "[cos(w, h) + b]",
    ),
    "unit rows": (head, {"fc": lambda: Rows(unit_rows, scale=4)}, same, "[4 · w/‖w‖ · h]"),
    "unit features": (head, {"fc": lambda: Rows(unit_features, bias=True)}, unit, "h/‖h‖ + b"),
    "a temperature inside": (
        head,
        {"fc": lambda: Rows(functional.linear, scale=0.5)},
        same,
        "[0.5 · W h]",
    ),
    "prototypes": (head, {"fc": lambda: Rows(distance, scale=0.5)}, same, "-0.5 · ‖w - h‖²"),
    "a fixed frame in a buffer": (
        head,
        {"fc": lambda: Rows(functional.linear, buffer=True)},
        same,
        "head(features) = logits",
    ),
    "cosine of a linear layer's weight": (
        lambda m, h: 20 * cosine(h, m.fc.weight),
        {"fc": lambda: nn.Linear(D, K)},
        unit,
        "20 · head(features) = logits; features and rows have one length",
    ),
    "cosine of a parameter": (
        lambda m, h: m.s.exp() * (unit(h) @ (m.W / m.W.norm(dim=0, keepdim=True))),
        {"W": lambda: parameter(D, K), "s": lambda: parameter()},
        unit,
        "one length",
    ),
    "torch's cosine of a parameter": (
        lambda m, h: slow_cosine(h, m.W),
        {"W": lambda: parameter(K, D)},
        unit,
        "one length",
    ),
    "torch's distance to a parameter": (
        lambda m, h: -(torch.cdist(h, m.W) ** 2),
        {"W": lambda: parameter(K, D)},
        same,
        "[-‖w - h‖²]",
    ),
    "a product of two": (
        lambda m, h: functional.linear(h, m.B @ m.A),
        {"B": lambda: parameter(K, 2), "A": lambda: parameter(2, D)},
        same,
        "= logits",
    ),
    "a matrix and a product of two": (
        lambda m, h: functional.linear(h, factors(m)),
        {name: (lambda shape=shape: parameter(*shape)) for name, shape in LOW.items()},
        same,
        "= logits",
    ),
    "weight_norm": (
        head,
        {"fc": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(D, K))},
        same,
        "= logits",
    ),
    "the old weight_norm": (
        head,
        {"fc": lambda: nn.utils.weight_norm(nn.Linear(D, K))},
        same,
        "= logits",
    ),
    "an orthogonal weight": (
        head,
        {"fc": lambda: nn.utils.parametrizations.orthogonal(nn.Linear(D, K))},
        same,
        "= logits",
    ),
    "a constant a class": (
        lambda m, h: m.fc(h) + m.b,
        {"fc": lambda: nn.Linear(D, K), "b": lambda: parameter(K)},
        same,
        "head(features) + a constant a class",
    ),
    "a normalised simplex": (
        head,
        {"fc": lambda: nc.control.SimplexHead(D, K, normalize=True, scale=10.0)},
        unit,
        "one length",
    ),
    "a centred simplex": (
        head,
        {"fc": lambda: nc.control.SimplexHead(D, K, centre=True, bias=True)},
        same,
        "head(features) = logits",
    ),
}


def make(name: str) -> tuple[nn.Module, Case]:
    case = CASES[name]
    model = built(lambda: Model(case[0], **{part: f() for part, f in case[1].items()}))
    return model.eval(), case


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")
@pytest.mark.parametrize("name", CASES)
def test_features_and_weights_are_those_that_the_head_works_with(name: str) -> None:
    model, (_, _, sees, said) = make(name)
    taps = Taps(model)
    stream = ModelStream(taps, {"train": (INPUTS, LABELS)}, batch_size=20)
    features = torch.cat([batch.features["head"] for batch in stream])
    with torch.no_grad():
        hidden, logits = model.body(INPUTS), model(INPUTS)
    torch.testing.assert_close(features, sees(hidden), rtol=1e-4, atol=1e-5)
    assert taps.head is not None and said in taps.head.check
    logits = logits.log() if "softmax" in said else logits
    made = functional.linear(features, taps.head.weight, taps.head.bias)
    if "‖w - h‖²" in said or "softmax" in said:  # Up to a constant a sample.
        made, logits = (one - one.mean(1, keepdim=True) for one in (made, logits))
    torch.testing.assert_close(made, logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["scaled cosine", "cosine of a parameter", "prototypes"])
def test_a_measurement_is_that_of_the_arrays_and_says_what_was_read(name: str) -> None:
    model, (_, _, sees, _) = make(name)
    found = nc.measure(model, (INPUTS, LABELS), **DECIDED)
    with torch.no_grad():
        features = sees(model.body(INPUTS))
    geometry = found.geometry
    right = nc.measure_features(
        features, LABELS, weight=geometry.weight, bias=geometry.bias, **DECIDED
    )
    for key in ("nc1_fisher", "nc1_cdnv", "nc2_etf_means", "nc3_alignment", "accuracy"):
        assert found.value(key) == pytest.approx(right.value(key), rel=1e-3, abs=1e-6), key
    with torch.no_grad():
        accuracy = (model(INPUTS).argmax(1) == LABELS).double().mean()
    assert found.value("accuracy") == pytest.approx(float(accuracy))
    said = "twice the prototypes" if name == "prototypes" else "cosine head: features"
    assert any(said in one for one in found.document.warnings)
    assert not any(
        "cosine head" in one
        for one in nc.measure(make("a constant a class")[0], (INPUTS, LABELS), **DECIDED)
        .document.warnings
    )  # fmt: skip


@pytest.mark.parametrize("name", ["scaled cosine", "cosine of a parameter", "a constant a class"])
def test_weights_factors_and_shifts_that_are_learned_are_those_of_now(name: str) -> None:
    model, (_, _, sees, _) = make(name)
    taps = Taps(model)
    for step in range(3):
        stream = ModelStream(taps, {"train": (INPUTS, LABELS)}, batch_size=48)
        assert len(list(stream)) == 1
        taps.refresh()
        with torch.no_grad():
            right = functional.linear(sees(model.body(INPUTS)), taps.head.weight, taps.head.bias)
            torch.testing.assert_close(right, model(INPUTS), rtol=1e-4, atol=1e-4)
            generator = torch.Generator().manual_seed(step)
            for one in model.parameters():
                one.add_(0.3 * torch.rand(one.shape, generator=generator))


def test_a_tracker_follows_a_cosine_head() -> None:
    model, _ = make("scaled cosine")
    tracker = nc.Tracker(model, train=(INPUTS, LABELS), every="epoch")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        functional.cross_entropy(model(INPUTS), LABELS).backward()
        optimizer.step()
        tracker.step()
        tracker.end_epoch()
    last = nc.measure(model, (INPUTS, LABELS), **PLAIN)
    series = tracker.trace.series("train", "head", "nc3_alignment")
    assert float(series[1][-1]) == pytest.approx(last.value("nc3_alignment"), rel=1e-4)


@pytest.mark.parametrize("name", ["scaled cosine", "a linear layer that takes cosines"])
@pytest.mark.parametrize("online", [True, False])
def test_the_law_of_the_sum_is_not_followed_of_a_cosine_head(name: str, online: bool) -> None:
    model, _ = make(name)
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, weight_decay=5e-3)
    where = {"online": True} if online else {"train": (INPUTS, LABELS)}
    tracker = nc.Tracker(model, every=4, optimizer=optimizer, **where)
    with warnings.catch_warnings():
        warnings.simplefilter("error", NCollapseWarning)
        for _ in range(12):
            optimizer.zero_grad()
            functional.cross_entropy(model(INPUTS), LABELS).backward()
            optimizer.step()
            tracker.step(LABELS if online else None)
    assert tracker._laws.sum is None and tracker._laws.reading is None
    assert tracker.state_dict() is not None


def test_a_form_is_told_from_the_others_by_what_is_made() -> None:
    generator = torch.Generator().manual_seed(0)
    h, w, b = (torch.randn(n, D, generator=generator) for n in (9, K, 1))
    bias = b[0, :K]
    for name in FORMS:
        form = Form(name, 2.5)
        shift = None if name == "distance" else bias
        made = functional.linear(form.features(h), *form.matrix((w, shift)))
        if name == "distance":
            made = made - 2.5 * h.square().sum(1, keepdim=True)
        way, found = form_of(h, [(w + 1, shift), (w, shift)], made)
        assert (way, found.name) == (1, name) and found.scale == 2.5
        assert form_of(h, [(w, shift)], made + torch.randn(made.shape, generator=generator)) is None
    assert form_of(h[:1], [(w[:2], None)], h[:1] @ w[:2].T * 2) is None  # Too few to tell.


class Bent(nn.Module):
    def __init__(self, what: str) -> None:
        super().__init__()
        self.what, self.fc = what, nn.Conv2d(D, K, 1)

    def forward(self, x: Tensor) -> Tensor:
        made = self.fc(x[:, :, None, None] * torch.linspace(-1, 2, 4).view(1, 1, 2, 2))
        if self.what == "relu":
            return made.relu().mean((2, 3))
        if self.what == "largest":
            return made.amax((2, 3))
        return made.pow(3).mean((2, 3))


@pytest.mark.parametrize(
    ("what", "said"),
    [("relu", "ReLU follows it"), ("largest", "max pooling"), ("cube", "differs from the logits")],
)
def test_what_follows_a_head_that_cannot_be_read_is_named(what: str, said: str) -> None:
    model = built(lambda: nn.Sequential(nn.Linear(D, D), Bent(what))).eval()
    with pytest.raises(ValueError, match=said) as caught:
        nc.measure(model, (INPUTS, LABELS), **PLAIN)
    sentence = str(caught.value)
    assert "'1.fc'" in sentence and "'0'" not in sentence
    for advice in ("head=False and layers=", "measure_features(features, labels"):
        assert advice in sentence
    assert ("head=NAME" in sentence) == (what == "cube")  # Of another layer it would not hold.
    found = nc.measure(model, (INPUTS, LABELS), head=False, layers=["0"], **PLAIN)
    assert found.value("nc1_ratio") is not None
