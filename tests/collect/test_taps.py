"""Taps read what the layers really gave, find the right head, and leave no trace."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn
from torch.nn import functional

from ncollapse.collect.tap.head_check import check_head
from ncollapse.collect.tap.heads import candidates, unwrap
from ncollapse.collect.tap.outputs import logits_of
from ncollapse.collect.tap.pooling import first_tensor
from ncollapse.collect.tap.select import blocks, select
from ncollapse.collect.tap.taps import Taps
from tests.models import Encoder, K, blobs, built, encoded, net, seeded


def read(model: nn.Module, inputs: torch.Tensor, **options):
    with Taps(model, **options) as taps, torch.no_grad():
        taps.begin(inputs.shape[0])
        output = model(inputs)
        found = taps.end(output)
    return taps, found, logits_of(output)


# ---- what is read -----------------------------------------------------------------------------
def test_the_head_is_found_and_its_input_makes_the_logits() -> None:
    model = net().eval()
    inputs, _ = blobs()
    taps, found, logits = read(model, inputs)
    assert taps.head is not None
    assert taps.head.name == "fc"
    assert torch.equal(found["head"], model.features(inputs).detach())
    made = functional.linear(found["head"], taps.head.weight, taps.head.bias)
    assert torch.allclose(made, logits, atol=1e-6)
    assert "head(features) = logits" in taps.head.described


def test_writing_in_place_later_does_not_change_what_was_read() -> None:
    model = net().eval()
    inputs, _ = blobs()
    _, found, _ = read(model, inputs, layers="conv1", pool="flatten")
    assert float(found["conv1"].min()) < 0  # the ReLU behind it overwrites its output
    assert torch.equal(found["conv1"], model.conv1(inputs).flatten(1).detach())


def test_hooks_are_gone_afterwards_even_after_an_error() -> None:
    model = net()
    inputs, _ = blobs()
    with pytest.raises(RuntimeError, match="boom"), Taps(model, layers="*"):
        raise RuntimeError("boom")
    read(model.eval(), inputs, layers="*")
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())


def test_reading_does_not_change_what_the_model_returns() -> None:
    model = net().eval()
    inputs, _ = blobs()
    plain = model(inputs)
    _, _, tapped = read(model, inputs, layers="**")
    assert torch.equal(plain, tapped)


# ---- heads ------------------------------------------------------------------------------------
class Two(nn.Module):
    """A decoy called head, and the real classifier last."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head, self.out = nn.Linear(6, 5), nn.Linear(5, K), nn.Linear(5, K)

    def forward(self, x):
        h = self.body(x).relu()
        return self.out(h) + 0 * self.head(h).sum()


def test_a_decoy_is_told_from_the_real_head_by_the_check() -> None:
    taps, _, _ = read(seeded(built(Two)).eval(), torch.eye(6))
    assert taps.head is not None
    assert taps.head.name == "out"
    with pytest.raises(ValueError, match="'head': its output differs from the logits"):
        read(seeded(built(Two)).eval(), torch.eye(6), head="head")


@pytest.mark.parametrize(
    ("last", "said"),
    [
        (nn.LogSoftmax(1), None),
        (nn.Softmax(1), None),
        (nn.Tanhshrink(), "differs from the logits"),
        (nn.Linear(K, 3, bias=False), None),
    ],
    ids=["log-softmax", "softmax", "bent", "another-linear"],
)
def test_what_follows_the_head_is_noticed(last: nn.Module, said: str | None) -> None:
    model = seeded(built(lambda: nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, K), last)))
    if said is None:
        taps, _, _ = read(model.eval(), torch.eye(6))
        assert taps.head is not None
        assert taps.head.name == ("3" if isinstance(last, nn.Linear) else "2")
    else:
        with pytest.raises(ValueError, match=said):
            read(model.eval(), torch.eye(6), head="2")


class Bent(nn.Linear):
    """A head that is no linear map."""

    def forward(self, x):
        return functional.linear(x, self.weight).pow(3)


