"""Surgery: parameter counts, every kind of model, and models that cannot be operated on."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

import ncollapse as nc
from ncollapse.control import NearestFrameHead, SimplexHead, fix_head
from ncollapse.sources.specs.optional import optional
from tests.models import K, blobs, built, net


def torchvision_model(name: str, **kept):
    return built(optional("torchvision").models.get_model, name, **kept)


def timm_model(name: str, **kept):
    return built(optional("timm").create_model, name, **kept)


# ---- counts -----------------------------------------------------------------------------------
@pytest.mark.parametrize("make", [torchvision_model, timm_model])
def test_resnet18_with_ten_features_is_a_fifth_smaller(make) -> None:
    model = make("resnet18", num_classes=10)
    done = fix_head(model, bottleneck=True)
    assert (done.before.parameters, done.after.parameters) == (11_181_642, 8_867_442)
    assert done.share_saved == pytest.approx(0.2070, abs=5e-5)
    # One 3 × 3 convolution and its normalisation, less the shortcut's, and the classifier.
    conv, norm = 9 * 512 * (512 - 10), 2 * (512 - 10)
    shortcut, classifier = 512 * 10 + 2 * 10, 512 * 10
    assert done.parameters_saved == conv + norm - shortcut + classifier
    assert done.bottleneck == "layer4.1"
    assert done.optimizer_saved(2) == 2 * done.parameters_saved
    assert "20.70%" in str(done)
    model.eval()
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert sum(p.numel() for p in model.parameters()) == 8_867_442
    assert "fc.linear.frame" in model.state_dict()
    assert isinstance(model.fc.bias, nn.Parameter)


def test_resnet50_saves_less_and_many_classes_cost() -> None:
    done = fix_head(torchvision_model("resnet50", num_classes=10), bottleneck=True)
    assert done.share_saved == pytest.approx(0.0445, abs=5e-5)
    costly = fix_head(torchvision_model("resnet18", num_classes=600), bottleneck=True)
    assert costly.parameters_saved < 0
    assert "COSTS" in str(costly)
    assert "more" in str(costly)


def test_the_head_alone_saves_its_own_weight() -> None:
    model = torchvision_model("resnet18", num_classes=10)
    done = fix_head(model)
    assert done.parameters_saved == 5120
    assert done.bottleneck == "none"
    # Frame and scale.
    assert done.buffers_added == 5121


# ---- kinds of models ----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("make", "name", "where"),
    [
        (
            lambda: torchvision_model("vgg11", num_classes=5, init_weights=False),
            "classifier.6",
            "projection",
        ),
        (lambda: timm_model("resnet10t", num_classes=5), "fc", "layer4.0"),
        (lambda: timm_model("seresnet18", num_classes=5), "fc", "projection"),
        (lambda: timm_model("convnext_atto", num_classes=5), "head.fc", "projection"),
    ],
    ids=["vgg", "one block a stage", "attention over channels", "convnext"],
)
def test_other_models_are_narrowed_or_get_a_projection(make, name: str, where: str) -> None:
    model = make().eval()
    done = fix_head(model, bottleneck=True, name=None)
    assert (done.name, done.bottleneck) == (name, where)
    size = 64 if name == "classifier.6" else 32
    assert model(torch.zeros(2, 3, size, size)).shape == (2, 5)


def test_a_hugging_face_model_keeps_working() -> None:
    transformers = optional("transformers")
    config = transformers.ViTConfig(
        hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        image_size=16, patch_size=8, num_labels=6,
    )  # fmt: skip
    model = built(transformers.ViTForImageClassification, config).eval()
    images = torch.zeros(2, 3, 16, 16)
    done = fix_head(model, inputs={"pixel_values": images})
    assert done.name == "classifier"
    assert "head(features) = logits" in done.checked
    assert model(pixel_values=images).logits.shape == (2, 6)


def test_a_plain_model_is_checked_operated_measured_and_trained() -> None:
    inputs, labels = blobs()
    model = net()
    # Dropout would draw from the global generator.
    model.drop = nn.Identity()
    done = fix_head(model, inputs=inputs, scale=4.0)
    assert done.name == "fc"
    assert model.training
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    losses = []
    for _ in range(20):
        loss = functional.cross_entropy(model(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    assert nc.measure(model, (inputs, labels), null=False).value("nc2_etf_weights") < 1e-6


def test_heads_of_all_kinds_keep_bias_dtype_and_mode() -> None:
    for head in ("simplex", "orthogonal", "nearest", "code", nc.Geometry.simplex_etf(K, 5)):
        model = net().double().eval()
        with torch.no_grad():
            model.fc.bias.copy_(torch.arange(K))
        done = fix_head(model, head=head)
        assert done.head.weight.dtype == torch.float64
        assert not done.head.training
        if isinstance(head, str):
            assert done.head.bias.tolist() == list(range(K))
        assert fix_head(net(), head=head, bias=False).head.bias is None
    made = fix_head(net(), head=lambda d, K: NearestFrameHead(d, K, momentum=0.5)).head
    assert made.momentum == 0.5
    assert fix_head(net(), normalize=True, scale=9.0).head.linear.scale.item() == pytest.approx(9)


def test_surgery_is_repeatable_and_leaves_the_rest_alone() -> None:
    first, second = (torchvision_model("resnet18", num_classes=10) for _ in range(2))
    untouched = copy.deepcopy(first)
    fix_head(first, bottleneck=True, seed=5)
    fix_head(second, bottleneck=True, seed=5)
    for (name, a), b in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    before = untouched.state_dict()
    assert torch.equal(first.state_dict()["layer4.1.conv1.weight"], before["layer4.1.conv1.weight"])


# ---- bad input ----------------------------------------------------------------------------------
def test_what_cannot_be_operated_on_is_explained() -> None:
    with pytest.raises(ValueError, match="no linear layer"):
        fix_head(built(nn.Conv2d, 3, 3, 1))
    with pytest.raises(ValueError, match=r"nn\.Sequential"):
        fix_head(built(nn.Linear, 3, 3))
    with pytest.raises(ValueError, match="no module of the model"):
        fix_head(net(), name="nothing")
    with pytest.raises(ValueError, match="one of simplex"):
        fix_head(net(), head="cube")
    with pytest.raises(ValueError, match="wrapped in DataParallel"):
        fix_head(nn.DataParallel(net()))
    with pytest.raises(ValueError, match="one row a class"):
        fix_head(net(), head=nc.Geometry.simplex_etf(3, 5))
    with pytest.raises(ValueError, match="no linear layer reproduces"):
        fix_head(net(), name="unused", inputs=blobs()[0])


def test_a_refusal_leaves_the_model_whole() -> None:
    model = built(
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 2), nn.ReLU(), nn.Linear(2, 9))
    )
    with pytest.raises(ValueError, match="at least 8 are needed"):
        fix_head(model)
    assert isinstance(model[3], nn.Linear)
    assert not isinstance(model[3], SimplexHead)
    done = fix_head(model, head="code")
    assert done.head.code.margin > 0
