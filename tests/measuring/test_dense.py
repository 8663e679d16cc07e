"""Pixels, tokens and encoders: what is a sample, and where the head is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.utils.data import DataLoader, TensorDataset

import ncollapse as nc
from ncollapse.sources.specs.optional import optional

PLAIN: dict[str, Any] = {"null": False, "intervals": False}
K, SIDE = 5, 16


class Segmenter(nn.Module):
    """Half the resolution, a head of kernel 1, and logits as large as the image or as the map."""

    def __init__(self, resized: bool = True) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.body = nn.Sequential(nn.Conv2d(3, 12, 3, 2, 1), nn.ReLU(), nn.Conv2d(12, 10, 1))
            self.classifier = nn.Conv2d(10, K, 1)
        self.resized = resized

    def forward(self, x: Tensor) -> Any:
        made = self.classifier(self.body(x))
        if not self.resized:
            return made
        return {"out": interpolate(made, size=x.shape[-2:], mode="bilinear", align_corners=False)}


def images(count: int = 8) -> tuple[Tensor, Tensor]:
    """Blocks of 4 × 4 pixels of a class, a border that does not count."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, K, (count, SIDE // 4, SIDE // 4), generator=generator)
    labels = labels.repeat_interleave(4, 1).repeat_interleave(4, 2)
    colours = torch.randn(K, 3, generator=generator)
    pixels = colours[labels].permute(0, 3, 1, 2)
    labels[:, :2] = 255
    return pixels + 0.1 * torch.randn(pixels.shape, generator=generator), labels


def loader(batch: int = 4) -> DataLoader:
    return DataLoader(TensorDataset(*images()), batch_size=batch)


@pytest.mark.parametrize("resized", [True, False])
def test_all_pixels_as_by_hand(resized: bool) -> None:
    model, (x, y) = Segmenter(resized), images()
    found = nc.measure_pixels(model, loader(), pixels_per_image=0, ignore_index=255, **PLAIN)
    with torch.no_grad():
        features = model.body(x).permute(0, 2, 3, 1).flatten(0, 2)
    # At half the resolution the nearest pixel of a block has its label.
    labels = y[:, 1::2, 1::2].flatten()
    kept = labels != 255
    by_hand = nc.measure_features(
        features[kept],
        labels[kept],
        weight=model.classifier.weight.detach().flatten(1),
        bias=model.classifier.bias.detach(),
        **PLAIN,
    )
    for key in ("nc1_ratio", "nc2_etf_means", "nc3_alignment", "accuracy"):
        assert found.value(key) == pytest.approx(by_hand.value(key), rel=1e-5)
    check = found.document.config["head"]["check"]
    assert ("resized" in check) == resized
    assert found.document.config["pixels"]["counting"] == {"train": int(kept.sum())}


def test_drawn_pixels_do_not_depend_on_batches() -> None:
    model = Segmenter()
    options = {"pixels_per_image": 10, "ignore_index": 255, **PLAIN}
    first = nc.measure_pixels(model, loader(4), **options)
    assert first.document.num_samples == 8 * 10
    second = nc.measure_pixels(model, loader(3), **options)
    assert second.value("nc1_ratio") == pytest.approx(first.value("nc1_ratio"), rel=1e-4)
    other = nc.measure_pixels(model, loader(4), seed=1, **options)
    assert other.value("nc1_ratio") != pytest.approx(first.value("nc1_ratio"), rel=1e-4)
    assert nc.measure_pixels(model, loader(), limit=3, **options).document.num_samples == 30


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "label 255, and the head tells 5 classes; pass ignore_index="),
        ({"head": "body.0"}, "no convolution of kernel 1; there are body.2, classifier"),
        ({"pixels_per_image": -1}, "pixels_per_image=-1"),
        ({"pixels": 3}, "has no keyword 'pixels'; did you mean 'pixels_per_image'"),
        ({"unpack": lambda batch: (batch[0], batch[1][:, 0, 0])}, r"\(images, height, width\)"),
        ({"unpack": lambda batch: (batch[0][:1], batch[1])}, "1 images but 4 maps of labels"),
    ],
)
def test_bad_input_of_pixels(given: dict[str, Any], says: str) -> None:
    with pytest.raises((ValueError, TypeError), match=says):
        nc.measure_pixels(Segmenter(), loader(), **given)


def test_a_head_that_makes_no_logits_is_not_taken() -> None:
    class Squashed(Segmenter):
        def forward(self, x: Tensor) -> Tensor:
            return self.classifier(self.body(x)).tanh()

    with pytest.raises(ValueError, match="no convolution of kernel 1 makes the logits"):
        nc.measure_pixels(Squashed(), loader(), ignore_index=255)
    named = nc.measure_pixels(
        Squashed(), loader(), head="classifier", ignore_index=255, pixels_per_image=9, **PLAIN
    )
    assert named.document.config["head"]["origin"] == "named"


