"""CollapseCallback for the Hugging Face Trainer: evaluation and training batches, read by hooks."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ncollapse.control.held import Dial
from ncollapse.errors import NCollapseWarning
from ncollapse.sources.specs.optional import optional
from ncollapse.sources.specs.states import read_pt
from ncollapse.tracking.evaluation import KEYS
from ncollapse.tracking.following import Following
from ncollapse.tracking.head_breaks import LawReading
from ncollapse.tracking.loggers import Headline, flat
from ncollapse.tracking.trainer_loss import (
    of_evaluation,
    split_of,
    state_file,
    trainer_of,
    with_penalty,
)

if TYPE_CHECKING:
    from transformers import TrainerCallback
else:
    TrainerCallback = optional("transformers").TrainerCallback

PREFIX = "eval_nc"  # The Trainer files what begins so under eval/, all else under train/.


class CollapseCallback(TrainerCallback):  # type: ignore[misc, unused-ignore]
    """Logs collapse as `eval_nc/{eval or the dataset's name, online, dial}/{layer}/{key}`.

    Evaluation batches are read while the Trainer evaluates, training batches are followed with a
    half-life (see `ncollapse.Tracker`); labels are those that the model is given. Readings join
    what the Trainer logs of an evaluation: `log_history`, all loggers and `metric_for_best_model`
    find them. The penalty of a `dial` is added to the loss, whoever computes that, each batch by
    its share of the step. With `tokens` every token is a sample, as in `ncollapse.measure`: True
    for causal language models, "same" for taggers. What cannot be read is said once. The state,
    the dial's too, is saved in checkpoints.
    The head is held against the law of its sum (`law`, see `ncollapse.Tracker`): what breaks it
    is said at the end of training.

    >>> Trainer(model, callbacks=[CollapseCallback(dial=Thermostat(0.1))])     # doctest: +SKIP

    Raises ValueError as `ncollapse.Tracker` does, and for a dial that no Trainer takes up.
    """

    def __init__(
        self,
        *,
        dial: Dial | None = None,
        online: bool = True,
        half_life: float | None = None,
        half_life_unit: str = "samples",
        layers: Any = None,
        head: str | nn.Module | None = None,
        pool: Any = "auto",
        keys: Sequence[str] = KEYS,
        tokens: bool | str = False,
    ) -> None:
        self._following = Following(
            dial, online=online, half_life=half_life, unit=half_life_unit, layers=layers,
            head=head, pool=pool, keys=keys, tokens=tokens,
        )  # fmt: skip
        self._trainer: Any = None
        self._read: dict[str, float] | None = None
        self._headline = Headline(PREFIX)

    def attach(self, trainer: Any) -> CollapseCallback:
        """Add this callback to a Trainer (once), before its loggers. Returns self.

        `Trainer(callbacks=[…])` and `train()` do so by themselves; this is for a callback that is
        added later, before an evaluation without training.
        """
        callbacks = trainer.callback_handler.callbacks
        if self not in callbacks:
            trainer.add_callback(self)
        # Loggers are handed the same dict one after the other: what joins it has to come first.
        callbacks.insert(0, callbacks.pop(callbacks.index(self)))
        if self._following.dial is not None and self._trainer is not trainer:
            trainer.compute_loss = with_penalty(trainer, self._following)
        self._trainer = trainer
        self._following.watch(trainer.model)
        return self

    def on_init_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._join()

    def _join(self) -> None:
        if (trainer := trainer_of(self)) is not None:
            self.attach(trainer)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._join()
        if self._following.dial is not None and self._trainer is None:
            raise ValueError("the penalty of a dial reaches the loss by attach(trainer); call that")
        self._following.watch(kwargs["model"])
        if state.global_step and (saved := state_file(args, state)).exists():
            self._following.load_state_dict(read_pt(saved))
        self._following.start(kwargs["model"])
        made = [kwargs[name] for name in ("optimizer", "lr_scheduler") if kwargs.get(name)]
        self._following.obey(kwargs["model"], made[:1], made[1:])

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._following.tries(kwargs.get("optimizer"))

    def on_substep_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._following.observe()

    on_step_end = on_substep_end

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._following.laws is not None:
            self._following.laws.warn()
        self._following.close()

    @property
    def law(self) -> LawReading | None:
        """Whether the sum of the classifier's rows follows its law; None before training."""
        return self._following.law

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        place = state_file(args, state)
        if self._following.active and state.is_world_process_zero and place.parent.is_dir():
            torch.save(self._following.state_dict(), place)

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._following.evaluation is not None:
            self._following.evaluation.observe()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if self._read is None and of_evaluation(logs or {}):
            self._read = self._values(logs)
            logs.update(self._read)
            state.log_history[-1].update(self._read)

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any
    ) -> None:
        metrics = {} if metrics is None else metrics
        # A Trainer with a log of its own may have logged a copy, or nothing that looks like it.
        if self._read is None and (values := self._values(metrics)) and self._trainer is not None:
            self._read = values
            self._trainer.log(dict(values))
        metrics.update(self._read or {})
        self._read = None

    def _values(self, metrics: Any) -> dict[str, float]:
        """Readings of the evaluation that ended, which is forgotten; call on every rank."""
        evaluation = self._following.evaluation
        if evaluation is None:
            if self._trainer is None:
                said = "nothing of this evaluation was read: call attach(trainer) before it"
                warnings.warn(said, NCollapseWarning, stacklevel=3)
            return {}
        found = {split_of(metrics): evaluation.readings()} | self._following.readings()
        evaluation.start()
        return self._headline.of(found) | flat(found, PREFIX)

    def on_predict(self, args: Any, state: Any, control: Any, metrics: Any, **kwargs: Any) -> None:
        if self._following.evaluation is not None:
            self._following.evaluation.start()
