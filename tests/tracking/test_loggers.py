"""Loggers: TensorBoard for real; wandb, trackio and MLflow through fakes.

wandb, trackio and MLflow are not installed for tests: the fakes below have the signatures that
their documentation records, and refuse what the libraries refuse.
"""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import ncollapse as nc
from ncollapse.tracking.loggers import Headline, flat, log_to, to
from tests.models import blobs, net

INPUTS, LABELS = blobs(64)
VALUES = {"nc/train/head/nc1_fisher": 0.5, "nc/online/head/nc3_duality": 1.0}


class Wandb:
    """wandb.Run: log(data, step, commit), define_metric(name, step_metric, ...), step."""

    def __init__(self, step: int = 0) -> None:
        self.step = step
        self.rows: list[tuple[int, dict[str, Any]]] = []
        self.defined: list[tuple[str, str | None]] = []
        self.dropped = 0

    def log(
        self, data: dict[str, Any], step: int | None = None, commit: bool | None = None
    ) -> None:
        if step is not None and step < self.step:
            self.dropped += 1
            return
        self.step = self.step if step is None else step
        self.rows.append((self.step, dict(data)))

    def define_metric(
        self,
        name: str,
        step_metric: str | None = None,
        step_sync: bool | None = None,
        hidden: bool | None = None,
        summary: str | None = None,
        goal: str | None = None,
        overwrite: bool | None = None,
    ) -> None:
        self.defined.append((name, step_metric))


class Trackio:
    """trackio.Run: log(metrics, step); no define_metric."""

    def __init__(self) -> None:
        self.rows: list[tuple[int | None, dict[str, Any]]] = []

    def log(self, metrics: dict[str, Any], step: int | None = None) -> None:
        self.rows.append((step, dict(metrics)))


def mlflow(rows: list[Any]) -> ModuleType:
    """The module mlflow: log_metrics(metrics, step, synchronous, run_id)."""

    def log_metrics(
        metrics: dict[str, float],
        step: int | None = None,
        synchronous: bool | None = None,
        run_id: str | None = None,
    ) -> None:
        for name in metrics:
            assert all(sign.isalnum() or sign in "_-. /:" for sign in name), name
        rows.append((step, run_id, metrics))

    module = ModuleType("mlflow")
    module.log_metrics = log_metrics  # type: ignore[attr-defined]
    return module


