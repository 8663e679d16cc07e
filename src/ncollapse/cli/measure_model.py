"""What `ncollapse measure --model … --data …` does with its specs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncollapse.cli.common import note
from ncollapse.cli.ranks import speaks

if TYPE_CHECKING:
    from ncollapse.measuring.measurement import Measurement


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
    output: Path | None = None,
    snapshot: Path | None = None,
    resume: bool = False,
    old: str | None = None,
) -> Measurement:
    """Build the model and the data, say which device runs, and measure in one forward pass; with
    a pattern of checkpoints, one pass each and their trace. old: data of earlier classes."""
    import torch
    from torch.utils.data import DataLoader, Dataset

    from ncollapse.downstream.forgetting import measure_forgetting
    from ncollapse.measuring.measure import measure
    from ncollapse.sources.specs.datasets import load_data
    from ncollapse.sources.specs.models import load_model

    first, many = weights, is_pattern(weights)
    if old is not None and (many or tokens is not None or head == "none"):
        raise ValueError(
            "--old reads one classifier: no pattern of weights, --tokens or --head none"
        )
    if many:
        assert weights is not None
        from ncollapse.tracking.sweep import checkpoints, sweep

        first = str(checkpoints(weights)[0].path)
    loaded = load_model(
        model,
        weights=first,
        num_classes=num_classes,
        image_size=image_size,
        causal=tokens is not None,
    )
    if weights is None and model.partition(":")[0] in ("torchvision", "timm"):
        note("no --weights: the model is measured as it was initialised")
    prepared: dict[str, Any] = {
        "transform": loaded.transform,
        "tokenizer": tokenizer or _tokenizer(model),
        "image_size": image_size or 224,
    }
    found = load_data(data, **prepared)
    where = _device(device)
    loaded.model.to(where)

    def loaders(parts: Mapping[str, Any]) -> dict[str, Any]:
        return {
            split: DataLoader(_spread(part, limit), batch_size=batch_size, num_workers=workers)
            if isinstance(part, Dataset) and not isinstance(part, torch.utils.data.IterableDataset)
            else part
            for split, part in parts.items()
        }

    splits = loaders(found.splits)
    earlier = {} if old is None else loaders(load_data(old, **prepared).splits)
    said: dict[str, Any] = {
        "layers": list(layers) if layers else None,
        "head": False if head == "none" else head,
        "pool": pool,
        "autocast": dtype,
        "batch_size": batch_size,
        "limit": limit,
        "tokens": tokens or False,
        "cache": cache,
        "cache_budget": cache_budget,
        "geodesic": geodesic,
        "class_names": found.class_names,
        "description": f"{loaded.description} · {found.description} · {where}",
        **options,
    }
    if not many:
        kept = snapshot if resume or _ordered(splits) else None
        kept = kept if cache else None
        measured = measure(loaded.model, splits, **said, snapshot=kept, resume=resume)
        if old is None:
            return measured
        known, current = _held_out(earlier), _held_out(splits)
        note(f"forgetting: {known} of {old} against {current} of {data}")
        left = measure_forgetting(
            loaded.model,
            old=earlier[known],
            new=splits[current],
            head=head,
            limit=limit,
            batch_size=batch_size,
            seed=options["seed"],
            progress=options["progress"],
        )
        document = replace(measured.document, downstream={"forgetting": left.to_dict()})
        return replace(measured, document=document)
    assert weights is not None
    return sweep(
        loaded.model,
        weights,
        splits,
        output=output,
        resume=resume,
        write=speaks(),
        say=note,
        **said,
    )


def _held_out(splits: Mapping[str, Any]) -> str:
    """The split that was not trained on, where there is one."""
    return next(
        (name for name in ("test", "val", "validation") if name in splits), next(iter(splits))
    )


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
    """At most `limit` samples, evenly over the data: folders hold class after class."""
    from torch.utils.data import Subset

    if limit is None or len(data) <= limit:
        return data
    return Subset(data, [i * len(data) // limit for i in range(limit)])


def _tokenizer(model: str) -> str | None:
    kind, _, name = model.partition(":")
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
