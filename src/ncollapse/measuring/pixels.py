"""Dense prediction: pixels as samples, whose head is a 1 × 1 convolution."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any, Unpack

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ncollapse.collect.tap.batches import LABELS, as_loader, describe, rows_of
from ncollapse.collect.tap.batches import Unpack as UnpackBatch
from ncollapse.collect.tap.given import module_of
from ncollapse.collect.tap.listener import Listener
from ncollapse.collect.tap.pooling import first_tensor
from ncollapse.collect.tap.preserve import preserved
from ncollapse.collect.tap.taps import HEAD
from ncollapse.measuring.bars import shown
from ncollapse.measuring.layers import measure_layers
from ncollapse.measuring.loaders import split_loaders
from ncollapse.measuring.measurement import Measurement
from ncollapse.measuring.options import MeasureOptions, options_of
from ncollapse.sources.features.arrays import ArraySource

KEYWORDS = (
    "train", "test", "pixels_per_image", "head", "unpack", "limit", "class_names", "description",
)  # fmt: skip
RULE = (
    "pixels_per_image pixels of each image, drawn alike and without replacement from those whose "
    "label counts, by a generator of the seed and the image's number"
)
# How a map of logits becomes one of the image's size, and how near that must come.
RESIZED: tuple[dict[str, Any], ...] = (
    {"mode": "bilinear", "align_corners": False},
    {"mode": "bilinear", "align_corners": True},
    {"mode": "nearest"},
)
TOLERANCE = 1e-4
# A batch, where images are passed as they are.
IMAGES = 16


@dataclass
class _Found:
    """Pixels of one split: features, labels, and how many images and counting pixels there were."""

    features: list[Tensor]
    labels: list[Tensor]
    images: int = 0
    valid: int = 0


def measure_pixels(
    model: nn.Module,
    data: Any = None,
    *,
    train: Any = None,
    test: Any = None,
    pixels_per_image: int = 256,
    head: str | None = None,
    unpack: UnpackBatch | None = None,
    limit: int | None = None,
    class_names: Any = None,
    description: str | None = None,
    **options: Unpack[MeasureOptions],
) -> Measurement:
    """Neural collapse of a segmentation model: every pixel of the map that enters the head is a
    sample, the head is a 1 × 1 convolution.

    `data` (or `train` and `test`, or a mapping of splits) are loaders of (images, labels) or of
    mappings with `labels`; labels (images, height, width) are class numbers, `ignore_index` (-100;
    255 is common) marks pixels that do not count. They are taken at the map's resolution by the
    nearest pixel. head: the name of the convolution; by default the last one of kernel 1 whose
    output is the logits, or becomes them by resizing. Of each image `pixels_per_image` pixels are
    drawn alike from those that count, by `seed`; 0 takes all. limit: images a split. Other keywords
    are those of `measure_source`.

    Pixels of an image are no independent samples: intervals are narrower than they should be, and a
    class that covers few pixels has few samples. The model is left as it was. Raises ValueError
    where no such head is found, for labels that are no maps, and whatever `measure_source` raises.
    """
    given = options_of("measure_pixels", options, KEYWORDS)
    if pixels_per_image < 0:
        raise ValueError(
            f"pixels_per_image={pixels_per_image}; a number of pixels is needed, or 0 for all"
        )
    loaders = split_loaders(data, train, test)
    model = module_of(model)
    found: dict[str, _Found] = {}
    with preserved(model), torch.no_grad():
        tap = _Tap(model, head)
        for split, loader in loaders.items():
            found[split] = _Found([], [])
            for inputs, labels in _batches(as_loader(loader, IMAGES), unpack, limit):
                _take(found[split], *tap(inputs), labels, given, pixels_per_image)
    empty = [split for split, one in found.items() if not one.images]
    if empty:
        raise ValueError(f"split {empty[0]!r} has no image; a loader of (images, labels) is needed")
    sizes = {split: sum(len(part) for part in one.labels) for split, one in found.items()}
    source = ArraySource(
        torch.cat([part for one in found.values() for part in one.features]),
        torch.cat([part for one in found.values() for part in one.labels]),
        *tap.matrix(),
        [split for split, size in sizes.items() for _ in range(size)],
        class_names,
        f"{description or type(model).__name__} · pixels",
    )
    extra = {
        "head": {"name": tap.name, "origin": tap.origin, "check": tap.check},
        "pixels": {
            "per_image": pixels_per_image or "all",
            "rule": RULE if pixels_per_image else "all pixels whose label counts",
            "images": {split: one.images for split, one in found.items()},
            "counting": {split: one.valid for split, one in found.items()},
        },
    }
    said = (
        "pixels of an image are no independent samples, so intervals are narrower than they "
        "should be",
    )
    with shown(given) as chosen:
        return measure_layers({HEAD: source}, chosen, extra=extra, warnings=said, exact=True)


class _Tap:
    """Runs the model and returns (map that enters the head, logits); finds the head at first."""

    def __init__(self, model: nn.Module, head: str | None) -> None:
        self.model, self.asked = model, head
        self.known = {
            name: module
            for name, module in model.named_modules()
            if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1)
        }
        if head is not None and head not in self.known:
            raise ValueError(
                f"head {head!r} is no convolution of kernel 1; there are {', '.join(self.known)}"
                if self.known
                else f"head {head!r}: the model has no convolution of kernel 1"
            )
        self.name, self.origin, self.check = "", "", ""
        self.parts: tuple[str, ...] = ()

    def __call__(self, inputs: Any) -> tuple[Tensor, int]:
        watched = {name: self.known[name] for name in self.parts or self.known}
        calls: dict[str, tuple[Tensor, Tensor]] = {}
        device = next((p.device for p in self.model.parameters()), torch.device("cpu"))
        with Listener(self.model) as listener:
            for name, module in watched.items():
                listener.entering(module, partial(_keep, calls, name))
            if isinstance(inputs, dict):
                output = self.model(**{k: _to(value, device) for k, value in inputs.items()})
            else:
                output = self.model(_to(inputs, device))
            listener.check()
        if not self.parts:
            self._find(calls, output)
        if not calls.keys() >= set(self.parts):
            raise ValueError(f"the head {self.name!r} did not run in a later batch")
        maps = [calls[name][0] for name in self.parts]
        return torch.cat(maps, 1), calls[self.parts[0]][1].shape[1]

    def matrix(self) -> tuple[Tensor, Tensor | None]:
        """Weight (classes, channels) and bias; of two convolutions that are added up, side by side,
        with their biases added."""
        convs = [self.known[name] for name in self.parts]
        shifts = [conv.bias.detach().float().cpu() for conv in convs if conv.bias is not None]
        weight = torch.cat([conv.weight.detach().flatten(1) for conv in convs], 1)
        return weight.float().cpu(), sum(shifts[1:], shifts[0]) if shifts else None

    def _find(self, calls: dict[str, tuple[Tensor, Tensor]], output: Any) -> None:
        logits = first_tensor(output)
        for name, (_, made) in reversed(list(calls.items())):
            if self.asked is not None and name != self.asked:
                continue
            how = None if logits is None else _becomes(made, logits)
            if how is None and self.asked is None:
                continue
            self.name, self.parts = name, (name,)
            self.origin = "found" if self.asked is None else "named"
            self.check = how or "named, not compared with the output"
            return
        shape = "no tensor" if logits is None else f"shape {tuple(logits.shape)}"
        wide = {
            name: call
            for name, call in calls.items()
            if logits is not None and logits.dim() == 4 and call[1].shape[1] == logits.shape[1]
        }
        for pair in combinations(wide, 2) if self.asked is None else ():
            first, second = (wide[name][1] for name in pair)
            assert logits is not None
            how = _becomes(first + second, logits) if first.shape == second.shape else None
            if how is not None:
                self.name, self.parts, self.origin = " + ".join(pair), pair, "found"
                self.check = f"{how}; 2 convolutions are added up, their features side by side"
                return
        if logits is not None and logits.dim() != 4:
            shape += ", no map: nc.measure reads models of one label an image"
        raise ValueError(
            f"no convolution of kernel 1 makes the logits (the output has {shape}; "
            f"{_tried(list(wide), len(calls))}); name it: head='…'"
        )


def _tried(wide: list[str], number: int) -> str:
    """Which convolutions may have made the logits, and did not."""
    if not number:
        return "there is none"
    if not wide:
        return f"of {number}, none has as many outputs"
    return f"{', '.join(wide[-4:])} {'have' if len(wide) > 1 else 'has'} as many outputs"


def _becomes(made: Tensor, logits: Tensor) -> str | None:
    """How a map of logits becomes the output: as it is, or resized; None where it does not."""
    if logits.dim() != 4 or made.shape[:2] != logits.shape[:2]:
        return None
    scale = TOLERANCE * max(float(logits.abs().max()), 1e-30)
    if made.shape == logits.shape:
        same = float((made - logits).abs().max()) <= scale
        return "conv(features) = logits" if same else None
    for how in RESIZED:
        found = interpolate(made.float(), size=logits.shape[-2:], **how)
        if float((found - logits).abs().max()) <= scale:
            return f"conv(features) = logits, resized ({how['mode']})"
    return None


def _batches(
    loader: Any, unpack: UnpackBatch | None, limit: int | None
) -> Iterator[tuple[Any, Tensor]]:
    done = 0
    for raw in loader:
        inputs, labels = _parts(raw, unpack)
        labels = torch.as_tensor(labels).cpu()
        if labels.dim() == 4 and labels.shape[1] == 1:
            labels = labels[:, 0]
        if labels.dim() != 3 or labels.is_floating_point():
            raise ValueError(
                f"the labels are {describe(labels)}; class numbers (images, height, width) are "
                "needed, or pass unpack=lambda batch: (images, labels)"
            )
        if rows_of(inputs) != len(labels):
            raise ValueError(
                f"{rows_of(inputs)} images but {len(labels)} maps of labels; one an image is needed"
            )
        if limit is not None and done + len(labels) > limit:
            labels = labels[: limit - done]
        if len(labels):
            yield inputs, labels.long()
        done += len(labels)
        if limit is not None and done >= limit:
            return


def _parts(raw: Any, unpack: UnpackBatch | None) -> tuple[Any, Any]:
    if unpack is not None:
        return unpack(raw)
    if isinstance(raw, dict):
        name = next((key for key in LABELS if key in raw), None)
        if name is not None:
            return {key: value for key, value in raw.items() if key != name}, raw[name]
    elif isinstance(raw, (tuple, list)) and len(raw) == 2:
        return raw[0], raw[1]
    raise ValueError(
        f"the loader yields {describe(raw)}; pairs (images, labels) or mappings with 'labels' are "
        "needed: pass unpack=lambda batch: (images, labels)"
    )


def _take(
    found: _Found, features: Tensor, K: int, labels: Tensor, options: Any, per_image: int
) -> None:
    """Draw the pixels of a batch whose first images have these labels."""
    size = features.shape[-2:]
    if labels.shape[-2:] != size:
        # Exact in float64; the nearest pixel, so that no label is mixed with its neighbour.
        labels = interpolate(labels[:, None].double(), size=size, mode="nearest-exact")[:, 0]
        labels = labels.long()
    for own, marks in zip(features, labels.flatten(1), strict=False):
        counts = torch.ones_like(marks, dtype=torch.bool)
        if options.ignore_index is not None:
            counts = marks != options.ignore_index
        wrong = counts & ((marks < 0) | (marks >= K))
        if bool(wrong.any()):
            raise ValueError(
                f"image {found.images} has the label {int(marks[wrong][0])}, and the head tells "
                f"{K} classes; pass ignore_index= for pixels that do not count (255 is common)"
            )
        places = counts.nonzero().flatten()
        found.valid += len(places)
        if per_image and len(places) > per_image:
            generator = torch.Generator().manual_seed(options.seed * 1_000_003 + found.images)
            places = places[torch.randperm(len(places), generator=generator)[:per_image]]
        rows = own.flatten(1).T[places.to(own.device)].cpu()
        found.features.append(rows)
        found.labels.append(marks[places])
        found.images += 1


def _keep(calls: dict[str, tuple[Tensor, Tensor]], name: str, entered: Tensor, made: Any) -> None:
    calls[name] = entered, made


def _to(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, Tensor) else value
