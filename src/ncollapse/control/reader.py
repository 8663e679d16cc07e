"""What a thermostat reads of its batches: free of their bias, or nothing and the reason."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

from ncollapse.collect.ranks.ranks import Ranks
from ncollapse.collect.ranks.sync import all_merge
from ncollapse.collect.statistics.unbiased import NoisyMeans, UnresolvedError, cdnv, fisher, vci
from ncollapse.collect.statistics.window import Window

OF_MEANS: dict[str, Callable[[NoisyMeans], float]] = {
    "nc1_cdnv": cdnv,
    "nc1_fisher": fisher,
    "nc1_vci": vci,
}
PARTS = {"nc1_ratio": "shares", "nc1_cdnv": "means"}
# A window holds about this many samples a class: often the last batch alone, by a half-life after
# which the one before weighs a thousandth.
SAMPLES, LATEST = 4, 0.1
# nc1_vci inverts the scatter, so its window holds about this many samples a feature.
EACH_FEATURE = 2.5
# A half-life of the reader's own choice grows by this factor with each reading that cannot be
# given, up to LONGEST batches or MOST times where it began, and shrinks with each that can.
GROWS, SHRINKS, LONGEST, MOST = 1.25, 0.98, 16.0, 4.0


class Reader:
    """A window over batches, its half-life in batches, and one NC1 metric read from it.

    half_life None: long enough for four samples a class (nc1_vci: 2.5 samples a feature), longer
    while the reading cannot be given, and back. `refusal` says why the last reading is NaN, in a
    sentence; None where it is a number. together: batches of all ranks are read as one.
    """

    def __init__(
        self, metric: str, num_classes: int | None, half_life: float | None, together: bool
    ) -> None:
        self.metric, self.num_classes = metric, num_classes
        self.given, self.together = half_life, together
        self.window: Window | None = None
        self.first = self.half_life = 0.0
        self.refusal: str | None = None

    @property
    def ranks(self) -> Ranks | None:
        """The processes that read together, None for one alone."""
        return Ranks.current() if self.together else None

    def take(self, features: Tensor, labels: Tensor) -> None:
        """Add a batch to the window, merged over ranks: a class then counts what all saw of it."""
        ranks = self.ranks
        window, samples = self._fitting(features, labels, ranks)
        if not samples:
            return
        batch = window.batch(features, labels)
        window.add(batch if ranks is None else all_merge(batch), 2.0 ** (-1 / self.half_life))

    def _fitting(self, features: Tensor, labels: Tensor, ranks: Ranks | None) -> tuple[Window, int]:
        """A window of these classes, begun anew when a class turns up that was not foreseen, and
        the samples of all ranks."""
        known, samples = self.window, labels.numel()
        if self.num_classes is not None:
            K = self.num_classes
        else:
            seen = int(labels.max()) + 1 if labels.numel() else 0
            K = max(2, seen, known.num_classes if known else 0)
        if ranks is not None:
            # What one rank sees of classes and samples must not make its window differ.
            found = ranks.gather((K, samples))
            K, samples = max(k for k, _ in found), sum(number for _, number in found)
        if known is None or known.num_classes != K:
            known = self._begin(K, features, samples)
        return known, samples

    def _begin(self, K: int, features: Tensor, samples: int) -> Window:
        d = features.shape[1]
        wanted = SAMPLES * K + (EACH_FEATURE * d if self.metric == "nc1_vci" else 0)
        batches = wanted / max(samples, 1)
        self.first = self.half_life = self.given or (LATEST if batches <= 1 else batches)
        parts = PARTS.get(self.metric, "full")
        self.window = Window(K, d, parts=parts, device=features.device)
        return self.window

    def read(self) -> float:
        """The metric over the window, NaN with `refusal` where it cannot say.

        Raises ValueError for labels outside 0..K-1, on every rank.
        """
        window = self.window
        assert window is not None
        outside, _ = window.rejected
        if outside:
            raise ValueError(
                f"{outside} labels lie outside 0..{window.num_classes - 1}; pass the right "
                "num_classes"
            )
        try:
            value = self._value(window)
        except UnresolvedError as error:
            value, self.refusal = math.nan, str(error)
        else:
            self.refusal = None
        if self.given is None:
            self._adapt(resolved=self.refusal is None)
        return value

    def _value(self, window: Window) -> float:
        if self.metric == "nc1_ratio":
            return window.ratio()
        return OF_MEANS[self.metric](window.noisy_means(self.metric))

    def _adapt(self, *, resolved: bool) -> None:
        if resolved:
            self.half_life = max(self.first, SHRINKS * self.half_life)
        else:
            longest = max(LONGEST, MOST * self.first)
            self.half_life = min(longest, max(1.0, GROWS * self.half_life))

    # ---- saving -------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain numbers; empty before the first batch."""
        if self.window is None:
            return {}
        half_lives = {"first": self.first, "half_life": self.half_life}
        return {**half_lives, "refusal": self.refusal, "window": self.window.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore; an empty state begins anew."""
        self.window, self.refusal = None, state.get("refusal")
        if state:
            config = state["window"]["config"]
            device = state["window"]["free"].device
            self.window = Window(**config, device=device)
            self.window.load_state_dict(state["window"])
            self.first, self.half_life = float(state["first"]), float(state["half_life"])
