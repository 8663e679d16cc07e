"""Heads of every kind that is affine in the features, or keeps the order of the logits, are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import ncollapse as nc
from ncollapse.collect.tap.outputs import outputs_of
from ncollapse.collect.tap.stream import ModelStream
from ncollapse.collect.tap.taps import Taps
from tests.models import D, K, Model, blobs, built

PLAIN = {"null": False, "intervals": False, "decisions": False}
INPUTS, LABELS = blobs(48, (D,))
IMAGES, _ = blobs(48, (D, 4, 5))


class Images(Model):
    def __init__(self, last: Callable[[Any, Tensor], Any], **parts: Any) -> None:
        super().__init__(last, **parts)
        self.body = nn.Sequential(nn.Conv2d(D, D, 1), nn.Tanh())


class Matrix(nn.Module):
    """A classifier of one's own: a matrix as rows or columns of classes."""

    def __init__(self, rows: int, columns: int, bias: bool = True) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(rows, columns))
        self.bias = nn.Parameter(torch.randn(K)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        made = x @ (self.kernel if self.kernel.shape[0] == D else self.kernel.T)
        return made if self.bias is None else made + self.bias


def linear(classes: int = K, width: int = D) -> nn.Module:
    return nn.Linear(width, classes)


def parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(*shape))


def head(m, h):
    return m.fc(h)


# Logits as the model returns them, the parts, what enters the head, and a word of the check.
READ: dict[str, tuple[Any, dict[str, Any], Any, str]] = {
    "softmax": (lambda m, h: m.fc(h).softmax(1), {"fc": linear}, None, "softmax of head"),
    "log-softmax": (lambda m, h: m.fc(h).log_softmax(1), {"fc": linear}, None, "a constant"),
    "tempered softmax": (lambda m, h: (m.fc(h) / 3).softmax(1), {"fc": linear}, None, "softmax"),
    "sigmoid": (lambda m, h: m.fc(h).sigmoid(), {"fc": linear}, None, "sigmoid of head"),
    "scaled": (lambda m, h: 0.125 * m.fc(h), {"fc": linear}, None, "0.125 · head(features)"),
    "scaled log-softmax": (
        lambda m, h: (2 * m.fc(h)).log_softmax(1),
        {"fc": linear},
        None,
        "2 · head(features)",
    ),
    "soft cap": (lambda m, h: 2 * (m.fc(h) / 2).tanh(), {"fc": linear}, None, "soft cap"),
    "shifted in place": (
        lambda m, h: m.fc(h).sub_(h.sum(1, keepdim=True)),
        {"fc": linear},
        None,
        "a constant",
    ),
    "scaled in place": (lambda m, h: m.fc(h).mul_(0.5), {"fc": linear}, None, "0.5 · head"),
    "features first": (lambda m, h: (h, m.fc(h)), {"fc": linear}, None, "= logits"),
    "logits first": (lambda m, h: (m.fc(h), h), {"fc": linear}, None, "= logits"),
    "a mapping": (lambda m, h: {"features": h, "out": m.fc(h)}, {"fc": linear}, None, "= logits"),
    "loss and logits": (
        lambda m, h: (h.sum(), {"logits": m.fc(h)}),
        {"fc": linear},
        None,
        "= logits",
    ),
    "logits and probabilities": (
        lambda m, h: (m.fc(h).softmax(1), m.fc(h)),
        {"fc": linear},
        None,
        "head(features) = logits",
    ),
    "embedding as wide as classes": (
        lambda m, h: (m.embed(h), m.fc(m.embed(h))),
        {"embed": linear, "fc": lambda: linear(K, K)},
        lambda m, h: m.embed(h),
        "= logits",
    ),
    "two heads of one": (
        lambda m, h: (m.a(h) + m.b(h)) / 2,
        {"a": linear, "b": linear},
        lambda m, h: torch.cat([h, h], 1),
        "2 heads are added up",
    ),
    "two heads of two": (
        lambda m, h: (m.a(h[:, :4]) + m.b(h[:, 2:])) / 2,
        {"a": lambda: linear(K, 4), "b": lambda: linear(K, 4)},
        lambda m, h: torch.cat([h[:, :4], h[:, 2:]], 1),
        "0.5 · head(features)",
    ),
    "rows": (head, {"fc": lambda: Matrix(K, D)}, None, "= logits"),
    "columns": (head, {"fc": lambda: Matrix(D, K, bias=False)}, None, "= logits"),
    "square": (
        lambda m, h: m.fc(h),
        {"fc": lambda: Matrix(K, D)},
        None,
        "= logits",
    ),
    "loose matrix": (lambda m, h: h @ m.W, {"W": lambda: parameter(D, K)}, None, "= logits"),
    "loose rows": (
        lambda m, h: functional.linear(h, m.W, m.b),
        {"W": lambda: parameter(K, D), "b": lambda: parameter(K)},
        None,
        "= logits",
    ),
    "product, then a sum, under softmax": (
        lambda m, h: (h @ m.W + m.b).softmax(1),
        {"W": lambda: parameter(D, K), "b": lambda: parameter(K)},
        None,
        "softmax of head",
    ),
    "tied table": (
        lambda m, h: h @ m.table.weight.T,
        {"table": lambda: nn.Embedding(K, D)},
        None,
        "= logits",
    ),
    "einsum": (
        lambda m, h: 3 * torch.einsum("nd,kd->nk", h, m.W),
        {"W": lambda: parameter(K, D)},
        None,
        "3 · head(features)",
    ),
    "product and a sum": (
        lambda m, h: torch.addmm(m.b, h, m.W.t()),
        {"W": lambda: parameter(K, D), "b": lambda: parameter(K)},
        None,
        "= logits",
    ),
    "logits with places": (
        lambda m, h: m.fc(h)[:, :, None, None],
        {"fc": linear},
        None,
        "= logits",
    ),
}
CONVOLUTIONS: dict[str, tuple[Any, dict[str, Any], Any, str]] = {
    "after pooling": (
        lambda m, h: m.fc(h.mean((2, 3), keepdim=True)).flatten(1),
        {"fc": lambda: nn.Conv2d(D, K, 1)},
        lambda m, h: h.mean((2, 3)),
        "= logits",
    ),
    "before pooling": (
        lambda m, h: m.fc(h).mean((2, 3)),
        {"fc": lambda: nn.Conv2d(D, K, 1)},
        lambda m, h: h.mean((2, 3)),
        "in the mean over tokens or places",
    ),
    "over all places": (
        lambda m, h: m.fc(h).flatten(1),
        {"fc": lambda: nn.Conv2d(D, K, (4, 5))},
        lambda m, h: h.flatten(1),
        "= logits",
    ),
    "linear on every place": (
        lambda m, h: m.fc(h.flatten(2).transpose(1, 2)).mean(1),
        {"fc": linear},
        lambda m, h: h.mean((2, 3)),
        "in the mean over tokens or places",
    ),
}
CASES = {**{n: (Model, INPUTS, *c) for n, c in READ.items()}} | {
    f"conv {n}": (Images, IMAGES, *c) for n, c in CONVOLUTIONS.items()
}


