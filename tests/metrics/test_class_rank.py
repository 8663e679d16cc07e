"""Effective ranks of single classes: known spectra, along checkpoints, and the question."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ncollapse as nc
from ncollapse.answers.questions import judge
from ncollapse.downstream.class_ranks import ClassRanks
from ncollapse.downstream.views import View
from ncollapse.metrics.class_rank import effective_rank
from ncollapse.metrics.kept_ranks import kept_ranks
from ncollapse.record.trace import CLASS_RANK, Trace

K, EACH, D = 4, 30, 12
LABELS = np.arange(K * EACH) % K


def features(lost: float = 1.0, deep: float = 1.0) -> np.ndarray:
    """Classes of one spread, but for class 2, whose last ten directions are `lost` times as wide;
    deep: the spread of all."""
    rng = np.random.default_rng(0)
    spread = rng.normal(size=(K * EACH, D))
    spread[LABELS == 2, 2:] *= lost
    return 5 * np.eye(K, D)[LABELS] + deep * spread


def ranks(found: nc.Measurement) -> list[float | None]:
    return [row.rank for row in found.classes]


def test_ranks_are_of_each_class_and_of_any_depth_and_columns() -> None:
    whole = features(0.01)
    plain = nc.measure_features(whole, LABELS, intervals=False)
    wanted = []
    for k in range(K):
        own = whole[k == LABELS]
        share = np.linalg.svd(own - own.mean(0), compute_uv=False) ** 2
        share /= share.sum()
        wanted.append(float(np.exp(-(share * np.log(share)).sum())))
    assert ranks(plain) == pytest.approx(wanted, rel=1e-9)
    assert wanted[2] < 2.1 < 7 < min(wanted[:2])
    deep = nc.measure_features(features(0.01, 1e-6), LABELS, intervals=False)
    assert ranks(deep) == pytest.approx(wanted, rel=1e-7)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(20, 20)))[0][:D]
    turned = nc.measure_features(features(0.01) @ turn, LABELS, intervals=False)
    assert ranks(turned) == pytest.approx(wanted, rel=1e-9)


def test_without_comparators_samples_are_kept_where_they_are_asked_for() -> None:
    quick = {"null": False, "intervals": False, "decisions": False}
    assert set(ranks(nc.measure_features(features(), LABELS, **quick))) == {None}
    asked = nc.measure_features(features(), LABELS, class_ranks=True, **quick)
    assert None not in ranks(asked)


def test_a_class_without_spread_or_alone_has_no_rank() -> None:
    rows = features()
    rows[LABELS == 1] = rows[1]
    labels = LABELS.copy()
    labels[(LABELS == 3).nonzero()[0][1:]] = 0
    found = nc.measure_features(rows, labels, intervals=False)
    assert [rank is None for rank in ranks(found)] == [False, True, False, True]
    assert effective_rank(torch.ones(3, 5)) == 0


def test_a_saved_run_keeps_ranks_and_older_ones_have_none(tmp_path) -> None:
    found = nc.measure_features(features(), LABELS, intervals=False)
    found.save(tmp_path)
    assert nc.Measurement.load(tmp_path).classes == found.classes
    text = (tmp_path / "classes.csv").read_text("utf-8").splitlines()
    older = [line.rpartition(",")[0] for line in text]
    (tmp_path / "classes.csv").write_text("\n".join(older) + "\n", "utf-8")
    assert set(ranks(nc.Measurement.load(tmp_path))) == {None}


# ---- the question ---------------------------------------------------------------------------------
def traced(*losses: tuple[float, float]) -> tuple[Trace, nc.Measurement]:
    """A trace over steps; each is (spread of class 2's last directions, depth)."""
    trace = Trace()
    for step, (lost, deep) in enumerate(losses):
        found = nc.measure_features(features(lost, deep), LABELS, null=False, class_ranks=True)
        values = {f"{CLASS_RANK}{row.index}": row.rank for row in found.classes}
        trace.append(step, values, split="train")
    return trace, found


@pytest.mark.parametrize(
    ("losses", "answer"),
    [
        ([(1.0, 1.0), (0.4, 0.3), (0.05, 0.1)], "yes"),
        ([(1.0, 1.0), (0.35, 1.0)], "partly"),
        # All collapse alike, deeply: no direction is lost.
        ([(1.0, 1.0), (1.0, 1e-3), (1.0, 1e-6)], "no"),
    ],
)
def test_a_class_that_loses_directions_alone_is_named(losses, answer) -> None:
    trace, found = traced(*losses)
    verdicts = judge(found.results, found.classes, num_classes=K, num_features=D, trace=trace)
    (said,) = [verdict for verdict in verdicts if verdict.id == "silent_collapse"]
    assert said.answer == answer, said.sentence
    if answer == "yes":
        assert "Class '2' keeps" in said.sentence


def test_without_two_readings_it_is_not_asked() -> None:
    trace, found = traced((1.0, 1.0))
    assert kept_ranks(trace, "train", "head") is None
    verdicts = judge(found.results, found.classes, num_classes=K, num_features=D, trace=trace)
    assert "silent_collapse" not in {verdict.id for verdict in verdicts}


def test_a_watcher_reads_the_same_of_a_tracker() -> None:
    rows, labels = torch.from_numpy(features(0.05)), torch.from_numpy(LABELS)
    found = ClassRanks().read(View("train", "head", rows, labels, None))
    wanted = ranks(nc.measure_features(rows, labels, intervals=False))
    assert [found[f"{CLASS_RANK}{k}"] for k in range(K)] == pytest.approx(wanted, rel=1e-9)
    assert ClassRanks().read(View("train", "body.0", rows, labels, None)) == {}
    with pytest.raises(ValueError, match="at least two samples"):
        ClassRanks(most=1)
