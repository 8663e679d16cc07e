"""Checkpoints of `train`: whole or not at all, read by every rank from rank 0."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ncollapse.collect.ranks.ranks import Ranks, together
from ncollapse.record.atomic import replacing
from ncollapse.sources.specs.states import read_pt

# How long a run takes, and where it runs and writes, may differ when it goes on.
FREE = ("checkpoint", "checkpoint_every", "resume", "device", "loss")


def identity(settings: Any) -> dict[str, Any]:
    """The settings that a checkpoint must agree with."""
    loss = settings.loss if isinstance(settings.loss, str) else settings.loss.__qualname__
    return {**{k: v for k, v in vars(settings).items() if k not in FREE}, "loss": loss}


def capture(
    settings: Any,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
    progress: Mapping[str, Any],
    callbacks: Sequence[Any],
) -> dict[str, Any]:
    """A copy of everything a run needs to go on; `progress` is history and step. Callbacks with a
    `state_dict` are kept too, in their order."""
    return {
        "settings": identity(settings),
        "model": copy.deepcopy(model.state_dict()),
        "optimizer": copy.deepcopy(optimizer.state_dict()),
        "generator": generator.get_state(),
        **progress,
        "callbacks": [
            copy.deepcopy(part.state_dict()) for part in callbacks if hasattr(part, "state_dict")
        ],
    }


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write, fsync, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as handle:
        torch.save(dict(content), handle)


def read(settings: Any, ranks: Ranks | None = None) -> dict[str, Any] | None:
    """The checkpoint, or None where there is none yet. With `ranks` rank 0 reads for all.

    Raises ValueError for one made with other settings.
    """
    found: dict[str, Any] | None = None
    with together(ranks):
        if ranks is None or ranks.rank == 0:
            found = _read(settings)
    return found if ranks is None else ranks.from_rank(0, found)


def _read(settings: Any) -> dict[str, Any] | None:
    path: Path = settings.checkpoint
    if not path.exists():
        return None
    found: dict[str, Any] = read_pt(path)
    mine = identity(settings)
    if not isinstance(found, dict) or not isinstance(found.get("settings"), dict):
        raise ValueError(f"{path} is no checkpoint of a training here; delete it to train anew")
    if found["settings"] != mine:
        keys = sorted(key for key in mine if found["settings"].get(key) != mine[key])
        raise ValueError(
            f"the checkpoint {path} was made with another {', '.join(keys)}; resume with the same "
            "settings, or train anew"
        )
    return found


def restore(
    found: Mapping[str, Any],
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
    callbacks: Sequence[Any],
) -> None:
    """Put a checkpoint's state back, on whatever device the model is now."""
    model.load_state_dict(found["model"])
    optimizer.load_state_dict(found["optimizer"])
    generator.set_state(found["generator"])
    kept = [part for part in callbacks if hasattr(part, "load_state_dict")]
    # Older files hold no callbacks.
    for part, state in zip(kept, found.get("callbacks", []), strict=False):
        part.load_state_dict(state)
