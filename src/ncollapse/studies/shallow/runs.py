"""Runs of the shallow study: linear programs over dimension and signal, and trained networks."""

from __future__ import annotations

from ncollapse.lab.shallow import Blobs, blobs, excess, trained_row
from ncollapse.lab.study import Outcome, Plan, outcome
from ncollapse.theory.subjects.shallow import nc_feasible


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
                    gaps.append(abs(excess(found, data, plan["decay"])))
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
        "two layers": trained_row(plan, hard, 64, seed),
        "three layers, first 60": trained_row(plan, hard.through(60, seed), 64, seed),
        "three layers, first 20": trained_row(plan, hard.through(20, seed), 64, seed),
        "feasible, width 16": trained_row(plan, easy, 16, seed),
        "feasible, width 64": trained_row(plan, easy, 64, seed),
        "feasible, plain decay": trained_row(plan, easy, 64, seed, on_features=False),
        "d = 9, signal 32": trained_row(plan, loud, 64, seed),
        "feasible, signal 8": trained_row(plan, clear, 64, seed),
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
