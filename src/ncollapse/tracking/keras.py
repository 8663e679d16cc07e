"""CollapseCallback for Keras 3 on its torch backend: what `fit` trains and validates on, read."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from ncollapse.sources.specs.optional import optional
from ncollapse.tracking.evaluation import KEYS
from ncollapse.tracking.following import Following
from ncollapse.tracking.loggers import Headline, flat

# Nothing else can be read; where the user has chosen, the choice stands and is judged below.
os.environ.setdefault("KERAS_BACKEND", "torch")

if TYPE_CHECKING:
    from keras.callbacks import Callback
else:
    Callback = optional("keras.callbacks").Callback


class CollapseCallback(Callback):  # type: ignore[misc, unused-ignore]
    """Puts collapse into the logs of every epoch, as `nc/{val, online}/{layer}/{key}` and
    `nc_headline`.

    `fit` then has them in its history; callbacks that are to see them, such as EarlyStopping, come
    later in the list. Validation batches are read while Keras validates, training batches are
    followed with a half-life (see `ncollapse.Tracker`). Layers of Keras are no modules of torch:
    the head is the kernel of the model's last dense layer, or the parameter that `head` names, and
    it is heard where the model multiplies with it. Callbacks are not told labels, which are taken
    where they pass: the model's `call` and `compute_loss` are wrapped while it is fitted or
    evaluated. What cannot be read is said once. `values` holds what was read last, also after
    `evaluate`.

    >>> model.fit(x, y, validation_data=…, callbacks=[CollapseCallback()])     # doctest: +SKIP

    Raises ValueError as `ncollapse.Tracker` does, and where Keras runs on another backend.
    """

    def __init__(
        self,
        *,
        online: bool = True,
        half_life: float | None = None,
        half_life_unit: str = "samples",
        head: str | None = None,
        keys: Sequence[str] = KEYS,
    ) -> None:
        super().__init__()
        backend = optional("keras").config.backend()
        if backend != "torch":
            raise ValueError(
                f"Keras runs on {backend!r} and only its torch backend can be read; set the "
                "environment variable KERAS_BACKEND=torch before keras is imported"
            )
        self._options: dict[str, Any] = {
            "online": online, "half_life": half_life, "unit": half_life_unit, "keys": keys,
        }  # fmt: skip
        self._head = head
        self._following = Following(head=head, **self._options)
        self._headline = Headline()
        self._labels: Any = None
        self._known: Any = None
        self._inner: dict[str, Any] = {}
        self._trains = False
        self._validated: dict[str, Any] = {}
        self.values: dict[str, float] = {}

    # ---- the model, where features and labels pass --------------------------------------------
    def _wrap(self) -> None:
        model = self.model
        if self._known is not model:
            state, self._known = self._following.state_dict(), model
            head = last_kernel(model) if self._head is None else self._head
            self._following = Following(head=head, **self._options)
            self._following.load_state_dict(state)
        if not self._inner:
            self._inner = {"call": model.call, "compute_loss": model.compute_loss}
            model.call, model.compute_loss = self._call, self._compute_loss

    def _unwrap(self) -> None:
        for name, inner in self._inner.items():
            setattr(self.model, name, inner)
        self._inner = {}

    def _call(self, *arguments: Any, **keywords: Any) -> Any:
        with ExitStack() as heard:
            for one in (self._following.online, self._following.evaluation):
                if one is not None:
                    heard.enter_context(one.passes.taps.products())
            return self._inner["call"](*arguments, **keywords)

    def _compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, *rest: Any, **keywords: Any
    ) -> Any:
        self._labels = _classes(y, y_pred)
        return self._inner["compute_loss"](x, y, y_pred, *rest, **keywords)

    # ---- training -----------------------------------------------------------------------------
    def on_train_begin(self, logs: Any = None) -> None:
        self._trains = True
        self._wrap()
        self._following.start(self.model)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._following.step(self._labels)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        found = {**self._validated, **self._following.readings()}
        self.values = self._headline.of(found) | flat(found)
        if logs is not None:
            logs.update(self.values)

    def on_train_end(self, logs: Any = None) -> None:
        self._trains = False
        self._unwrap()
        self._following.close()

    # ---- validation ---------------------------------------------------------------------------
    def on_test_begin(self, logs: Any = None) -> None:
        self._wrap()
        evaluation = self._following.evaluation or self._following.watch(self.model)
        if evaluation is not None:
            evaluation.start()

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        if self._following.evaluation is not None:
            self._following.evaluation.observe(self._labels)

    def on_test_end(self, logs: Any = None) -> None:
        evaluation = self._following.evaluation
        self._validated = {} if evaluation is None else {"val": evaluation.readings()}
        if not self._trains:
            self._unwrap()
            self.values = self._headline.of(self._validated) | flat(self._validated)

    # ---- going on after an interruption -------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """Online moments."""
        return self._following.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Keep a saved state for when `fit` begins."""
        self._following.load_state_dict(state_dict)


def last_kernel(model: nn.Module) -> str | None:
    """The parameter that a Keras model's last dense layer multiplies with, by name; None where it
    has none."""
    layers: list[Any] = list(getattr(model, "_flatten_layers", list)())
    kernels = [getattr(getattr(layer, "kernel", None), "value", None) for layer in layers]
    names = {id(part): name for name, part in model.named_parameters() if part.dim() == 2}
    return next((names[id(one)] for one in reversed(kernels) if id(one) in names), None)


def _classes(y: Any, predicted: Any) -> Any:
    """Labels as numbers of classes: Keras has them as a column, or as rows with a single one."""
    if not isinstance(y, Tensor) or y.dim() != 2 or not isinstance(predicted, Tensor):
        return y
    if y.shape[1] == 1:
        return y[:, 0].long()
    single = y.shape == predicted.shape and bool(((y == 0) | (y == 1)).all())
    return y.argmax(1) if single and bool((y.sum(1) == 1).all()) else y
