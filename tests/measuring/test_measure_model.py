"""measure(model, data): the same numbers as from its features, in one forward pass."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import ncollapse as nc
from ncollapse.collect.tap.select import blocks
from ncollapse.measuring.loaders import split_loaders
from ncollapse.sources.specs.optional import optional
from tests.models import K, blobs, built, net, seeded

INPUTS, LABELS = blobs(80)
TEST = blobs(40, seed=1)
QUICK = {"null": False, "intervals": False}


def values(m: nc.Measurement) -> dict[tuple[str, str, str], float | None]:
    return {
        (split, layer, key): reading.value
        for split, layers in m.results.items()
        for layer, readings in layers.items()
        for key, reading in readings.items()
    }


def test_a_model_reads_as_its_features_do() -> None:
    model = net()
    m = nc.measure(model, train=(INPUTS, LABELS), test=TEST)
    model.eval()
    with torch.no_grad():
        features = model.features(torch.cat([INPUTS, TEST[0]]))
    plain = nc.measure_features(
        features,
        torch.cat([LABELS, TEST[1]]),
        weight=model.fc.weight,
        bias=model.fc.bias,
        split=["train"] * 80 + ["test"] * 40,
    )
    wanted = values(plain)
    assert values(m).keys() == wanted.keys()
    for key, value in values(m).items():
        assert value == pytest.approx(wanted[key], rel=1e-4, abs=1e-7), key
    assert m.document.config["head"]["name"] == "fc"
    assert [v.question for v in m.verdicts] == [v.question for v in plain.verdicts]


def test_the_model_runs_once() -> None:
    model, seen = net(), []
    model.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[0]))
    nc.measure(model, train=(INPUTS, LABELS), test=TEST, layers="*", batch_size=32)
    assert sum(seen) == 120


def test_accuracy_is_that_of_the_model() -> None:
    model = net()
    m = nc.measure(model, train=(INPUTS, LABELS), **QUICK)
    with torch.no_grad():
        hit = (model.eval()(INPUTS).argmax(1) == LABELS).double().mean()
    assert m.value("accuracy") == pytest.approx(float(hit))


def test_layers_are_read_beside_the_head_with_their_pooling() -> None:
    m = nc.measure(net(), (INPUTS, LABELS), layers=["conv1", "stack.*"], pool="auto", **QUICK)
    assert list(m.results["train"]) == ["conv1", "stack.0", "stack.1", "stack.2", "head"]
    assert m.results["train"]["conv1"]["nc1_fisher"].definition == "macro, mean over space"
    assert m.results["train"]["head"]["nc1_fisher"].definition == "macro"
    assert "nc3_alignment" not in m.results["train"]["conv1"]
    assert "ncc_accuracy" in m.results["train"]["conv1"]
    assert m.document.config["layers"]["conv1"]["pooling"] == "mean over space"
    assert m.geometry.num_features == 8
    # Pooled output of the last block is what enters the head here.
    for key in ("nc1_fisher", "class_share"):
        one, two = (m.value(key, layer=layer) for layer in ("stack.2", "head"))
        assert one == pytest.approx(two, rel=1e-5)


def test_frame_columns() -> None:
    frame = nc.measure(net(), (INPUTS, LABELS), layers="*").to_frame()
    assert list(frame.columns) == (
        [
            "split",
            "layer",
            "key",
            "value",
            "null_mean",
            "floor",
            "low",
            "high",
            "ideal",
            "n",
            "definition",
        ]
    )
    assert set(frame.layer) == {"conv1", "relu", "stack.0", "stack.1", "stack.2", "head"}


def test_without_a_head_the_last_layer_is_judged() -> None:
    m = nc.measure(net(), (INPUTS, LABELS), layers=["conv1", "stack.2"], head=False)
    assert m.document.layer == "stack.2"
    assert m.verdicts[0].answer != "not measured"
    assert "stack.2" in {row.layer for row in m.classes}
    assert "NC1 class share" in str(m)


@pytest.mark.parametrize("options", [{"cache": False}, {"cache_budget": 0}])
def test_no_cache_and_disk_cache_give_the_same_numbers(options) -> None:
    loaders = {"train": (INPUTS, LABELS), "test": TEST}
    wanted = values(nc.measure(net(), loaders, layers="*", batch_size=16, **QUICK))
    found = values(nc.measure(net(), loaders, layers="*", batch_size=16, **QUICK, **options))
    assert found == wanted


def test_shuffling_batch_order_does_not_matter() -> None:
    generator = torch.Generator().manual_seed(3)
    loader = DataLoader(TensorDataset(INPUTS, LABELS), 9, shuffle=True, generator=generator)
    wanted = values(nc.measure(net(), (INPUTS, LABELS), **QUICK))
    for key, value in values(nc.measure(net(), loader, **QUICK)).items():
        assert value == pytest.approx(wanted[key], rel=1e-4, abs=1e-6), key


def test_limit_mapping_and_micro() -> None:
    m = nc.measure(net(), {"val": (INPUTS, LABELS)}, limit=40, weighting="micro", **QUICK)
    assert list(m.results) == ["val"]
    assert m.document.num_samples == 40


def test_nothing_of_the_model_changes() -> None:
    model = net().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    nc.measure(model, (INPUTS, LABELS), layers="*", **QUICK)
    assert model.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"data": None}, "no data was passed"),
        ({"data": (INPUTS, LABELS), "train": TEST}, "passed twice"),
        ({"data": (INPUTS, LABELS), "layers": "layer9"}, "matches nothing; the model has conv1"),
        ({"data": (INPUTS, LABELS), "autocast": "int8"}, "dtype 'int8' is unknown"),
        ({"data": (INPUTS, LABELS), "keys": ("nc9",)}, "key 'nc9' is no metric"),
        ({"data": (INPUTS, LABELS), "cache_budget": -1}, "cache_budget=-1"),
        ({"data": (INPUTS * torch.nan, LABELS)}, "NaN|differs"),
    ],
)
def test_bad_arguments_are_explained(arguments, said) -> None:
    with pytest.raises(ValueError, match=said):
        nc.measure(net(), **{**QUICK, **arguments})


def test_wide_layers_fall_back_to_traces(monkeypatch) -> None:
    monkeypatch.setattr("ncollapse.measuring.layers.SMALL_MATRIX", 0)
    m = nc.measure(net(), (INPUTS, LABELS), **QUICK, memory_budget=8 * 7**2)
    assert m.value("nc1_fisher") is None
    assert m.value("nc1_ratio") is not None
    assert any("only traces are read" in warning for warning in m.warnings)


# ---- models that nobody here wrote ------------------------------------------------------------
def images(samples: int = 24):
    return blobs(samples, (3, 32, 32))


def test_a_timm_resnet() -> None:
    timm = optional("timm")
    model = built(timm.create_model, "resnet18", num_classes=K)
    m = nc.measure(model, images(), layers="*", **QUICK)
    assert m.document.config["head"] == {
        "name": "fc",
        "origin": "get_classifier",
        "check": "head(features) = logits",
    }
    assert {"layer1.0", "layer4.1", "head"} <= set(m.results["train"])
    with torch.no_grad():
        features = model.eval().forward_head(model.forward_features(images()[0]), pre_logits=True)
    plain = nc.measure_features(features, images()[1], weight=model.fc.weight, **QUICK)
    assert m.value("nc1_cdnv") == pytest.approx(plain.value("nc1_cdnv"), rel=1e-3)


def test_a_torchvision_transformer() -> None:
    torchvision = optional("torchvision")
    model = built(
        torchvision.models.VisionTransformer,
        image_size=32,
        patch_size=8,
        num_layers=3,
        num_heads=2,
        hidden_dim=16,
        mlp_dim=32,
        num_classes=K,
    )
    seeded(model.heads)
    m = nc.measure(model, images(), layers="*", **QUICK)
    assert m.document.config["head"]["name"] == "heads.head"
    layers = m.document.config["layers"]
    assert layers["encoder.layers.encoder_layer_2"]["pooling"] == "class token"
    assert "heads.head" not in layers


def tokens(samples: int = 24, length: int = 10):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(samples) % K
    ids = torch.randint(1, 50, (samples, length), generator=generator)
    mask = (
        torch.arange(length) < torch.randint(3, length, (samples, 1), generator=generator)
    ).long()
    ids = ids * mask
    for start in range(0, samples, 8):
        part = slice(start, start + 8)
        yield {"input_ids": ids[part], "attention_mask": mask[part], "labels": labels[part]}


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_hugging_face_classifiers(kind: str) -> None:
    transformers = optional("transformers")
    if kind == "encoder":
        config = transformers.BertConfig(
            vocab_size=50,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            num_labels=K,
        )
        model = built(transformers.BertForSequenceClassification, config)
        name, block = "classifier", "bert.encoder.layer.1"
    else:
        config = transformers.GPT2Config(
            vocab_size=50,
            n_embd=16,
            n_layer=2,
            n_head=2,
            n_positions=16,
            num_labels=K,
            pad_token_id=0,
            bos_token_id=0,
            eos_token_id=0,
        )
        model = built(transformers.GPT2ForSequenceClassification, config)
        name, block = "score", "transformer.h.1"
    m = nc.measure(model, list(tokens()), layers="*", **QUICK)
    assert m.document.config["head"]["name"] == name
    assert m.document.config["layers"][block]["pooling"] == "masked mean over tokens"
    hits = 0
    with torch.no_grad():
        for batch in tokens():
            labels = batch.pop("labels")
            hits += int((model.eval()(**batch).logits.argmax(1) == labels).sum())
    assert m.value("accuracy") == pytest.approx(hits / 24)


def test_blocks_of_stacks_inside_stacks() -> None:
    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix = nn.Sequential(nn.Linear(4, 4), nn.ReLU())

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(500, 4)
            self.layer = nn.ModuleList([Layer(), Layer()])

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.score = Encoder(), nn.Linear(4, K)

    assert blocks(built(Model)) == ["encoder.embed", "encoder.layer.0", "encoder.layer.1", "score"]


def test_splits_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two are the same name"):
        split_loaders({1: [], "1": []}, None, None)
