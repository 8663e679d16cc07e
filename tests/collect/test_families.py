"""Architectures of timm, torchvision and transformers, built without weights: the head is found, and
what enters it makes the logits."""

from __future__ import annotations

import pytest
import torch

import ncollapse as nc
from ncollapse.collect.tap.taps import Taps
from ncollapse.sources.specs.optional import optional
from tests.models import built

K = 7
PLAIN = {"null": False, "intervals": False}
# The smallest of each family; the size of its images where it is not free.
TIMM = {
    "resnet10t": 32, "resnetv2_18": 32, "ecaresnet26t": 32, "resnext26ts": 32, "seresnext26ts": 32,
    "densenet121": 32, "vgg11": 32, "efficientnet_b0": 32, "mobilenetv2_050": 32,
    "mobilenetv3_small_050": 32, "mobilenetv4_conv_small_035": 32, "mnasnet_050": 32,
    "ghostnet_050": 32, "hardcorenas_a": 32, "lcnet_035": 32, "tinynet_e": 32, "regnetx_002": 32,
    "regnety_002": 32, "dla46_c": 64, "dpn48b": 32, "inception_v3": 96, "xception41": 64,
    "convnext_atto": 32, "convnextv2_atto": 32, "inception_next_atto": 64, "nfnet_l0": 32,
    "repvgg_a0": 32, "repvit_m0_9": 32, "fastvit_t8": 64, "mobileone_s0": 32, "hgnetv2_b0": 32,
    "vovnet39a": 32, "cspresnet50": 32, "darknet17": 32, "selecsls42": 64, "hrnet_w18_small": 64,
    "starnet_s1": 32, "ghostnetv3_050": 64, "edgenext_xx_small": 64, "mobilevit_xxs": 64,
    "mobilevitv2_050": 64, "efficientvit_b0": 64, "efficientformerv2_s0": 224,
    "efficientvit_m0": 224, "levit_128s": 224, "poolformerv2_s12": 64, "pvt_v2_b0": 64,
    "swin_tiny_patch4_window7_224": 224, "twins_svt_small": 224, "tiny_vit_5m_224": 224,
    "vit_tiny_patch16_224": 224, "deit_tiny_distilled_patch16_224": 224, "cait_xxs24_224": 224,
    "crossvit_tiny_240": 240, "convit_tiny": 224, "coat_tiny": 224, "xcit_nano_12_p16_224": 224,
    "mixer_s32_224": 224, "gmlp_ti16_224": 224, "resmlp_12_224": 224, "visformer_tiny": 224,
    "eva02_tiny_patch14_224": 224, "flexivit_small": 240, "beit_base_patch16_224": 224,
    "davit_tiny": 64, "focalnet_tiny_srf": 64, "gcvit_xxtiny": 224, "maxvit_rmlp_pico_rw_256": 256,
    "nextvit_small": 64, "rdnet_tiny": 64, "sequencer2d_s": 224, "tresnet_m": 64,
    "mambaout_femto": 64, "shvit_s1": 64, "swiftformer_xs": 64, "vit_medium_patch16_gap_240": 240,
}  # fmt: skip
# Maps, whose head `measure_pixels` finds; LR-ASPP adds two up.
MAPS = ("fcn_resnet50", "deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large")
TORCHVISION = {
    "alexnet": 64, "vgg11": 32, "resnet18": 32, "wide_resnet50_2": 32, "resnext50_32x4d": 32,
    "densenet121": 32, "inception_v3": 96, "googlenet": 64,
    "shufflenet_v2_x0_5": 32, "mobilenet_v2": 32, "mobilenet_v3_small": 32, "efficientnet_b0": 32,
    "efficientnet_v2_s": 32, "regnet_y_400mf": 32, "mnasnet0_5": 32, "convnext_tiny": 32,
    "vit_b_32": 224, "swin_t": 64, "swin_v2_t": 64, "maxvit_t": 224,
}  # fmt: skip
# Families whose module, config and widths are named alike: a tiny one of each.
SMALL = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
    "vocab_size": 40, "max_position_embeddings": 24, "num_labels": K, "pad_token_id": 0,
}  # fmt: skip
BART = {
    "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "vocab_size": 40,
    "num_labels": K, "max_position_embeddings": 24, "pad_token_id": 0, "eos_token_id": 2,
}  # fmt: skip
T5 = {
    "vocab_size": 40, "d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2,
    "num_labels": K, "eos_token_id": 2, "pad_token_id": 0, "decoder_start_token_id": 0,
}  # fmt: skip
TEXTS = {
    "Bert": SMALL, "Roberta": SMALL, "Electra": SMALL, "Deberta": SMALL, "DebertaV2": SMALL,
    "Albert": {**SMALL, "embedding_size": 16}, "MPNet": SMALL, "ConvBert": SMALL,
    "Llama": {**SMALL, "num_key_value_heads": 2}, "Mistral": {**SMALL, "num_key_value_heads": 2},
    "Qwen2": {**SMALL, "num_key_value_heads": 2}, "GPTNeoX": SMALL, "Phi": SMALL,
    "GPT2": {
        "n_embd": 16, "n_layer": 1, "n_head": 2, "vocab_size": 40, "n_positions": 24,
        "num_labels": K, "pad_token_id": 0,
    },
    "DistilBert": {
        "dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 16, "vocab_size": 40, "num_labels": K,
    },
    "Bart": BART, "MBart": BART, "T5": T5, "MT5": T5,
}  # fmt: skip


