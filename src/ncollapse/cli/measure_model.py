"""What `ncollapse measure --model … --data …` does with its specs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncollapse.cli.common import note
from ncollapse.cli.dry import stop_model
from ncollapse.cli.ranks import speaks

if TYPE_CHECKING:
    from ncollapse.measuring.measurement import Measurement
    from ncollapse.sources.specs.datasets import LoadedData


def measure_spec(
    model: str,
    data: str,
    *,
    weights: str | None,
    num_classes: int | None,
    head: str | None,
    layers: Sequence[str] | None,
    pool: str,
    device: str | None,
    dtype: str,
    batch_size: int,
    limit: int | None,
    image_size: int | None,
    tokenizer: str | None,
    workers: int,
    cache: bool,
    cache_budget: float,
    geodesic: bool | None,
    options: dict[str, Any],
    tokens: str | None = None,
    max_length: int | None = None,
    pixels: int | None = None,
    output: Path | None = None,
    snapshot: Path | None = None,
    resume: bool = False,
    attack: dict[str, Any] | None = None,
    ood: Sequence[str] = (),
    transfer: str | None = None,
    shots: tuple[int, ...] = (5,),
    old: str | None = None,
    forgotten: str | None = None,
) -> Measurement:
    """Build the model and the data, say which device runs, and measure in one forward pass; with
    a pattern of checkpoints, one pass each and their trace. ood, transfer, old: foreign data, other
    classes and classes of before that the same model is then run over; forgotten: classes said to
    be so."""
    from ncollapse.cli.measure_elsewhere import foreign, with_earlier, with_forgotten, with_target
    from ncollapse.cli.measure_texts import say_size, sequences_at_once, texts_for
    from ncollapse.measuring.measure import measure
    from ncollapse.sources.specs.checkpoints import checkpoint_spec, names_checkpoint
    from ncollapse.sources.specs.datasets import load_data
    from ncollapse.sources.specs.folders import data_spec
    from ncollapse.sources.specs.models import load_model
    from ncollapse.sources.specs.texts import names_texts

    data = data_spec(data)
    if names_checkpoint(model):
        model, weights, said_model = checkpoint_spec(model, weights)
        weights = None if weights is None else str(weights)
        note(said_model or f"the model is {model}")
    first, many = weights, is_pattern(weights)
    if many and (ood or transfer is not None):
        raise ValueError(
            "--ood and --transfer look at one model, and --weights names several; pass one"
        )
    if old is not None and (many or tokens is not None or head == "none"):
        raise ValueError(
            "--old reads one classifier: no pattern of weights, --tokens or --head none"
        )
    if forgotten is not None and (many or tokens is not None or pixels is not None or attack):
        raise ValueError(
            "--forgotten looks at one model's classes: no pattern of weights, --tokens, "
            "--pixels-per-image or --attack"
        )
    if many:
        assert weights is not None
        from ncollapse.tracking.sweep import checkpoints, measure_checkpoints

        first = str(checkpoints(weights)[0].path)
    texts = names_texts(data)
    loaded = load_model(
        model,
        weights=first,
        num_classes=num_classes,
        image_size=image_size,
        causal=texts or tokens is not None,
    )
    if weights is None and model.partition(":")[0] in ("torchvision", "timm"):
        note("no --weights: the model is measured as it was initialised")

    def load(spec: str) -> LoadedData:
        return load_data(
            spec,
            transform=loaded.transform,
            tokenizer=tokenizer or _tokenizer(model),
            image_size=image_size or 224,
        )

    where = _device(device)
    if texts:
        tokens = tokens or "next"
        found = texts_for(data, loaded.model, tokenizer or _tokenizer(model), max_length, options)
        batch_size = sequences_at_once(found, loaded.model, batch_size)
    else:
        found = load(data)
    loaded.model.to(where)
    if texts:
        parts = {split: _spread(part, limit) for split, part in found.splits.items()}
        say_size(parts, loaded.model, options)

    loader = partial(_batched, limit=limit, batch_size=batch_size, workers=workers)
    splits = {split: loader(part) for split, part in found.splits.items()}
    if pixels is not None:
        if many or ood or transfer is not None or old is not None:
            raise ValueError(
                "--pixels-per-image reads one file of --weights, without --ood, --transfer, --old"
            )
        from ncollapse.measuring.pixels import measure_pixels

        return measure_pixels(
            loaded.model,
            splits,
            pixels_per_image=pixels,
            head=head,
            limit=limit,
            class_names=found.class_names,
            description=f"{loaded.description} · {found.description} · {where}",
            **options,
        )
    strangers = foreign(ood, found.class_names, load, loader)
    said: dict[str, Any] = {
        "layers": list(layers) if layers else None,
        "head": False if head == "none" else head,
        "pool": pool,
        "autocast": dtype,
        "batch_size": batch_size,
        "limit": limit,
        "tokens": tokens,
        "cache": cache,
        "cache_budget": cache_budget,
        "geodesic": geodesic,
        **({"ood": strangers} if strangers else {}),
        "class_names": found.class_names,
        "description": f"{loaded.description} · {found.description} · {where}",
        **options,
    }
    stop_model(loaded.model, splits, said)
    if attack is not None:
        if many:
            raise ValueError("--attack goes with one checkpoint; --weights names several")
        if ood or transfer is not None or old is not None:
            raise ValueError(
                "--attack goes without --ood, --transfer and --old; measure those apart"
            )
        from ncollapse.measuring.attacked import measure_attack

        said.pop("tokens")
        return measure_attack(loaded.model, splits, **said, **attack)
    if not many:
        kept = snapshot if resume or _ordered(splits) else None
        kept = kept if cache else None
        result = measure(loaded.model, splits, **said, snapshot=kept, resume=resume)
        if transfer is not None:
            result = with_target(result, loaded.model, splits, load(transfer), loader, said, shots)
        if old is not None:
            result = with_earlier(result, loaded.model, splits, load(old), loader, said)
        if forgotten is not None:
            result = with_forgotten(result, loaded.model, splits, forgotten, said)
        return result
    assert weights is not None
    return measure_checkpoints(
        loaded.model,
        weights,
        splits,
        output=output,
        resume=resume,
        write=speaks(),
        say=note,
        **said,
    )


def _batched(part: Any, limit: int | None, batch_size: int, workers: int) -> Any:
    """A loader of what is a data set; anything else as it is."""
    from torch.utils.data import DataLoader, Dataset, IterableDataset

    if isinstance(part, Dataset) and not isinstance(part, IterableDataset):
        return DataLoader(_spread(part, limit), batch_size=batch_size, num_workers=workers)
    return part


def _ordered(splits: dict[str, Any]) -> bool:
    """Whether another run would read the data in the same order."""
    from ncollapse.collect.ranks.shares import check_order

    try:
        check_order(splits)
    except ValueError:
        return False
    return True


def is_pattern(weights: str | None) -> bool:
    """Whether --weights names several checkpoints: a glob pattern that is no file itself."""
    return weights is not None and any(c in weights for c in "*?[") and not Path(weights).is_file()


def _spread(data: Any, limit: int | None) -> Any:
    """At most `limit` samples, evenly over the data: folders hold class after class. Loaders and
    what has no length stay as they are."""
    from torch.utils.data import Dataset, IterableDataset, Subset

    listed = isinstance(data, Dataset) and not isinstance(data, IterableDataset)
    count = len(data) if listed else 0
    if limit is None or count <= limit:
        return data
    return Subset(data, [i * count // limit for i in range(limit)])


def _tokenizer(model: str) -> str | None:
    from ncollapse.sources.specs.models import as_spec

    kind, _, name = as_spec(model).partition(":")
    return name if kind == "hf" else None


def _device(asked: str | None) -> Any:
    """The device asked for, else the first accelerator, else the CPU."""
    import torch

    if asked is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(asked)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"--device {asked!r} cannot be used here ({reason})") from None
    return device
