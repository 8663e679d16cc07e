"""measure --dry-run: what would be read, what it would keep and take, without the pass."""

from __future__ import annotations

import json as jsonlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ncollapse.cli.common import say, say_json

if TYPE_CHECKING:
    from torch import nn

    from ncollapse.sources.features.arrays import FeatureSource

COMMANDS = ("measure",)
ASKED = "ncollapse.dry_run"
# None: no dry run; else whether it is told as JSON.
_ONLY: ContextVar[bool | None] = ContextVar("ncollapse dry run", default=None)
# A default measurement takes at most so many times its product and its reading, and a second more.
TIMES, MORE = 4.0, 1.0
PROBE = 4096


def option() -> Any:
    """The option --dry-run."""
    app = typer.Typer(add_completion=False)

    @app.command()
    def _(
        dry_run: Annotated[
            bool,
            typer.Option(
                "--dry-run",
                callback=_heard,
                expose_value=False,
                help="Say what would be read, its state and time, and stop; writes nothing.",
            ),
        ] = False,
    ) -> None: ...

    command = typer.main.get_command(app)
    return next(each for each in command.params if "--dry-run" in each.opts)


def _heard(context: Any, value: bool) -> bool:
    if value:
        context.meta[ASKED] = True
    return value


@contextmanager
def only(json: bool = False) -> Iterator[None]:
    """Commands stop before their pass."""
    token = _ONLY.set(json)
    try:
        yield
    finally:
        _ONLY.reset(token)


def stop_file(source: FeatureSource, state: int, options: Mapping[str, Any]) -> None:
    """In a dry run: say what a file holds, and exit. state: bytes beside the features."""
    if _ONLY.get() is None:
        return
    from ncollapse.tasks import chosen

    lines = [f"would read {source.description}"]
    try:
        task, why = chosen(options["task"], source)
        seen = source.targeted() if task.sees == "targets" else source
        K = task.class_count(seen, options["num_classes"], options["ignore_index"])
        counted = f"{K} {task.counted}, task {task.name} ({why})"
    except ValueError as error:
        counted = str(error)
    lines.append(f"samples   {_splits(source)}; {counted}")
    dtype = str(source.dtype).removeprefix("torch.")
    head = "none stored" if source.weight is None else f"{tuple(source.weight.shape)} stored"
    lines.append(f"features  {source.num_features} wide, {dtype}; head {head}")
    lines.append(_cost(source.num_samples, source.num_features, source.dtype.itemsize, state))
    _stop(lines)


def stop_model(model: nn.Module, splits: Mapping[str, Any], said: Mapping[str, Any]) -> None:
    """In a dry run: run one batch to find the head and its time, say what a pass would be, exit."""
    if _ONLY.get() is None:
        return
    from ncollapse.collect.tap.stream import ModelStream
    from ncollapse.collect.tap.taps import Taps
    from ncollapse.collect.tap.tokens import token_kind
    from ncollapse.measuring.options import as_dtype

    taps = Taps(model, said["layers"], head=said["head"], pool=said["pool"])
    size = said["batch_size"]
    stream = ModelStream(
        taps,
        splits,
        limit=size if said["limit"] is None else min(size, said["limit"]),
        batch_size=size,
        autocast=as_dtype(said["autocast"]),
        tokens=token_kind(said["tokens"]),
        numbers=True,
    )
    began = time.monotonic()
    rows, first = 0, None
    for batch in stream:
        first = batch
        rows = len(next(iter(batch.features.values())))
        break
    seconds = time.monotonic() - began
    if first is None:
        raise ValueError("the data hold no batch; a data set or loader with samples is needed")
    counts = {name: _size(part, said["limit"]) for name, part in splits.items()}
    listed = ", ".join(f"{n} {'unknown' if c is None else c}" for n, c in counts.items())
    lines = [f"would read {said['description']}", f"samples   {listed}"]
    head = "none" if taps.head is None else taps.head.described
    lines.append(f"head      {head}")
    for name, features in first.features.items():
        lines.append(f"layer     {name}: {features.shape[1]} features")
    total = None if None in counts.values() else sum(c or 0 for c in counts.values())
    if total is None:
        lines.append("time      unknown: the data do not say how many samples they hold")
        _stop(lines)
    assert total is not None
    # Tokens and pixels: several rows a sample of the data.
    per = rows / max(min(size, total), 1)
    widths = [int(f.shape[1]) for f in first.features.values()]
    kept = int(total * per * sum(f.shape[1] * f.element_size() for f in first.features.values()))
    lines.append(f"kept      about {kept / 1e6:,.1f} MB of features, in memory, then on disk")
    weight = None if taps.head is None else getattr(taps.head, "weight", None)
    K = 2 if weight is None else len(weight)
    state = sum(8 * (K * d * 4 + d * d * (K if 8 * K * d * d <= 2e9 else 1)) for d in widths)
    lines.append(
        _cost(int(total * per), max(widths), 4, state, seconds * total / max(rows / per, 1))
    )
    lines.append(f"          (one batch of {rows} was run to tell, no more)")
    _stop(lines)


def _stop(lines: list[str]) -> None:
    if _ONLY.get():
        said = [" ".join(line.split()) for line in lines]
        say_json(jsonlib.dumps({"dry_run": said}, indent=2, ensure_ascii=False))
    else:
        say("\n".join(lines))
    raise typer.Exit


def _splits(source: FeatureSource) -> str:
    if source.split_codes is None:
        return f"{source.splits[0]} {source.num_samples}"
    counts = source.split_codes.bincount(minlength=len(source.splits)).tolist()
    return ", ".join(f"{name} {n}" for name, n in zip(source.splits, counts, strict=True))


def _size(part: Any, limit: int | None) -> int | None:
    data = getattr(part, "dataset", part)
    try:
        count = len(data)
    except TypeError:
        return None
    return count if limit is None else min(count, limit)


def _cost(samples: int, width: int, itemsize: int, state: int, passing: float = 0.0) -> str:
    """State and time: the pass, and at most four times the bare product and read, plus a second."""
    import torch

    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(min(samples, PROBE), min(width, 2048), generator=generator)
    began = time.perf_counter()
    rows.T @ rows
    taken = time.perf_counter() - began
    scale = samples / len(rows) * (width / rows.shape[1]) ** 2
    read = samples * width * itemsize / 1e9
    most = TIMES * (taken * scale + read) + MORE
    said = f"{passing:,.0f} s for the pass, then " if passing else ""
    return (
        f"state     about {state / 1e6:,.1f} MB\n"
        f"time      about {said}{most:,.0f} s at most for statistics and comparators"
    )
