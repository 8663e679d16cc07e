"""Run studies: independent runs side by side, failures kept apart, finished ones never twice."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, overload

from ncollapse.schema import write_text
from ncollapse.studies.catalog import find
from ncollapse.studies.claims import ClaimResult
from ncollapse.studies.study import Study, StudyResult, Unit, UnitResult, by_part, resolve

log = logging.getLogger("ncollapse")
Progress = Callable[[str, int, int], None]
Several = list[str] | list[Study] | tuple[str, ...] | tuple[Study, ...]
Names = str | Study | Several
Outputs = Path | str | Mapping[str, Path]
RUNS = "runs"


@overload
def run(
    names: str | Study,
    size: str = ...,
    *,
    seeds: int | None = ...,
    output: Outputs | None = ...,
    jobs: int = ...,
    backend: str = ...,
    resume: bool = ...,
    progress: Progress | None = ...,
) -> StudyResult: ...


@overload
def run(
    names: Several,
    size: str = ...,
    *,
    seeds: int | None = ...,
    output: Outputs | None = ...,
    jobs: int = ...,
    backend: str = ...,
    resume: bool = ...,
    progress: Progress | None = ...,
) -> list[StudyResult]: ...


def run(
    names: Names,
    size: str = "quick",
    *,
    seeds: int | None = None,
    output: Outputs | None = None,
    jobs: int = -1,
    backend: str = "loky",
    resume: bool = False,
    progress: Progress | None = None,
) -> StudyResult | list[StudyResult]:
    """Run one study (returns its result) or several (returns a list).

    names: of the catalog, or `Study` values. size: mini, quick or full. seeds: how many, else what
    the size says. jobs: processes, -1 for one a core; each works at one thread. backend: of
    joblib. With `output` every finished run is written at once (a folder for one study, `output`/
    NAME for several, or folders by name) and the results are saved at the end; `resume` takes
    finished runs with the same settings from there. A run that raises is reported in its study and
    leaves the others alone. progress: called with (study, finished runs, all runs).

    Raises ValueError for unknown names and sizes, and for `resume` without `output`.
    """
    single = isinstance(names, str | Study)
    studies = [_study(name) for name in ([names] if isinstance(names, str | Study) else names)]
    if not studies:
        raise ValueError("no study was named; pass a name, or a list of names")
    if len({study.name for study in studies}) < len(studies):
        raise ValueError("a study was named twice; name each once")
    if resume and output is None:
        raise ValueError("resume=True needs output=FOLDER, where the finished runs lie")
    folders = _folders(studies, output)
    planned = {study.name: study.units(size, seeds) for study in studies}
    finished: dict[str, list[UnitResult]] = {name: [] for name in planned}
    waiting: list[Unit] = []
    for name, units in planned.items():
        for unit in units:
            known = _read(folders.get(name), unit) if resume else None
            finished[name].append(known) if known is not None else waiting.append(unit)
        if progress is not None:
            progress(name, len(finished[name]), len(units))
    for unit, done in _execute(waiting, jobs, backend):
        finished[unit.study].append(done)
        _write(folders.get(unit.study), unit, done)
        if done.error:
            log.warning("study %s, run %s failed: %s", unit.study, unit.name, done.error)
        if progress is not None:
            progress(unit.study, len(finished[unit.study]), len(planned[unit.study]))
    results = [_judge(study, size, finished[study.name]) for study in studies]
    for result in results:
        if result.name in folders:
            result.save(folders[result.name])
    return results[0] if single else results


def _study(name: str | Study) -> Study:
    return find(name) if isinstance(name, str) else name


def _folders(studies: Sequence[Study], output: Outputs | None) -> dict[str, Path]:
    if output is None:
        return {}
    if isinstance(output, Mapping):
        return {study.name: Path(output[study.name]) for study in studies}
    if len(studies) == 1:
        return {studies[0].name: Path(output)}
    return {study.name: Path(output) / study.name for study in studies}


def _execute(units: Sequence[Unit], jobs: int, backend: str) -> Iterable[tuple[Unit, UnitResult]]:
    """Units with their results, in the order in which they end."""
    from joblib import Parallel, cpu_count, delayed, parallel_config

    workers = min(cpu_count() if jobs < 0 else jobs, len(units))
    if workers <= 1:
        for unit in units:
            yield unit, attempt(unit)
        return
    config: dict[str, Any] = {"backend": backend, "n_jobs": workers}
    if backend == "loky":
        config["inner_max_num_threads"] = 1
    left = dict(enumerate(units))
    with parallel_config(**config):
        pool = Parallel(return_as="generator_unordered", batch_size=1)
        try:
            for index, result in pool(delayed(_numbered)(i, unit) for i, unit in enumerate(units)):
                yield left.pop(index), result
        except RuntimeError as error:
            # A process was killed, for memory say: what it had not finished has failed.
            log.debug("the pool of processes broke", exc_info=True)
            sentence = f"{type(error).__name__}: a process ended; resume, or use fewer jobs"
            for unit in left.values():
                yield unit, UnitResult(unit.part.name, unit.seed, error=sentence)


def _numbered(index: int, unit: Unit) -> tuple[int, UnitResult]:
    return index, attempt(unit)


def attempt(unit: Unit) -> UnitResult:
    """Run a unit; an exception becomes the sentence of its failure."""
    began = time.perf_counter()
    try:
        found = resolve(unit.part.work)(unit.settings, unit.seed)
        values = {name: _finite(found["values"][name]) for name in found["values"]}
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


def _judge(study: Study, size: str, units: Sequence[UnitResult]) -> StudyResult:
    order = {part.name: i for i, part in enumerate(study.parts)}
    ordered = tuple(sorted(units, key=lambda unit: (order[unit.part], unit.seed)))
    combined = resolve(study.combine)(by_part(study, ordered)) if study.combine else {}
    claims: list[ClaimResult] = []
    for claim in study.claims:
        mine = [u for u in ordered if claim.id in study.parts[order[u.part]].claims]
        failed = sum(bool(unit.error) for unit in mine)
        if claim.id in combined:
            values: list[float | None] = [_finite(value) for value in combined[claim.id]]
        else:
            values = [u.values[claim.id] for u in mine if claim.id in u.values]
        claims.append(claim.judge(values, failed, trial=size == "mini"))
    return StudyResult(study, size, tuple(claims), ordered)


def _path(folder: Path, unit: Unit) -> Path:
    return folder / RUNS / f"{unit.name}.json"


def _write(folder: Path | None, unit: Unit, result: UnitResult) -> None:
    if folder is None or result.error:
        return
    path = _path(folder, unit)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"fingerprint": unit.fingerprint, **asdict(result)}
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def _read(folder: Path | None, unit: Unit) -> UnitResult | None:
    """A finished run with the same settings, or None: it is run again."""
    if folder is None or not _path(folder, unit).exists():
        return None
    try:
        found = json.loads(_path(folder, unit).read_text(encoding="utf-8"))
        if found.pop("fingerprint") != unit.fingerprint:
            return None
        return UnitResult(**found)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _finite(value: Any) -> float | None:
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
