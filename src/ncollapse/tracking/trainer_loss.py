"""What a callback needs inside the Hugging Face Trainer: the Trainer itself, a penalty in its loss,
a file in its checkpoints, the name of an evaluation."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ncollapse.collect.tap.batches import LABELS
from ncollapse.control.catcher import IGNORED
from ncollapse.tracking.following import Following

FILE = "ncollapse.pt"


def trainer_of(callback: Any) -> Any:
    """The Trainer that is calling this callback now, None where none is.

    It hands callbacks everything but itself, so it is looked for among its callers.
    """
    frame = inspect.currentframe()
    while frame is not None:
        one = frame.f_locals.get("self")
        handler = None if one is callback else getattr(one, "callback_handler", None)
        if any(callback is each for each in getattr(handler, "callbacks", ())):
            return one
        frame = frame.f_back
    return None


def with_penalty(trainer: Any, following: Following) -> Callable[..., Any]:
    """The trainer's compute_loss with the penalty of `following` added while it trains.

    Whoever computes the loss, the model, compute_loss_func, label smoothing or a subclass, the
    penalty counts as that loss does: over a step of several batches both are means.
    """
    inner = trainer.compute_loss

    def compute_loss(model: Any, inputs: Any, *arguments: Any, **keywords: Any) -> Any:
        # Taken first: the Trainer takes the labels out for losses of its own.
        names = (*(getattr(trainer, "label_names", None) or ()), *LABELS)
        target = next((inputs[name] for name in names if name in inputs), None)
        found = inner(model, inputs, *arguments, **keywords)
        penalty = following.penalty(target)
        if penalty is None or target is None:
            return found
        part, whole = _share(trainer, target, keywords.get("num_items_in_batch"))
        extra = penalty * part / whole
        if isinstance(found, tuple):
            return found[0] + extra.to(found[0]), *found[1:]
        return found + extra.to(found)

    return compute_loss


def _share(trainer: Any, target: Tensor, items: Any) -> tuple[Any, Any]:
    """What the Trainer does not do itself: it divides a loss by the batches of a step unless the
    loss was already divided by the `items` of all of them (of all processes, as it may be)."""
    scaled = getattr(trainer, "loss_is_scaled_for_ga", None)
    if scaled is None:
        counted = trainer.model_accepts_loss_kwargs and items is not None
        scaled = counted or trainer.compute_loss_func is not None
    if not scaled:
        return 1, 1
    if items is None:
        return 1, trainer.current_gradient_accumulation_steps
    together = trainer.args.average_tokens_across_devices
    processes = trainer.accelerator.num_processes if together else 1
    return (target != IGNORED).sum() * processes, items


def state_file(args: Any, state: Any) -> Path:
    """Where a Trainer's checkpoint of this step holds the callback's state."""
    return Path(args.output_dir) / f"checkpoint-{state.global_step}" / FILE


def of_evaluation(logs: Mapping[str, float]) -> bool:
    """Whether the Trainer logs an evaluation: only that, and the end of training, has a runtime."""
    return any("_runtime" in key for key in logs) and "train_runtime" not in logs


def split_of(metrics: Mapping[str, float]) -> str:
    """What a Hugging Face evaluation is called by its metrics: the name of the data set among
    several, "eval" for a single one; it stands before `_runtime`."""
    prefix = next((key.removesuffix("_runtime") for key in metrics if "_runtime" in key), "eval")
    return prefix.removeprefix("eval").strip("_") or "eval"
