"""Model specs → models with their weights, from torchvision, timm, Hugging Face or own code."""

from __future__ import annotations

import difflib
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ncollapse.sources.specs.checkpoints import (
    checkpoint_spec,
    head_width,
    names_checkpoint,
    read_checkpoint,
    unwrapped,
)
from ncollapse.sources.specs.functions import load_function
from ncollapse.sources.specs.optional import optional

log = logging.getLogger("ncollapse")
PREFIXES = ("module.", "_orig_mod.", "model.")
PRETRAINED = ("default", "pretrained")
# What transformers calls encoder-decoders that make a logit for every next token of a target.
GENERATORS = ("ForConditionalGeneration", "EncoderDecoderModel", "MTModel")


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model, what a report calls it, and the transform (image → tensor) it was trained with."""

    model: nn.Module
    description: str
    transform: Callable[[Any], Tensor] | None = None

    def __repr__(self) -> str:
        prepared = "" if self.transform is None else ", with its transform"
        return f"<LoadedModel {self.description}: {type(self.model).__name__}{prepared}>"


def load_model(
    spec: str,
    *,
    weights: str | Path | None = None,
    num_classes: int | None = None,
    image_size: int | None = None,
    causal: bool = False,
) -> LoadedModel:
    """Build a model from a spec and load its weights.

    A checkpoint by itself is a spec too (see `checkpoint_spec`): a file of weights, whose model is
    found among those of torchvision and timm, or a folder with config.json.
    `weights` is a file (.pt, .pth, .safetensors: a state dict, or one inside a checkpoint) or
    "default" for the library's own. The number of classes is `num_classes`, else that of the file.
    `package.module:function` runs your own code, which returns the model. `causal` builds hf:
    models as language models, whose classes are the vocabulary.

    Raises ValueError for specs that are not understood or do not import, missing files, and
    weights that do not fit.
    """
    if names_checkpoint(spec):
        spec, weights, said = checkpoint_spec(spec, weights)
        log.info("model  %s", said or spec)
    else:
        spec = as_spec(spec)
    kind, _, name = spec.partition(":")
    state = None
    if weights is not None and str(weights) not in PRETRAINED:
        state = read_state(Path(weights))
    pretrained = weights is not None and state is None
    if not name:
        raise ValueError(
            f"model {spec!r} is not understood; a checkpoint or folder that is there, "
            "torchvision:NAME, timm:NAME, hf:NAME or package.module:function is needed"
        )
    count = num_classes
    if state is not None and count is None:
        count = head_width({name: tuple(value.shape) for name, value in state.items()})
    # Parameters are drawn as models are built: always the same, and no draw of the caller's.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        loaded = _built(kind, name, spec, count, pretrained, image_size, causal)
    if state is not None:
        load_state(loaded.model, state, str(weights))
    return loaded


def as_spec(spec: str) -> str:
    """The spec as it is, or hf:FOLDER of a folder that holds a config.json."""
    plain = ":" not in spec and (Path(spec).expanduser() / "config.json").is_file()
    return f"hf:{Path(spec).expanduser()}" if plain else spec


def _built(
    kind: str,
    name: str,
    spec: str,
    count: int | None,
    pretrained: bool,
    image_size: int | None,
    causal: bool,
) -> LoadedModel:
    if kind == "torchvision":
        return _torchvision(name, count, pretrained, image_size)
    if kind == "timm":
        return _timm(name, count, pretrained, image_size)
    if kind == "hf":
        return _hugging_face(name, count, causal)
    made = load_function(spec, "model")()
    if not isinstance(made, nn.Module):
        raise ValueError(f"model {spec!r} returned a {type(made).__name__}; a Module is needed")
    return LoadedModel(made, name)


def read_state(path: Path, *, mapped: bool = False) -> dict[str, Tensor]:
    """The state dict in a file, without running any code from it. mapped: see `read_pt`."""
    return read_checkpoint(path, mapped=mapped).state


def load_state(model: nn.Module, state: Mapping[str, Tensor], origin: str) -> None:
    """Load a state dict, prefixes of wrappers removed. Raises ValueError where it does not fit."""
    wanted = set(model.state_dict())
    plain = dict(state)
    for prefix in PREFIXES:
        if wanted & set(plain):
            break
        plain = {key.removeprefix(prefix): value for key, value in plain.items()}
    if not wanted & set(plain):
        plain = unwrapped(plain)
    try:
        missing, unexpected = model.load_state_dict(plain, strict=False)
    except RuntimeError as error:
        reason = str(error).replace("\n\t", " ").partition(":")[2].strip()
        raise ValueError(
            f"weights {origin} do not fit the model: {reason[:300]}; pass --num-classes or another "
            "--model"
        ) from None
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    if missing:
        extra = f"; they hold {', '.join(unexpected[:3])} instead" if unexpected else ""
        raise ValueError(
            f"weights {origin} lack {len(missing)} of {len(wanted)} tensors, first {missing[0]!r}"
            f"{extra}; the model that was saved is needed, by another --model"
        )


def _torchvision(
    name: str, count: int | None, pretrained: bool, image_size: int | None
) -> LoadedModel:
    models = optional("torchvision").models
    try:
        kept = {} if count is None or pretrained else {"num_classes": count}
        if image_size is not None and not pretrained and name.startswith("vit_"):
            # Their position embedding is made for one size; all others take any.
            kept["image_size"] = image_size
        model = models.get_model(name, weights="DEFAULT" if pretrained else None, **kept)
    except (ValueError, KeyError) as error:
        near = difflib.get_close_matches(name, models.list_models(), n=3)
        hint = (
            f"did you mean {' or '.join(near)}?" if near else "see torchvision.models.list_models()"
        )
        raise ValueError(f"model 'torchvision:{name}': {error}; {hint}") from None
    transform = models.get_model_weights(name).DEFAULT.transforms()
    if image_size is not None:
        transform.resize_size, transform.crop_size = [image_size], [image_size]
    return LoadedModel(model, name, transform)


def _timm(name: str, count: int | None, pretrained: bool, image_size: int | None) -> LoadedModel:
    timm = optional("timm")
    try:
        kept = {} if count is None else {"num_classes": count}
        model = _sized(timm.create_model, name, image_size, pretrained=pretrained, **kept)
    except RuntimeError as error:
        near = ", ".join(timm.list_models(f"*{name[:5]}*")[:5])
        raise ValueError(f"model 'timm:{name}': {error}; near: {near or 'none'}") from None
    config = timm.data.resolve_model_data_config(model)
    if image_size is not None:
        config["input_size"] = (config["input_size"][0], image_size, image_size)
    return LoadedModel(model, name, timm.data.create_transform(**config, is_training=False))


def _sized(create: Callable[..., Any], name: str, image_size: int | None, **kept: Any) -> Any:
    """A model made for a size of images, where its maker asks for one."""
    if image_size is not None:
        try:
            return create(name, img_size=image_size, **kept)
        except TypeError:
            pass  # Convolutions take any size and know no such argument.
    return create(name, **kept)


def _hugging_face(name: str, count: int | None, causal: bool) -> LoadedModel:
    transformers = optional("transformers")
    if name.startswith(("/", ".", "~")) and not Path(name).is_dir():
        raise ValueError(f"model 'hf:{name}': no such folder; one with config.json is needed")
    kept = {} if count is None or causal else {"num_labels": count}
    try:
        config = transformers.AutoConfig.from_pretrained(name)
        kinds = [getattr(transformers, kind, None) for kind in config.architectures or ()]
        kind = next((k for k in kinds if k is not None), None)
        if config.is_encoder_decoder and kind is not None and kind.__name__.endswith(GENERATORS):
            kept = {}  # It writes tokens, by the head that it was saved with.
        elif causal:
            kind = transformers.AutoModelForCausalLM
        elif kind is None or not kind.__name__.endswith("Classification"):
            kind = transformers.AutoModelForSequenceClassification
        with _bars_on_terminals(transformers):
            model = kind.from_pretrained(name, **kept)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0][:200]
        raise ValueError(
            f"model 'hf:{name}': {reason}; a hub name (with network) or a local folder is needed"
        ) from None
    return LoadedModel(model, Path(name).name, _processor(transformers, name))


@contextmanager
def _bars_on_terminals(transformers: Any) -> Iterator[None]:
    """Bars of loading are for terminals; elsewhere they would fill logs."""
    logging = transformers.utils.logging
    if sys.stderr.isatty() or not logging.is_progress_bar_enabled():
        yield
        return
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()


def _processor(transformers: Any, name: str) -> Callable[[Any], Tensor] | None:
    """image → tensor of the model's own image processor, where it has one."""
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(name)
    except (OSError, ValueError, ImportError):
        return None
    return lambda image: processor(image.convert("RGB"), return_tensors="pt")["pixel_values"][0]
