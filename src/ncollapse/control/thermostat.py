"""Collapse as a dial: a controller that holds a collapse reading at a chosen value in training."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

from jaxtyping import Float
from torch import Tensor

from ncollapse.control.batches import check_features, working
from ncollapse.control.reader import Reader
from ncollapse.control.regularizers import NC1, CodingRate, KoLeo, RateReduction, nc1_penalty
from ncollapse.errors import NCollapseWarning
from ncollapse.metrics.catalog import METRICS

Penalty = Callable[[Tensor, Tensor], Tensor]
PUSH: dict[str, Callable[[], Penalty]] = {
    "koleo": lambda: KoLeo(1.0),
    "coding_rate": CodingRate,
    "rate_reduction": RateReduction,
}
# Readings within this factor of the target count as held.
CLOSE = 1.25
# Below this share of the target the push grows no further: a force like 1/r would overshoot.
FAR_BELOW = 0.1


class Thermostat:
    """Holds an NC1 reading r at `target`: pulls while it reads above, pushes while below.

    Of the error e = log(r/target) a proportional-integral controller makes one signed weight

        u = clip( proportional · e + I, -max_weight, max_weight ),    I ← I + gain · e,

    and `penalty()` is u · pull for u > 0, -u · push for u < 0. I stands still while u is clipped
    and e would take it further (no wind-up).

    r is what the population of the batches has, not what a batch of few samples shows: sums of
    squares within each batch, as many as it has degrees of freedom, are summed over a window of
    batches that fades, and divided last, with the noise of class means taken out. Drift of the
    features from batch to batch does not enter. nc1_ratio weighs classes as they come; of the
    others spreads are pooled and class means count alike. Where the window cannot say, `reading` is
    NaN, the weight stays where it is, and `refusal` says why: nc1_ratio needs classes to explain a
    share of variance four standard errors above 0, nc1_cdnv every pair of classes apart by two,
    nc1_fisher every direction of the means clear of noise, nc1_vci four samples beyond one a class
    for each direction that varies. One warning is given after `patience` such readings in a row.

    target: r > 0 to hold; may be set anew at any time. metric: nc1_fisher, nc1_ratio, nc1_cdnv, or
    nc1_vci (target < 1). pull: "nc1", log(r + target) of the batch as it is. push: "nc1", -log(r +
    target/10); "koleo", "coding_rate", "rate_reduction"; either may be a function of (features,
    labels). gain, proportional: per unit of e. max_weight: largest u and -u. half_life: of the
    window, in batches; None: one batch, or as many as hold four samples a class, and up to 16 (or
    four times as many) while they cannot say. every: batches between two readings. patience:
    readings at the bound, with r off the target by more than a quarter, until `saturated` says so
    and one warning is given: the target is then out of reach. num_classes: taken from the labels
    where not given. together: where torch.distributed runs, read the batches of all ranks as one,
    so that all apply the same weight; every rank must then observe as often. False: each rank holds
    its own.

    Raises ValueError for targets that no features can have, arguments out of range, features that
    are not finite, and `penalty()` before `observe()`. Source: this library.

    >>> dial = Thermostat(target=0.1)                                  # doctest: +SKIP
    >>> dial.observe(features, labels)                                 # doctest: +SKIP
    >>> (loss + dial.penalty()).backward()                             # doctest: +SKIP
    """

    def __init__(
        self,
        target: float,
        metric: str = "nc1_fisher",
        *,
        num_classes: int | None = None,
        pull: str | Penalty = "nc1",
        push: str | Penalty = "nc1",
        gain: float = 0.003,
        proportional: float = 0.1,
        max_weight: float = 1.0,
        half_life: float | None = None,
        every: int = 1,
        patience: int = 200,
        together: bool = True,
    ) -> None:
        if metric not in NC1:
            raise ValueError(f"metric={metric!r} cannot be held; one of {', '.join(NC1)} is needed")
        for name, value in (("gain", gain), ("max_weight", max_weight), ("half_life", half_life)):
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name}={value}; a positive finite number is needed")
        if proportional < 0 or every < 1 or patience < 1:
            raise ValueError(
                f"proportional={proportional}, every={every}, patience={patience}; at least 0, 1 "
                "and 1 are needed"
            )
        self.metric, self.num_classes = metric, num_classes
        self.target = target
        self.gain, self.proportional, self.max_weight = gain, proportional, max_weight
        self.half_life, self.every, self.patience = half_life, every, patience
        self.together = together
        self._reader = Reader(metric, num_classes, half_life, together)
        self._pull = _actuator("pull", pull, {"nc1": lambda: self._nearer})
        self._push = _actuator("push", push, {"nc1": lambda: self._farther, **PUSH})
        self._last: tuple[Tensor, Tensor] | None = None
        self._integral = self._weight = 0.0
        self._reading = math.nan
        self._batches = self._stuck = self._blind = 0
        self._warned = False

    @property
    def target(self) -> float:
        return self._target

    @target.setter
    def target(self, target: float) -> None:
        top = METRICS[self.metric].upper or math.inf
        if not 0 < target < top:
            raise ValueError(
                f"target={target} is no reading that {self.metric} can hold; a number above 0 "
                f"{'' if math.isinf(top) else f'and below {top:g} '}is needed"
            )
        self._target = float(target)

    def _nearer(self, features: Tensor, labels: Tensor) -> Tensor:
        return nc1_penalty(features, labels, metric=self.metric, log=True, floor=self.target)

    def _farther(self, features: Tensor, labels: Tensor) -> Tensor:
        floor = FAR_BELOW * self.target
        return -nc1_penalty(features, labels, metric=self.metric, log=True, floor=floor)

    # ---- readings -----------------------------------------------------------------------------
    @property
    def reading(self) -> float:
        """The last reading of the metric; NaN before the first and where the batches cannot say."""
        return self._reading

    @property
    def refusal(self) -> str | None:
        """Why the last reading is NaN: what there was and what is needed; None for a number."""
        return self._reader.refusal

    @property
    def weight(self) -> float:
        """u: positive while it pulls, negative while it pushes."""
        return self._weight

    @property
    def held(self) -> bool:
        """Whether the reading is within a quarter of the target."""
        return self._reading > 0 and abs(math.log(self._reading / self.target)) < math.log(CLOSE)

    @property
    def saturated(self) -> str | None:
        """ "pull" or "push" while that bound has not been enough for `patience` readings."""
        if self._stuck < self.patience:
            return None
        return "pull" if self._weight > 0 else "push"

    # ---- a step -------------------------------------------------------------------------------
    def observe(self, features: Tensor, target: Tensor) -> float:
        """Take in features (samples, d) with their labels (samples); returns the reading.

        Call in training, before the step: the batch is kept, with its graph, for `penalty()`.
        """
        check_features(features, target)
        self._last = (features, target)
        self._reader.take(features, target)
        self._batches += 1
        if self._batches % self.every == 0:
            self._read()
        return self._reading

    def penalty(self) -> Float[Tensor, ""]:
        """What to add to the loss, differentiable in the last observed features."""
        if self._last is None:
            raise ValueError(
                "penalty() was called before observe(features, target); call that first, in every "
                "step"
            )
        features, labels = self._last
        if self._weight == 0:
            return 0 * working(features).sum()
        actuator = self._pull if self._weight > 0 else self._push
        return abs(self._weight) * actuator(features, labels)

    def _read(self) -> None:
        self._reading = value = self._reader.read()
        if math.isnan(value):
            self._blind += 1
            if self._blind == self.patience:
                self._warn(f"the thermostat has held its weight for {self.patience} readings: "
                           f"{self.refusal}")  # fmt: skip
            return
        self._blind = 0
        # Exact collapse reads 0: far below any target, but not infinitely so.
        self._act(math.log(max(value, 1e-12 * self.target) / self.target))

    def _act(self, error: float) -> None:
        bound = self.max_weight
        wanted = self.proportional * error + self._integral + self.gain * error
        clipped = max(-bound, min(bound, wanted))
        if wanted == clipped or wanted * error < 0:
            self._integral += self.gain * error
        self._integral = max(-bound, min(bound, self._integral))
        self._weight = clipped
        stuck = abs(clipped) == bound and abs(error) > math.log(CLOSE) and clipped * error > 0
        self._stuck = self._stuck + 1 if stuck else 0
        if self._stuck == self.patience and not self._warned:
            self._warned = True
            self._warn(self._out_of_reach)

    @property
    def _out_of_reach(self) -> str:
        side = "above" if self._weight > 0 else "below"
        other = "pull" if self._weight > 0 else "push"
        return (
            f"{self.metric} reads {self._reading:.3g}, {side} its target {self.target:.3g}, and "
            f"the {other} has been at its bound max_weight={self.max_weight:g} for "
            f"{self.patience} readings: the target is out of reach. Raise max_weight, choose "
            f"another {other}, or another target"
        )

    def _warn(self, message: str) -> None:
        warnings.warn(message, NCollapseWarning, stacklevel=5)

    # ---- saving -------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain numbers; `load_state_dict` on an equally built thermostat restores."""
        state: dict[str, Any] = {
            "target": self.target,
            "metric": self.metric,
            "integral": self._integral,
            "weight": self._weight,
            "reading": self._reading,
            "batches": self._batches,
            "stuck": self._stuck,
            "blind": self._blind,
            "warned": self._warned,
            "reader": self._reader.state_dict(),
        }
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore; the target may differ. A state of before readings were free of bias has its
        weight taken over, and its window begins anew. Raises ValueError for another metric's."""
        if state.get("metric") != self.metric:
            kind = f"a thermostat of {state['metric']}" if "metric" in state else "no thermostat"
            raise ValueError(
                f"the state is of {kind} and this one holds {self.metric}; the state_dict() of one "
                "with the same metric is needed"
            )
        self._integral, self._weight = float(state["integral"]), float(state["weight"])
        self._reading, self._batches = float(state["reading"]), int(state["batches"])
        self._stuck, self._warned = int(state["stuck"]), bool(state["warned"])
        self._blind = int(state.get("blind", 0))
        self._last = None
        self._reader.load_state_dict(state.get("reader", {}))


def _actuator(name: str, given: str | Penalty, known: dict[str, Callable[[], Penalty]]) -> Penalty:
    if not isinstance(given, str):
        return given
    if given not in known:
        raise ValueError(
            f"{name}={given!r}; one of {', '.join(known)} or a function of (features, labels) is "
            "needed"
        )
    return known[given]()
