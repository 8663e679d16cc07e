"""Data specs → data by split: bundled, image folders, torchvision, Hugging Face, own code."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ncollapse.sources.specs.folders import data_spec
from ncollapse.sources.specs.functions import load_function
from ncollapse.sources.specs.optional import optional

TRAIN, TEST = ("train", "training"), ("test", "val", "valid", "validation", "eval")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ROOT = "NCOLLAPSE_DATA"


@dataclass(frozen=True, eq=False)
class LoadedData:
    """Datasets or loaders by split, class names where known, and what a report calls them."""

    splits: dict[str, Any]
    description: str
    class_names: tuple[str, ...] | None = None

    def __repr__(self) -> str:
        held = "; ".join(
            f"{name} {len(split)}" if hasattr(split, "__len__") else name
            for name, split in self.splits.items()
        )
        return f"<LoadedData {self.description}: {held}>"


def load_data(
    spec: str,
    *,
    transform: Callable[[Any], Tensor] | None = None,
    tokenizer: str | None = None,
    image_size: int = 224,
) -> LoadedData:
    """Build data from a spec; `transform` (image → tensor) is the model's own where it has one.

    A folder of images, or one that `datasets` saved, is a spec by itself.

    imagefolder:DIR holds a folder a class, or train/ and test/ (or val/) folders of those.
    torchvision:NAME is read below $NCOLLAPSE_DATA (default ./data), never downloaded. hf:NAME is
    a hub name or a folder saved by `datasets`; texts need `tokenizer`. package.module:function
    runs your own code and returns a loader, a Dataset, or a mapping of those by split.

    Raises ValueError for specs that are not understood, missing folders and missing columns.
    """
    if spec == "digits":
        return _digits()
    spec = data_spec(spec)
    kind, _, name = spec.partition(":")
    if not name:
        raise ValueError(
            f"data {spec!r} is not understood; a folder of images, digits, imagefolder:DIR, "
            "torchvision:NAME, hf:NAME or package.module:function is needed"
        )
    if kind == "imagefolder":
        return _image_folder(Path(name), transform, image_size)
    if kind == "torchvision":
        return _torchvision(name, transform, image_size)
    if kind == "hf":
        return _hugging_face(name, transform, tokenizer, image_size)
    made = load_function(spec, "data")()
    splits = dict(made) if isinstance(made, Mapping) else {"train": made}
    if not splits:
        raise ValueError(f"data {spec!r} returned an empty mapping; loaders by split are needed")
    return LoadedData({str(key): value for key, value in splits.items()}, name)


def digit_arrays(test_share: float = 1 / 3, seed: int = 0) -> tuple[tuple[Tensor, ...], Any]:
    """scikit-learn's 1,797 digits of 8 × 8 pixels in [0, 1], split stratified by class.

    (train inputs, test inputs, train labels, test labels), and the class names.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    parts = train_test_split(
        bunch.data / 16.0,
        bunch.target,
        test_size=test_share,
        random_state=seed,
        stratify=bunch.target,
    )
    dtypes = (torch.float32, torch.float32, torch.int64, torch.int64)
    tensors = tuple(torch.tensor(p, dtype=dtype) for p, dtype in zip(parts, dtypes, strict=True))
    return tensors, tuple(str(name) for name in bunch.target_names)


def _digits() -> LoadedData:
    (train_x, test_x, train_y, test_y), names = digit_arrays()
    return LoadedData({"train": (train_x, train_y), "test": (test_x, test_y)}, "digits", names)


def _rgb(image: Any) -> Any:
    return image.convert("RGB")


