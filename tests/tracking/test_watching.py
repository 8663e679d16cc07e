"""Watchers of a tracker: what they read stands in the trace, and what they refuse."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch

import ncollapse as nc
from ncollapse.downstream.calibration import CalibrationError
from ncollapse.downstream.dependence import nhsic
from ncollapse.downstream.grokking import PopulationVariance, rnc1
from ncollapse.downstream.plane import KEYS, InformationPlane
from ncollapse.lab.models import mlp, penultimate

DRAW = torch.Generator().manual_seed(0)
LABELS = torch.arange(3).repeat(20)
INPUTS = torch.randn(3, 6, generator=DRAW)[LABELS] + 0.3 * torch.randn(60, 6, generator=DRAW)
DATA = (INPUTS, LABELS)


def model() -> torch.nn.Sequential:
    return mlp(6, (8,), 3, batch_norm=False)


def test_what_watchers_read_stands_in_the_trace(tmp_path: Path) -> None:
    net = model()
    watch = [InformationPlane({"test": DATA}, layers=("head",)), PopulationVariance()]
    watch.append(CalibrationError())
    tracker = nc.Tracker(
        net, train=DATA, test=DATA, layers=["linear0"], watch=watch, output=tmp_path
    )
    tracker.end_epoch()
    trace = nc.Trace.load(tmp_path / "trace.csv")
    features = penultimate(net, INPUTS)
    for split in ("train", "test"):
        assert trace.series(split, "head", "rnc1")[1] == [pytest.approx(rnc1(features, LABELS))]
        assert trace.series(split, "linear0", "rnc1")[1][0] is not None
        assert trace.series(split, "head", "calibration_error")[1]
        assert not trace.series(split, "linear0", "calibration_error")[1]
    assert not trace.series("train", "head", KEYS[0])[1]
    (seen,) = trace.series("test", "head", "nhsic_input")[1]
    assert seen == pytest.approx(nhsic(features, INPUTS).value, rel=1e-6)
    (lower,), (upper,) = (trace.series("test", "head", key)[1] for key in KEYS[2:4])
    assert lower is not None and upper is not None and 0 < lower <= upper
    assert tracker.finish(null=False, intervals=False).trace.rows == trace.rows


def test_the_plane_knows_the_order_of_its_samples() -> None:
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    plane = InformationPlane({"train": (INPUTS[order], LABELS[order])})
    tracker = nc.Tracker(model(), train=DATA, watch=[plane])
    with pytest.raises(ValueError, match="another order"):
        tracker.probe()


def test_a_watcher_that_fails_later_ends_no_training() -> None:
    class Late:
        looks = 0

        def read(self, view):
            self.looks += 1
            if self.looks > 1:
                raise ValueError("not now")
            return {"mine": 1.0}

    late = Late()
    tracker = nc.Tracker(model(), train=DATA, watch=[late])
    tracker.end_epoch()
    with pytest.warns(nc.NCollapseWarning, match="nothing is watched from here on: not now"):
        tracker.end_epoch()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tracker.end_epoch()
    assert tracker.trace.series("train", "head", "mine")[1] == [1.0]
    assert len(tracker.trace.series("train", "head", "accuracy")[1]) == 3
    assert late.looks == 2


def test_features_that_are_not_finite_are_not_shown_to_watchers() -> None:
    net = model()
    tracker = nc.Tracker(net, train=DATA, watch=[PopulationVariance()])
    tracker.end_epoch()
    with torch.no_grad():
        net.get_submodule("linear0").weight.fill_(torch.nan)
    with pytest.warns(nc.NCollapseWarning, match="The reading is null"):
        tracker.end_epoch()
    assert len(tracker.trace.series("train", "head", "rnc1")[1]) == 1


def test_bad_watchers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"watch holds a str; objects with read\(view\)"):
        nc.Tracker(model(), train=DATA, watch=["nhsic"])
    with pytest.raises(ValueError, match="watch needs samples"):
        nc.Tracker(model(), online=True, watch=[PopulationVariance()])
    tracker = nc.Tracker(model(), train=DATA, watch=[PopulationVariance()] * 2)
    with pytest.raises(ValueError, match="two watchers read 'rnc1'"):
        tracker.probe()
    with pytest.raises(ValueError, match="data for 0 splits"):
        InformationPlane({})
    with pytest.raises(ValueError, match="60 inputs and 59 labels"):
        InformationPlane({"train": (INPUTS, LABELS[:-1])})
