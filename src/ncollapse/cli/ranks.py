"""Commands under torchrun: the process group, and who speaks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

# A rank that waits longer than this for the others gives up; NCOLLAPSE_TIMEOUT sets it.
TIMEOUT_SECONDS = 1800.0


def world_size() -> int:
    """How many processes torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


def speaks() -> bool:
    """Whether this process prints and writes: rank 0 alone does."""
    return os.environ.get("RANK", "0") == "0" or world_size() == 1


def local_device(asked: str | None) -> str | None:
    """The device of this process: ranks on one machine take one accelerator each."""
    if world_size() == 1 or (asked is not None and asked != "cuda"):
        return asked
    import torch

    if not torch.cuda.is_available():
        return asked
    return f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % torch.cuda.device_count()}"


@contextmanager
def process_group() -> Iterator[bool]:
    """The process group of torchrun while a command runs; yields whether there is one.

    Statistics are kept on the CPU, so gloo carries them whatever runs the model. A rank that dies
    or hangs past the timeout ends the others with a sentence.
    """
    if world_size() == 1:
        yield False
        return
    from datetime import timedelta

    import torch.distributed as dist

    from ncollapse.collect.ranks.sync import LOST

    seconds = float(os.environ.get("NCOLLAPSE_TIMEOUT", TIMEOUT_SECONDS))
    dist.init_process_group("gloo", timeout=timedelta(seconds=seconds))
    try:
        yield True
    except RuntimeError as error:
        if LOST in str(error):
            raise OSError(str(error)) from None
        raise
    finally:
        dist.destroy_process_group()
