"""Run folders and frames that the report's tests read, made from own generators."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

import ncollapse as nc
from ncollapse.record.trace import Trace
from tests.data import make


def folder(
    path: Path,
    *,
    classes: int = 5,
    per_class: int = 12,
    dim: int = 8,
    names: list[str] | None = None,
    trace: bool = True,
    comparators: bool = True,
) -> Path:
    """A measured run with two splits, a head and (by default) a trace past zero error."""
    case = make("run", counts=[per_class] * classes, dim=dim, spread=0.2)
    split = np.where(np.arange(len(case.labels)) % 3 == 0, "test", "train")
    measured = nc.measure_features(
        case.features,
        case.labels,
        weight=case.weight,
        bias=case.bias,
        split=split,
        class_names=names,
        null=comparators,
        intervals=comparators,
    )
    measured.save(path)
    if trace:
        rows = Trace()
        for epoch in range(1, 9):
            values = {
                "class_share": 1 - 0.5**epoch,
                "nc2_etf_means": 0.8**epoch,
                "nc3_duality": 0.9**epoch,
                "accuracy": min(1.0, 0.6 + 0.1 * epoch),
            }
            for name in ("train", "test"):
                rows.append(10 * epoch, values, split=name, epoch=epoch)
        rows.save(path / "trace.csv")
    return path


def simplex(classes: int, width: int, seed: int = 0) -> np.ndarray:
    """A simplex of `classes` unit rows, turned at random into `width` dimensions."""
    rows = np.eye(classes) - 1 / classes
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    basis, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(width, classes)))
    return rows @ basis.T


def frames(
    path: Path,
    *,
    classes: int = 4,
    count: int = 6,
    width: int = 8,
    per_class: int = 10,
    schema: str = "1",
    head: bool = True,
    names: list[str] | None = None,
    spread: float = 0.6,
) -> Path:
    """Features that close in on a simplex, in another basis at every frame."""
    labels = np.repeat(np.arange(classes), per_class)
    noise = np.random.default_rng(1).normal(size=(len(labels), width))
    tensors = {"labels": labels.astype(np.int64)}
    for i in range(count):
        means = (1 + i) * simplex(classes, width, seed=i) + 0.3
        left = spread * (1 - i / max(count - 1, 1))
        tensors[f"{i}/features"] = (means[labels] + left * noise).astype(np.float32)
        tensors[f"{i}/means"] = means.astype(np.float32)
        if head:
            tensors[f"{i}/weight"] = means.astype(np.float32)
            tensors[f"{i}/bias"] = (-0.5 * (means**2).sum(1)).astype(np.float32)
    notes = {
        "schema": schema,
        "classes": json.dumps(list(range(classes))),
        "class_names": json.dumps(names or [f"class {k}" for k in range(classes)]),
        "steps": json.dumps([10 * i for i in range(count)]),
        "epochs": json.dumps([float(i) for i in range(count)]),
        "split": "train",
    }
    save_file(tensors, path, metadata=notes)
    return path