def test_tensorboard_gets_every_scalar(tmp_path) -> None:
    tensorboard = pytest.importorskip("torch.utils.tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    writer = tensorboard.SummaryWriter(tmp_path)
    tracker = nc.Tracker(net(), train=(INPUTS, LABELS), every=3, loggers=[writer])
    for _ in range(6):
        tracker.step()
    writer.close()
    found = EventAccumulator(str(tmp_path)).Reload()
    rows = [row for row in tracker.trace.rows if row.value is not None]
    keys = {f"nc/train/head/{row.key}" for row in rows}
    assert set(found.Tags()["scalars"]) == {*keys, "nc_headline"}
    assert (
        found.Scalars("nc_headline")[-1].value
        == found.Scalars("nc/train/head/class_share")[-1].value
    )
    events = found.Scalars("nc/train/head/nc1_fisher")
    assert [event.step for event in events] == [3, 6]
    assert events[-1].value == pytest.approx(rows[-1].value if rows[-1].key == "nc1_fisher" else
        next(row.value for row in reversed(rows) if row.key == "nc1_fisher"))  # fmt: skip


def test_wandb_draws_over_our_step_and_drops_nothing() -> None:
    run = Wandb()
    adapter = to(run)
    adapter.log(VALUES, 10)
    adapter.log(VALUES, 20)
    assert run.defined == [
        ("nc/step", None), ("nc/*", "nc/step"), ("nc_headline", "nc/step"),
    ]  # fmt: skip
    assert run.rows[0] == (10, {**VALUES, "nc/step": 10})
    # The user's own loop logs more often than it steps: ours must not be dropped.
    run.step = 500
    adapter.log(VALUES, 30)
    assert run.rows[-1] == (500, {**VALUES, "nc/step": 30})
    assert run.dropped == 0
    module = ModuleType("wandb")
    module.run, module.log, module.define_metric = run, run.log, run.define_metric
    to(module).log(VALUES, 40)
    assert run.rows[-1] == (500, {**VALUES, "nc/step": 40})
    assert run.dropped == 0


def test_trackio_gets_the_step_as_given() -> None:
    run = Trackio()
    to(run).log(VALUES, 7)
    module = ModuleType("trackio")
    module.log = run.log
    to(module).log(VALUES, 8)
    assert run.rows == [(7, VALUES), (8, VALUES)]


def test_mlflow_module_and_run(monkeypatch) -> None:
    rows: list[Any] = []
    module = mlflow(rows)
    to(module).log(VALUES, 3)
    # Only a run needs the module, and only when it logs.
    run = SimpleNamespace(info=SimpleNamespace(run_id="abc"))
    adapter = to(run)
    monkeypatch.setitem(sys.modules, "mlflow", module)
    adapter.log(VALUES, 4)
    assert rows == [(3, None, VALUES), (4, "abc", VALUES)]


def test_functions_and_measurements() -> None:
    rows: list[Any] = []
    m = nc.measure(net(), (INPUTS, LABELS), layers="stack.*", null=False, intervals=False)
    log_to(lambda values, step: rows.append((step, values)), m, 12)
    ((step, values),) = rows
    assert step == 12
    assert values["nc/train/stack.0/nc1_ratio"] == m.value("nc1_ratio", layer="stack.0")
    assert to(to(print)).name == "print"
    assert flat({"test": {"head": {"a": None, "b": 1}}}, "eval_nc") == {"eval_nc/test/head/b": 1.0}


def test_all_get_online_readings_and_the_epoch() -> None:
    rows, run = [], Trackio()
    model = net().train()
    model.drop.p = 0.0
    tracker = nc.Tracker(
        model, online=True, every="epoch", loggers=[lambda v, s: rows.append((s, v)), run]
    )
    for _ in range(2):
        model(INPUTS)
        tracker.step(LABELS)
        tracker.end_epoch()
    assert rows == run.rows
    assert [step for step, _ in rows] == [1, 2]
    assert rows[1][1]["nc/epoch"] == 2
    assert "nc/online/head/nc3_duality" in rows[0][1]


def test_a_logger_that_fails_is_said_once_and_training_goes_on() -> None:
    def offline(values, step):
        raise ConnectionError("no route to host")

    rows: list[Any] = []
    tracker = nc.Tracker(
        net(),
        train=(INPUTS, LABELS),
        every=1,
        loggers=[offline, lambda values, step: rows.append(step)],
    )
    with pytest.warns(nc.NCollapseWarning, match="offline failed .*no route to host") as caught:
        [tracker.step() for _ in range(3)]
    assert len(caught) == 1
    assert rows == [1, 2, 3]
    assert {row.step for row in tracker.trace.rows} == {1, 2, 3}


def test_what_does_not_log_is_refused() -> None:
    with pytest.raises(ValueError, match="str does not log"):
        to("wandb")
    for name in ("wandb", "trackio", "mlflow"):
        assert name not in sys.modules


def test_one_headline_that_never_changes_what_it_is() -> None:
    online, dial = {"head": {"class_share": 0.1}}, {"head": {"nc1_fisher": 2.0}}
    layers = {"first": {"class_share": 0.3}, "last": {"nc1_ratio": 9.0, "worst_share": 0.4}}
    for results, value in (
        ({"online": online, "dial": dial}, 0.1),
        ({"online": online, "test": {"head": {"nc1_fisher": 3.0, "class_share": 0.2}}}, 0.2),
        ({"test": {"head": {"class_share": 0.2}}, "train": layers}, 0.4),
        ({"train": {"head": {"nrc_explained": 0.5, "nrc1": 0.6}}}, 0.5),
        ({"train": {"head": {"mine": 0.5, "nc1_ratio": 0.6, "nc3_duality": 0.7}}}, 0.6),
    ):
        headline = Headline("eval_nc")
        assert headline.of(results) == {"eval_nc_headline": value}
        assert headline.of({"other": {"head": {"class_share": 0.9}}}) == {}
        split = headline.chosen[0]
        assert headline.of({split: {name: {"class_share": None} for name in results[split]}}) == {}
    assert Headline().of({"dial": dial, "train": {"head": {}}}) == {}
