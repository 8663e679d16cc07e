"""Cutting: features as measuring reads them, heads as brute force finds them, nothing run after."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import Tensor, nn

import ncollapse as nc
from ncollapse.collect.tap.taps import Taps
from ncollapse.control import cut_after
from ncollapse.control.cut import CutModel
from ncollapse.control.cut_look import CutAway
from ncollapse.control.refit import moments_for, refitted
from ncollapse.lab.control_networks import BasicBlock, ResNet
from ncollapse.lab.models import conv, mlp
from ncollapse.linalg import ridge
from tests.models import Encoder, K, blobs, built, encoded, net, seeded

RAN: list[str] = []


class Told(nn.Module):
    """Says that it ran."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        RAN.append(self.name)
        return x


class Loop(nn.Module):
    """One block, called three times in a pass."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Linear(8, 8), nn.Tanh())
        self.unused = nn.Linear(8, 8)
        self.fc = nn.Linear(8, K)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3):
            x = x + self.block(x)
        return self.fc(x)


class Peeks(nn.Module):
    """Looks at its head before it runs anything."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.fc = nn.Linear(8, 8), nn.Linear(8, K)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.first(x[:, : self.fc.in_features]).relu())


def flat(samples: int = 60, dim: int = 8):
    return blobs(samples, (dim,))


def tapped(
    model: nn.Module, layer: str, batch: dict[str, Tensor] | Tensor, name: str = ""
) -> Tensor:
    """What measuring reads of a layer, under its own name or that of one of its calls."""
    given = {k: v for k, v in batch.items() if k != "labels"} if isinstance(batch, dict) else None
    rows = batch["labels"].numel() if isinstance(batch, dict) else batch.shape[0]
    model = copy.deepcopy(model).eval()
    with Taps(model, layer, head=False) as taps, torch.no_grad():
        taps.begin(rows, None if given is None else given["attention_mask"])
        return taps.end(model(batch) if given is None else model(**given))[name or layer]


# ---- the same features, and nothing after them ----------------------------------------------------
@pytest.mark.parametrize(
    ("model", "layer", "inputs", "kept"),
    [
        (mlp(8, (8, 8, 8), K), "relu1", flat(), 8 * 8 * 2 + 8 * 2 + 8 * 4),
        (conv(K, (4, 6, 8)), "relu1", blobs(24, (64,)), 9 * 4 + 8 + 9 * 4 * 6 + 12),
        (
            ResNet(BasicBlock, (1, 1, 1, 1), (4, 4, 6, 6), K, large=False),
            "layer2.0",
            blobs(24),
            9 * 3 * 4 + 8 + 4 * (9 * 4 * 4 + 8) + (4 * 4 + 8),
        ),
    ],
    ids=["mlp", "conv", "resnet"],
)
def test_features_are_those_of_measuring_and_only_what_is_used_is_left(
    model, layer, inputs, kept
) -> None:
    x, labels = inputs
    model.train()
    cut = cut_after(model, layer, (x, labels), batch_size=7)
    assert torch.equal(cut.features(x), tapped(model, layer, x))
    assert cut(x).shape == (len(x), K)
    head = K * cut.features(x).shape[1] + K
    assert cut.after.parameters == sum(p.numel() for p in cut.parameters()) == kept + head
    assert cut.before.parameters == sum(p.numel() for p in model.parameters())
    said = cut.describe()
    for words in (layer, f"{kept + head:,} parameters", f"of {cut.before.parameters:,}"):
        assert words in said
    assert f"{cut.blocks_left} of {cut.blocks} blocks" in said
    assert 0 < cut.blocks_left < cut.blocks


def test_transformer_layers_are_cut_with_their_masks() -> None:
    model, data = seeded(built(Encoder)), encoded()
    cut = cut_after(model, "encoder.layers.1", data)
    whole = cut_after(model, "encoder.layers.1", data, head="nearest")
    for batch in data:
        named = {key: value for key, value in batch.items() if key != "labels"}
        wanted = tapped(model, "encoder.layers.1", batch)
        torch.testing.assert_close(cut.features(**named), wanted, atol=1e-5, rtol=1e-5)
        assert torch.equal(whole.features(**named), cut.features(**named))
    assert cut.pooling == "masked mean over tokens"
    assert isinstance(cut.body.encoder.layers[2], CutAway)
    # Attention's own projection is read and never called.
    assert isinstance(cut.body.encoder.layers[1].self_attn.out_proj, nn.Linear)
    layer = sum(p.numel() for p in model.encoder.layers[0].parameters())
    assert left(cut) == 7 * 16 + 2 * layer


def left(cut: CutModel) -> int:
    return sum(p.numel() for p in cut.body.parameters())


