"""Functions run on two or more processes with gloo on the CPU; what each rank returns comes back."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
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


def said_by(function: Callable[[], Any]) -> str:
    """What a call raises, in words; empty where it does not raise."""
    try:
        function()
    except (ValueError, RuntimeError) as error:
        return f"{type(error).__name__}: {error}"
    return ""
