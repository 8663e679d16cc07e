"""A snapshot of sums goes on with the rows that were summed, and with no others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ncollapse.collect.keep.witness import RowWitness
from ncollapse.measuring.measure import measure_source
from ncollapse.sources.features.arrays import ArraySource
from ncollapse.sources.features.files import open_source

N, K, D, ROWS = 20_000, 4, 3, 8192
RNG = np.random.default_rng(0)
LABELS = np.arange(N) % K
FEATURES = (np.eye(K, D)[LABELS] + 0.3 * RNG.normal(size=(N, D))).astype(np.float32)
OPTIONS = {"null": False, "snapshot_every": 0.0}


class StopError(Exception):
    pass


def stopped(path: Path, snapshot: Path, stage: str, part: float) -> None:
    """Measure until more than `part` of the rows of a pass are in the snapshot."""

    def stop(name: str, done: int, total: int) -> None:
        if name == stage and done > part * total:
            raise StopError

    with pytest.raises(StopError):
        measure_source(open_source(path), snapshot=snapshot, progress=stop, **OPTIONS)


def written(path: Path, features: np.ndarray) -> Path:
    np.savez(path, features=features, labels=LABELS)
    return path


@pytest.mark.parametrize("stage", ["statistics", "decisions"])
@pytest.mark.parametrize("row", [None, 100, 9000, N - 100])
def test_the_same_rows_go_on_and_others_are_refused(row, stage: str, tmp_path: Path) -> None:
    path, snapshot = written(tmp_path / "a.npz", FEATURES), tmp_path / "s"
    stopped(path, snapshot, stage, 0.5)
    if row is None:
        found = measure_source(open_source(path), snapshot=snapshot, resume=True, **OPTIONS)
        assert found.results == measure_source(open_source(path), null=False).results
        return
    changed = FEATURES.copy()
    changed[row, 1] += 1e-3
    written(path, changed)
    # Rows that the first pass had not reached are measured as they are now.
    if stage == "statistics" and row > ROWS:
        found = measure_source(open_source(path), snapshot=snapshot, resume=True, **OPTIONS)
        assert found.results == measure_source(open_source(path), null=False).results
        return
    with pytest.raises(ValueError, match=r"rows \d+ to \d+ are not those that were read before"):
        measure_source(open_source(path), snapshot=snapshot, resume=True, **OPTIONS)


def test_a_file_that_changes_between_two_looks_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.npz", FEATURES)

    def change(stage: str, done: int, total: int) -> None:
        if stage == "statistics" and done == total:
            written(path, FEATURES[::-1].copy())

    with pytest.raises(ValueError, match="rows 0 to 8191 are not those"):
        measure_source(open_source(path), snapshot=tmp_path / "s", progress=change, null=False)


@pytest.mark.parametrize("change", [{"reference": "b"}, {"seed": 1}])
def test_options_that_the_sums_depend_on_are_part_of_it(change, tmp_path: Path) -> None:
    split = np.where(np.arange(N) // 4 % 2 == LABELS % 2, "a", "b")
    path, snapshot = tmp_path / "a.npz", tmp_path / "s"
    np.savez(path, features=FEATURES, labels=LABELS, split=split)
    stopped(path, snapshot, "decisions", 0.5)
    with pytest.raises(ValueError, match=f"made with another {next(iter(change))}"):
        measure_source(open_source(path), snapshot=snapshot, resume=True, null=False, **change)


def test_a_witness_survives_its_state_and_knows_every_bit() -> None:
    features = torch.from_numpy(FEATURES).to(torch.bfloat16)
    source = ArraySource(features, LABELS)
    first = RowWitness(source, 512)
    assert len(list(first.watched(source.chunks(512)))) == -(-N // 512)
    second = RowWitness(source, 512)
    second.load(first.state())
    second.check(N)
    features[N - 1, 2] = torch.nextafter(features[N - 1, 2], torch.tensor(9.0).bfloat16())
    second.check(512 * 39)
    with pytest.raises(ValueError, match="rows 19968 to 19999"):
        second.check(N)