def test_later_blocks_never_run_again() -> None:
    def make() -> nn.Module:
        return nn.Sequential(
            nn.Linear(8, 8), Told("before"), nn.ReLU(), nn.Linear(8, 8), Told("after"), nn.ReLU()
        )

    x, labels = flat()
    RAN.clear()
    cut = cut_after(seeded(built(make)), "2", (x, labels), batch_size=20, num_classes=K)
    assert RAN.count("after") == 1  # The one whole pass that finds the layer.
    RAN.clear()
    with torch.no_grad():
        cut(x)
    cut.train()(x).sum().backward()
    assert RAN == ["before", "before"]


def test_the_model_is_left_as_it_was() -> None:
    model, (x, labels) = net().train(), blobs()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    cut = cut_after(model, "stack", (x, labels))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(part.training for part in model.modules())
    assert not any(part._forward_hooks for m in (model, cut) for part in m.modules())
    with torch.no_grad():
        cut.body.conv1.weight.zero_()
    assert torch.equal(model.conv1.weight, before["conv1.weight"])
    assert not cut.training


def test_calls_of_one_layer_are_named_as_measuring_names_them() -> None:
    model, (x, labels) = seeded(built(Loop)), flat()
    h, outputs = x, []
    with torch.no_grad():
        for _ in range(3):
            outputs.append(model.block(h))
            h = h + outputs[-1]
    for number, name in enumerate(("block", "block#2", "block#3")):
        cut = cut_after(model, name, (x, labels))
        assert (cut.call, cut.calls) == (number + 1, 3)
        assert f"'block' (call {number + 1} of 3 in a pass)" in cut.describe()
        assert torch.equal(cut.features(x), outputs[number])
        assert torch.equal(cut.features(x), tapped(model, "block", x, name))
    with pytest.raises(ValueError, match="'block#4' is never reached: 'block' is called 3 times"):
        cut_after(model, "block#4", (x, labels))
    with pytest.raises(ValueError, match="'block#x' is no module"):
        cut_after(model, "block#x", (x, labels))


def test_what_a_model_looks_at_before_the_cut_is_kept() -> None:
    model, (x, labels) = seeded(built(Peeks)), flat()
    cut = cut_after(model, "first", (x, labels))
    assert isinstance(cut.body.fc, nn.Linear)
    assert torch.equal(cut.features(x), model.first(x).detach())


