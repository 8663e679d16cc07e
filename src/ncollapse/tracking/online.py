"""Online following: statistics of the training batches themselves, without a forward pass more."""

from __future__ import annotations

import warnings
from typing import Any

from torch import Tensor

from ncollapse.collect.ranks.sync import all_merge, in_group
from ncollapse.collect.statistics.forgetting import ForgettingMoments, check_half_life
from ncollapse.collect.tap.taps import HEAD, Taps
from ncollapse.errors import NCollapseWarning
from ncollapse.metrics.catalog import METRICS
from ncollapse.metrics.readings import applicable, read
from ncollapse.record.readings import Reading
from ncollapse.tracking.chance import unbiased_nc1
from ncollapse.tracking.passes import DivergedError, Heard, Passes

SPLIT = "online"
DEFINITION = "micro"
# By default a half-life has this many samples a class: enough that chance moves NC1 by 1 %, short
# enough that a network of 10 classes is followed over some ten batches.
PER_CLASS = 100
# Wider layers keep traces only: a product (d, d) a batch would no longer be small.
WIDEST = 2048


class Online:
    """Moments with forgetting of every tapped layer, fed by hooks and the loop's labels.

    `half_life` counts samples or batches (`unit`); by default 100 samples a class. K is the head's
    width, else `num_classes`. A head that is replaced or changes its width starts the statistics
    anew with a warning; features that are NaN or infinite make the next readings None with a
    warning. A head that does not make the logits, or a layer that cannot be read, at the first
    batch, ends the following with one warning; labels that do not fit leave their batch out, with
    one. With `tokens` ("next", "same") every token is a sample. Training goes on.

    Raises ValueError for a half-life, a unit and a number of classes that cannot be.
    """

    def __init__(
        self,
        taps: Taps,
        *,
        half_life: float | None = None,
        unit: str = "samples",
        num_classes: int | None = None,
        keys: tuple[str, ...] | None = None,
        tokens: str | None = None,
    ) -> None:
        check_half_life(1.0 if half_life is None else half_life, unit)
        if half_life is None and unit != "samples":
            raise ValueError(f"half-life in {unit} without a number; pass half_life=… too")
        self.half_life, self.unit = half_life, unit
        self.keys = keys
        self.passes = Passes(taps, tokens=tokens)
        self.stopped = False
        if not taps.wants_head and num_classes is None:
            raise ValueError("without a head the number of classes is unknown; pass num_classes=…")
        self.num_classes = num_classes
        self.moments: dict[str, ForgettingMoments] = {}
        self.batches = 0
        # Why readings are None, in a sentence, by layer and key.
        self.refused: dict[str, dict[str, str]] = {}
        self._loaded: dict[str, Any] = {}
        self._warned: set[str] = set()
        self.passes.open()

    # ---- fed by the loop ----------------------------------------------------------------------
    @property
    def pending(self) -> bool:
        """Whether a forward pass waits for its labels."""
        return self.passes.pending

    def observe(self, target: Any = None) -> None:
        """Take in the last training forward pass with its labels (samples); None: those that the
        model was given (`labels=…`, as Hugging Face models are)."""
        if self.stopped:
            return
        try:
            heard = self.passes.take()
        except DivergedError as error:
            self._warn_once(f"nothing is followed: {error}; training goes on", name="diverged")
            return
        except ValueError as error:
            if self.batches:
                self._restart(str(error))
            else:
                self.stop(str(error))
            return
        if heard is None:
            self._warn_once(
                "no forward pass in training mode was seen since the last call, so nothing was "
                "followed; call model(inputs) with model.train(), once per call, and start the "
                "tracker before torch.compile"
            )
            return
        try:
            found = heard.labelled(target)
            if found is None:
                said = "no labels were passed and the model was given none; pass the target"
                self._warn_once(said)
                return
            self._take(heard, *found)
        except (ValueError, TypeError, RuntimeError) as error:
            self._warn_once(f"a batch is not followed: {error}; training goes on", name="labels")

    def _take(self, heard: Heard, features: dict[str, Tensor], labels: Tensor) -> None:
        if self._changed(heard):
            self._restart(self._changed(heard))
        K = heard.width or self.num_classes
        assert K is not None
        for layer, rows in features.items():
            if layer not in self.moments:
                self.moments[layer] = self._new(layer, K, rows)
            self.moments[layer].update(rows, labels)
        self.batches += 1

    def stop(self, reason: str) -> None:
        """End the following for good, with a warning; training goes on."""
        if not self.stopped:
            self.stopped = True
            self.passes.close()
            _warn(f"nothing is followed along training: {reason}; training goes on")

    def _new(self, layer: str, num_classes: int, features: Tensor) -> ForgettingMoments:
        wide = features.shape[1] > WIDEST
        moments = ForgettingMoments(
            num_classes,
            features.shape[1],
            half_life=self.half_life or float(PER_CLASS * num_classes),
            unit=self.unit,
            mode="trace" if wide else "full",
            device=features.device,
        )
        if layer in self._loaded:
            moments.load_state_dict(self._loaded.pop(layer))
        return moments

    def _changed(self, heard: Heard) -> str:
        """What no longer fits the statistics so far, in words; empty when all does."""
        for layer, features in heard.features.items():
            moments = self.moments.get(layer)
            if moments is None:
                continue
            if features.shape[1] != moments.num_features:
                return f"layer {layer!r} went from {moments.num_features} to {features.shape[1]}"
            if layer == HEAD and heard.width != moments.num_classes:
                return f"the head went from {moments.num_classes} to {heard.width} classes"
        return ""

    def _restart(self, reason: str) -> None:
        _warn(f"online statistics start anew: {reason}")
        self.moments, self._loaded = {}, {}
        try:
            self.passes.renew()
        except ValueError as error:
            self.stop(str(error))

    # ---- what was found -----------------------------------------------------------------------
    def readings(self, *, together: bool = False) -> dict[str, dict[str, Reading]]:
        """Readings by layer: NC1 to NC3 in micro weighting, the half-life in their definition.

        NC1 is free of the bias that few samples a class bring, and None while they cannot say, for
        which `refused` has the reason; NC2 and NC3 are read as they are. The value is None, with a
        warning, where a batch since the last call held NaN or infinite features. Empty before the
        first batch. `together` reads the batches of all ranks of torch.distributed; then every rank
        must call, and all find the same.
        """
        taps = self.passes.taps
        if taps.head is not None:
            taps.refresh()
        found = {}
        for layer in taps.layers:
            if layer in self.moments:
                own = self.moments[layer]
                moments = all_merge(own) if together and in_group() else own
                found[layer] = self._read(layer, moments)
                own.rejected()
        return found

    def _read(self, layer: str, moments: ForgettingMoments) -> dict[str, Reading]:
        head = self.passes.taps.head if layer == HEAD else None
        keys = [
            key
            for key in applicable(head=head is not None)
            if (self.keys is None or key in self.keys)
            and (moments.mode == "full" or "full" not in METRICS[key].needs)
        ]
        statistics = moments.statistics()
        values: dict[str, float | None] = dict.fromkeys(keys)
        sound = self._sound(layer, moments)
        if sound and statistics.num_classes >= 2:
            weight, bias = (None, None) if head is None else (head.weight, head.bias)
            if weight is None or bool(weight.isfinite().all()):
                geometry = moments.geometry(weight, bias)
                nc1, self.refused[layer] = unbiased_nc1(keys, statistics, geometry)
                rest = [key for key in keys if key not in nc1]
                plain, _ = read(
                    rest, statistics=statistics, geometry=geometry, definition=DEFINITION
                )
                values = nc1 | plain
        pooling = self.passes.taps.pooling.get(layer, "none")
        suffix = moments.described + ("" if pooling == "none" else f", {pooling}")
        return {
            key: Reading(
                value=values[key],
                ideal=METRICS[key].ideal,
                n=round(float(statistics.counts.sum())),
                definition=f"{METRICS[key].resolve(DEFINITION)[0]}, {suffix}",
            )
            for key in keys
        }

    def _sound(self, layer: str, moments: ForgettingMoments) -> bool:
        outside, infinite = moments.rejected()
        if outside:
            self._warn_once(
                f"{outside} labels lie outside 0..{moments.num_classes - 1}; those samples are "
                "left out of online readings"
            )
        if infinite:
            self._warn_once(
                f"layer {layer!r}: {infinite} samples of the last batches hold NaN or infinite "
                "features; readings over them are null, and training goes on",
                name=f"nan {layer}",
            )
        else:
            self._warned.discard(f"nan {layer}")
        return not infinite

    # ---- saving -------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """Moments by layer."""
        own = {layer: moments.state_dict() for layer, moments in self.moments.items()}
        return {**self._loaded, **own}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state; layers take theirs up when they are first seen."""
        self._loaded, self.moments = dict(state), {}

    def close(self) -> None:
        """Take the hooks off the model."""
        self.passes.close()

    def _warn_once(self, message: str, name: str | None = None) -> None:
        if (name or message) not in self._warned:
            self._warned.add(name or message)
            _warn(message)


def _warn(message: str) -> None:
    warnings.warn(message, NCollapseWarning, stacklevel=3)
