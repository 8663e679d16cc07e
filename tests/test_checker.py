"""What the tests check at every call: the shapes of arrays."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest
import torch
from jaxtyping import TypeCheckError

from ncollapse.linalg import row_norms
from tests import checker

SOURCE = Path(__file__).resolve().parent.parent / "src" / "ncollapse"


def test_an_array_of_another_shape_is_refused() -> None:
    with pytest.raises(TypeCheckError):
        row_norms(torch.ones(3, dtype=torch.float64))  # type: ignore[arg-type]


@pytest.mark.skipif("CHECK_EVERYTHING" in os.environ, reason="all functions are decorated")
def test_functions_of_arrays_are_decorated_and_no_others() -> None:
    module = ast.parse(
        "from jaxtyping import Float\n"
        "from ncollapse.downstream.probes import Features\n"
        "Rows = Float[Tensor, 'n d']\n"
        "def a(x: Rows): ...\n"
        "def b(x: int) -> Float[Tensor, 'n']: ...\n"
        "def c(*, x: Features): ...\n"
        "def d(x: int) -> str:\n"
        "    def e(x: Rows | None): ...\n"
        "class F:\n"
        "    x: list[Rows]\n"
    )
    hook = checker.OfArrays(typechecker=checker._import_hook.Typechecker("tests.checker.check"))
    hook.visit(module)
    kinds = ast.FunctionDef | ast.ClassDef
    found = {n.name: len(n.decorator_list) for n in ast.walk(module) if isinstance(n, kinds)}
    assert found == {"a": 1, "b": 1, "c": 1, "d": 0, "e": 1, "F": 1}
