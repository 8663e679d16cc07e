"""A folder by itself → the data spec that it is: images in a folder a class, a saved data set."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

IMAGES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
SAVED = ("dataset_dict.json", "dataset_info.json", "state.json")
SPLITS = ("train", "training", "test", "val", "valid", "validation", "eval")
# So many entries of a folder are looked at.
LOOKED = 64


def data_spec(spec: str) -> str:
    """imagefolder:DIR or hf:DIR for a folder that is one of those, anything else as it is.

    Raises ValueError for a folder of images without folders of classes.
    """
    path = Path(spec).expanduser()
    if ":" in spec or not path.is_dir():
        return spec
    if any((path / name).is_file() for name in SAVED):
        return f"hf:{path}"
    inner = _folders(path)
    deeper = [two for one in inner if one.name.lower() in SPLITS for two in _folders(one)]
    if any(_holds_images(one) for one in (*inner, *deeper)):
        return f"imagefolder:{path}"
    if _holds_images(path):
        raise ValueError(
            f"data {spec!r} holds images but no folder a class; one folder a class is needed, or "
            "train/ and test/ folders of those"
        )
    return spec


def _folders(path: Path) -> list[Path]:
    return list(islice((one for one in sorted(path.iterdir()) if one.is_dir()), LOOKED))


def _holds_images(path: Path) -> bool:
    return any(one.suffix.lower() in IMAGES for one in _files(path))


def _files(path: Path) -> Iterator[Path]:
    return islice((one for one in path.iterdir() if one.is_file()), LOOKED)
