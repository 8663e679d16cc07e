"""Readings to TensorBoard, Weights & Biases, trackio, MLflow, Lightning loggers or a function.

Nothing is imported: a run is known by the methods it has. Keys are `nc/{split}/{layer}/{key}`, but
for one, `nc_headline`, which dashboards show outside the group "nc". The step is passed as it was
given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ncollapse.metrics.catalog import METRICS
from ncollapse.record.readings import Reading, reference_of
from ncollapse.record.trace import DIAL

if TYPE_CHECKING:
    from ncollapse.measuring.measurement import Measurement

PREFIX = "nc"
STEP = f"{PREFIX}/step"
HEADLINE = "{}_headline"
ONLINE, HEAD = "online", "head"
Write = Callable[[dict[str, float], int], Any]
Values = dict[str, dict[str, dict[str, float | None]]]


@dataclass(frozen=True, eq=False)
class Adapter:
    """`log(values, step)` of any run; name is what warnings call it."""

    name: str
    write: Write

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Log flat values at one step."""
        self.write(dict(values), step)


def to(run: Any) -> Adapter:
    """An adapter for what logs: told apart by its methods.

    `add_scalar`: TensorBoard's SummaryWriter. `log_metrics`: the module mlflow, and Lightning's
    loggers. `log`: a wandb run or module, a trackio run or module; where it has `define_metric`,
    "nc/*" is drawn over "nc/step" (defined once), and a step that the run has already passed is
    logged at its present one, since wandb drops what comes late. `info.run_id`: an MLflow run.
    Any other callable gets (values, step).

    >>> adapter = to(print)
    >>> adapter.log({"nc/train/head/nc1_fisher": 0.5}, 10)
    {'nc/train/head/nc1_fisher': 0.5} 10

    Raises ValueError for anything else.
    """
    if isinstance(run, Adapter):
        return run
    name = getattr(run, "__name__", type(run).__name__)
    if callable(getattr(run, "add_scalar", None)):
        return Adapter(name, _tensorboard(run))
    if callable(getattr(run, "log_metrics", None)):
        return Adapter(name, lambda values, step: run.log_metrics(values, step=step))
    if callable(getattr(run, "log", None)):
        return Adapter(name, _dashboard(run))
    if getattr(getattr(run, "info", None), "run_id", None) is not None:
        return Adapter(name, _mlflow(run.info.run_id))
    if callable(run):
        return Adapter(name, run)
    raise ValueError(
        f"{name} does not log; a SummaryWriter, a wandb, trackio or MLflow run (or the module), "
        "a Lightning logger, or a function of (values, step) is needed"
    )


def log_to(run: Any, measurement: Measurement, step: int) -> None:
    """Log every reading of a measurement to a run that `to` knows, at one step."""
    found = numbers(measurement.results)
    to(run).log(Headline().of(found) | flat(found), step)


def numbers(
    results: Mapping[str, Mapping[str, Mapping[str, Reading]]], keys: Sequence[str] | None = None
) -> Values:
    """What readings hold, by split, layer and key; of some keys where they are given."""
    return {
        split: {
            layer: {
                key: reading.value
                for key, reading in readings.items()
                if keys is None or key in keys
            }
            for layer, readings in layers.items()
        }
        for split, layers in results.items()
    }


def flat(
    results: Mapping[str, Mapping[str, Mapping[str, float | None]]], prefix: str = PREFIX
) -> dict[str, float]:
    """Values by split, layer and key → `nc/{split}/{layer}/{key}`; null readings are left out.

    >>> flat({"train": {"head": {"nc1_fisher": 0.5, "nc3_duality": None}}})
    {'nc/train/head/nc1_fisher': 0.5}
    """
    return {
        f"{prefix}/{split}/{layer}/{key}": float(value)
        for split, layers in results.items()
        for layer, readings in layers.items()
        for key, value in readings.items()
        if value is not None
    }


class Headline:
    """One number of a run, `nc_headline`, for a page that shows all of them.

    It is what a table of results begins with (class_share for classes), at the head or the last
    layer, of the split train, else the first, else of training batches; once chosen it stays. In
    Hugging Face it is `eval_nc_headline`.

    >>> headline = Headline()
    >>> headline.of({"test": {"head": {"nc1_fisher": 0.5, "class_share": 0.9}}})
    {'nc_headline': 0.9}
    >>> headline.of({"online": {"head": {"class_share": 0.8}}})
    {}
    """

    def __init__(self, prefix: str = PREFIX) -> None:
        self.key = HEADLINE.format(prefix)
        self.chosen: tuple[str, str, str] | None = None

    def of(
        self, results: Mapping[str, Mapping[str, Mapping[str, float | None]]]
    ) -> dict[str, float]:
        """The headline among readings, by its key; empty where it is not there or null."""
        if self.chosen is None:
            self.chosen = _choice(results)
        if self.chosen is None:
            return {}
        split, layer, key = self.chosen
        value = results.get(split, {}).get(layer, {}).get(key)
        return {} if value is None else {self.key: float(value)}


def _choice(results: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> tuple[str, str, str] | None:
    splits = [split for split, layers in results.items() if split != DIAL and any(layers.values())]
    if not splits:
        return None
    split = reference_of([name for name in splits if name != ONLINE] or splits)
    layers = results[split]
    layer = HEAD if layers.get(HEAD) else [name for name, values in layers.items() if values][-1]
    rows = [METRICS[key] for key in layers[layer] if key in METRICS]
    ranks = {row.key: math.inf if row.terminal is None else row.terminal.rank for row in rows}
    return (split, layer, min(ranks, key=lambda key: ranks[key])) if ranks else None


def _tensorboard(writer: Any) -> Write:
    def write(values: dict[str, float], step: int) -> None:
        for key, value in values.items():
            writer.add_scalar(key, value, step)

    return write


def _dashboard(run: Any) -> Write:
    defined: list[bool] = []

    def write(values: dict[str, float], step: int) -> None:
        define = getattr(run, "define_metric", None)
        if not callable(define):
            run.log(values, step=step)
            return
        if not defined:
            defined.append(True)
            define(STEP)
            define(f"{PREFIX}/*", step_metric=STEP)
            define(HEADLINE.format(PREFIX), step_metric=STEP)
        # The module holds its run; a run knows its step.
        present = getattr(getattr(run, "run", None) or run, "step", None)
        late = isinstance(present, int) and step < present
        run.log({**values, STEP: step}, **({} if late else {"step": step}))

    return write


def _mlflow(run_id: str) -> Write:
    def write(values: dict[str, float], step: int) -> None:
        import mlflow

        mlflow.log_metrics(values, step=step, run_id=run_id)

    return write
