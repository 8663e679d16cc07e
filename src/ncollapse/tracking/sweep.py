"""Checkpoints of one run → one trace: each is measured, the last one in full."""

from __future__ import annotations

import glob
import itertools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from ncollapse.answers.questions import judge
from ncollapse.measuring.measure import measure
from ncollapse.measuring.measurement import Measurement
from ncollapse.record.folder import TRACE
from ncollapse.record.trace import CLASS_RANK, Trace
from ncollapse.sources.specs.models import load_state, read_state
from ncollapse.tracking.ledger import aside

SAYS = {"epoch": ("epoch", "ep"), "step": ("step", "global_step", "iter", "iteration", "iters")}
# Ranks of single classes go to the trace up to so many of them.
MOST_CLASSES = 1000
Say = Callable[[str], None]


@dataclass(frozen=True)
class Checkpoint:
    """A file of weights and when in training it was written; epoch None where that is unknown."""

    path: Path
    step: int
    epoch: float | None


def checkpoints(found: str | Iterable[str | Path]) -> list[Checkpoint]:
    """Checkpoints of a glob pattern or of given files, in order of training.

    Step and epoch are read from the names ("epoch_12.pt", "step=600", "epoch=3-step=600.ckpt"),
    else from the numbers inside the files ("epoch", "step", "global_step"), else from the last
    number of the names; files without any are numbered in natural order of their names.

    Raises ValueError when nothing matches or two files are of one step.
    """
    if isinstance(found, str):
        paths = [Path(name) for name in glob.glob(found, recursive=True)]
        if not paths:
            raise ValueError(
                f"weights {found!r} match no file; a pattern such as 'ckpt/epoch_*.pt' is needed "
                "(in quotes, so that the shell leaves it alone)"
            )
    else:
        paths = [Path(name) for name in found]
        if not paths:
            raise ValueError("no checkpoint was passed; at least one file is needed")
    paths.sort(key=lambda path: _natural(str(path)))
    times = [_from_name(path) for path in paths]
    if any(step is None and epoch is None for step, epoch in times):
        times = [_inside(path) for path in paths]
    if any(step is None and epoch is None for step, epoch in times):
        numbers = [re.findall(r"\d+", path.stem) for path in paths]
        last = [int(n[-1]) if n else None for n in numbers]
        known = None not in last and len(set(last)) == len(last)
        times = [(last[i] if known else i, None) for i in range(len(paths))]
    result = []
    for path, (step, epoch) in zip(paths, times, strict=True):
        result.append(Checkpoint(path, int(epoch or 0) if step is None else step, epoch))
    result.sort(key=lambda checkpoint: checkpoint.step)
    for before, after in itertools.pairwise(result):
        if before.step == after.step:
            raise ValueError(
                f"checkpoints {before.path} and {after.path} are both of step {after.step}; one "
                "run's checkpoints, with different steps in their names, are needed"
            )
    return result


