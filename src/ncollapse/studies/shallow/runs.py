"""Runs of the shallow study: linear programs over dimension and signal, and trained networks."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ncollapse.lab.shallow import Blobs, Trained, blobs, fit_two_layers, readings
from ncollapse.lab.study import Outcome, Plan, outcome
from ncollapse.theory.subjects.shallow import Feasible, nc_feasible, shallow_bound


def phase(settings: Plan, seed: int) -> Outcome:
    """Share of feasible draws by dimension and signal, and the networks that feasible ones give."""
    plan = settings
    dims = [plan["never"], *plan["between"], plan["unneeded"], *plan["enough"]]
    table, gaps = {}, []
    for dim in dims:
        row = []
        for signal in plan["signals"]:
            hits = 0
            for draw in range(plan["draws"]):
                data = _data(plan, dim, signal, seed * 1000 + draw)
                found = nc_feasible(data.inputs, data.labels)
                hits += bool(found)
                if found:
                    gaps.append(_gap(found, data, plan["decay"]))
            row.append(hits / plan["draws"])
        table[dim] = row
    values = {
        "shallow-never": max(table[plan["never"]]),
        "shallow-sufficient": min(min(table[dim]) for dim in plan["enough"]),
        "shallow-not-necessary": table[plan["unneeded"]][0],
        "shallow-signal": min(table[dim][-1] - table[dim][0] for dim in plan["between"]),
        "shallow-attained": max(gaps),
    }
    return outcome(values, dims=dims, signals=plan["signals"], shares=list(table.values()))


def networks(settings: Plan, seed: int) -> Outcome:
    """Trained networks on infeasible and feasible data."""
    plan = settings
    hard, easy = _data(plan, 20, 1, seed), _data(plan, 60, 1, seed)
    loud, clear = _data(plan, 9, 32, seed), _data(plan, 60, 8, seed)
    rows = {
        "two layers": _train(plan, hard, 64, seed),
        "three layers, first 60": _train(plan, _through(hard, 60, seed), 64, seed),
        "three layers, first 20": _train(plan, _through(hard, 20, seed), 64, seed),
        "feasible, width 16": _train(plan, easy, 16, seed),
        "feasible, width 64": _train(plan, easy, 64, seed),
        "feasible, plain decay": _train(plan, easy, 64, seed, on_features=False),
        "d = 9, signal 32": _train(plan, loud, 64, seed),
        "feasible, signal 8": _train(plan, clear, 64, seed),
    }
    nc1 = {name: row["nc1"] for name, row in rows.items()}
    values = {
        "shallow-two-layers": nc1["two layers"],
        "shallow-three-layers": nc1["three layers, first 60"],
        "shallow-three-narrow": nc1["three layers, first 20"],
        "shallow-optimiser": nc1["feasible, width 16"] / nc1["feasible, width 64"],
        "shallow-decay": nc1["feasible, plain decay"],
        "shallow-near": nc1["d = 9, signal 32"],
        "shallow-no-generalisation": rows["feasible, width 64"]["accuracy"],
        "shallow-generalisation": rows["feasible, signal 8"]["accuracy"],
    }
    return outcome(values, rows=[{"name": name, **row} for name, row in rows.items()])


def _data(plan: Plan, dim: int, signal: float, seed: int) -> Blobs:
    return blobs(dim, signal, plan["classes"], plan["each"], seed, tests=plan["tests"])


def _through(data: Blobs, width: int, seed: int) -> Blobs:
    """The data as a random first layer of that width gives it on, s(A x)."""
    generator = torch.Generator().manual_seed(seed)
    dim = data.inputs.shape[1]
    A = torch.randn(width, dim, generator=generator, dtype=torch.float64) * math.sqrt(2 / dim)

    def onward(rows: Tensor) -> Tensor:
        return (rows @ A.T).relu()

    return Blobs(onward(data.inputs), data.labels, onward(data.test), data.test_labels)


def _train(
    plan: Plan, data: Blobs, width: int, seed: int, on_features: bool = True
) -> dict[str, Any]:
    found = fit_two_layers(
        data.inputs,
        data.labels,
        width,
        decay=plan["decay"],
        on_features=on_features,
        steps=plan["steps"],
        polish=plan["polish"],
        seed=seed,
    )
    bound = shallow_bound([plan["each"]] * plan["classes"], plan["decay"], plan["decay"])
    return {
        "nc1": readings(found.features, data.labels, ("nc1_ratio",))["nc1_ratio"],
        "excess": found.risk - bound,
        "accuracy": _accuracy(found, data.test, data.test_labels),
        "train": _accuracy(found, data.inputs, data.labels),
        "feasible": bool(nc_feasible(data.inputs, data.labels)),
    }


def _accuracy(found: Trained, inputs: Tensor, labels: Tensor) -> float:
    return float((found.network(inputs).argmax(1) == labels).to(torch.float64).mean())


def _gap(found: Feasible, data: Blobs, decay: float) -> float:
    """Risk of the network that the programs make, over the bound, less 1."""
    W1, W2 = found.network(decay, decay)
    features = (data.inputs @ W1.T).relu()
    target = torch.eye(len(W2), dtype=torch.float64)[data.labels]
    loss = ((features @ W2.T - target) ** 2).sum() / (2 * len(target))
    risk = loss + decay / 2 * ((W2**2).sum() + (features**2).sum())
    return abs(float(risk) / shallow_bound(found.counts, decay, decay) - 1)
