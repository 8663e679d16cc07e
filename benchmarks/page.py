"""The report page of a thousand classes: seconds to render, and bytes."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import ncollapse as nc
from benchmarks.common import Options, Row, wall
from ncollapse.record.run import Run
from ncollapse.report.html import render_page

CLASSES, DIM, PER_CLASS = 1000, 256, 12


def run(options: Options) -> list[Row]:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(CLASSES), PER_CLASS)
    means = rng.normal(size=(CLASSES, DIM))
    features = means[labels] + 0.3 * rng.normal(size=(labels.size, DIM))
    measured = nc.measure_features(features.astype(np.float32), labels, weight=means)
    with tempfile.TemporaryDirectory() as folder:
        place = measured.save(Path(folder))
        pages: list[str] = []

        def render() -> None:
            pages.append(render_page(Run.read(place)))

        render()  # Imports and fonts once; a page is then what is timed.
        seconds = min(wall(render) for _ in range(3))
    return [
        Row("page", f"rendering {CLASSES} classes", seconds, "s", 1.0),
        Row("page", "its size", len(pages[0].encode()) / 1e6, "MB", 2.0),
    ]
