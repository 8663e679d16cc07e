"""Readings to TensorBoard, Weights & Biases, trackio, MLflow, Lightning loggers or a function.

Nothing is imported: a run is known by the methods it has. Keys are `nc/{split}/{layer}/{key}`, and
the step is passed as it was given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ncollapse.record.readings import Reading

if TYPE_CHECKING:
    from ncollapse.measuring.measurement import Measurement

PREFIX = "nc"
STEP = f"{PREFIX}/step"
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
    to(run).log(flat(numbers(measurement.results)), step)


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
