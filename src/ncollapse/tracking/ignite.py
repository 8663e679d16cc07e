"""CollapseHandler for PyTorch-Ignite: training engine and evaluators, without a data pass more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from ncollapse.collect.tap.batches import Unpack
from ncollapse.control.held import Dial
from ncollapse.sources.specs.optional import optional
from ncollapse.tracking.evaluation import KEYS
from ncollapse.tracking.following import Following
from ncollapse.tracking.loggers import Headline, flat

if TYPE_CHECKING:
    from ignite.engine import Engine, Events
else:
    Engine = optional("ignite.engine").Engine
    Events = optional("ignite.engine").Events


class CollapseHandler:
    """Puts collapse into `engine.state.metrics`, as `nc/{split}/{layer}/{key}` and `nc_headline`.

    Engines do not know their model, so it is given. Each named evaluator is a split, read while it
    evaluates; training batches are followed with a half-life (see `ncollapse.Tracker`) and stand in
    the trainer's metrics at the end of every epoch. The penalty of a `dial` is yours to add, in the
    trainer's update function: `loss = loss + handler.penalty(labels)`. `unpack` maps batches to
    (inputs, labels); with `tokens` every token is a sample, as in `ncollapse.measure`. Attach it
    before loggers. `state_dict` makes it fit for `Checkpoint(to_save=…)`.

    >>> CollapseHandler(model).attach(trainer, val=evaluator)                  # doctest: +SKIP

    Raises ValueError as `ncollapse.Tracker` does.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        dial: Dial | None = None,
        online: bool = True,
        half_life: float | None = None,
        half_life_unit: str = "samples",
        layers: Any = None,
        head: str | nn.Module | None = None,
        pool: Any = "auto",
        keys: Sequence[str] = KEYS,
        unpack: Unpack | None = None,
        tokens: bool | str = False,
    ) -> None:
        self.model = model
        self._following = Following(
            dial, online=online, half_life=half_life, unit=half_life_unit, layers=layers,
            head=head, pool=pool, keys=keys, tokens=tokens, unpack=unpack,
        )  # fmt: skip
        self._headline = Headline()
        self._evaluated = False

    def attach(self, trainer: Engine | None = None, **evaluators: Engine) -> CollapseHandler:
        """Listen to a trainer and to evaluators by the name of their split. Returns self.

        Raises ValueError where nothing is given.
        """
        if trainer is None and not evaluators:
            raise ValueError("attach() was given no engine; pass the trainer, or val=evaluator")
        if trainer is not None:
            trainer.add_event_handler(Events.STARTED, self._start)
            trainer.add_event_handler(Events.ITERATION_COMPLETED, self._step)
            trainer.add_event_handler(Events.EPOCH_COMPLETED, self._end_epoch)
            for event in (Events.COMPLETED, Events.TERMINATE, Events.INTERRUPT):
                trainer.add_event_handler(event, self._close)
        for split, engine in evaluators.items():
            engine.add_event_handler(Events.EPOCH_STARTED, self._begin_evaluation)
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._evaluate)
            engine.add_event_handler(Events.EPOCH_COMPLETED, self._end_evaluation, split)
        self._evaluated = self._evaluated or bool(evaluators)
        return self

    def penalty(self, target: Any) -> Tensor:
        """What the dial adds to the loss of the batch just seen, `target` its labels; zero without
        a dial, in eval mode and before the trainer has started."""
        found = self._following.penalty(target)
        return next(self.model.parameters()).new_zeros(()) if found is None else found

    # ---- the trainer --------------------------------------------------------------------------
    def _start(self, engine: Engine) -> None:
        self._following.start(self.model)

    def _step(self, engine: Engine) -> None:
        if self._following.active:
            self._following.step(self._following.labels(engine.state.batch))

    def _end_epoch(self, engine: Engine) -> None:
        found = self._following.readings()
        if not self._evaluated:
            engine.state.metrics.update(self._headline.of(found))
        engine.state.metrics.update(flat(found))

    def _close(self, engine: Engine) -> None:
        self._following.close()

    # ---- evaluators ---------------------------------------------------------------------------
    def _begin_evaluation(self, engine: Engine) -> None:
        evaluation = self._following.evaluation or self._following.watch(self.model)
        if evaluation is not None:
            evaluation.start()

    def _evaluate(self, engine: Engine) -> None:
        if self._following.evaluation is not None:
            self._following.evaluation.observe(self._following.labels(engine.state.batch))

    def _end_evaluation(self, engine: Engine, split: str) -> None:
        if self._following.evaluation is not None:
            found = {split: self._following.evaluation.readings()}
            engine.state.metrics.update(self._headline.of(found) | flat(found))

    # ---- going on after an interruption -------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """Online moments and the dial's state."""
        return self._following.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Keep a saved state for when the trainer starts."""
        self._following.load_state_dict(state_dict)
