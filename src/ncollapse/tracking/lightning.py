"""CollapseCallback for Lightning: validation and training batches, without a data pass more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import nn

from ncollapse.collect.batches import Unpack, unpack_batch
from ncollapse.sources.optional import optional
from ncollapse.tracking.evaluation import KEYS, Evaluation, model_of, numbers
from ncollapse.tracking.loggers import flat
from ncollapse.tracking.online import SPLIT, Online

if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningModule, Trainer
else:
    Trainer = Any
    Callback = optional("lightning.pytorch").Callback
    LightningModule = optional("lightning.pytorch").LightningModule

VALIDATION = "val"


class CollapseCallback(Callback):  # type: ignore[misc, unused-ignore]
    """Logs collapse as `nc/val/{layer}/{key}` and `nc/online/{layer}/{key}`.

    The first validation loader is read while Lightning validates; training batches are followed
    with a half-life (see `ncollapse.Tracker`) and logged every epoch, or `every` N steps. `model`
    names the module that makes the logits (default: the LightningModule where it has a forward,
    else its largest child); `unpack` maps batches to (inputs, labels). All ranks log the same keys
    and values; the sanity check is left out; `state_dict` resumes.

    >>> Trainer(callbacks=[CollapseCallback()])                                # doctest: +SKIP

    Raises ValueError as `ncollapse.Tracker` does, and where Lightning is missing.
    """

    def __init__(
        self,
        *,
        model: str | None = None,
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
    ) -> None:
        if every != "epoch" and not (isinstance(every, int) and every > 0):
            raise ValueError(f"every={every!r}; 'epoch' or a number of steps is needed")
        self.model, self.every, self.unpack, self.keys = model, every, unpack, tuple(keys)
        self.follows, self.validates = online, validation
        self._taps: dict[str, Any] = {"layers": layers, "head": head, "pool": pool}
        self._fading: dict[str, Any] = {"half_life": half_life, "unit": half_life_unit}
        self._online: Online | None = None
        self._evaluation: Evaluation | None = None
        self._loaded: dict[str, Any] = {}

    # ---- training -----------------------------------------------------------------------------
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.follows:
            found = model_of(pl_module, self.model, LightningModule.forward)
            self._online = Online(found, keys=self.keys, **self._taps, **self._fading)
            self._online.load_state_dict(self._loaded)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._online is None:
            return
        self._online.observe(unpack_batch(batch, self.unpack).labels)
        if self.every != "epoch" and (batch_idx + 1) % int(self.every) == 0:
            pl_module.log_dict(self._followed(), on_step=True, on_epoch=False)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._online is not None and self.every == "epoch":
            pl_module.log_dict(self._followed())

    def _followed(self) -> Mapping[str, float]:
        assert self._online is not None
        return flat({SPLIT: numbers(self._online.readings(together=True))})

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self._online is not None:
            self._online.close()

    # ---- validation ---------------------------------------------------------------------------
    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.validates and not trainer.sanity_checking:
            if self._evaluation is None:
                found = model_of(pl_module, self.model, LightningModule.forward)
                self._evaluation = Evaluation(found, keys=self.keys, **self._taps)
            self._evaluation.start()

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._evaluation is not None and not trainer.sanity_checking and dataloader_idx == 0:
            self._evaluation.observe(unpack_batch(batch, self.unpack).labels)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._evaluation is not None and not trainer.sanity_checking:
            pl_module.log_dict(flat({VALIDATION: self._evaluation.readings()}))

    def state_dict(self) -> dict[str, Any]:
        return {"online": self._loaded if self._online is None else self._online.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._loaded = dict(state_dict["online"])
