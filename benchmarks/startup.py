"""Seconds until the package is imported and the help is printed."""

from __future__ import annotations

import statistics
import subprocess
import sys

from benchmarks.common import Options, Row, wall


def run(options: Options) -> list[Row]:
    work = {
        "import ncollapse": (["-c", "import ncollapse"], 0.3),
        "ncollapse --help": (["-m", "ncollapse", "--help"], 0.5),
        "ncollapse explain nc1_fisher": (["-m", "ncollapse", "explain", "nc1_fisher"], None),
    }
    rows = []
    for name, (arguments, bar) in work.items():
        command = [sys.executable, *arguments]
        times = [
            wall(lambda c=command: subprocess.run(c, check=True, capture_output=True))
            for _ in range(8)
        ]
        rows.append(Row("startup", name, statistics.median(times[1:]), "s", bar))
    return rows
