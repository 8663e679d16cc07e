"""A folder as model hubs lay it out: config.json beside one file of weights, or shards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ncollapse.sources.heads.checkpoint import Checkpoint, Entry
from ncollapse.sources.heads.tensors import FORMS, open_file

CONFIG, INDEX = "config.json", ".index.json"
# The usual names first, then whatever is the only one of its kind.
USUAL = ("model.safetensors", "pytorch_model.bin", "model.onnx", "open_clip_pytorch_model.bin")
KINDS = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.onnx")


def open_folder(folder: Path) -> Checkpoint:
    """The weights in a folder; of a hub's cache, those of its main revision.

    Raises ValueError for a folder without weights, with several that could be meant, and for an
    index that names files outside the folder.
    """
    place = _revision(folder)
    config = _json(place / CONFIG) if (place / CONFIG).is_file() else {}
    indexes = sorted(place.glob(f"*{INDEX}"))
    # A kept name says more than a path inside a cache.
    name = str(config.get("_name_or_path") or "") if place != folder else ""
    name = name or folder.resolve().name
    if indexes:
        preferred = [p for p in indexes if ".safetensors" in p.name] or indexes
        return replace(_sharded(place, preferred[0]), description=name, config=config)
    return replace(open_file(_only(place)), description=name, config=config)


def _revision(folder: Path) -> Path:
    snapshots = folder / "snapshots"
    if not snapshots.is_dir():
        return folder
    main = folder / "refs" / "main"
    if main.is_file():
        wanted = main.read_text("utf-8").strip()
        if wanted and "/" not in wanted and (snapshots / wanted).is_dir():
            return snapshots / wanted
    found = sorted(p for p in snapshots.iterdir() if p.is_dir())
    if len(found) != 1:
        raise ValueError(f"{snapshots} holds {len(found)} revisions; pass the folder of one")
    return found[0]


def _only(folder: Path) -> Path:
    for name in USUAL:
        if (folder / name).is_file():
            return folder / name
    for kind in KINDS:
        found = sorted(folder.glob(kind))
        if len(found) == 1:
            return found[0]
        if found:
            listed = ", ".join(p.name for p in found[:5])
            raise ValueError(f"{folder} holds several files of weights ({listed}); pass one")
    raise ValueError(f"{folder} holds no weights; a checkpoint is needed ({FORMS})")


def _sharded(folder: Path, index: Path) -> Checkpoint:
    data = _json(index)
    where = data.get("weight_map")
    if not isinstance(where, Mapping) or not where:
        raise ValueError(f"{index} has no weight_map; save the model again")
    shards: dict[str, Checkpoint] = {}
    for name in sorted({str(value) for value in where.values()}):
        if Path(name).name != name:
            raise ValueError(f"{index} names {name!r}, which is no file of its folder; refused")
        if not (folder / name).is_file():
            raise ValueError(
                f"{folder / name} is missing, a shard that {index.name} names: download it too"
            )
        shards[name] = open_file(folder / name)
    entries: dict[str, Entry] = {}
    for tensor, shard in where.items():
        known = shards[str(shard)].entries
        if tensor in known:
            entries[str(tensor)] = known[tensor]

    def fetch(name: str) -> Tensor:
        return shards[str(where[name])].read(name)

    return Checkpoint(folder.name, entries, fetch)


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no JSON ({error}); save the model again") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds a {type(found).__name__}; an object is needed")
    return found
