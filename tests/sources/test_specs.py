"""Model and data specs: what they build, and one clear sentence for every mistake."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ncollapse.sources.specs.datasets import load_data
from ncollapse.sources.specs.models import load_model, load_state, read_state
from ncollapse.sources.specs.optional import optional
from ncollapse.sources.specs.states import read_pt
from tests.models import K, built, net


def image_folder(
    root: Path, splits: tuple[str, ...] = ("train", "val"), per_class: int = 3
) -> Path:
    """PNG files of three classes, each of its own grey."""
    from PIL import Image

    for split in splits:
        for k, name in enumerate(("cat", "dog", "owl")):
            place = root / split / name
            place.mkdir(parents=True)
            for i in range(per_class):
                pixels = np.full((12, 12), 60 * k + 5 * i, dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{i}.png")
    return root


# ---- models -----------------------------------------------------------------------------------
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod."])
def test_a_state_dict_is_found_inside_checkpoints_and_wrappers(tmp_path, wrapper, prefix) -> None:
    model = net()
    state = {prefix + key: value for key, value in model.state_dict().items()}
    torch.save(state if wrapper is None else {wrapper: state, "epoch": 3}, tmp_path / "best.pt")
    other = built(type(model))
    load_state(other, read_state(tmp_path / "best.pt"), "best.pt")
    for key, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key


def test_the_width_of_the_head_comes_from_the_weights(tmp_path) -> None:
    timm = optional("timm")
    model = built(timm.create_model, "resnet10t", num_classes=7)
    save_file(model.state_dict(), tmp_path / "best.safetensors")
    loaded = load_model("timm:resnet10t", weights=tmp_path / "best.safetensors")
    assert loaded.model.get_classifier().out_features == 7
    assert torch.equal(loaded.model.fc.weight, model.fc.weight)
    assert loaded.transform is not None


def test_a_transformer_is_built_for_the_size_of_the_images() -> None:
    optional("torchvision")
    loaded = load_model("torchvision:vit_b_16", num_classes=3, image_size=32)
    assert repr(loaded) == "<LoadedModel vit_b_16: VisionTransformer, with its transform>"
    assert loaded.model.image_size == 32
    loaded = load_model("timm:vit_tiny_patch16_224", num_classes=3, image_size=64)
    assert loaded.model.patch_embed.img_size == (64, 64)


class Unsafe:
    def __reduce__(self):
        return (print, ("this must not run",))


def test_a_pickle_that_runs_code_is_refused(tmp_path, capsys) -> None:
    torch.save({"model": Unsafe()}, tmp_path / "bad.pt")
    with pytest.raises(ValueError, match="cannot be read safely"):
        read_state(tmp_path / "bad.pt")
    assert "must not run" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("resnet18", "is not understood"),
        ("timm:no_such_model", "no_such_model"),
        ("torchvision:no_such_model", "no_such_model"),
        ("hf:./no-such-folder", "no such folder"),
        ("no.such.module:build", "does not import"),
        ("tests.models:nothing", "has no function 'nothing'"),
        ("tests.models:blobs", "returned a tuple; a Module is needed"),
    ],
)
def test_bad_model_specs_are_one_sentence(spec: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        load_model(spec)


def test_weights_that_are_missing_or_do_not_fit(tmp_path) -> None:
    with pytest.raises(ValueError, match="do not exist"):
        load_model("tests.models:net", weights=tmp_path / "none.pt")
    torch.save({"a": 1}, tmp_path / "empty.pt")
    with pytest.raises(ValueError, match="no state dict"):
        load_model("tests.models:net", weights=tmp_path / "empty.pt")
    torch.save({"x": torch.ones(2)}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match="lack .* tensors"):
        load_model("tests.models:net", weights=tmp_path / "x.pt")
    wrong = {**net().state_dict(), "fc.weight": torch.ones(K + 1, 8)}
    torch.save(wrong, tmp_path / "wrong.pt")
    with pytest.raises(ValueError, match="do not fit the model"):
        load_model("tests.models:net", weights=tmp_path / "wrong.pt")


# ---- data -------------------------------------------------------------------------------------
def test_digits_are_split_by_class() -> None:
    data = load_data("digits")
    inputs, labels = data.splits["train"]
    assert inputs.shape == (1198, 64) and labels.unique().numel() == 10
    assert data.class_names is not None and len(data.class_names) == 10


def test_image_folders_with_and_without_splits(tmp_path) -> None:
    data = load_data(f"imagefolder:{image_folder(tmp_path)}", image_size=16)
    assert list(data.splits) == ["train", "test"]
    assert data.class_names == ("cat", "dog", "owl")
    image, label = data.splits["test"][4]
    assert image.shape == (3, 16, 16) and label == 1
    alone = load_data(f"imagefolder:{tmp_path / 'train'}", image_size=16)
    assert list(alone.splits) == ["train"] and len(alone.splits["train"]) == 9


def test_splits_with_other_classes_are_refused(tmp_path) -> None:
    image_folder(tmp_path)
    (tmp_path / "val" / "owl").rename(tmp_path / "val" / "fox")
    with pytest.raises(ValueError, match="splits hold other classes"):
        load_data(f"imagefolder:{tmp_path}")


def test_own_functions_give_one_loader_or_many() -> None:
    assert list(load_data("tests.sources.test_specs:one").splits) == ["train"]
    assert list(load_data("tests.sources.test_specs:many").splits) == ["train", "held out"]


def one():
    return [(torch.zeros(2, 3), torch.tensor([0, 1]))]


def many():
    return {"train": one(), "held out": one()}


def empty():
    return {}


def test_saved_hugging_face_data(tmp_path) -> None:
    datasets = optional("datasets")
    from PIL import Image

    rows = {
        "image": [Image.new("L", (8, 8), color=20 * k) for k in range(4)],
        "label": [0, 1, 0, 1],
    }
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["dark", "light"])}
    )
    datasets.DatasetDict(train=datasets.Dataset.from_dict(rows, features=features)).save_to_disk(
        tmp_path / "saved"
    )
    data = load_data(f"hf:{tmp_path / 'saved'}", image_size=8)
    assert data.class_names == ("dark", "light")
    inputs, labels = built(lambda: next(iter(data.splits["train"])))
    assert inputs.shape == (4, 3, 8, 8) and labels.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("cifar", "is not understood"),
        ("imagefolder:/no/such/folder", "no such folder"),
        ("torchvision:NoSuchData", "no data set of torchvision"),
        ("torchvision:CIFAR10", "Put it below|not found|NCOLLAPSE_DATA"),
        ("tests.sources.test_specs:empty", "empty mapping"),
        ("tests.sources.test_specs:nothing", "has no function"),
    ],
)
def test_bad_data_specs_are_one_sentence(spec: str, said: str, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("NCOLLAPSE_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=said):
        load_data(spec)


def test_a_flipped_bit_of_saved_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    state = {"weight": torch.arange(200.0), "bias": torch.ones(3)}
    torch.save(state, path)
    assert torch.equal(read_pt(path)["weight"], state["weight"])
    data = bytearray(path.read_bytes())
    data[data.index(state["weight"].numpy().tobytes()) + 101] ^= 8
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"net\.pt cannot be read safely \(.* is damaged"):
        read_pt(path)


def test_weights_saved_without_checksums_are_read(tmp_path: Path) -> None:
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"weight": torch.ones(3)}, tmp_path / "net.pt")
    finally:
        torch.serialization.set_crc32_options(before)
    assert read_pt(tmp_path / "net.pt")["weight"].numel() == 3
