"""Within the lab imports walk one way too, those inside functions and for types counted."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

LAB = Path(__file__).resolve().parents[2] / "src" / "ncollapse" / "lab"


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "ncollapse.lab":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ncollapse.lab."):
            found.add(node.module.split(".")[2])
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            found |= {name[2] for name in names if name[:2] == ["ncollapse", "lab"] and name[2:]}
    return found


def test_no_files_of_the_lab_stand_in_a_circle() -> None:
    graph = {path.stem: imported(path) for path in LAB.glob("*.py")}
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError
    assert order.index("study") < order.index("files") < order.index("result")
    assert order.index("scoreboard") < order.index("result") < order.index("runner")
