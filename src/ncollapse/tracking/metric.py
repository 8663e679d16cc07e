"""NeuralCollapse: update, compute, reset; the metric for any loop, with no library around it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ncollapse.collect.statistics.classes import ClassMoments
from ncollapse.errors import NCollapseWarning
from ncollapse.measuring.options import chosen_keys
from ncollapse.metrics.catalog import DEFINITIONS, METRICS
from ncollapse.metrics.gnc import crowded
from ncollapse.metrics.readings import applicable, read, within_weighting

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMED = 10


class NeuralCollapse:
    """Neural collapse of features (samples, d) with labels 0..K-1, batch by batch.

    `compute` gives every metric that needs no second look at the samples (NC1, NC2, and NC3 where
    `weight` is passed) as a flat dict of float64 scalars by key; formulas and ranges are those of
    `ncollapse explain KEY`. `keys` chooses some of them; `definition` is "macro", "micro" or a
    published variant; `mode` and `memory_budget` are those of `ClassMoments`. Labels equal to
    `ignore_index` are skipped, classes without samples are left out and named in a warning.

    >>> import torch
    >>> metric = NeuralCollapse(2, 2, keys=("nc1_ratio",))
    >>> metric.update(torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]]), torch.tensor([0, 0, 1, 1]))
    >>> metric.compute()
    {'nc1_ratio': tensor(0., dtype=torch.float64)}

    Raises ValueError for K < 2, unknown keys, definitions or modes, batches that do not fit, and
    `compute` before two classes were seen.
    """

    def __init__(
        self,
        num_classes: int,
        num_features: int,
        *,
        keys: Iterable[str] | None = None,
        definition: str = "macro",
        mode: str = "full",
        memory_budget: float = 2e9,
        ignore_index: int | None = -100,
        device: torch.device | str = "cpu",
    ) -> None:
        self.keys = in_order(keys, definition)
        self.num_classes, self.num_features = num_classes, num_features
        self.definition = definition
        self._options: dict[str, Any] = {
            "mode": mode,
            "weighting": within_weighting(definition),
            "memory_budget": memory_budget,
            "ignore_index": ignore_index,
            "device": device,
        }
        self.moments = self._new()
        self._warned = False

    def _new(self) -> ClassMoments:
        return ClassMoments(self.num_classes, self.num_features, **self._options)

    # ---- samples in ---------------------------------------------------------------------------
    def update(self, features: Tensor, target: Tensor) -> None:
        """Add features (samples, d) with integer labels (samples)."""
        self.moments.update(features, target)

    def forward(
        self,
        features: Tensor,
        target: Tensor,
        *,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Add a batch and give the readings of that batch alone."""
        batch = self._new()
        batch.update(features, target)
        self.moments.merge(batch)
        return values_of(batch, self.keys, self.definition, weight, bias)

    __call__ = forward

    def reset(self) -> None:
        """Forget every sample."""
        self.moments.reset()
        self._warned = False

    # ---- numbers out --------------------------------------------------------------------------
    def compute(
        self, weight: Tensor | None = None, bias: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Readings of all samples so far; `weight` (K, d) and `bias` (K) of the head add NC3 and
        the metrics of weights. What cannot be read is NaN."""
        counts = self.moments.counts
        absent = (counts == 0).nonzero().flatten().tolist()
        if absent and not self._warned and len(absent) < self.num_classes:
            self._warned = True
            listed = ", ".join(map(str, absent[:NAMED])) + (", …" if len(absent) > NAMED else "")
            warnings.warn(
                f"{len(absent)} of {self.num_classes} classes have no sample and are left out: "
                f"{listed}",
                NCollapseWarning,
                stacklevel=2,
            )
        return values_of(self.moments, self.keys, self.definition, weight, bias)

    # ---- many parts ---------------------------------------------------------------------------
    def merge_state(self, other: NeuralCollapse | Iterable[NeuralCollapse]) -> None:
        """Add the samples of other metrics, exactly. Raises ValueError when they differ in K, d or
        mode."""
        for one in (other,) if isinstance(other, NeuralCollapse) else other:
            self.moments.merge(one.moments)

    def sync(self, group: Any = None) -> NeuralCollapse:
        """A metric that holds the samples of all ranks of torch.distributed; call it on each.

        This one is left as it is, so `metric.sync().compute()` may be called again and again.
        """
        from ncollapse.collect.ranks.sync import all_merge

        merged = copy(self)
        merged.moments, merged._warned = all_merge(self.moments, group), False
        return merged

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain numbers; `load_state_dict` on an equally built metric restores it."""
        return self.moments.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore; raises ValueError when the state is of another metric."""
        self.moments.load_state_dict(state)

    # ---- pictures -----------------------------------------------------------------------------
    def plot(
        self,
        val: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        ax: Axes | None = None,
    ) -> tuple[Figure, Axes]:
        """(fig, ax): one set of readings as points, a list of them (over epochs) as curves.

        `val` is what `compute` gave, or a list of such; by default, `compute()`. The vertical axis
        is logarithmic above 1e-3. No global state of matplotlib is touched.
        """
        return plot(self.compute() if val is None else val, ax)


def in_order(keys: Iterable[str] | None, definition: str) -> tuple[str, ...] | None:
    """Keys as the catalog orders them, None for all. Raises ValueError for keys and definitions
    that no metric knows."""
    if definition not in DEFINITIONS:
        raise ValueError(
            f"definition {definition!r} is unknown; one of {', '.join(DEFINITIONS)} is needed"
        )
    chosen = chosen_keys(keys)
    return None if chosen is None else tuple(key for key in METRICS if key in chosen)


def values_of(
    moments: ClassMoments,
    keys: Sequence[str] | None,
    definition: str,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
) -> dict[str, Tensor]:
    """All readings of moments with a head beside them, float64 scalars by key, NaN for null.

    Keys that need a head or a scatter that is not kept are left out unless asked for. Raises
    ValueError with fewer than two classes.
    """
    statistics = moments.statistics()
    if statistics.num_classes < 2:
        raise ValueError(
            f"{statistics.num_samples} samples of {statistics.num_classes} classes were seen; at "
            "least two classes are needed: call update first"
        )
    geometry = moments.geometry(weight, bias)
    possible = applicable(head=weight is not None)
    if keys is None and moments.mode == "trace":
        possible = tuple(key for key in possible if "full" not in METRICS[key].needs)
    if keys is None and not crowded(geometry):
        possible = tuple(key for key in possible if not METRICS[key].crowded)
    wanted = possible if keys is None else [key for key in keys if key in possible]
    values, _ = read(wanted, statistics=statistics, geometry=geometry, definition=definition)
    result = {
        key: torch.tensor(torch.nan if value is None else value, dtype=torch.float64)
        for key, value in values.items()
    }
    missing = dict.fromkeys(keys or (), torch.tensor(torch.nan, dtype=torch.float64))
    return {**missing, **result} if keys is not None else result


def plot(
    val: Mapping[str, Any] | Sequence[Mapping[str, Any]], ax: Axes | None = None
) -> tuple[Figure, Axes]:
    """One dict of readings as points, or a list of dicts as curves over their places."""
    from matplotlib.figure import Figure

    if ax is None:
        ax = Figure(figsize=(7, 4), layout="constrained").subplots()
    single = isinstance(val, Mapping)
    series: list[Mapping[str, Any]] = [val] if isinstance(val, Mapping) else list(val)
    names = list(dict.fromkeys(key for values in series for key in values))
    rows = {name: [float(values.get(name, torch.nan)) for values in series] for name in names}
    if single:
        ax.plot([rows[name][0] for name in names], range(len(names)), "o")
        ax.set_yticks(range(len(names)), names)
        ax.set_xscale("symlog", linthresh=1e-3)
        ax.grid(axis="x", alpha=0.3)
    else:
        for name in names:
            ax.plot(range(1, len(series) + 1), rows[name], label=name)
        ax.set_yscale("symlog", linthresh=1e-3)
        ax.set_xlabel("reading")
        ax.legend(fontsize="small", ncols=2)
    figure = ax.get_figure(root=True)
    assert isinstance(figure, Figure)
    return figure, ax