def default_transform(image_size: int) -> Callable[[Any], Tensor]:
    """Resize, centre crop and normalise as ImageNet models expect."""
    transforms = optional("torchvision.transforms")
    return transforms.Compose(
        [
            _rgb,
            transforms.Resize(image_size),
            transforms.CenterCrop(image_size),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )


def _image_folder(
    root: Path, transform: Callable[[Any], Tensor] | None, image_size: int
) -> LoadedData:
    if not root.is_dir():
        raise ValueError(f"data imagefolder:{root}: no such folder; one folder a class is needed")
    optional("torchvision")
    folder = optional("torchvision.datasets").ImageFolder
    inner = {path.name.lower(): path for path in sorted(root.iterdir()) if path.is_dir()}
    named = {
        split: next((inner[name] for name in names if name in inner), None)
        for split, names in (("train", TRAIN), ("test", TEST))
    }
    found = {split: path for split, path in named.items() if path is not None} or {"train": root}
    try:
        splits = {
            split: folder(str(path), transform or default_transform(image_size))
            for split, path in found.items()
        }
    except FileNotFoundError as error:
        raise ValueError(f"data imagefolder:{root}: {str(error).splitlines()[0]}") from None
    classes = {split: tuple(data.classes) for split, data in splits.items()}
    names = next(iter(classes.values()))
    if any(other != names for other in classes.values()):
        raise ValueError(
            f"data imagefolder:{root}: splits hold other classes ({classes}); the same folders in "
            "each are needed, or labels would not mean the same"
        )
    return LoadedData(splits, root.name or str(root), names)


def _torchvision(
    name: str, transform: Callable[[Any], Tensor] | None, image_size: int
) -> LoadedData:
    optional("torchvision")
    kind = getattr(optional("torchvision.datasets"), name, None)
    if kind is None:
        raise ValueError(f"data 'torchvision:{name}' is no data set of torchvision")
    root = os.environ.get(ROOT, "data")
    made = transform or default_transform(image_size)
    try:
        splits = {
            split: kind(root, train=flag, transform=made, download=False)
            for split, flag in (("train", True), ("test", False))
        }
    except TypeError:
        splits = {split: kind(root, split=split, transform=made) for split in ("train", "test")}
    except RuntimeError as error:
        raise ValueError(
            f"data 'torchvision:{name}': {error} Put it below {root!r}, or set {ROOT}"
        ) from None
    names = getattr(next(iter(splits.values())), "classes", None)
    return LoadedData(splits, name, None if names is None else tuple(map(str, names)))


def _hugging_face(
    name: str,
    transform: Callable[[Any], Tensor] | None,
    tokenizer: str | None,
    image_size: int,
) -> LoadedData:
    datasets = optional("datasets")
    try:
        local = Path(name).is_dir() and any(Path(name).glob("*.json"))
        found = datasets.load_from_disk(name) if local else datasets.load_dataset(name)
    except Exception as error:
        reason = str(error).splitlines()[0][:200]
        raise ValueError(f"data 'hf:{name}': {reason}") from None
    parts = dict(found) if isinstance(found, Mapping) else {"train": found}
    splits: dict[str, Any] = {}
    names: tuple[str, ...] | None = None
    for split, names_of in (("train", TRAIN), ("test", TEST)):
        part = next((parts[key] for key in names_of if key in parts), None)
        if part is None:
            continue
        label = next((key for key in ("label", "labels", "fine_label") if key in part.features), "")
        if not label:
            raise ValueError(
                f"data 'hf:{name}': columns {', '.join(part.features)} hold no label or labels"
            )
        names = tuple(getattr(part.features[label], "names", None) or ()) or None
        splits[split] = _columns(part, label, transform, tokenizer, image_size, name)
    if not splits:
        raise ValueError(f"data 'hf:{name}' has splits {', '.join(parts)}; train or test is needed")
    return LoadedData(splits, Path(name).name, names)


def _columns(
    part: Any,
    label: str,
    transform: Callable[[Any], Tensor] | None,
    tokenizer: str | None,
    image_size: int,
    name: str,
) -> Any:
    """Images through the transform, texts through the tokenizer; batches have `labels`. What is
    tokenised already stays as it is."""
    if "input_ids" in part.features:
        return part
    image = next((key for key in ("image", "img") if key in part.features), None)
    text = next((key for key in ("text", "sentence", "content") if key in part.features), None)
    if image is not None:
        made = transform or default_transform(image_size)
        pairs = part.with_transform(
            lambda rows: {"pair": list(zip(map(made, rows[image]), rows[label], strict=True))}
        )
        return torch.utils.data.DataLoader(
            pairs,
            64,
            collate_fn=lambda rows: torch.utils.data.default_collate([r["pair"] for r in rows]),
        )
    if text is None or tokenizer is None:
        raise ValueError(
            f"data 'hf:{name}': columns {', '.join(part.features)}; an image column, or a text "
            "column and --tokenizer NAME, is needed"
        )
    made_tokens = optional("transformers").AutoTokenizer.from_pretrained(tokenizer)

    def collate(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        batch = made_tokens(
            [row[text] for row in rows], padding=True, truncation=True, return_tensors="pt"
        )
        return {**batch, "labels": torch.tensor([row[label] for row in rows])}

    return torch.utils.data.DataLoader(part, 32, collate_fn=collate)
