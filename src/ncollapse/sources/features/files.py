"""Feature files and folders of them, streamed row by row.

Arrays are named features (N, d) and labels (N), or targets (N, n); weight (K, d), bias (K), split
(N) and class_names (K) are optional. Other names are found by the list in
`ncollapse.sources.features.keys`. Nothing is unpickled, and no path inside a file is followed.
"""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

from ncollapse.sources.features.arrays import FeatureSource
from ncollapse.sources.features.joined import Joined
from ncollapse.sources.features.keys import FEATURES, Keys, found, listed, split_names
from ncollapse.sources.features.store import Store

SUFFIXES = (".npz", ".safetensors", ".parquet")
TABLES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
KINDS = (*SUFFIXES, ".npy", ".pt", ".pth", *TABLES)
HEADS = ("head.npz", "head.safetensors")
# What other suffixes are likely to be, and what to do with those.
OTHERWISE = {
    ".pkl": "pickles run code as they are loaded: save .npz or .pt",
    ".pickle": "pickles run code as they are loaded: save .npz or .pt",
    ".joblib": "pickles run code as they are loaded: save .npz or .pt",
    ".h5": "write its arrays with numpy.savez(path, features=…, labels=…)",
    ".hdf5": "write its arrays with numpy.savez(path, features=…, labels=…)",
    ".mat": "read it by scipy.io.loadmat and write numpy.savez(path, features=…, labels=…)",
    ".arrow": "pass it to measure_features by columns, or save .parquet",
    ".feather": "save it as .parquet",
    ".json": "save the numbers as .csv or .npz",
    ".ckpt": "a checkpoint is a model: pass it as --model, with --data",
}


def open_source(
    path: Path | str,
    *,
    features_key: str | None = None,
    labels_key: str | None = None,
    labels: Any = None,
) -> FeatureSource:
    """Open a feature file or a folder of them.

    Files are .npz, .safetensors, .parquet, .npy, .pt, .pth, .csv or .tsv. features_key, labels_key:
    names of arrays or columns where they are not the usual ones (of a table without header the
    number of the column; features_key may be a pattern of columns). labels: a file of labels
    alone, or the labels themselves.

    Raises ValueError in one sentence: missing or empty file, unknown kind, missing arrays, shapes
    that disagree, labels that are neither numbers nor names, a weight of the wrong width, a damaged
    file.
    """
    if not isinstance(path, (str, PathLike)):
        raise ValueError(
            f"the path is a {type(path).__name__}; the path of a file or folder is needed: what is "
            "in memory goes to nc.measure_features(features, labels)"
        )
    place = Path(path)
    keys = Keys(features_key, labels_key, _given(labels))
    if not place.exists():
        raise ValueError(f"{place} does not exist; pass a feature file or a folder of shards")
    if place.is_dir():
        return _open_folder(place, keys)
    return _by_split(place, keys) or _open_file(place, keys)


def _open_file(path: Path, keys: Keys) -> Store:
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes); save features and labels into it")
    return _reader(path)(path, keys)


def _reader(path: Path) -> Callable[[Path, Keys], Store]:
    suffix = path.suffix.lower()
    if suffix == ".npz":
        from ncollapse.sources.features.npz import NpzSource

        return NpzSource
    if suffix == ".safetensors":
        from ncollapse.sources.features.tensors import SafetensorsSource

        return SafetensorsSource
    if suffix == ".parquet":
        from ncollapse.sources.features.parquet import ParquetSource

        return ParquetSource
    if suffix == ".npy":
        from ncollapse.sources.features.npys import NpySource

        return NpySource.of_file
    if suffix in (".pt", ".pth"):
        from ncollapse.sources.features.saved import SavedSource

        return SavedSource
    if path.name.lower().endswith(TABLES):
        from ncollapse.sources.features.csvs import CsvSource

        return CsvSource
    raise ValueError(
        f"{path} has suffix {suffix or 'none'!r}; one of {', '.join(KINDS)} or a folder of such "
        f"files is needed{': ' + OTHERWISE[suffix] if suffix in OTHERWISE else ''}"
    )


