"""CollapseCallback for Lightning: validation and training batches, without a data pass more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from ncollapse.collect.tap.batches import Unpack
from ncollapse.control.held import Dial
from ncollapse.sources.specs.optional import optional
from ncollapse.tracking.evaluation import KEYS
from ncollapse.tracking.following import Following, model_of
from ncollapse.tracking.head_breaks import LawReading
from ncollapse.tracking.loggers import Headline, flat

if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningModule, Trainer
else:
    Trainer = Any
    Callback = optional("lightning.pytorch").Callback
    LightningModule = optional("lightning.pytorch").LightningModule


class CollapseCallback(Callback):  # type: ignore[misc, unused-ignore]
    """Logs collapse as `nc/val/{layer}/{key}`, `nc/online/{layer}/{key}` and `nc/dial/head/{key}`.

    The first validation loader is read while Lightning validates; training batches are followed
    with a half-life (see `ncollapse.Tracker`) and logged every epoch, or `every` N steps. `dial` is
    told of every training batch; its penalty is added before backward, with the loss's own share
    and scale (in manual optimisation: in place, to the first backward after each forward pass).
    `model` names the module that makes the logits (default: the LightningModule where it has a
    forward, else its largest child); `unpack` maps batches to (inputs, labels); with `tokens` every
    token is a sample, as in `ncollapse.measure`. What cannot be read is said once. All ranks log
    the same; the sanity check is left out; `state_dict` resumes. The head is held against the law
    of its sum (`law`, see `ncollapse.Tracker`): what breaks it is said at the end.

    >>> Trainer(callbacks=[CollapseCallback(dial=Thermostat(0.1))])            # doctest: +SKIP

    Raises ValueError as `ncollapse.Tracker` does.
    """

    def __init__(
        self,
        *,
        model: str | None = None,
        dial: Dial | None = None,
        online: bool = True,
        validation: bool = True,
        every: int | str = "epoch",
        half_life: float | None = None,
        half_life_unit: str = "samples",
        layers: Any = None,
        head: str | nn.Module | None = None,
        pool: Any = "auto",
        keys: Sequence[str] = KEYS,
        unpack: Unpack | None = None,
        tokens: bool | str = False,
    ) -> None:
        if every != "epoch" and not (isinstance(every, int) and every > 0):
            raise ValueError(f"every={every!r}; 'epoch' or a number of steps is needed")
        self.model, self.every, self.validates = model, every, validation
        self._following = Following(
            dial, online=online, half_life=half_life, unit=half_life_unit, layers=layers,
            head=head, pool=pool, keys=keys, tokens=tokens, unpack=unpack,
        )  # fmt: skip
        self._labels: Tensor | None = None
        self._headline = Headline()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        found = model_of(pl_module, self.model, LightningModule.forward)
        self._following.start(found)
        plans = [config.scheduler for config in trainer.lr_scheduler_configs]
        self._following.obey(found, trainer.optimizers, plans)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
        self._following.tries(optimizer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._following.laws is not None:
            self._following.laws.warn()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: Any, index: int
    ) -> None:
        follows = self._following.active
        self._labels = self._following.labels(batch) if follows else None

    def on_before_backward(self, trainer: Trainer, pl_module: Any, loss: Tensor) -> None:
        penalty = self._following.penalty(self._labels, strict=pl_module.automatic_optimization)
        if penalty is not None:
            penalty = penalty / trainer.accumulate_grad_batches
            penalty = penalty if trainer.scaler is None else trainer.scaler.scale(penalty)
            loss.add_(penalty.to(loss))  # In place: this very tensor will be differentiated.

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._following.step(self._labels)
        if self.every != "epoch" and (batch_idx + 1) % int(self.every) == 0:
            pl_module.log_dict(self._online(), on_step=True, on_epoch=False)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.every == "epoch":
            pl_module.log_dict(self._online())

    def _online(self) -> dict[str, float]:
        found = self._following.readings()
        alone = self._following.evaluation is None
        return (self._headline.of(found) if alone else {}) | flat(found)

    @property
    def law(self) -> LawReading | None:
        """Whether the sum of the classifier's rows follows its law; None before training."""
        return self._following.law

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._following.close()
        if self._following.evaluation is not None:
            self._following.evaluation.close()

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.validates and not trainer.sanity_checking:
            found = model_of(pl_module, self.model, LightningModule.forward)
            evaluation = self._following.evaluation or self._following.watch(found)
            if evaluation is not None:
                evaluation.start()

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        evaluation = None if trainer.sanity_checking else self._following.evaluation
        if evaluation is not None and dataloader_idx == 0:
            evaluation.observe(self._following.labels(batch))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        evaluation = None if trainer.sanity_checking else self._following.evaluation
        if evaluation is not None:
            found = {"val": evaluation.readings()}
            pl_module.log_dict(self._headline.of(found) | flat(found))

    def state_dict(self) -> dict[str, Any]:
        return self._following.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._following.load_state_dict(state_dict)
