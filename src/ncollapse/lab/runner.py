"""Run studies: independent runs side by side, failures kept apart, finished ones never twice."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from ncollapse.lab import finished
from ncollapse.lab.catalog import find
from ncollapse.lab.claims import ClaimResult
from ncollapse.lab.place import Place, clear
from ncollapse.lab.result import StudyResult
from ncollapse.lab.settings import with_options
from ncollapse.lab.study import Study, Unit, UnitResult, by_part, resolve
from ncollapse.lab.workers import DASK, execute, finite

if TYPE_CHECKING:
    from ncollapse.collect.ranks.ranks import Ranks

log = logging.getLogger("ncollapse")
Progress = Callable[[str, int, int], None]
Several = list[str] | list[Study] | tuple[str, ...] | tuple[Study, ...]
Names = str | Study | Several
Outputs = Path | str | Mapping[str, Path]


@overload
def run(
    names: str | Study,
    size: str = ...,
    *,
    seeds: int | None = ...,
    output: Outputs | None = ...,
    jobs: int = ...,
    backend: str = ...,
    scheduler: Any = ...,
    options: Mapping[str, Any] | None = ...,
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
    scheduler: Any = ...,
    options: Mapping[str, Any] | None = ...,
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
    scheduler: Any = None,
    options: Mapping[str, Any] | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> StudyResult | list[StudyResult]:
    """Run one study (returns its result) or several (returns a list).

    names: of the catalog, or `Study` values. size: mini, quick or full. seeds: how many, else what
    the size says. options: settings of the size to replace, such as {"model":
    "torchvision:resnet18", "epochs": 350}. jobs: processes, -1 for one a core; each works at one
    thread. backend: of joblib, or "dask" with `scheduler`, its address or a Client. progress:
    called with (study, finished runs, all runs).

    With `output` every finished run is written at once (a folder for one study, `output`/NAME for
    several, or folders by name) and the results are saved at the end; `resume` takes finished runs
    with the same settings from there. A run that trains keeps checkpoints there until it ends, and
    `resume` goes on from them. A run that raises is reported in its study and leaves the others
    alone.

    In an initialised process group (torchrun) the call is collective: all ranks work on one run
    after the other, share its training, and return the same results; rank 0 writes.

    Raises ValueError for unknown names, sizes and options, for `resume` without `output`, and for
    a cluster that cannot be reached.
    """
    single = isinstance(names, str | Study)
    studies = [_study(name) for name in ([names] if isinstance(names, str | Study) else names)]
    if not studies:
        raise ValueError("no study was named; pass a name, or a list of names")
    if len({study.name for study in studies}) < len(studies):
        raise ValueError("a study was named twice; name each once")
    if resume and output is None:
        raise ValueError("resume=True needs output=FOLDER, where the finished runs lie")
    studies = [with_options(study, size, options or {}) for study in studies]
    ranks = _ranks()
    if ranks is not None and backend == DASK:
        raise ValueError("backend 'dask' under torchrun; runs go to a cluster from one process")
    folders = _folders(studies, output)
    planned = {study.name: study.units(size, seeds) for study in studies}
    ended: dict[str, list[UnitResult]] = {name: [] for name in planned}
    waiting: list[Unit] = []
    for name, units in planned.items():
        for unit in units:
            known = _known(folders.get(name), unit, ranks) if resume else None
            ended[name].append(known) if known is not None else waiting.append(unit)
        if progress is not None:
            progress(name, len(ended[name]), len(units))
    places = {
        number: Place(finished.checkpoints(folders[unit.study], unit), resume)
        for number, unit in enumerate(waiting)
        if unit.study in folders
    }
    writes = ranks is None or ranks.rank == 0
    for unit, done in execute(waiting, 1 if ranks else jobs, backend, scheduler, places):
        ended[unit.study].append(done)
        if writes and unit.study in folders and not done.error:
            finished.write(folders[unit.study], unit, done)
            clear(finished.checkpoints(folders[unit.study], unit))
        if done.error:
            log.warning("study %s, run %s failed: %s", unit.study, unit.name, done.error)
        if progress is not None:
            progress(unit.study, len(ended[unit.study]), len(planned[unit.study]))
    results = [_judge(study, size, ended[study.name]) for study in studies]
    for result in results:
        if result.name in folders and writes:
            result.save(folders[result.name])
    return results[0] if single else results


def _study(name: str | Study) -> Study:
    return find(name) if isinstance(name, str) else name


def _ranks() -> Ranks | None:
    """The process group, if there is one; asking must not load torch."""
    if "torch" not in sys.modules:
        return None
    from ncollapse.collect.ranks.ranks import Ranks

    return Ranks.current()


def _known(folder: Path | None, unit: Unit, ranks: Ranks | None) -> UnitResult | None:
    """A finished run; with ranks as rank 0 finds it."""
    found = finished.read(folder, unit) if ranks is None or ranks.rank == 0 else None
    return found if ranks is None else ranks.from_rank(0, found)


def _folders(studies: Sequence[Study], output: Outputs | None) -> dict[str, Path]:
    if output is None:
        return {}
    if isinstance(output, Mapping):
        return {study.name: Path(output[study.name]) for study in studies}
    if len(studies) == 1:
        return {studies[0].name: Path(output)}
    return {study.name: Path(output) / study.name for study in studies}


def _judge(study: Study, size: str, units: Sequence[UnitResult]) -> StudyResult:
    order = {part.name: i for i, part in enumerate(study.parts)}
    ordered = tuple(sorted(units, key=lambda unit: (order[unit.part], unit.seed)))
    combined = resolve(study.combine)(by_part(study, ordered)) if study.combine else {}
    claims: list[ClaimResult] = []
    for claim in study.claims:
        mine = [u for u in ordered if claim.id in study.parts[order[u.part]].claims]
        failed = sum(bool(unit.error) for unit in mine)
        if claim.id in combined:
            values: list[float | None] = [finite(value) for value in combined[claim.id]]
        else:
            values = [u.values[claim.id] for u in mine if claim.id in u.values]
        claims.append(claim.judge(values, failed, trial=size == "mini"))
    return StudyResult(study, size, tuple(claims), ordered)
