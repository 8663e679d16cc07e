"""Errors in deep collapse, against two float64 passes."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

import ncollapse as nc
from benchmarks.common import Options, Row

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.data import make
from tests.oracles import oracle


def run(options: Options) -> list[Row]:
    rows = []
    case = make("deep", counts=[200] * 10, dim=128, spread=1e-4, offset=10.0, align=1.0)
    wanted = oracle(case.features, case.labels, case.weight, case.bias)
    m = nc.measure_features(
        case.features, case.labels, weight=case.weight, bias=case.bias, null=False, intervals=False
    )
    errors = {
        key: abs((m.value(key) or 0.0) - value) / max(abs(value), 1e-12)
        for key, value in wanted.items()
    }
    worst = max(errors, key=lambda key: errors[key])
    rows.append(
        Row("accuracy", f"std 1e-4 at offset 10, worst ({worst})", errors[worst], "rel", 1e-5)
    )
    case = make("trace", counts=[200] * 10, dim=256, spread=1e-6, offset=1.0)
    wanted = oracle(case.features, case.labels)
    m = nc.measure_features(case.features, case.labels, null=False, intervals=False)
    rows.append(Row("accuracy", "deep case: nc1_ratio", wanted["nc1_ratio"], ""))
    for key in ("nc1_ratio", "nc1_cdnv"):
        error = abs((m.value(key) or 0.0) / wanted[key] - 1)
        rows.append(Row("accuracy", f"deep case: {key}", error, "rel", 1e-6))
    if options.peer is not None:
        from benchmarks.peer import Peer

        features, labels = torch.from_numpy(case.features), torch.from_numpy(case.labels)
        found = Peer(options.peer).nc1(features, labels, 10)
        rows.append(
            Row("accuracy", "deep case: peer's NC1", abs(found / wanted["nc1_fisher"] - 1), "rel")
        )
    return rows