# ---- several parts ------------------------------------------------------------------------------
def _by_split(path: Path, keys: Keys) -> Joined | None:
    """A file that holds features and labels of each split under names such as X_train; None where
    it does not, or names were asked for."""
    if keys.asked or path.stat().st_size == 0:
        return None
    names: tuple[str, ...] = ()
    if path.suffix.lower() == ".npz":
        from ncollapse.sources.features.npz import names_of

        names = names_of(path)
    elif path.suffix.lower() in (".pt", ".pth"):
        from ncollapse.sources.features.saved import arrays_of

        names = tuple(arrays_of(path))
    if found(names, FEATURES) is not None:
        return None
    splits = split_names(names)
    if not splits:
        return None
    parts = [_open_file(path, one) for one in splits.values()]
    joined = Joined(parts, str(path), splits=tuple(splits))
    said = ", ".join(f"{split} from {one.features!r}" for split, one in splits.items())
    joined.notes += (f"{path.name}: {said}",)
    return joined


def _open_folder(path: Path, keys: Keys) -> FeatureSource:
    """Shards in order of name; the head comes from head.npz or head.safetensors, else from the
    first shard that holds one. A folder of .npy files is one source."""
    files = sorted(f for f in path.iterdir() if f.suffix.lower() in SUFFIXES)
    shards = [f for f in files if f.name not in HEADS]
    if not shards:
        from ncollapse.sources.features.npys import folder_of_npy

        of_npy = folder_of_npy(path, keys)
        if of_npy is not None:
            return of_npy
        shards = sorted(f for f in path.iterdir() if f.name.lower().endswith(KINDS))
    if not shards:
        raise ValueError(
            f"{path} holds no {', '.join(KINDS)} files; a folder of shards is needed"
            f"{_folder_advice(path)}"
        )
    if keys.given is not None and len(shards) > 1:
        raise ValueError(
            f"{path}: labels= goes with one file and the folder holds {len(shards)}; keep labels "
            "in every shard"
        )
    parts = [_open_file(shard, keys) for shard in shards]
    return Joined(parts, str(path), _head_beside(path))


def _folder_advice(path: Path) -> str:
    inner = sorted(item.name for item in path.iterdir() if item.is_dir())
    if not inner:
        return ""
    return (
        f" (it holds the folders {listed(inner)}: images of classes are measured by --model and "
        "--data)"
    )


def _head_beside(path: Path) -> tuple[Any, Any, Any] | None:
    for name in HEADS:
        place = path / name
        if place.exists():
            held = _head_arrays(place)
            if "weight" not in held:
                raise ValueError(f"{place}: no array named weight; save the classifier's rows")
            return held["weight"], held.get("bias"), held.get("class_names")
    return None


def _head_arrays(path: Path) -> dict[str, Any]:
    if path.suffix == ".npz":
        from ncollapse.sources.features.npz import load_arrays

        return load_arrays(path)
    from ncollapse.sources.features.tensors import load_arrays as load_tensors

    return load_tensors(path)


# ---- labels from elsewhere ----------------------------------------------------------------------
def _given(labels: Any) -> Any:
    """Labels as they are, or those in the file that is named."""
    if not isinstance(labels, (str, Path)):
        return labels
    path = Path(labels)
    if not path.is_file():
        raise ValueError(f"labels {path} do not exist; a file of labels is needed")
    if path.suffix.lower() == ".npy":
        from ncollapse.sources.features.npys import load_npy

        return load_npy(path)
    if path.suffix.lower() in (".pt", ".pth"):
        from ncollapse.sources.features.saved import arrays_of

        held = arrays_of(path)
        return next(iter(held.values()))
    if path.name.lower().endswith((*TABLES, ".txt")):
        from ncollapse.sources.features.csvs import file_of_labels

        return file_of_labels(path)
    raise ValueError(
        f"labels {path} have suffix {path.suffix!r}; .npy, .pt, .csv or .txt, one a line, is needed"
    )
