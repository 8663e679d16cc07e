"""What a measured model does with other data: other classes, and classes of before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncollapse.cli.common import note

if TYPE_CHECKING:
    from torch import nn

    from ncollapse.measuring.measurement import Measurement
    from ncollapse.sources.specs.datasets import LoadedData

Loader = Callable[[Any], Any]
# What reads a head and samples once more, of the options that `measure` has.
SHARED = ("head", "limit", "batch_size", "seed", "progress")


def foreign(
    specs: Sequence[str],
    known: Sequence[str] | None,
    load: Callable[[str], LoadedData],
    loader: Loader,
) -> dict[str, Any]:
    """Foreign data by name, of each its samples that nobody trained on, where there are such.

    Raises ValueError where one has classes that the model was trained on.
    """
    found: dict[str, Any] = {}
    for spec in specs:
        other = load(spec)
        both = [name for name in other.class_names or () if name in (known or ())]
        if both:
            raise ValueError(
                f"--ood {spec!r} has classes of --data ({', '.join(both[:5])}"
                f"{', …' if len(both) > 5 else ''}), which are not foreign; leave those out"
            )
        name = Path(spec.partition(":")[2] or spec).name or spec
        name = name if name not in found else f"{name}-{len(found) + 1}"
        found[name] = loader(other.splits.get("test", [*other.splits.values()][-1]))
    return found


def with_target(
    result: Measurement,
    model: nn.Module,
    splits: Mapping[str, Any],
    target: LoadedData,
    loader: Loader,
    said: Mapping[str, Any],
    shots: tuple[int, ...],
) -> Measurement:
    """The measurement with what the same model does with other classes."""
    from ncollapse.measuring.transfer import measure_transfer, with_transfer

    seen = measure_transfer(
        model,
        {split: loader(part) for split, part in target.splits.items()},
        source=splits[result.document.reference],
        layers=said["layers"] or "*",
        shots=shots,
        pool=said["pool"],
        description=target.description,
        **_shared(said),
    )
    return with_transfer(result, seen)


def with_earlier(
    result: Measurement,
    model: nn.Module,
    splits: Mapping[str, Any],
    earlier: LoadedData,
    loader: Loader,
    said: Mapping[str, Any],
) -> Measurement:
    """The measurement with what the same model still knows of classes of before."""
    from ncollapse.downstream.forgetting import measure_forgetting

    parts = {split: loader(part) for split, part in earlier.splits.items()}
    known, current = _held_out(parts), _held_out(splits)
    note(f"forgetting: {known} of {earlier.description} against {current}")
    left = measure_forgetting(
        model,
        old=parts[known],
        new=splits[current],
        **_shared(said),
    )
    parts_read = {**result.document.downstream, "forgetting": left.to_dict()}
    return replace(result, document=replace(result.document, downstream=parts_read))


def with_forgotten(
    result: Measurement,
    model: nn.Module,
    splits: Mapping[str, Any],
    named: str,
    said: Mapping[str, Any],
) -> Measurement:
    """The measurement with what the same model has left of classes said to be forgotten."""
    from ncollapse.downstream.unlearning import measure_unlearning
    from ncollapse.measuring.unlearned import with_unlearning

    names, where = said["class_names"], _held_out(splits)
    chosen = classes_named(named, names)
    note(f"unlearning: {len(chosen)} classes, on {where}")
    left = measure_unlearning(
        model,
        splits[where],
        forgotten=chosen,
        class_names=names,
        pool=said["pool"],
        **_shared(said),
    )
    return with_unlearning(result, left)


def file_with_forgotten(
    result: Measurement,
    file: Path,
    named: str | None,
    seed: int,
    ignore_index: int,
    **opened: Any,
) -> Measurement:
    """The measurement of a feature file with what is left of classes said to be forgotten, where
    such were named. opened: how `open_source` read the file."""
    if named is None:
        return result
    from ncollapse.measuring.unlearned import unlearning_of_source, with_unlearning
    from ncollapse.sources.features.files import open_source

    source = open_source(file, **opened)
    chosen = classes_named(named, source.class_names)
    left = unlearning_of_source(source, chosen, seed=seed, ignore_index=ignore_index)
    return with_unlearning(result, left)


def classes_named(text: str, names: Sequence[str] | None) -> list[int]:
    """Numbers of classes from a list of names or numbers with commas between. Raises ValueError for
    what is neither."""
    known = {name: number for number, name in enumerate(names or ())}
    found = []
    for part in (part.strip() for part in text.split(",")):
        if part not in known and not part.isdecimal():
            listed = ", ".join([*known][:10]) + (", …" if len(known) > 10 else "")
            there = f"; classes are {listed}" if known else "; numbers of classes are needed"
            raise ValueError(f"--forgotten {text!r}: {part!r} is no class{there}")
        found.append(known[part] if part in known else int(part))
    return found


def _shared(said: Mapping[str, Any]) -> dict[str, Any]:
    return {key: said[key] for key in SHARED if key in said}


def _held_out(splits: Mapping[str, Any]) -> str:
    """The split that was not trained on, where there is one."""
    return next(
        (name for name in ("test", "val", "validation") if name in splits), next(iter(splits))
    )
