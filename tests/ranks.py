"""Functions run on two or more processes with gloo on the CPU; what each rank returns comes back."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def spawn(function: Callable[..., Any], ranks: int, *arguments: Any, timeout: float = 30) -> list:
    """`function(rank, *arguments)` on every rank of a fresh group; results in rank order."""
    with tempfile.TemporaryDirectory() as folder:
        mp.start_processes(
            _enter, (function, ranks, folder, timeout, arguments), ranks, start_method="fork"
        )
        return [
            torch.load(Path(folder) / f"{rank}.pt", weights_only=False) for rank in range(ranks)
        ]


def _enter(
    rank: int,
    function: Callable[..., Any],
    ranks: int,
    folder: str,
    timeout: float,
    arguments: tuple[Any, ...],
) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=ranks,
        timeout=timedelta(seconds=timeout),
    )
    try:
        result = function(rank, *arguments)
        torch.save(result, Path(folder) / f"{rank}.pt")
    finally:
        dist.destroy_process_group()


@dataclass(frozen=True)
class Ended:
    """How a process ended: exit status, and what it printed."""

    status: int
    out: str
    err: str


def launched(
    function: Callable[..., Any], ranks: int, *arguments: Any, timeout: float = 100
) -> list[Ended]:
    """`function(*arguments)` on every rank, with the environment that torchrun gives and no group
    yet. Forked, as `spawn` is: nothing is imported anew."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        places = [Path(folder) / str(rank) for rank in range(ranks)]
        running = [
            context.Process(target=_launch, args=(rank, ranks, port, place, function, arguments))
            for rank, place in enumerate(places)
        ]
        for one in running:
            one.start()
        try:
            for one in running:
                one.join(timeout)
        finally:
            for one in running:
                if one.is_alive():
                    one.kill()
                    one.join()
        return [
            Ended(
                one.exitcode if one.exitcode is not None else -1,
                place.with_suffix(".out").read_text("utf-8"),
                place.with_suffix(".err").read_text("utf-8"),
            )
            for one, place in zip(running, places, strict=True)
        ]


def _launch(
    rank: int,
    ranks: int,
    port: int,
    place: Path,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> None:
    torch.set_num_threads(1)
    number, size = str(rank), str(ranks)
    os.environ.update(
        RANK=number,
        LOCAL_RANK=number,
        GROUP_RANK="0",
        NODE_RANK="0",
        WORLD_SIZE=size,
        LOCAL_WORLD_SIZE=size,
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    with (
        place.with_suffix(".out").open("w", encoding="utf-8") as sys.stdout,
        place.with_suffix(".err").open("w", encoding="utf-8") as sys.stderr,
    ):
        try:
            function(*arguments)
        except Exception:
            traceback.print_exc()
            raise SystemExit(1) from None
        finally:
            sys.stdout.flush()
            sys.stderr.flush()


def said_by(function: Callable[[], Any]) -> str:
    """What a call raises, in words; empty where it does not raise."""
    try:
        function()
    except (ValueError, RuntimeError) as error:
        return f"{type(error).__name__}: {error}"
    return ""
