"""From a checkpoint and a folder of images to a verdict, with nothing but their two paths."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import torch

from ncollapse.cli.measure_model import measure_spec
from ncollapse.sources.specs import checkpoints
from ncollapse.sources.specs.checkpoints import architecture, checkpoint_spec, read_checkpoint
from ncollapse.sources.specs.folders import data_spec
from ncollapse.sources.specs.models import load_model
from ncollapse.sources.specs.optional import optional
from tests.models import built, net
from tests.sources.test_specs import image_folder

CLASSES = 3


def resnet() -> torch.nn.Module:
    return built(optional("torchvision.models").resnet18, weights=None, num_classes=CLASSES)


def save(path: Path, model: torch.nn.Module, prefix: str = "", **beside) -> Path:
    state = {prefix + name: value for name, value in model.state_dict().items()}
    torch.save({"state_dict": state, **beside} if beside or prefix else state, path)
    return path


@pytest.mark.parametrize("prefix", ["", "net."])
def test_the_model_is_found_by_its_tensors(tmp_path: Path, prefix: str) -> None:
    model = resnet()
    path = save(tmp_path / "best.pt", model, prefix, epoch=3)
    assert architecture(path) == "torchvision:resnet18"
    loaded = load_model(str(path))
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], value), name
    assert loaded.transform is not None


def test_names_in_the_file_and_of_it_come_first(tmp_path: Path) -> None:
    settings = argparse.Namespace(model="resnet18")
    path = save(tmp_path / "a.pt", resnet(), args=settings)
    assert read_checkpoint(path).names == ("resnet18",)
    assert architecture(path) == "torchvision:resnet18"


def test_what_fits_nothing_says_what_to_pass(tmp_path: Path, monkeypatch) -> None:
    path = save(tmp_path / "own.pt", net())
    monkeypatch.setattr(checkpoints, "LIBRARIES", ())  # To build one of each family takes a while.
    with pytest.raises(ValueError, match=r"tensors \(first 'conv1.weight' \[6, 3, 3, 3\]\) fit no"):
        checkpoint_spec(str(path))
    with pytest.raises(ValueError, match=r"folder without config\.json"):
        checkpoint_spec(str(tmp_path))
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ValueError, match="is a file of suffix '.txt'"):
        checkpoint_spec(str(tmp_path / "notes.txt"))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert checkpoint_spec(str(tmp_path))[0] == f"hf:{tmp_path}"


def test_folders_are_told_apart(tmp_path: Path) -> None:
    images = image_folder(tmp_path / "images")
    assert data_spec(str(images)) == f"imagefolder:{images}"
    assert data_spec(str(images / "train")) == f"imagefolder:{images / 'train'}"
    with pytest.raises(ValueError, match="holds images but no folder a class"):
        data_spec(str(images / "train" / "cat"))
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "a.txt").write_text("words")
    assert data_spec(str(texts)) == str(texts) and data_spec("digits") == "digits"


def test_two_paths_are_enough_for_a_verdict(tmp_path: Path) -> None:
    path = save(tmp_path / "best.pt", resnet())
    images = image_folder(tmp_path / "images", ("train", "test"), 2)
    found = measure_spec(
        str(path), str(images), weights=None, num_classes=None, head=None, layers=None, pool="auto",
        device="cpu", dtype="float32", batch_size=3, limit=None, image_size=None, tokenizer=None,
        workers=0, cache=True, cache_budget=1e9, geodesic=None,
        options={"null": False, "intervals": False},
    )  # fmt: skip
    assert found.verdicts and found.document.num_classes == CLASSES
    assert [row.name for row in found.classes[:3]] == ["cat", "dog", "owl"]
    assert found.document.config["head"]["name"] == "fc"
