"""Independent runs in one process, in several, or on a Dask cluster: each with its result."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from ncollapse.lab.place import Place, at
from ncollapse.lab.study import Unit, UnitResult, resolve

log = logging.getLogger("ncollapse")
DASK = "dask"
# Dask's name for a run whose workers kept dying.
KILLED = "KilledWorker"
Places = Mapping[int, Place]
# How long a cluster may take to answer, and to show a worker.
CONNECT_SECONDS = 20.0


def execute(
    units: Sequence[Unit],
    jobs: int,
    backend: str,
    scheduler: Any = None,
    places: Places | None = None,
) -> Iterator[tuple[Unit, UnitResult]]:
    """Units with their results, in the order in which they end.

    backend "dask" sends them to the cluster of `scheduler` (an address or a Client); any other is
    one of joblib's, with `jobs` workers. places: where the unit of that number keeps checkpoints;
    on a cluster none are kept, its machines may not share a disk.

    Raises ValueError for a missing extra, a scheduler that does not answer or has no workers, and
    a scheduler with another backend.
    """
    if backend == DASK:
        yield from _on_dask(units, scheduler)
        return
    if scheduler is not None:
        raise ValueError(f"scheduler={scheduler!r} with backend {backend!r}; 'dask' is needed")
    places = places or {}
    from joblib import Parallel, cpu_count, delayed, parallel_config

    workers = min(cpu_count() if jobs < 0 else jobs, len(units))
    if workers <= 1:
        for number, unit in enumerate(units):
            yield unit, attempt(unit, places.get(number))
        return
    config: dict[str, Any] = {"backend": backend, "n_jobs": workers}
    if backend == "loky":
        config["inner_max_num_threads"] = 1
    left = dict(enumerate(units))
    with parallel_config(**config):
        pool = Parallel(return_as="generator_unordered", batch_size=1)
        try:
            calls = (delayed(_numbered)(i, unit, places.get(i)) for i, unit in enumerate(units))
            for index, result in pool(calls):
                yield left.pop(index), result
        except RuntimeError as error:
            # A process was killed, for memory say: what it had not finished has failed.
            log.debug("the pool of processes broke", exc_info=True)
            sentence = f"{type(error).__name__}: a process ended; resume, or use fewer jobs"
            for unit in left.values():
                yield unit, UnitResult(unit.part.name, unit.seed, error=sentence)


def _numbered(index: int, unit: Unit, place: Place | None) -> tuple[int, UnitResult]:
    return index, attempt(unit, place)


def attempt(unit: Unit, place: Place | None = None) -> UnitResult:
    """Run a unit; an exception becomes the sentence of its failure."""
    began = time.perf_counter()
    try:
        with at(place):
            found = resolve(unit.part.work)(unit.settings, unit.seed)
        values = {name: finite(found["values"][name]) for name in found["values"]}
        data = json.loads(json.dumps(_plain(found.get("data", {})), allow_nan=False))
        unknown = set(values) - set(unit.part.claims)
        if unknown:
            raise ValueError(f"part {unit.part.name!r} gave numbers for unknown {sorted(unknown)}")
    except Exception as error:
        log.debug("run %s of study %s failed", unit.name, unit.study, exc_info=True)
        sentence = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        return UnitResult(
            unit.part.name, unit.seed, seconds=time.perf_counter() - began, error=sentence
        )
    return UnitResult(unit.part.name, unit.seed, values, data, time.perf_counter() - began)


# ---- a cluster --------------------------------------------------------------------------------
def _on_dask(units: Sequence[Unit], scheduler: Any) -> Iterator[tuple[Unit, UnitResult]]:
    """Runs as futures of a Dask client. joblib's own Dask backend waits forever for a run whose
    worker died; here such a run fails with a sentence and the others are kept."""
    with _client(scheduler) as client:
        killed = []
        for unit, found in _together(client, units):
            if _was_killed(found):
                killed.append((unit, found))
            else:
                yield unit, found
        # A worker that dies takes the runs that waited beside the guilty one with it. One killed
        # run alone is the guilty one; of several each is run again by itself.
        for unit, found in killed:
            yield from _together(client, [unit]) if len(killed) > 1 else [(unit, found)]


def _together(client: Any, units: Sequence[Unit]) -> Iterator[tuple[Unit, UnitResult]]:
    """Runs sent at once, in the order in which they end."""
    futures = {client.submit(attempt, unit, pure=False): unit for unit in units}
    ended = _distributed().as_completed(
        list(futures), loop=client.loop, with_results=True, raise_errors=False
    )
    try:
        for future, found in ended:
            unit = futures[future]
            if future.status != "finished":
                found = UnitResult(unit.part.name, unit.seed, error=_said(found))
            yield unit, found
    finally:
        client.cancel([future for future in futures if not future.done()])


def _was_killed(found: UnitResult) -> bool:
    return found.error.startswith(KILLED)


def _said(found: Any) -> str:
    """The failure of a future in words: (type, error, traceback), or nothing for a lost one."""
    error = found[1] if isinstance(found, tuple) else None
    if error is None:
        return "CancelledError: the cluster lost the run; resume when it is back"
    if type(error).__name__ == KILLED:
        return f"{KILLED}: the worker ended; resume, or give workers more memory"
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _distributed() -> Any:
    """The client's library. Raises ValueError that says how to install it."""
    try:
        return import_module("distributed")
    except ImportError as error:
        raise ValueError(
            f"backend 'dask' needs dask[distributed], which could not be imported ({error}); pip "
            "install 'ncollapse[dask]' (from a checkout: pip install '.[dask]')"
        ) from None


@contextmanager
def _client(scheduler: Any) -> Iterator[Any]:
    """A client of the scheduler: one passed stays open, one made for an address is closed."""
    distributed = _distributed()
    if scheduler is None:
        raise ValueError(
            "backend 'dask' needs a scheduler: its address (--scheduler tcp://HOST:8786), or a "
            "distributed.Client; `dask scheduler` and `dask worker ADDRESS` start a cluster"
        )
    if isinstance(scheduler, str):
        try:
            client = distributed.Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise ValueError(
                f"no Dask scheduler answers at {scheduler!r} ({reason}); start one with `dask "
                "scheduler`, and workers with `dask worker ADDRESS`"
            ) from None
    else:
        client = scheduler
    try:
        try:
            client.wait_for_workers(1, timeout=CONNECT_SECONDS)
        except TimeoutError:
            raise ValueError(
                f"the Dask scheduler {scheduler!r} has no workers; start some with `dask worker "
                "ADDRESS`"
            ) from None
        yield client
    finally:
        if client is not scheduler:
            client.close()


# ---- values -----------------------------------------------------------------------------------
def finite(value: Any) -> float | None:
    """A number, or None where it is nan or infinite."""
    number = float(value)
    return number if math.isfinite(number) else None


def _plain(value: Any) -> Any:
    """Numbers of numpy and torch as Python's own; what is not finite becomes None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