def of_images(library: str, name: str, size: int) -> tuple[torch.nn.Module, dict]:
    if library == "timm":
        make, extra = optional("timm").create_model, {"num_classes": K}
        model = built(make, name, **extra)
    else:
        models = optional("torchvision").models
        kept = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        model = built(models.get_model, name, weights=None, num_classes=K, **kept)
    return model, {"x": torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(0))}


def of_texts(name: str) -> tuple[torch.nn.Module, dict]:
    transformers = optional("transformers")
    config = getattr(transformers, f"{name}Config")(**TEXTS[name])
    model = built(getattr(transformers, f"{name}ForSequenceClassification"), config)
    ids = torch.randint(3, 40, (3, 6), generator=torch.Generator().manual_seed(0))
    ids[:, -1] = 2
    return model, {"input_ids": ids}


CASES = (
    [("timm", name, size) for name, size in TIMM.items()]
    + [("torchvision", name, size) for name, size in TORCHVISION.items()]
    + [("transformers", name, 0) for name in TEXTS]
)


@pytest.mark.slow
@pytest.mark.parametrize(("library", "name", "size"), CASES, ids=lambda v: str(v))
def test_the_head_is_found_and_makes_the_logits(library: str, name: str, size: int) -> None:
    model, inputs = of_texts(name) if size == 0 else of_images(library, name, size)
    model.eval()
    with torch.no_grad(), Taps(model) as taps:
        taps.begin(3)
        output = model(**inputs) if library == "transformers" else model(inputs["x"])
        features = taps.end(output)["head"]
        logits = taps.logits(output)
    assert taps.head is not None and taps.head.weight.shape == (K, features.shape[1])
    made = torch.nn.functional.linear(features, taps.head.weight, taps.head.bias)
    torch.testing.assert_close(made, logits.flatten(1), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_squeezenet_is_refused_with_what_follows_its_head() -> None:
    model = built(optional("torchvision").models.squeezenet1_1, num_classes=K).eval()
    images = torch.randn(14, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    data = (images, torch.arange(14) % K)
    with pytest.raises(ValueError, match="'classifier.1': a ReLU follows it.*pass head=False"):
        nc.measure(model, data, **PLAIN)
    found = nc.measure(model, data, head=False, layers=["features"], **PLAIN)
    assert found.document.num_features == 512


@pytest.mark.slow
@pytest.mark.parametrize("name", MAPS)
def test_the_head_of_a_map_is_found(name: str) -> None:
    models = optional("torchvision").models
    model = built(models.get_model, name, weights=None, weights_backbone=None, num_classes=K)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(2 * 64 * 64).view(2, 64, 64) % K
    found = nc.measure_pixels(model, [(images, labels)], **PLAIN).document
    head = found.config["head"]
    assert "conv(features) = logits" in head["check"]
    assert len(head["name"].split(" + ")) == (2 if "lraspp" in name else 1)


def test_there_are_families_enough() -> None:
    assert len({name for library, name, _ in CASES if library != "transformers"}) >= 40
