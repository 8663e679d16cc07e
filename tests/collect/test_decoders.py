"""Encoder-decoders: the samples are tokens of the target, their classes the labels."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import ncollapse as nc
from ncollapse.collect.tap.decoders import decoder_batch, decodes
from ncollapse.collect.tap.stream import ModelStream
from ncollapse.collect.tap.taps import Taps
from ncollapse.sources.specs.models import load_model
from ncollapse.sources.specs.optional import optional
from tests.models import built

V, PAD, END = 40, 0, 2
T5 = {
    "vocab_size": V, "d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 2, "num_heads": 2,
    "eos_token_id": END, "pad_token_id": PAD, "decoder_start_token_id": PAD,
}  # fmt: skip
BART = {
    "d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "vocab_size": V,
    "max_position_embeddings": 24, "pad_token_id": PAD, "eos_token_id": END, "bos_token_id": 1,
    "decoder_start_token_id": END,
}  # fmt: skip
MODELS = {
    "T5ForConditionalGeneration": ("T5Config", T5),
    "T5ForConditionalGeneration, untied": ("T5Config", {**T5, "tie_word_embeddings": False}),
    "BartForConditionalGeneration": ("BartConfig", BART),
    "MBartForConditionalGeneration": ("MBartConfig", BART),
    "MarianMTModel": ("MarianConfig", BART),
    "BlenderbotSmallForConditionalGeneration": ("BlenderbotSmallConfig", BART),
}
PLAIN = {"null": False, "intervals": False}


def texts() -> tuple[Tensor, Tensor]:
    """Sources, and targets of several lengths that end and are then padded by -100."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, V, (24, 6), generator=generator)
    labels = torch.randint(3, 15, (24, 6), generator=generator)
    for row in range(24):
        end = 2 + row % 4
        labels[row, end] = END
        labels[row, end + 1 :] = -100
    return ids, labels


IDS, LABELS = texts()


def made(name: str) -> nn.Module:
    transformers = optional("transformers")
    config, values = MODELS[name]
    kind = getattr(transformers, name.partition(",")[0])
    model = built(kind, getattr(transformers, config)(**values)).eval()
    if getattr(model, "final_logits_bias", None) is not None:
        model.final_logits_bias.copy_(torch.linspace(-1, 1, V))
    return model


def batches(*, pad: bool = False) -> list[dict[str, Tensor]]:
    labels = LABELS.masked_fill(LABELS == -100, PAD) if pad else LABELS
    return [
        {"input_ids": ids, "labels": rows, "attention_mask": torch.ones_like(ids)}
        for ids, rows in zip(IDS.split(10), labels.split(10), strict=True)
    ]


@pytest.mark.parametrize("name", MODELS)
def test_every_token_of_the_target_is_a_sample_and_the_head_makes_its_logits(name: str) -> None:
    model = made(name)
    with torch.no_grad():
        logits = model(input_ids=IDS, labels=LABELS).logits[LABELS != -100]
    for data in (batches(), [(IDS, LABELS)], batches(pad=True)):
        taps = Taps(model, layers="*")
        stream = ModelStream(taps, {"train": data}, tokens="auto")
        read = list(stream)
        assert stream.tokens == "next"
        features = torch.cat([batch.features["head"] for batch in read])
        assert torch.equal(torch.cat([batch.labels for batch in read]), LABELS[LABELS != -100])
        assert taps.head is not None
        right = functional.linear(features, taps.head.weight, taps.head.bias)
        torch.testing.assert_close(right, logits, rtol=1e-4, atol=1e-5)
        # A source as long as the target is no target.
        assert len(taps.layers) > 2 and not any("encoder." in name for name in taps.layers[:-1])
    shifted = getattr(model, "final_logits_bias", None) is not None
    assert ("+ a constant a class" in taps.head.check) == shifted