def test_a_head_that_is_not_linear_is_refused() -> None:
    model = seeded(built(lambda: nn.Sequential(nn.Linear(6, 5), Bent(5, K)))).eval()
    with pytest.raises(ValueError, match=r"neither linear nor a cosine: W h \+ b"):
        read(model, torch.eye(6), head="1")


class LastToken(nn.Module):
    """Scores every token and returns the one named by each sequence's length."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.score = nn.Embedding(20, 6), nn.Linear(6, K)

    def forward(self, tokens):
        scores = self.score(self.embed(tokens))
        return scores[torch.arange(tokens.shape[0]), (tokens > 0).sum(1) - 1]


def test_the_token_that_makes_the_logits_is_found_without_knowing_the_model() -> None:
    model = seeded(built(LastToken))
    tokens = torch.tensor([[3, 4, 5, 0], [6, 7, 0, 0], [8, 9, 10, 11]])
    taps, found, _ = read(model, tokens)
    assert taps.head is not None and taps.head.token
    assert torch.equal(found["head"], model.embed(torch.tensor([5, 7, 11])).detach())


def test_wrappers_are_unwrapped() -> None:
    model = net()
    assert unwrap(nn.DataParallel(model)) is model
    compiled = torch.compile(model, backend="eager")
    assert unwrap(compiled) is model
    taps, _, _ = read(compiled.eval(), blobs()[0])
    assert taps.head is not None


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("nothing", "no module of the model; its linear layers are: fc, unused"),
        ("conv1", "holds no linear layer"),
        ("unused", "its tap did not fire"),
    ],
)
def test_wrong_heads_are_explained(head: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read(net().eval(), blobs()[0], head=head)
    with pytest.raises(ValueError, match="does not hold"):
        Taps(net(), head=built(nn.Linear, 2, 2))


def test_models_without_a_linear_layer_or_logits_are_explained() -> None:
    with pytest.raises(ValueError, match="no linear layer was found in MaxPool2d"):
        Taps(nn.MaxPool2d(2))
    with pytest.raises(ValueError, match="nothing to measure"):
        Taps(net(), head=False)
    taps = Taps(seeded(built(nn.Linear, 3, K)))
    with taps:
        taps.begin(2)
        with pytest.raises(ValueError, match="no logits in what the model returned"):
            taps.end({"loss": 1.0})
        with pytest.raises(ValueError, match=r"without Taps\.begin"):
            taps.end(torch.zeros(2, K))
        taps.begin(2)
        with pytest.raises(ValueError, match=r"logits of shape \(2, 3, 4\)"):
            taps.end(torch.zeros(2, 3, 4))


def test_candidates_are_ordered_and_checks_speak() -> None:
    found = candidates(net())
    assert [c.name for c in found] == ["fc", "unused"]
    assert candidates(net(), linear=True)[0].name == "fc"
    made, wide = torch.zeros(8, K), torch.zeros(8, 7)
    said = check_head("fc", "", found[0].matrices(8, K), torch.eye(8), made, wide)
    assert said == "it is 4 wide, the logits 7"


def test_a_head_that_was_replaced_is_noticed_and_found_anew() -> None:
    model, inputs = net().eval(), blobs()[0]
    taps = Taps(model, "*c*", pool={"conv1": "flatten"})
    assert not taps.replaced
    with taps, torch.no_grad():
        taps.begin(inputs.shape[0])
        taps.end(model(inputs))
    with torch.no_grad():
        model.fc.weight += 1
    taps.refresh()
    assert taps.head is not None and not taps.replaced
    assert torch.equal(taps.head.weight, model.fc.weight)
    model.fc = seeded(built(nn.Linear, 8, K + 1), seed=1)
    assert taps.replaced
    again = taps.renewed()
    assert again.head is None and not again.replaced
    with again, torch.no_grad():
        again.begin(inputs.shape[0])
        found = again.end(model(inputs))
    assert again.head is not None and again.head.weight.shape == (K + 1, 8)
    assert again.layers == taps.layers == ("conv1", "stack", "head")
    assert found["conv1"].shape == (48, 384)
    model.fc = nn.Identity()
    assert again.replaced
    with pytest.raises(ValueError, match="'fc' .Identity. holds no linear layer"):
        again.renewed()
    del model.fc
    assert again.replaced and again.renewed().head is None
    alone = Taps(model, "conv1", head=False)
    assert not alone.replaced and alone.renewed().layers == ("conv1",)


# ---- layers -----------------------------------------------------------------------------------
def test_star_means_the_blocks_without_the_logits() -> None:
    assert blocks(net()) == ["conv1", "relu", "stack.0", "stack.1", "stack.2", "unused", "fc"]
    taps, found, _ = read(net().eval(), blobs()[0], layers="*")
    assert list(found)[-1] == "head"
    assert taps.layers == ("conv1", "relu", "stack.0", "stack.1", "stack.2", "head")


def test_globs_and_predicates_choose() -> None:
    names = select(net(), ["stack.*", "conv?"])[0]
    assert list(names) == ["conv1", "stack.0", "stack.1", "stack.2"]
    assert list(select(net(), lambda name, m: isinstance(m, nn.Conv2d))[0]) == ["conv1", "stack.0"]
    assert "stack.1" in select(net(), "**")[0]
    with pytest.raises(ValueError, match=r"'layer\*' matches nothing; the model has conv1, relu"):
        select(net(), "layer*")
    with pytest.raises(ValueError, match="the predicate chose no layer"):
        select(net(), lambda name, m: False)


def test_a_named_tap_that_never_fires_is_an_error_and_a_glob_one_is_left_out(caplog) -> None:
    with pytest.raises(ValueError, match="layer 'unused': its tap did not fire"):
        read(net().eval(), blobs()[0], layers="unused")
    with caplog.at_level(logging.WARNING, "ncollapse"):
        taps, _, _ = read(net().eval(), blobs()[0], layers="unu*")
    assert taps.layers == ("head",)
    assert "layer 'unused' is left out" in caplog.text


# ---- pooling: see test_pooling.py -------------------------------------------------------------
def test_own_functions_name_themselves() -> None:
    def peak(output):
        return output.amax((2, 3))

    taps, found, _ = read(net().eval(), blobs()[0], layers=["conv1"], pool={"conv1": peak})
    assert found["conv1"].shape == (48, 6)
    assert taps.pooling["conv1"] == "peak"


def test_unknown_pools_are_refused() -> None:
    with pytest.raises(ValueError, match="pool 'max' is unknown"):
        Taps(net(), pool="max")
    with pytest.raises(ValueError, match="'conv9', which is not among layers"):
        Taps(net(), layers="conv1", pool={"conv9": "mean"})


def test_the_first_tensor_of_anything() -> None:
    x = torch.zeros(1)
    assert first_tensor(((None, [x]), 3)) is x
    assert first_tensor({"a": None, "b": x}) is x
    assert first_tensor("nothing") is None
    assert logits_of({"logits": x}) is x
    assert logits_of((x, 2)) is x
    assert logits_of([]) is None


def test_layers_of_a_padded_encoder_are_read_without_their_padding() -> None:
    """torch hands nested tensors from layer to layer there."""
    model, batch = seeded(built(Encoder)).eval(), encoded()[0]
    inputs, mask = batch["inputs"], batch["attention_mask"]
    with Taps(model, "encoder.layers.*") as taps, torch.no_grad():
        taps.begin(16, mask)
        found = taps.end(model(inputs, mask))
    assert set(taps.pooling.values()) == {"masked mean over tokens", "none"}
    for row in range(16):
        h = model.embed(inputs[row : row + 1, mask[row]])
        for number, layer in enumerate(model.encoder.layers):
            h = layer(h)
            alone = h.mean(1)[0].detach()
            read = found[f"encoder.layers.{number}"][row]
            torch.testing.assert_close(read, alone, atol=1e-5, rtol=1e-5)