# ---- heads ----------------------------------------------------------------------------------------
def drawn(samples: int = 50, dim: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(K, (samples,), generator=generator)
    features = torch.randn(samples, dim, generator=generator, dtype=torch.float64)
    return features + labels[:, None], labels


def fitted(features: Tensor, labels: Tensor, how: str = "least-squares", level: float = 0.01):
    moments = moments_for(how, K, features.shape[1], -100)
    for rows, some in zip(features.split(7), labels.split(7), strict=True):
        moments.update(rows, some)
    return refitted(moments, how, level, features)[0]


@pytest.mark.parametrize("level", [0.0, 1e-3, 1.0])
@pytest.mark.parametrize("samples", [4, 50])
def test_least_squares_is_ridge_regression_on_one_hot_targets(level: float, samples: int) -> None:
    features, labels = drawn(samples)
    labels[:2] = torch.tensor([0, 1])
    targets = nn.functional.one_hot(labels, K).double()
    centred, aim = features - features.mean(0), targets - targets.mean(0)
    scale = (samples * level * float((centred**2).mean())) ** 0.5
    rows = torch.cat([centred, scale * torch.eye(features.shape[1], dtype=torch.float64)])
    goal = torch.cat([aim, torch.zeros(features.shape[1], K, dtype=torch.float64)])
    weight = torch.linalg.pinv(rows) @ goal
    wanted = centred @ weight + targets.mean(0)
    found = fitted(features, labels, level=level)(features)
    torch.testing.assert_close(found, wanted, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(found.sum(1), torch.ones(samples).double())


def test_heads_do_not_know_scale_place_or_turn_of_the_features() -> None:
    features, labels = drawn()
    turn = torch.linalg.qr(drawn(6)[0])[0]
    moved = 100 * features @ turn + 1e3
    for how in ("least-squares", "nearest"):
        first, second = fitted(features, labels, how), fitted(moved, labels, how)
        scale = 1 if how == "least-squares" else 1e4
        torch.testing.assert_close(second(moved), scale * first(features), atol=1e-7, rtol=1e-7)


def test_the_nearest_head_decides_for_the_nearest_class_mean() -> None:
    features, labels = drawn(200)
    means = torch.stack([features[labels == k].mean(0) for k in range(K)])
    found = fitted(features, labels, "nearest")(features)
    assert torch.equal(found.argmax(1), torch.cdist(features, means).argmin(1))
    gaps = -(torch.cdist(features, means) ** 2) / 2
    torch.testing.assert_close(found - found[:, :1], gaps - gaps[:, :1])


def test_ridge_refuses_what_it_cannot_solve() -> None:
    with pytest.raises(ValueError, match="ridge=-1.0; a finite number"):
        ridge(torch.eye(3).double(), torch.zeros(3, 2).double(), -1.0)
    with pytest.raises(ValueError, match="do not vary"):
        ridge(torch.zeros(3, 3).double(), torch.zeros(3, 2).double(), 0.1)


def test_nearest_centres_are_those_that_nc4_reads() -> None:
    model, (x, labels) = mlp(8, (6, 6), K), flat(120)
    x = x + torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    cut = cut_after(model, "relu1", (x, labels), head="nearest")
    with torch.no_grad():
        share = (cut(x).argmax(1) != model.eval()(x).argmax(1)).double().mean()
    found = nc.measure(
        model, (x, labels), keys=("nc4_mismatch",), definition="papyan2020", null=False
    ).results["train"]["head"]
    assert found["nc4_mismatch"].value == pytest.approx(float(share), abs=1e-12)
    assert float(share) > 0


def test_classes_without_samples_are_never_decided_and_ignored_labels_left_out() -> None:
    model, (x, labels) = mlp(8, (6,), K), flat()
    some = torch.where(labels == 3, -100, labels)
    kept = labels != 3
    for head in ("least-squares", "nearest"):
        cut = cut_after(model, "relu0", (x, some), head=head)
        alone = cut_after(model, "relu0", (x[kept], labels[kept]), head=head)
        torch.testing.assert_close(cut(x), alone(x))
        assert not bool((cut(x).argmax(1) == 3).any())
        assert "45 samples of 3 classes" in cut.describe()


# ---- saving and training further --------------------------------------------------------------------
def test_cuts_are_saved_and_trained_further() -> None:
    x, labels = flat()
    cut = cut_after(mlp(8, (8, 8), K), "relu0", (x, labels))
    other = cut_after(mlp(8, (8, 8), K, seed=1), "relu0", (x, labels))
    assert not torch.equal(other(x), cut(x))
    other.load_state_dict(cut.state_dict())
    assert torch.equal(other(x), cut(x))
    stored = io.BytesIO()
    torch.save(cut, stored)
    stored.seek(0)
    again = torch.load(stored, weights_only=False)
    assert torch.equal(again(x), cut(x))
    assert torch.equal(copy.deepcopy(cut)(x), cut(x))
    nn.functional.cross_entropy(cut(x), labels).backward()
    assert all(float(p.grad.abs().sum()) > 0 for p in cut.parameters() if p.dim() > 1)


# ---- bad input --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("layer", "said"),
    [
        ("relu9", r"'relu9' is no module of Sequential; did you mean 'relu\d'\? it has linear0"),
        ("head", "is what enters the classifier"),
        ("", "is no module"),
    ],
)
def test_layers_that_do_not_exist(layer: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        cut_after(mlp(8, (8, 8), K), layer, flat())


def test_other_bad_input_is_refused_in_a_sentence() -> None:
    model, (x, labels) = mlp(8, (8, 8), K), flat()
    with pytest.raises(ValueError, match="layer=None, which effective_depth says"):
        cut_after(model, None, (x, labels))
    with pytest.raises(ValueError, match="'unused' is never reached"):
        cut_after(seeded(built(Loop)), "unused", (x, labels))
    with pytest.raises(ValueError, match=r"label 4 of sample 3 lies outside 0..3"):
        cut_after(model, "relu0", (x, torch.where(torch.arange(60) == 3, K, labels)))
    with pytest.raises(ValueError, match="of 1 class; a head needs at least two"):
        cut_after(model, "relu0", (x, torch.zeros(60, dtype=torch.int64)))
    with pytest.raises(ValueError, match="head='svm' is unknown"):
        cut_after(model, "relu0", (x, labels), head="svm")
    with pytest.raises(ValueError, match="ridge=-0.1"):
        cut_after(model, "relu0", (x, labels), ridge=-0.1)
    with pytest.raises(ValueError, match="pool 'sum' is unknown"):
        cut_after(model, "relu0", (x, labels), pool="sum")
    with pytest.raises(ValueError, match="hold no sample"):
        cut_after(model, "relu0", (x[:0], labels[:0]))
    with pytest.raises(ValueError, match="the model failed on a batch"):
        cut_after(model, "relu0", (x[:, :5], labels))
    with pytest.raises(ValueError, match="do not vary"):
        cut_after(model, "relu0", (torch.zeros_like(x), labels))
    model.note = torch.ones(2, requires_grad=True) * 2
    with pytest.raises(ValueError, match="cannot be copied"):
        cut_after(model, "relu0", (x, labels))


def test_a_pass_that_takes_another_way_is_refused() -> None:
    class Sometimes(Loop):
        def forward(self, x: Tensor) -> Tensor:
            for _ in range(3 if len(x) > 1 else 2):
                x = x + self.block(x)
            return self.fc(x)

    cut = cut_after(seeded(built(Sometimes)), "block#3", flat())
    with pytest.raises(
        ValueError, match="'block' had answered 2 times, and it is cut after call 3"
    ):
        cut(flat()[0][:1])
