"""measure_transfer: a model and a data set of other classes → what it finds in every layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ncollapse.answers.questions import answered_again
from ncollapse.collect.keep.cache import FeatureCache
from ncollapse.collect.tap.batches import Unpack, as_loader, unpack_batch
from ncollapse.collect.tap.pooling import Pool
from ncollapse.collect.tap.select import Layers
from ncollapse.collect.tap.stream import ModelStream, Progress
from ncollapse.collect.tap.taps import HEAD, Taps
from ncollapse.downstream.overcollapse import LEAST, OverCollapse, moved, over_collapse
from ncollapse.downstream.probes import check_shots
from ncollapse.downstream.transfer import INPUT, Transfer, kept_within, layer_transfer
from ncollapse.downstream.transferability import FEW
from ncollapse.measuring.bars import barred
from ncollapse.measuring.measurement import Measurement

# Inputs of so many numbers at most are a layer of their own; wider layers are left out.
SMALL, WIDE = 4096, 8192
# Target samples that are read, spread evenly; source samples for over-collapse.
SAMPLES, SURROUNDED = 4000, 600
WHOLE = "target"


@barred
def measure_transfer(
    model: nn.Module,
    target: Any,
    *,
    source: Any = None,
    layers: Layers = "*",
    shots: int | Sequence[int] = 5,
    draws: int = 100,
    head: str | nn.Module | bool | None = None,
    pool: Pool | dict[str, Pool] = "auto",
    unpack: Unpack | None = None,
    limit: int | None = None,
    batch_size: int = 128,
    samples: int = SAMPLES,
    seed: int = 0,
    description: str = "target",
    progress: Progress | bool | None = None,
) -> Transfer:
    """What a target task of other classes finds in the frozen features of a model, layer by layer.

    target: a loader, data set, pair (inputs, labels) or a mapping of those by split, which count as
    one set; its labels need not be those of the head. Read are the accuracy of nearest centres and
    of a linear probe after `shots` samples a class (one number or several; `draws` draws of them,
    the same for every layer), bounds on that error, a probe on most samples, target NC1, CDNV, VCI,
    H-score, LogME, LEEP, TransRate and NCTI. Inputs of up to 4,096 numbers are a layer `input`.

    source: data that the model was trained on. With it over-collapse is read: how features mix a
    class with what lies around it, and what share of variance each layer keeps within classes. At
    most `samples` target samples are read, spread evenly; negative labels are skipped. The model is
    left as it was. `progress(stage, done, total)` is called along the way; True shows bars.

    Raises ValueError for target classes with no sample beyond the shots, one target class, labels
    that are no class numbers, and whatever `measure` raises of layers and heads.
    """
    counts = (shots,) if isinstance(shots, int) else tuple(shots)
    if not counts or draws < 2:
        raise ValueError(
            f"shots={shots}, draws={draws}; at least one number of shots and 2 draws are needed"
        )
    told = progress if callable(progress) else None
    taps = Taps(model, layers, head=head, pool=pool)
    inputs = _Inputs(unpack)
    stream = ModelStream(
        taps,
        dict(target) if isinstance(target, Mapping) else {WHOLE: target},
        unpack=inputs,
        limit=limit,
        batch_size=batch_size,
        ignore_index=None,
        progress=told,
        foreign=True,
    )
    notes: list[str] = []
    with FeatureCache() as cache:
        cache.fill(stream)
        features, labels = _read(cache, taps, samples, notes)
        total = cache.source(taps.layers[-1]).num_samples
    if inputs.rows is not None:
        features = {INPUT: inputs.rows[:total][_spread(total, samples)], **features}
    counted = labels >= 0
    if not bool(counted.all()):
        features = {name: rows[counted] for name, rows in features.items()}
        labels = labels[counted]
    for m in counts:
        check_shots(labels, m)
    source_probabilities = _probabilities(taps, features)
    found = {}
    for number, (name, rows) in enumerate(features.items()):
        found[name] = layer_transfer(
            name,
            rows,
            labels,
            shots=counts,
            draws=draws,
            seed=seed,
            source=source_probabilities if name == HEAD else None,
        )
        if told is not None:
            told("transfer", number + 1, len(features))
    widest = max(rows.shape[1] for rows in features.values())
    if len(labels) < FEW * widest:
        notes.append(
            f"{len(labels)} target samples for layers of up to {widest} features: VCI and H-score "
            f"would read how few there are (some {FEW} a feature are needed), so they are shrunk "
            "(Ledoit-Wolf) where that is so"
        )
    over: dict[str, OverCollapse] = {}
    kept: dict[str, float] = {}
    if source is not None:
        over, kept, why = _surroundings(taps.renewed(), source, unpack, batch_size, seed)
        notes += [why] if why else []
    return Transfer(
        description,
        len(labels),
        int(labels.unique().numel()),
        counts,
        draws,
        seed,
        found,
        over,
        {name: share for name, share in kept.items() if name in found},
        tuple(notes),
    )


def with_transfer(measurement: Measurement, found: Transfer) -> Measurement:
    """The measurement with a target set beside it: `transfer` of its document, and the question
    whether it will transfer answered anew."""
    document = replace(
        measurement.document,
        transfer=found.to_dict(),
        warnings=(
            *measurement.document.warnings,
            *(f"transfer: {note}" for note in found.notes),
        ),
    )
    document = replace(document, verdicts=answered_again(document, "transfer"))
    return replace(measurement, document=document)


class _Inputs:
    """Unpacks batches, and keeps their inputs where these are few real numbers a sample."""

    def __init__(self, unpack: Unpack | None) -> None:
        self._unpack = unpack
        self._rows: list[Tensor] | None = []

    def __call__(self, raw: Any) -> tuple[Any, Tensor]:
        batch = unpack_batch(raw, self._unpack)
        held = batch.inputs
        plain = isinstance(held, Tensor) and held.is_floating_point() and held.dim() > 1
        if self._rows is not None:
            if plain and held[:1].numel() <= SMALL:
                self._rows.append(held.detach().flatten(1).cpu())
            else:
                self._rows = None
        return batch.inputs, batch.labels

    @property
    def rows(self) -> Tensor | None:
        """All inputs, flat; None where they are large, or no real numbers."""
        return torch.cat(self._rows) if self._rows else None


def _read(
    cache: FeatureCache, taps: Taps, samples: int, notes: list[str]
) -> tuple[dict[str, Tensor], Tensor]:
    """Features by layer and labels, evenly spread samples of many; a layer that holds what enters
    the head is read once, as `head`."""
    found: dict[str, Tensor] = {}
    labels: Tensor | None = None
    head: Tensor | None = None
    for name in reversed(taps.layers):
        shown = cache.source(name)
        every = _spread(shown.num_samples, samples)
        labels = shown.labels[every] if labels is None else labels
        if shown.num_features > WIDE:
            notes.append(
                f"layer {name} is left out: {shown.num_features} features; at most {WIDE} are "
                "read, pool by the mean"
            )
            continue
        rows = torch.cat(list(shown.rows(0, 8192)))[every]
        if head is not None and rows.shape == head.shape and torch.equal(rows, head):
            continue
        head = rows if name == HEAD else head
        found[name] = rows
    if labels is None or not found:
        raise ValueError("no layer could be read of the target; name layers, or another pooling")
    if len(labels) < cache.source(taps.layers[-1]).num_samples:
        notes.append(f"{len(labels)} target samples were read, spread evenly over all")
    return dict(reversed(found.items())), labels


def _spread(count: int, most: int) -> Tensor:
    """Places of at most so many samples, evenly over all."""
    kept = min(count, most)
    return torch.arange(kept) * count // max(kept, 1)


def _probabilities(taps: Taps, features: Mapping[str, Tensor]) -> Tensor | None:
    """What the model takes target samples for: probabilities of its own classes."""
    if taps.head is None or HEAD not in features:
        return None
    logits = features[HEAD].double() @ taps.head.weight.cpu().double().T
    if taps.head.bias is not None:
        logits = logits + taps.head.bias.cpu().double()
    return torch.softmax(logits, 1)


def _surroundings(
    taps: Taps, source: Any, unpack: Unpack | None, batch_size: int, seed: int
) -> tuple[dict[str, OverCollapse], dict[str, float], str]:
    """Over-collapse and what stays within classes by layer, from source samples and the same moved;
    or nothing, and why."""
    try:
        inputs, labels = _some(source, unpack, SURROUNDED)
        away = moved(inputs, seed=seed)
    except ValueError as error:
        return {}, {}, f"over-collapse was not read: {error}"
    pairs = {"still": (inputs, labels), "moved": (away, labels)}
    stream = ModelStream(
        taps, pairs, batch_size=batch_size, ignore_index=None, foreign=True, unpack=None
    )
    layers: dict[str, tuple[Tensor, Tensor]] = {}
    with FeatureCache(splits=tuple(pairs)) as cache:
        cache.fill(stream)
        for name in taps.layers:
            held = cache.source(name)
            if held.num_features <= WIDE:
                rows = torch.cat(list(held.rows(0, 8192)))
                layers[name] = rows[: len(labels)], rows[len(labels) :]
    kept = {INPUT: kept_within(inputs.flatten(1), labels)} if inputs[0].numel() <= SMALL else {}
    kept |= {name: kept_within(still, labels) for name, (still, _) in layers.items()}
    try:
        return over_collapse((inputs, away), layers, labels, seed=seed), kept, ""
    except ValueError as error:
        return {}, kept, f"over-collapse was not read: {error}"


def _some(source: Any, unpack: Unpack | None, most: int) -> tuple[Tensor, Tensor]:
    """Inputs and labels of about `most` source samples, of each class its share of the first ones.
    Raises ValueError for inputs that are no tensors of real numbers."""
    first: Any = next(iter(source.values())) if isinstance(source, Mapping) else source
    rows, places, seen = [], [], Counter[int]()
    for raw in as_loader(first, 128):
        batch = unpack_batch(raw, unpack)
        if not isinstance(batch.inputs, Tensor) or not batch.inputs.is_floating_point():
            raise ValueError("source inputs are no tensors of real numbers")
        seen.update(batch.labels.tolist())
        # Data that come class after class are gone through until every class had its turn.
        chosen = _shares(batch.labels, max(most // len(seen), LEAST))
        rows.append(batch.inputs.detach().cpu()[chosen])
        places.append(batch.labels.cpu()[chosen])
        if sum(map(len, places)) >= 4 * most:
            break
    if not rows:
        raise ValueError("the source gave no batch; pass a loader that can be read again")
    inputs, labels = torch.cat(rows), torch.cat(places)
    kept = _shares(labels, max(most // len(seen), LEAST))
    return inputs[kept], labels[kept]


def _shares(labels: Tensor, share: int) -> Tensor:
    """Places of the first `share` samples of every class."""
    found = [(labels == label).nonzero().flatten()[:share] for label in labels.unique()]
    return torch.cat(found).sort().values
