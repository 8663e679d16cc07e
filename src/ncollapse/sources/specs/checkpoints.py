"""A checkpoint by itself → the model that it is of: by its config, by a name in it or that of its
file, or by the names and shapes of its tensors."""

from __future__ import annotations

import argparse
import inspect
import json
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ncollapse.sources.features.tensors import load_arrays
from ncollapse.sources.specs.optional import optional
from ncollapse.sources.specs.states import read_pt

SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".tar", ".safetensors")
WRAPPERS = (
    "state_dict", "model_state_dict", "state_dict_ema", "model_state", "model", "net", "network",
    "module", "weights",
)  # fmt: skip
ARCHITECTURE = ("arch", "architecture", "model_name", "model", "model_arch", "backbone")
FOLDER_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
COUNTED = "num_batches_tracked"
# So many families are looked at, and their names must be alike to this share.
FAMILIES, ALIKE = 24, 0.6
# Of a file's name that could hold a model's.
SHORTEST = 5
COMMON = {"", "weight", "bias", "running_mean", "running_var"}
LIBRARIES = ("torchvision", "timm")
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a file holds: tensors by parameter name, and what names the architecture in it."""

    state: dict[str, Tensor]
    names: tuple[str, ...] = ()


def read_checkpoint(path: Path, *, mapped: bool = False) -> Checkpoint:
    """The state dict in a file, alone or inside a checkpoint, without running any code from it.
    mapped: see `read_pt`.

    Raises ValueError for a missing file, and one that holds none.
    """
    if not path.is_file():
        raise ValueError(f"weights {path} do not exist; a .pt, .pth or .safetensors file is needed")
    if path.suffix == ".safetensors":
        return Checkpoint(load_arrays(path))
    found = read_pt(path, mapped=mapped)
    names: list[str] = []
    while isinstance(found, Mapping):
        names += _named(found)
        inner = next((found[key] for key in WRAPPERS if isinstance(found.get(key), Mapping)), None)
        if inner is None:
            break
        found = inner
    if not isinstance(found, Mapping) or not any(isinstance(v, Tensor) for v in found.values()):
        raise ValueError(f"weights {path} hold no state dict; tensors by parameter name are needed")
    state = {str(key): value for key, value in found.items() if isinstance(value, Tensor)}
    return Checkpoint(state, tuple(names))


def _named(held: Mapping[Any, Any]) -> Iterator[str]:
    """What may be the name of an architecture: of training scripts, in the file or its settings."""
    for key in ("args", "hyper_parameters", "hparams", "config", "cfg"):
        inner = held.get(key)
        if isinstance(inner, argparse.Namespace):
            yield from _named(vars(inner))
        elif isinstance(inner, Mapping):
            yield from _named(inner)
    for key in ARCHITECTURE:
        if isinstance(held.get(key), str):
            yield held[key]


def names_checkpoint(spec: str) -> bool:
    """Whether a model spec is a file or a folder that is there."""
    return ":" not in spec and Path(spec).expanduser().exists()


def checkpoint_spec(spec: str, weights: str | Path | None = None) -> tuple[str, Any, str]:
    """(model spec, weights, what to say) of a model that is named by its checkpoint: a folder with
    config.json, as transformers and timm save them, or a file of weights.

    Raises ValueError for a folder without config, a file of another kind, and weights that fit no
    model of torchvision or timm.
    """
    path = Path(spec).expanduser()
    if path.is_dir():
        return _folder(path, weights)
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(
            f"model {spec!r} is a file of suffix {path.suffix!r}; a checkpoint is one of "
            f"{', '.join(SUFFIXES)}, or a folder with config.json"
        )
    if weights is not None:
        raise ValueError(
            f"model {spec!r} is a checkpoint and --weights {str(weights)!r} another; pass one, or "
            "--model timm:NAME with --weights"
        )
    found = architecture(path)
    if found is None:
        held = read_checkpoint(path).state
        first, shape = next((name, list(value.shape)) for name, value in held.items())
        raise ValueError(
            f"{path}: its {len(held)} tensors (first {first!r} {shape}) fit no model of "
            "torchvision or timm; pass --model package.module:function, which builds the model, "
            f"and --weights {path}, or the folder with its config.json"
        )
    return found, path, f"the weights of {path.name} fit {found}; --model NAME --weights says other"


def _folder(path: Path, weights: str | Path | None) -> tuple[str, Any, str]:
    place = path / "config.json"
    if not place.is_file():
        raise ValueError(
            f"model {str(path)!r} is a folder without config.json; pass the checkpoint in it, or a "
            "folder that save_pretrained wrote"
        )
    try:
        config = json.loads(place.read_text("utf-8"))
    except (ValueError, OSError) as error:
        raise ValueError(f"{place} is no JSON ({error}); save the model again") from None
    if "architecture" not in config:
        return f"hf:{path}", weights, ""
    held = next((path / name for name in FOLDER_WEIGHTS if (path / name).is_file()), None)
    if held is None and weights is None:
        raise ValueError(
            f"{path} holds none of {', '.join(FOLDER_WEIGHTS)}; save the weights beside config.json"
        )
    spec = f"timm:{config['architecture']}"
    return spec, weights or held, f"config.json names {spec}"


# ---- by its tensors -----------------------------------------------------------------------------
def architecture(path: Path) -> str | None:
    """library:NAME of the first model whose tensors have the names and shapes of a checkpoint's.

    Names that the file holds, or is called by, come first; then families, by how many of the words
    in the names of the tensors their code holds.
    """
    checkpoint = read_checkpoint(path)
    state = unwrapped(checkpoint.state)
    shapes = {k: tuple(v.shape) for k, v in state.items() if not k.endswith(COUNTED)}
    for spec in chain(_hinted(checkpoint.names, path.stem), _families(shapes)):
        if fits(spec, shapes):
            return spec
    return None


def unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state without the attribute that a wrapper puts before every name."""
    found = dict(state)
    while found:
        first = {name.partition(".")[0] for name in found}
        if len(first) > 1 or not all("." in name for name in found):
            break
        found = {name.partition(".")[2]: value for name, value in found.items()}
    return found


