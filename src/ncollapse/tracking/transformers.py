"""CollapseCallback for the Hugging Face Trainer: evaluation and training batches, read by hooks."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ncollapse.errors import NCollapseWarning
from ncollapse.sources.optional import optional
from ncollapse.tracking.evaluation import KEYS, Evaluation, numbers, split_of
from ncollapse.tracking.loggers import flat
from ncollapse.tracking.online import SPLIT, Online

if TYPE_CHECKING:
    from transformers import TrainerCallback
else:
    TrainerCallback = optional("transformers").TrainerCallback

PREFIX = "eval_nc"  # The Trainer files what begins so under eval/, all else under train/.
FILE = "ncollapse.pt"


class CollapseCallback(TrainerCallback):  # type: ignore[misc, unused-ignore]
    """Logs collapse as `eval_nc/{eval or the dataset's name, online}/{layer}/{key}`.

    Evaluation batches are read while the Trainer evaluates, training batches are followed with a
    half-life (see `ncollapse.Tracker`); labels are those that the model is given. The Trainer logs
    before it tells callbacks of an evaluation, so `attach` lends it to the callback, which logs by
    itself; `metric_for_best_model` finds the readings too. Online state is saved in checkpoints.

    >>> CollapseCallback().attach(trainer)                                     # doctest: +SKIP

    Raises ValueError as `ncollapse.Tracker` does.
    """

    def __init__(
        self,
        *,
        online: bool = True,
        half_life: float | None = None,
        half_life_unit: str = "samples",
        layers: Any = None,
        head: str | nn.Module | None = None,
        pool: Any = "auto",
        keys: Sequence[str] = KEYS,
    ) -> None:
        self.keys, self.follows = tuple(keys), online
        self._taps: dict[str, Any] = {"layers": layers, "head": head, "pool": pool}
        self._fading: dict[str, Any] = {"half_life": half_life, "unit": half_life_unit}
        self._trainer: Any = None
        self._online: Online | None = None
        self._evaluation: Evaluation | None = None

    def attach(self, trainer: Any) -> CollapseCallback:
        """Add this callback to a Trainer (once), and log through it. Returns self."""
        if self not in trainer.callback_handler.callbacks:
            trainer.add_callback(self)
        self._trainer = trainer
        self._watch(trainer.model)
        return self

    def _watch(self, model: nn.Module) -> None:
        if self._evaluation is not None:
            self._evaluation.listener.close()
        self._evaluation = Evaluation(model, keys=self.keys, **self._taps)
        self._evaluation.start()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._watch(kwargs["model"])
        if self.follows:
            self._online = Online(kwargs["model"], keys=self.keys, **self._taps, **self._fading)
            if state.global_step and (saved := _file(args, state)).exists():
                self._online.load_state_dict(torch.load(saved, "cpu", weights_only=True))

    def on_substep_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._online is not None:
            self._online.observe()

    on_step_end = on_substep_end

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._online is not None:
            self._online.close()

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        place = _file(args, state)
        if self._online is not None and state.is_world_process_zero and place.parent.is_dir():
            torch.save(self._online.state_dict(), place)

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._evaluation is not None:
            self._evaluation.observe()

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any
    ) -> None:
        if self._evaluation is None:
            return
        found: dict[str, Any] = {split_of(metrics or {}): self._evaluation.readings()}
        self._evaluation.start()
        if self._online is not None:
            found[SPLIT] = numbers(self._online.readings(together=True))
        values = flat(found, PREFIX)
        (metrics if metrics is not None else {}).update(values)
        if self._trainer is None:
            said = "call CollapseCallback(…).attach(trainer), or readings do not reach the loggers"
            warnings.warn(said, NCollapseWarning, stacklevel=2)
        else:
            self._trainer.log(values)

    def on_predict(self, args: Any, state: Any, control: Any, metrics: Any, **kwargs: Any) -> None:
        if self._evaluation is not None:
            self._evaluation.start()


def _file(args: Any, state: Any) -> Path:
    return Path(args.output_dir) / f"checkpoint-{state.global_step}" / FILE
