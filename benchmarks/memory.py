"""Peak memory of `measure` on files of growing length, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.common import Options, Row

D, K = 512, 200
LENGTHS = (40_000, 80_000, 160_000)
CHILD = """
import json, sys
import torch
from benchmarks.common import high_water, reset_peak
import ncollapse as nc
from ncollapse.measuring.measure import state_estimate
from ncollapse.sources.features.files import open_source
torch.set_num_threads(2)
source = open_source(sys.argv[1])
estimate = state_estimate(source)
warm = nc.measure_features(torch.randn(64, 4), torch.arange(64) % 2)
before = reset_peak()
nc.measure_source(source)
print(json.dumps({"peak": high_water() - before, "estimate": estimate}))
"""


def run(options: Options) -> list[Row]:
    rng = np.random.default_rng(0)
    peaks, estimates = [], []
    with tempfile.TemporaryDirectory() as folder:
        for length in LENGTHS:
            path = Path(folder) / f"{length}.npz"
            labels = rng.integers(0, K, size=length)
            features = rng.standard_normal((length, D), dtype=np.float32)
            np.savez(path, features=features, labels=labels, weight=features[:K])
            done = subprocess.run(
                [sys.executable, "-c", CHILD, str(path)],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
                cwd=Path(__file__).resolve().parent.parent,
            )
            found = json.loads(done.stdout)
            peaks.append(found["peak"])
            estimates.append(found["estimate"])
            path.unlink()
    growth = peaks[-1] / peaks[0] - 1
    rows = [
        Row("memory", f"peak at N = {length:,}", peak / 1e6, "MB")
        for length, peak in zip(LENGTHS, peaks, strict=True)
    ]
    rows.append(Row("memory", "growth from N to 4 N", growth, "rel", 0.05))
    rows.append(Row("memory", "estimate", estimates[-1] / 1e6, "MB"))
    error = abs(estimates[-1] / peaks[-1] - 1)
    rows.append(Row("memory", "estimate against peak", error, "rel", 0.2))
    return rows
