"""Independent runs on a Dask cluster: the same numbers, failures apart, nothing run twice."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ncollapse.cli import main
from ncollapse.lab import workers
from ncollapse.lab.claims import UNKNOWN
from ncollapse.lab.study import SIZES
from ncollapse.studies import Bar, Claim, Part, Study, run

PID = "pid"


def number(settings, seed: int) -> dict:
    if seed == settings["breaks"]:
        raise RuntimeError("the run broke")
    if seed == settings["dies"]:
        os._exit(1)
    return {"values": {"own-number": 0.5 + seed}, "data": {PID: os.getpid()}}


def study(breaks: int = -1, dies: int = -1) -> Study:
    return Study(
        name="own",
        question="Does it run?",
        paper="none",
        claims=(Claim("own-number", "number", "ours", Bar(low=0.0)),),
        settings={key: {"seeds": 3, "breaks": breaks, "dies": dies} for key in SIZES},
        parts=(Part("number", number, ("own-number",)),),
    )


@pytest.fixture(scope="module")
def client():
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            silence_logs=50,
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as made,
    ):
        yield made


def test_a_cluster_gives_what_one_process_gives(client) -> None:
    there = run(study(), backend="dask", scheduler=client)
    here = run(study(), jobs=1)
    assert [c.to_dict() for c in there.claims] == [c.to_dict() for c in here.claims]
    assert {unit.data[PID] for unit in there.units}.isdisjoint({os.getpid()})
    assert client.status == "running"


def test_failed_runs_are_reported_and_resumed(client, tmp_path: Path) -> None:
    address = client.scheduler_info()["address"]
    found = run(study(breaks=1), backend="dask", scheduler=address, output=tmp_path)
    assert [unit.error for unit in found.failures] == ["RuntimeError: the run broke"]
    assert found.claims[0].verdict == UNKNOWN
    assert found.claims[0].values == (0.5, 2.5)
    before = [unit.data[PID] for unit in found.units if not unit.error]
    again = run(study(breaks=1), jobs=1, output=tmp_path, resume=True)
    assert [unit.data[PID] for unit in again.units if not unit.error] == before


def test_a_worker_that_dies_fails_its_run_only(client) -> None:
    found = run(study(dies=0), backend="dask", scheduler=client)
    assert [unit.seed for unit in found.failures] == [0]
    assert "the worker ended" in found.failures[0].error
    assert found.claims[0].values == (1.5, 2.5)


def test_runs_that_died_beside_the_guilty_one_are_run_again(client, monkeypatch) -> None:
    together = workers._together
    sizes = []

    def unlucky(client, units):
        sizes.append(len(units))
        for unit, found in together(client, units):
            hit = len(units) > 1 and unit.seed < 2
            yield unit, replace(found, error="KilledWorker: the worker ended") if hit else found

    monkeypatch.setattr(workers, "_together", unlucky)
    found = run(study(), backend="dask", scheduler=client)
    assert not found.failures and found.claims[0].values == (0.5, 1.5, 2.5)
    assert sizes == [3, 1, 1]


def test_a_cluster_that_is_not_there_is_one_sentence(monkeypatch, capsys, tmp_path) -> None:
    with pytest.raises(ValueError, match="needs a scheduler"):
        run(study(), backend="dask")
    with pytest.raises(ValueError, match="'dask' is needed"):
        run(study(), scheduler="tcp://127.0.0.1:1")
    monkeypatch.setattr("ncollapse.lab.workers.CONNECT_SECONDS", 0.3)
    with pytest.raises(SystemExit) as stop:
        main(["study", "run", "peeled", "--size", "mini", "--backend", "dask", "--scheduler",
              "tcp://127.0.0.1:1", "--output", str(tmp_path)])  # fmt: skip
    assert stop.value.code == 2
    # The client's own threads may log beside it, unsigned.
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("ncollapse:")]
    assert len(said) == 1 and "no Dask scheduler answers" in said[0]


def test_a_missing_extra_says_how_to_get_it(monkeypatch) -> None:
    for name in ("dask", "dask.distributed", "distributed"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match=r"pip install 'ncollapse\[dask\]'"):
        run(study(), backend="dask", scheduler="tcp://127.0.0.1:1")