def test_a_measurement_is_one_of_language() -> None:
    model = made("T5ForConditionalGeneration")
    found = nc.measure(model, batches(), **PLAIN)
    assert found.document.task == "language" and found.document.num_classes == V
    assert found.document.num_samples == int((LABELS != -100).sum())
    with torch.no_grad():
        guesses = model(input_ids=IDS, labels=LABELS).logits.argmax(-1)
    accuracy = (guesses == LABELS)[LABELS != -100].double().mean()
    assert found.value("accuracy") == pytest.approx(float(accuracy))
    brought = [{**batch, "decoder_input_ids": _moved(batch["labels"])} for batch in batches()]
    for data, options in (
        (brought, {}),
        (batches(), {"tokens": True}),
        ([{"a": IDS, "b": LABELS}], {"unpack": lambda b: ({"input_ids": b["a"]}, b["b"])}),
    ):
        other = nc.measure(model, data, **options, **PLAIN)
        assert other.value("accuracy") == found.value("accuracy")
    part = nc.measure(model, batches(), limit=13, **PLAIN)
    assert part.document.num_samples == int((LABELS[:13] != -100).sum())


def _moved(labels: Tensor) -> Tensor:
    moved = labels.roll(1, 1).masked_fill(labels.roll(1, 1) == -100, PAD)
    moved[:, 0] = PAD
    return moved


def test_what_is_no_target_is_refused_with_what_is_needed() -> None:
    model = made("T5ForConditionalGeneration")
    for data in ([IDS], [{"input_ids": IDS}], [(IDS, torch.arange(24) % 3)]):
        with pytest.raises(ValueError, match=r"writes a target.*'labels' \(sequences, time\)"):
            nc.measure(model, data, **PLAIN)
    with pytest.raises(ValueError, match="encoder's and sees the source"):
        nc.measure(model, batches(), layers=["encoder.block.0"], **PLAIN)


def fake(**values: Any) -> nn.Module:
    model = type("FakeForConditionalGeneration", (nn.Module,), {})()
    model.config = SimpleNamespace(is_encoder_decoder=True, **values)
    return model


def test_targets_of_a_batch_by_hand() -> None:
    labels = torch.tensor([[7, 8, END, PAD], [9, END, -100, -100]])
    model = fake(pad_token_id=PAD, eos_token_id=END, decoder_start_token_id=5)
    assert decodes(model) and not decodes(nn.Identity())
    batch = decoder_batch(model, {"pixel_values": torch.zeros(2, 3), "labels": labels})
    assert batch.labels.tolist() == [7, 8, END, 9, END]
    assert batch.tokens.positions.tolist() == [0, 1, 2, 4, 5]
    entered = batch.inputs["decoder_input_ids"].tolist()
    assert entered == [[5, 7, 8, END], [5, 9, END, PAD]]
    # Where padding is the end token too, only what is marked is padding.
    same = fake(pad_token_id=END, eos_token_id=END, decoder_start_token_id=5)
    assert decoder_batch(same, (torch.zeros(2, 3), labels)).labels.tolist() == [
        7, 8, END, PAD, 9, END,
    ]  # fmt: skip
    mask = {"decoder_attention_mask": torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0]])}
    batch = decoder_batch(model, {"input_ids": labels, "labels": labels, **mask})
    assert batch.labels.tolist() == [7, 8, 9, END]
    # What enters alone: the class of a place is the next one.
    given = {"input_ids": labels, "decoder_input_ids": torch.tensor([[5, 7, 8, END]] * 2)}
    assert decoder_batch(model, given).labels.tolist() == [7, 8, END] * 2
    with pytest.raises(ValueError, match="decoder_start_token_id"):
        decoder_batch(fake(eos_token_id=END), {"input_ids": labels, "labels": labels})


def test_classifiers_of_encoder_decoders_are_read_as_any() -> None:
    transformers = optional("transformers")
    ids = IDS.clone()
    ids[:, -1] = END
    for name, values in (("T5", T5), ("Bart", BART)):
        config = getattr(transformers, f"{name}Config")(**values, num_labels=3)
        model = built(getattr(transformers, f"{name}ForSequenceClassification"), config).eval()
        found = nc.measure(model, [{"input_ids": ids, "labels": torch.arange(24) % 3}], **PLAIN)
        assert found.document.task == "classification" and found.document.num_classes == 3


def test_a_folder_of_an_encoder_decoder_keeps_its_head(tmp_path) -> None:
    model = made("T5ForConditionalGeneration")
    model.save_pretrained(tmp_path / "t5")
    for causal in (False, True):
        loaded = load_model(f"hf:{tmp_path / 't5'}", causal=causal).model
        assert type(loaded) is type(model)
        assert torch.equal(loaded.lm_head.weight, model.lm_head.weight)