class Two(Segmenter):
    """Two heads of kernel 1 on two maps, added up before the map is resized."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            self.early = nn.Conv2d(12, K, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        low = self.body[:2](x)
        made = self.classifier(self.body[2](low)) + self.early(low)
        return interpolate(made, size=x.shape[-2:], mode="bilinear", align_corners=False)


def test_two_heads_that_are_added_up_stand_side_by_side() -> None:
    model, (x, _) = Two(), images()
    found = nc.measure_pixels(model, loader(), pixels_per_image=0, ignore_index=255, **PLAIN)
    head = found.document.config["head"]
    assert set(head["name"].split(" + ")) == {"classifier", "early"} and "added up" in head["check"]
    assert found.document.num_features == 22
    with torch.no_grad():
        low = model.body[:2](x)
        parts = {"early": low, "classifier": model.body[2](low)}
        features = torch.cat([parts[name] for name in head["name"].split(" + ")], 1)
        made = model.classifier(parts["classifier"]) + model.early(low)
        right = nn.functional.conv2d(
            features.double(),
            found.geometry.weight.double()[:, :, None, None],
            found.geometry.bias.double(),
        )
    torch.testing.assert_close(right.float(), made, rtol=1e-4, atol=1e-5)


def test_a_classifier_of_images_is_named_as_one() -> None:
    with torch.random.fork_rng(devices=[]):
        model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, K, 1), nn.Flatten())
    with pytest.raises(ValueError, match=r"no map: nc\.measure reads models of one label an image"):
        nc.measure_pixels(model, loader(), ignore_index=255)


def test_an_encoder_without_a_head_by_identity() -> None:
    """Identities of any size as labels; NC1 and NC2 alone are read."""
    with torch.random.fork_rng(devices=[]):
        model = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 8))
    x = torch.randn(60, 6, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(60) % 5 * 10**9 + 7
    found = nc.measure(model, [(x, labels)], head=False, layers=["2"], **PLAIN)
    assert found.document.num_classes == 5
    readings = found.results["train"][found.document.layer]
    assert readings["nc1_ratio"].value is not None and readings["nc2_etf_means"].value is not None
    assert not any(key.startswith("nc3") for key in readings)


# ---- transformers ------------------------------------------------------------------------------
BERT = {
    "vocab_size": 24,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 16,
    "num_labels": 4,
}


def texts(labels: str) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(4, 24, (48, 8), generator=generator)
    mask = torch.ones_like(ids)
    mask[::2, 6:] = 0
    found = {
        "masked": torch.where((torch.rand(ids.shape, generator=generator) < 0.4), ids, -100),
        "tokens": ids % 4,
        "texts": torch.arange(48) % 4,
    }[labels]
    if found.dim() == 2:
        found = torch.where(mask == 0, -100, found)
    return [{"input_ids": ids, "attention_mask": mask, "labels": found}]


def bert(name: str, **more: Any) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers = optional("transformers")
        return getattr(transformers, name)(transformers.BertConfig(**BERT), **more)


@pytest.mark.parametrize(
    ("name", "labels", "options", "samples"),
    [
        ("BertForMaskedLM", "masked", {"tokens": "same"}, None),
        ("BertForTokenClassification", "tokens", {"tokens": "same"}, 48 * 7),
        ("BertForSequenceClassification", "texts", {}, 48),
        ("BertModel", "texts", {"head": False, "layers": ["encoder"]}, 48),
    ],
)
def test_encoders_of_text(name: str, labels: str, options: dict[str, Any], samples: Any) -> None:
    data = texts(labels)
    found = nc.measure(bert(name), data, **options, **PLAIN)
    wanted = samples or int((data[0]["labels"] != -100).sum())
    assert found.document.num_samples == wanted
    headed = options.get("head") is not False
    assert (found.value("nc1_ratio") or 0) > 0
    assert ("nc3_alignment" in found.results["train"][found.document.layer]) == headed


def test_a_segmentation_transformer_reads_its_own_resolution() -> None:
    transformers = optional("transformers")
    config = transformers.SegformerConfig(
        num_encoder_blocks=2,
        depths=[1, 1],
        sr_ratios=[2, 1],
        hidden_sizes=[8, 16],
        patch_sizes=[3, 3],
        strides=[2, 2],
        num_attention_heads=[1, 2],
        mlp_ratios=[2, 2],
        decoder_hidden_size=16,
        num_labels=K,
    )
    x, y = images()
    with torch.random.fork_rng(devices=[]):
        model = transformers.SegformerForSemanticSegmentation(config)
    found = nc.measure_pixels(
        model, [{"pixel_values": x, "labels": y}], pixels_per_image=20, ignore_index=255, **PLAIN
    )
    assert found.document.config["head"]["name"] == "decode_head.classifier"
    assert found.document.num_samples == 8 * 20
