"""Calibration error: by hand, as a plain loop reads it, and whether its interval holds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ncollapse.downstream.calibration import Calibration, CalibrationError, calibration
from ncollapse.downstream.views import View

CLASSES = 6


def logits_of(confidence: np.ndarray, right: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that decide class 0 with this confidence, and labels that agree or do not."""
    sure = torch.tensor(confidence, dtype=torch.float64)[:, None]
    rest = (1 - sure).clamp_min(1e-300) / (CLASSES - 1)
    probabilities = torch.cat([sure, rest.expand(-1, CLASSES - 1)], 1)
    return probabilities.log(), torch.tensor(1 - right.astype(int))


def plain(confidence: np.ndarray, right: np.ndarray, bins: int, mass: bool) -> float:
    total = 0.0
    if mass:
        parts = np.array_split(np.argsort(confidence, kind="stable"), bins)
    else:
        ends = [(b / bins, (b + 1) / bins) for b in range(bins)]
        parts = [np.flatnonzero((confidence > a) & (confidence <= b)) for a, b in ends]
    for part in parts:
        if len(part):
            total += len(part) * abs(confidence[part].mean() - right[part].mean())
    return total / len(confidence)


def test_by_hand() -> None:
    found = calibration(
        *logits_of(np.array([0.95, 0.85, 0.75, 0.65, 0.2]), np.array([1, 1, 0, 1, 0])), bins=5
    )
    assert found.error == pytest.approx(0.16)
    assert [entry.count for entry in found.curve] == [1, 2, 2]
    assert found.curve[-1].accuracy == 1 and found.curve[-1].confidence == pytest.approx(0.9)


@pytest.mark.parametrize("mass", [False, True])
@pytest.mark.parametrize("bins", [1, 10, 15])
def test_as_a_plain_loop_reads_it(bins: int, mass: bool) -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.2, 1.0, 301)
    right = rng.random(301) < confidence**2
    found = calibration(*logits_of(confidence, right), bins=bins, mass=mass)
    assert found.error == pytest.approx(plain(confidence, right, bins, mass))
    assert found.overconfidence == pytest.approx(confidence.mean() - right.mean())
    assert found.interval[0] <= found.error <= found.interval[1]
    assert sum(entry.count for entry in found.curve) == 301


def test_the_last_bin_counts() -> None:
    found = calibration(*logits_of(np.ones(50), np.zeros(50)))
    assert found.error == pytest.approx(1) and found.verdict == "over-confident"


@pytest.mark.parametrize("power", [1.0, 2.0, 0.4])
def test_the_interval_holds_the_population_error(power: float) -> None:
    """Confidence u on an even grid of the last three of five bins, right with chance u^power."""
    rng, trials, samples = np.random.default_rng(1), 100, 300
    levels = np.array([0.5, 0.7, 0.9])
    truth = float(np.abs(levels - levels**power).mean())
    gap = float((levels - levels**power).mean())
    inside = over = 0
    for _ in range(trials):
        confidence = rng.choice(levels, samples)
        right = rng.random(samples) < confidence**power
        found = calibration(*logits_of(confidence, right), bins=5)
        inside += found.interval[0] - 1e-12 <= truth <= found.interval[1] + 1e-12
        low, high = found.overconfidence_interval
        over += low <= gap <= high
    # Of 100 at 95 %: 88 or fewer come by chance once in two hundred.
    assert inside >= 89 and over >= 89


def test_a_calibrated_model_reads_its_null_and_no_mistake_is_not_certainty() -> None:
    rng = np.random.default_rng(2)
    confidence = rng.uniform(0.3, 1.0, 500)
    found = [calibration(*logits_of(confidence, rng.random(500) < confidence)) for _ in range(40)]
    assert np.mean([one.error for one in found]) == pytest.approx(found[0].null, rel=0.12)
    assert sum(one.verdict == "cannot tell" for one in found) >= 33
    spotless = calibration(*logits_of(np.full(600, 1 - 1e-9), np.ones(600)))
    # Six hundred right of six hundred: the rule of three says up to .005 may be wrong.
    assert spotless.error < 1e-6 and spotless.interval[1] == pytest.approx(0.006, abs=0.003)
    assert spotless.verdict == "cannot tell"


@pytest.mark.parametrize(
    ("logits", "labels", "options", "match"),
    [
        (torch.zeros(3), torch.zeros(3, dtype=torch.int64), {}, r"\(samples, classes\)"),
        (torch.zeros(3, 2), torch.zeros(2, dtype=torch.int64), {}, "label a sample"),
        (torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64), {}, "samples"),
        (torch.zeros(3, 2), torch.full((3,), 2), {}, "from 0 to 1"),
        (torch.full((3, 2), math.nan), torch.zeros(3, dtype=torch.int64), {}, "NaN"),
        (torch.zeros(3, 2), torch.zeros(3, dtype=torch.int64), {"bins": 0}, "at least 1"),
    ],
)
def test_bad_input_is_refused(logits, labels, options: dict, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        calibration(logits, labels, **options)


def test_a_watcher_reads_the_layer_with_logits_alone() -> None:
    logits, labels = logits_of(np.array([0.9, 0.6]), np.array([1, 0]))
    features = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    watcher = CalibrationError()
    assert watcher.read(View("train", "relu0", features, labels)) == {}
    seen = watcher.read(View("train", "head", features, labels, logits))
    found = calibration(logits, labels)
    assert isinstance(found, Calibration)
    assert seen == {"calibration_error": found.error, "overconfidence": found.overconfidence}