def measure_checkpoints(
    model: nn.Module,
    weights: str | Iterable[str | Path],
    data: Any = None,
    *,
    output: Path | str | None = None,
    resume: bool = False,
    write: bool = True,
    say: Say | None = None,
    **options: Any,
) -> Measurement:
    """Neural collapse along the checkpoints of one run, with the last one measured in full.

    `weights` is a glob pattern or files (see `checkpoints`); other keywords are those of
    `ncollapse.measure`. Every checkpoint's readings go to the trace of the result, and with
    `output` to trace.csv there as soon as they are known; `resume` skips the steps it holds
    already. With them go the effective ranks of single classes of the reference split, of 1,000
    classes at most, from which `silent_collapse` is answered; `class_ranks=False` leaves them out.
    Comparators and intervals are computed for the last checkpoint only. `write=False`
    reads a trace but adds nothing to it (ranks that must not write). The model ends with the last
    checkpoint's weights.

    >>> m = measure_checkpoints(model, "ckpt/epoch_*.pt", loaders)    # doctest: +SKIP
    >>> m.trace.series("train", "head", "head_share")                  # doctest: +SKIP

    Raises ValueError for files that do not exist, cannot be read safely or do not fit (naming the
    first tensor that is missing), and whatever `measure` raises.
    """
    options.setdefault("class_ranks", True)
    files = checkpoints(weights)
    place = None if output is None else Path(output) / TRACE
    trace = Trace(path=place if write else None)
    if place is not None and place.exists():
        if resume:
            trace.rows = Trace.load(place).rows
        elif write:
            aside(place)
    done = {row.step for row in trace.rows}
    brief = {**options, "null": False, "intervals": False, "geodesic": False}
    for number, checkpoint in enumerate(files, 1):
        last = number == len(files)
        if checkpoint.step in done and not last:
            continue
        if callable(told := options.get("progress")):
            told("checkpoints", number - 1, len(files))
        if say is not None:
            say(f"checkpoint {number} of {len(files)}: {checkpoint.path.name}")
        load_state(model, read_state(checkpoint.path), str(checkpoint.path))
        if last and checkpoint.step in done:
            continue
        # The last is measured in full below, and its readings are the same.
        found = None if last else measure(model, data, **brief)
        if found is not None:
            _append(trace, checkpoint, found)
    result = measure(model, data, trace=trace, **options)
    if files[-1].step not in done:
        _append(trace, files[-1], result)
        result = _judged(result, trace)
    if callable(told := options.get("progress")):
        told("checkpoints", len(files), len(files))
    return result


# What it was called before.
sweep = measure_checkpoints


def _append(trace: Trace, checkpoint: Checkpoint, found: Measurement) -> None:
    for split, layers in found.results.items():
        for layer, readings in layers.items():
            values = {key: reading.value for key, reading in readings.items()}
            trace.append(checkpoint.step, values, split=split, layer=layer, epoch=checkpoint.epoch)
    where = found.document.reference, found.document.layer
    rows = [row for row in found.classes if (row.split, row.layer) == where]
    ranks = {f"{CLASS_RANK}{row.index}": row.rank for row in rows if row.rank is not None}
    if 0 < len(ranks) <= MOST_CLASSES:
        split, layer = where
        trace.append(checkpoint.step, ranks, split=split, layer=layer, epoch=checkpoint.epoch)


def _judged(found: Measurement, trace: Trace) -> Measurement:
    """The measurement with verdicts that know the last step too."""
    document = found.document
    spectrum = document.config.get("between_scatter", {})
    verdicts = judge(
        document.results,
        found.classes,
        num_classes=document.num_classes,
        num_features=document.num_features,
        layer=document.layer,
        trace=trace,
        task=document.task,
        reference=document.reference,
        directions=spectrum.get(document.reference, {}).get("rank"),
    )
    return replace(found, document=replace(document, verdicts=verdicts), trace=trace)


def _natural(name: str) -> list[Any]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _from_name(path: Path) -> tuple[int | None, float | None]:
    """(step, epoch) as the name says them."""
    found: dict[str, int | None] = {"step": None, "epoch": None}
    for kind, words in SAYS.items():
        pattern = rf"(?<![a-z])(?:{'|'.join(words)})[-_=]?(\d+)"
        match = re.search(pattern, path.stem.lower())
        found[kind] = int(match[1]) if match else None
    epoch = found["epoch"]
    return found["step"], None if epoch is None else float(epoch)


def _inside(path: Path) -> tuple[int | None, float | None]:
    """(step, epoch) that a checkpoint holds beside its weights."""
    import torch

    if path.suffix == ".safetensors":
        return None, None
    try:
        held = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # What cannot be read is said when its weights are.
        return None, None
    if not isinstance(held, dict):
        return None, None

    def number(*names: str) -> int | None:
        return next((held[n] for n in names if isinstance(held.get(n), int)), None)

    epoch = number("epoch")
    return number("step", "global_step", "iteration"), None if epoch is None else float(epoch)
