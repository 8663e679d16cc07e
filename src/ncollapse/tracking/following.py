"""Following: what is kept of a model in training: batches, a dial, and validation passes.

A trainer's callback is this and the glue that calls it: `begin`, then for each batch `penalty` and
`step` (or `observe` for each part of one), `readings` when due, `close`; and `watch`, then
`evaluation.start`, `.observe` and `.readings` around the trainer's own validation.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ncollapse.collect.tap.batches import Unpack, unpack_batch
from ncollapse.collect.tap.head_find import HeadNotFoundError
from ncollapse.collect.tap.taps import Taps
from ncollapse.collect.tap.tokens import token_kind, token_parts
from ncollapse.control.held import Dial
from ncollapse.errors import NCollapseWarning
from ncollapse.tracking.evaluation import KEYS, Evaluation
from ncollapse.tracking.head_breaks import LawReading
from ncollapse.tracking.hold import Hold, check_dial
from ncollapse.tracking.laws import Laws
from ncollapse.tracking.loggers import Values, numbers
from ncollapse.tracking.online import SPLIT, Online

# Of a saved state.
PARTS = ("online", "dial", "law")


class Following:
    """Online following of a model's training batches, the dial that is held there, if any, and
    the passes in eval mode that are watched.

    tokens: as in `ncollapse.measure`; unpack maps batches to (inputs, labels). Nothing stands on a
    model before `begin` or `watch`, nor where they raise. Raises ValueError for what is no dial at
    once, and with `begin` as `Online` and `Hold` do.
    """

    def __init__(
        self,
        dial: Dial | None = None,
        *,
        online: bool = True,
        half_life: float | None = None,
        unit: str = "samples",
        layers: Any = None,
        head: Any = None,
        pool: Any = "auto",
        keys: Sequence[str] | None = KEYS,
        num_classes: int | None = None,
        tokens: bool | str = False,
        unpack: Unpack | None = None,
    ) -> None:
        self.tokens, self.unpack = token_kind(tokens), unpack
        if dial is not None:
            check_dial(dial)
        self.dial, self.head, self.follows = dial, head, online
        self.keys = None if keys is None else tuple(keys)
        self._where: dict[str, Any] = {"layers": layers, "head": head, "pool": pool}
        self._fading: dict[str, Any] = {"half_life": half_life, "unit": unit}
        self._fading["num_classes"] = num_classes
        self.online: Online | None = None
        self.hold: Hold | None = None
        self.evaluation: Evaluation | None = None
        self.laws: Laws | None = None
        self._loaded: dict[str, Any] = {}
        self._unwatched = False

    # ---- training batches ---------------------------------------------------------------------
    @property
    def active(self) -> bool:
        """Whether training batches are followed or held."""
        return self.online is not None or self.hold is not None

    def start(self, model: nn.Module) -> None:
        """`begin` in somebody's training: what was asked for must be there, but a model of which
        nothing was asked, and in which no head is found, is left alone with one warning."""
        try:
            self.begin(model)
        except HeadNotFoundError as error:
            if self._asks:
                raise
            _warn(f"nothing is followed along training: {error}; training goes on")

    @property
    def _asks(self) -> bool:
        """Whether something of the model was named, or has to be held."""
        named = [value for name, value in self._where.items() if name != "pool"]
        return self.dial is not None or any(value is not None for value in named)

    def begin(self, model: nn.Module) -> None:
        """Follow a model from here on, in the state that was loaded."""
        self.close()
        try:
            if self.dial is not None:
                self.hold = Hold(self.dial, model, self.head)
            if self.follows:
                taps = Taps(model, **self._where)
                self.online = Online(taps, keys=self.keys, tokens=self.tokens, **self._fading)
        except Exception:
            self.close()
            raise
        self.restore()

    # ---- laws of training ---------------------------------------------------------------------
    def obey(self, model: nn.Module, optimizers: Sequence[Any], schedulers: Sequence[Any]) -> None:
        """Hold the head against its laws from here on (`ncollapse.tracking.laws`), whichever of a
        trainer's optimizers steps it. What cannot be followed is said by `law` only."""
        if self.laws is not None:
            self.laws.close()
        head = self.head if isinstance(self.head, str | nn.Module) else None
        self.laws = Laws(model, list(optimizers), list(schedulers), head, lenient=True)
        state = self._loaded.pop("law", None)
        if state:
            self.laws.load_state_dict({"law": state})

    def tries(self, optimizer: Any) -> None:
        """Before a step that the trainer believes to make."""
        if self.laws is not None:
            if self.online is not None:
                self.laws.settle(self.online.passes.taps)
            self.laws.tries(optimizer)

    @property
    def law(self) -> LawReading | None:
        """Whether the sum of the classifier's rows follows its law so far."""
        return None if self.laws is None else self.laws.reading

    # ---- training batches, one by one ---------------------------------------------------------
    def observe(self, target: Any = None) -> None:
        """Online: take in the last training batch with its labels (None: the model's own)."""
        if self.online is not None:
            self.online.observe(target)

    def step(self, target: Any = None) -> None:
        """After a training batch: `observe`, and a word where the dial's penalty was not added."""
        self.observe(target)
        if self.hold is not None:
            self.hold.step(expected=True)

    def penalty(self, target: Any, *, strict: bool = True) -> Tensor | None:
        """What the dial adds to the loss of the last batch, `target` its labels (samples); None
        without a dial and outside training, and unless `strict` where no forward pass waits."""
        if self.hold is None or not self.hold.catcher.listening:
            return None
        if not strict and not self.hold.catcher.pending:
            return None
        if target is None:
            raise ValueError(
                "the dial needs the labels of every batch and the batch names none; call them "
                "'labels', or name them by the trainer's own option"
            )
        return self.hold.penalty(target)

    def labels(self, batch: Any) -> Any:
        """Those in what a loader yields; None, with one warning, where there are none to follow.
        Raises ValueError where a dial needs them."""
        try:
            if self.tokens is not None:
                return token_parts(batch, self.unpack)[1]
            return unpack_batch(batch, self.unpack).labels
        except ValueError as error:
            if self.hold is not None:
                raise
            for one in (self.online, self.evaluation):
                if one is not None:
                    one.stop(str(error))
            return None

    def readings(self) -> dict[str, dict[str, dict[str, float]]]:
        """Values by split (`online`, `dial`), layer and key, NaN for null; call on every rank."""
        found: Values = {}
        if self.online is not None:
            found |= numbers({SPLIT: self.online.readings(together=True)})
        if self.hold is not None:
            found |= self.hold.readings()
        # The keys must be the same on all ranks.
        return {
            split: {
                layer: {key: math.nan if value is None else value for key, value in values.items()}
                for layer, values in layers.items()
            }
            for split, layers in found.items()
        }

    # ---- validation ---------------------------------------------------------------------------
    def watch(self, model: nn.Module) -> Evaluation | None:
        """Read a model's passes in eval mode from here on, by the same options. None, with one
        warning, where nothing of it was named and no head is found."""
        if self.evaluation is not None:
            self.evaluation.close()
        keys = KEYS if self.keys is None else self.keys
        if self._unwatched:
            return None
        try:
            taps = Taps(model, **self._where)
        except HeadNotFoundError as error:
            if self._asks:
                raise
            self._unwatched = True
            _warn(f"evaluation is not read: {error}; training goes on")
            return None
        self.evaluation = Evaluation(taps, keys, self.tokens)
        self.evaluation.start()
        return self.evaluation

    # ---- going on after an interruption -------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """Online moments, the dial's state and the law's: tensors and plain numbers."""
        state = dict(self._loaded)
        if self.online is not None:
            state["online"] = self.online.state_dict()
        if self.hold is not None:
            state["dial"] = self.hold.state_dict()
        if self.laws is not None:
            state |= self.laws.state_dict()
        return {"online": {}, "dial": {}, **state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Keep a saved state for `begin`."""
        self._loaded = {name: dict(state.get(name, {})) for name in PARTS}

    def restore(self) -> None:
        """Hand the loaded state to what is followed and held now."""
        loaded, self._loaded = self._loaded, {}
        if loaded.get("law"):
            self._loaded["law"] = loaded["law"]  # `obey` takes it.
        if self.online is not None:
            self.online.load_state_dict(loaded.get("online", {}))
        if self.hold is not None:
            self.hold.load_state_dict(loaded.get("dial", {}))

    def close(self) -> None:
        """Take all hooks off the model; what was read stays."""
        for one in (self.online, self.hold, self.laws):
            if one is not None:
                one.close()


def _warn(message: str) -> None:
    warnings.warn(message, NCollapseWarning, stacklevel=3)


def model_of(module: nn.Module, name: str | None, plain: Any) -> nn.Module:
    """The part of a training module that makes the logits: `name`, else the module where its
    forward is not the `plain` one of its base class, else its child with most parameters.

    Raises ValueError when nothing is so named, or no child has parameters.
    """
    if name is not None:
        found = dict(module.named_modules()).get(name)
        if found is None:
            listed = ", ".join(child for child, _ in module.named_children())
            raise ValueError(f"model {name!r} is no module here; there are {listed}")
        return found
    if type(module).forward is not plain:
        return module
    sizes = {child: sum(p.numel() for p in child.parameters()) for child in module.children()}
    best = max(sizes, key=lambda child: sizes[child], default=None)
    if best is None or not sizes[best]:
        raise ValueError("this module has no forward and no child with parameters; pass model=NAME")
    return best