def features_of(model: nn.Module, enters: Any, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        hidden = model.body(inputs)
        return hidden if enters is None else enters(model, hidden)


@pytest.mark.parametrize("name", CASES)
def test_what_enters_the_head_is_read_whoever_follows_it(name: str) -> None:
    kind, inputs, last, parts, enters, said = CASES[name]
    model = built(lambda: kind(last, **{part: make() for part, make in parts.items()})).eval()
    taps = Taps(model)
    stream = ModelStream(taps, {"train": (inputs, LABELS)}, batch_size=20)
    found = torch.cat([batch.features["head"] for batch in stream])
    right = features_of(model, enters, inputs)
    torch.testing.assert_close(found, right)
    assert taps.head is not None and said in taps.head.check
    # The weight that is read makes the logits, or has their order.
    with torch.no_grad():
        logits = [one for _, one in outputs_of(model(inputs)) if one.shape[1] == K][-1].flatten(1)
    made = functional.linear(right, taps.head.weight, taps.head.bias)
    assert torch.equal(made.argmax(1), logits.argmax(1))
    if not any(word in taps.head.check for word in ("soft", "sigmoid", "constant")):
        torch.testing.assert_close(made, logits, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("shape", ["column", "vector", "sigmoid"])
@pytest.mark.parametrize("bias", [True, False])
def test_one_logit_for_two_classes_stands_as_two_rows(shape: str, bias: bool) -> None:
    last = {
        "column": lambda m, h: m.fc(h),
        "vector": lambda m, h: m.fc(h)[:, 0],
        "sigmoid": lambda m, h: m.fc(h).sigmoid(),
    }[shape]
    model = built(lambda: Model(last, fc=nn.Linear(D, 1, bias=bias))).eval()
    labels = (LABELS % 2).float()[:, None]  # As the losses of one logit want them.
    found = nc.measure(model, [(INPUTS, labels)], null=False, intervals=False)
    weight = model.fc.weight.detach()
    assert torch.equal(found.geometry.weight, torch.cat([-weight / 2, weight / 2]).double())
    with torch.no_grad():
        decided = (model.fc(model.body(INPUTS))[:, 0] > 0).long()
    assert found.value("accuracy") == pytest.approx(float((decided == LABELS % 2).float().mean()))
    with pytest.raises(ValueError, match="has one logit for two"):
        nc.measure(model, (INPUTS, LABELS), **PLAIN)


def test_named_heads_are_read_and_others_refused_with_what_to_do() -> None:
    model = built(lambda: Model(lambda m, h: (h, m.fc(h)), fc=nn.Linear(D, K))).eval()
    for name in ("fc", model.fc):
        assert nc.measure(model, (INPUTS, LABELS), head=name, **PLAIN).document.config["head"]
    loose = built(lambda: Model(lambda m, h: h @ m.W, W=parameter(D, K))).eval()
    assert nc.measure(loose, (INPUTS, LABELS), head="W", **PLAIN).value("nc3_alignment") is not None
    either = built(lambda: Model(CASES["two heads of one"][2], a=linear(), b=linear())).eval()
    both = nc.measure(either, (INPUTS, LABELS), head="b", **PLAIN).document.config["head"]["name"]
    assert both == "a + b"
    bent = built(lambda: Model(lambda m, h: m.fc(h).pow(3), fc=nn.Linear(D, K))).eval()
    with pytest.raises(ValueError, match=r"may be shifted, scaled.*softmax.* or head=False and"):
        nc.measure(bent, (INPUTS, LABELS), head="fc", **PLAIN)
    found = nc.measure(bent, (INPUTS, LABELS), head=False, layers=["body"], **PLAIN)
    right = nc.measure_features(features_of(bent, None, INPUTS), LABELS, **PLAIN)
    assert found.value("nc1_ratio") == pytest.approx(right.value("nc1_ratio"), rel=1e-4)


def test_two_outputs_of_two_heads_are_not_guessed_between() -> None:
    model = built(lambda: Model(lambda m, h: (m.a(h), m.b(h)), a=linear(), b=linear())).eval()
    with pytest.raises(ValueError, match=r"output 0 by 'a', output 1 by 'b'; pass head='b'|head='"):
        nc.measure(model, (INPUTS, LABELS), **PLAIN)
    for name in ("a", "b"):
        assert nc.measure(model, (INPUTS, LABELS), head=name, **PLAIN).value("nc1_ratio")


@pytest.mark.parametrize("unit", [False, True])
def test_an_embedder_is_not_taken_for_a_classifier(unit: bool) -> None:
    def last(m, h):
        return functional.normalize(m.embed(h)) if unit else m.embed(h)

    model = built(lambda: Model(last, embed=nn.Linear(D, 20))).eval()
    with pytest.raises(ValueError, match=r"embedding.*head=False and layers="):
        nc.measure(model, (INPUTS, LABELS), **PLAIN)
    options = {"head": False, "layers": ["embed"], **PLAIN}
    assert nc.measure(model, (INPUTS, LABELS), **options).value("nc1_ratio") is not None


def test_a_classifier_of_more_classes_than_occur_is_one() -> None:
    model = built(lambda: nn.Sequential(nn.Identity(), nn.Linear(D, 9)))
    means = torch.stack([INPUTS[k == LABELS].mean(0) for k in range(K)])
    with torch.no_grad():
        model[1].weight.zero_()[:K] = means
        model[1].bias.zero_()[:K] = -means.square().sum(1) / 2
    assert nc.measure(model, (INPUTS, LABELS), **PLAIN).document.num_classes == 9


def test_a_learned_scale_and_new_weights_are_those_of_now() -> None:
    model = built(
        lambda: Model(
            lambda m, h: m.scale * m.fc(h), fc=linear(), scale=nn.Parameter(torch.ones(()))
        )
    ).eval()
    with torch.no_grad():
        model.scale.fill_(2)
        with Taps(model) as taps:
            for scale in (2.0, 5.0):
                model.scale.fill_(scale)
                model.fc.weight.mul_(1.5)
                taps.refresh()
                taps.begin(len(INPUTS))
                taps.end(model(INPUTS))
                assert torch.allclose(taps.head.weight, scale * model.fc.weight, rtol=1e-4)


def test_torchscript_is_named() -> None:
    model = torch.jit.script(built(lambda: nn.Sequential(nn.Linear(D, K))))
    with pytest.raises(ValueError, match="TorchScript runs its layers unseen"):
        Taps(model)