def fits(spec: str, shapes: Shapes) -> bool:
    """Whether a model has exactly these tensors."""
    return _shapes(spec, head_width(shapes)) == dict(shapes)


def _shapes(spec: str, count: int | None) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a model's tensors, built without memory; none where it is not built."""
    library, _, name = spec.partition(":")
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = _maker(library)(name, count)
    except Exception:  # Whatever a builder of another library says, it is not this one.
        return {}
    return {k: tuple(v.shape) for k, v in model.state_dict().items() if not k.endswith(COUNTED)}


def _maker(library: str) -> Callable[[str, int | None], nn.Module]:
    if library == "timm":
        timm = optional("timm")
        return lambda name, count: timm.create_model(
            name, pretrained=False, **({} if count is None else {"num_classes": count})
        )
    models = optional("torchvision.models")
    return lambda name, count: models.get_model(
        name, weights=None, **({} if count is None else {"num_classes": count})
    )


def head_width(shapes: Shapes) -> int | None:
    """Rows of the last matrix, or of the last convolution where there is none: what libraries call
    num_classes."""
    for axes in (2, 4):
        widths = [s[0] for k, s in shapes.items() if len(s) == axes and k.endswith("weight")]
        if widths:
            return widths[-1]
    return None


def _hinted(names: Iterable[str], stem: str) -> Iterator[str]:
    """Models of the names that the file holds, or that stand in its own."""
    words = re.sub(r"[^a-z0-9]+", "_", stem.lower())
    told = [name.rpartition(":")[2].partition(".")[0].lower() for name in names]
    if not told and len(words) < SHORTEST:
        return
    for library in LIBRARIES:
        known = _known(library)
        yield from (f"{library}:{name}" for name in told if name in known)
        inside = [name for name in known if name in words]
        yield from (f"{library}:{name}" for name in sorted(inside, key=len, reverse=True)[:3])


def _known(library: str) -> dict[str, Any]:
    """Modules that hold the builders, by the name of the model; none where the library is not
    installed."""
    try:
        held = optional("torchvision.models" if library == "torchvision" else "timm")
    except ValueError:
        return {}
    if library == "torchvision":
        builders = {name: held.get_model_builder(name) for name in held.list_models(module=held)}
    else:
        builders = {name: held.model_entrypoint(name) for name in held.list_models()}
    return {name: sys.modules.get(builder.__module__) for name, builder in builders.items()}


def _families(shapes: Shapes) -> Iterator[str]:
    """Models of the families whose code holds most of the words in the names, where the names of
    their smallest one are alike but for numbers."""
    words = {_stem(word) for name in shapes for word in name.split(".")} - COMMON
    like = _pattern(shapes)
    for library in LIBRARIES:  # The second is imported where the first has none.
        groups: dict[Any, list[str]] = {}
        for name, module in _known(library).items():
            groups.setdefault(module, []).append(name)
        scored = [(_held(words, module), names) for module, names in groups.items()]
        for _, names in sorted(scored, key=lambda one: -one[0])[:FAMILIES]:
            ordered = sorted(names, key=lambda name: (len(name), name))
            other = _pattern(_shapes(f"{library}:{ordered[0]}", None))
            if len(like & other) >= ALIKE * len(like | other):
                yield from (f"{library}:{name}" for name in ordered)


def _pattern(names: Iterable[str]) -> set[str]:
    return {re.sub(r"\d+", "#", name) for name in names}


def _stem(word: str) -> str:
    """A word without its number: layer1 and denseblock2 are put together in code."""
    return word.rstrip("0123456789")


def _held(words: set[str], module: Any) -> float:
    """The share of words that the code of a module holds."""
    try:
        code = {_stem(word) for word in re.findall(r"[A-Za-z_]\w*", inspect.getsource(module))}
    except (OSError, TypeError):
        return 0.0
    return len(words & code) / max(len(words), 1)
