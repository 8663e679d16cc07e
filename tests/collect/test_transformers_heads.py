"""Tiny models of transformers for images and for next tokens: the head is found, and what enters it
makes the logits."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ncollapse.collect.tap.batches import Tokens
from ncollapse.collect.tap.taps import Taps
from ncollapse.sources.specs.optional import optional
from tests.models import built

K, V = 7, 40
WIDE = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
}  # fmt: skip
TEXT = {**WIDE, "vocab_size": V, "max_position_embeddings": 24, "pad_token_id": 0}
GROUPED = {**TEXT, "num_key_value_heads": 2}
STAGES = {"hidden_sizes": [8, 8, 8, 8], "depths": [1, 1, 1, 1]}
VISION: dict[str, dict[str, Any]] = {
    "ViT": {**WIDE, "image_size": 32, "patch_size": 16},
    "DeiT": {**WIDE, "image_size": 32, "patch_size": 16},
    "Beit": {**WIDE, "image_size": 32, "patch_size": 16},
    "Dinov2": {**WIDE, "image_size": 28, "patch_size": 14},
    "ConvNext": STAGES,
    "ConvNextV2": STAGES,
    "ResNet": {"embedding_size": 8, **STAGES},
    "RegNet": {"embedding_size": 8, "groups_width": 8, **STAGES},
    "Swin": {
        "image_size": 32,
        "window_size": 4,
        "embed_dim": 8,
        "depths": [1, 1],
        "num_heads": [2, 2],
    },
    "PoolFormer": {},
    "MobileNetV2": {"depth_multiplier": 0.35},
}
# Some scale the logits (Cohere, Granite), some cap them (Gemma 2), some have no attention.
CAUSAL: dict[str, dict[str, Any]] = {
    "GPTNeoX": TEXT,
    "Phi": TEXT,
    "Llama": GROUPED,
    "Mistral": GROUPED,
    "Qwen2": GROUPED,
    "Qwen3": GROUPED,
    "Gemma2": {**GROUPED, "head_dim": 8},
    "Cohere": GROUPED,
    "Granite": {**GROUPED, "logits_scaling": 8.0},
    "Olmo": TEXT,
    "StableLm": GROUPED,
    "OPT": {
        "hidden_size": 16, "word_embed_proj_dim": 16, "num_hidden_layers": 1, "ffn_dim": 16,
        "num_attention_heads": 2, "vocab_size": V, "max_position_embeddings": 24,
    },
    "Bloom": {"hidden_size": 16, "n_layer": 1, "n_head": 2, "vocab_size": V},
    "Mamba": {"hidden_size": 16, "num_hidden_layers": 1, "state_size": 4, "vocab_size": V},
}  # fmt: skip


def model_of(name: str, kind: str, values: dict[str, Any]) -> torch.nn.Module:
    transformers = optional("transformers")
    config = getattr(transformers, f"{name}Config")(**values)
    return built(getattr(transformers, f"{name}For{kind}"), config).eval()


@pytest.mark.slow
@pytest.mark.parametrize("name", VISION)
def test_of_images(name: str) -> None:
    values = VISION[name]
    model = model_of(name, "ImageClassification", {**values, "num_labels": K})
    side = values.get("image_size", 64)
    images = torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), Taps(model) as taps:
        taps.begin(3)
        output = model(pixel_values=images)
        features = taps.end(output)["head"]
    assert taps.head is not None and taps.head.weight.shape == (K, features.shape[1])
    made = torch.nn.functional.linear(features, taps.head.weight, taps.head.bias)
    torch.testing.assert_close(made, output.logits, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", CAUSAL)
def test_of_next_tokens(name: str) -> None:
    model = model_of(name, "CausalLM", CAUSAL[name])
    ids = torch.randint(3, V, (3, 6), generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), Taps(model) as taps:
        taps.begin(18, tokens=Tokens(torch.arange(18), 3, 6))
        output = model(input_ids=ids)
        features = taps.end(output)["head"]
    assert taps.head is not None and taps.head.weight.shape == (V, features.shape[1])
    made = torch.nn.functional.linear(features, taps.head.weight, taps.head.bias)
    logits = output.logits.flatten(0, 1)
    if "soft cap" in taps.head.check:
        assert torch.equal(made.argmax(1), logits.argmax(1))
    else:
        torch.testing.assert_close(made, logits, rtol=1e-3, atol=1e-5)
