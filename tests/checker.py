"""beartype as jaxtyping's checker, with int accepted where float is written (PEP 484).

One function in ten speaks of arrays. The others are left to mypy, which reads them all and costs nothing
while tests run: checking them too, at every call, made up more than half of what the tests took. `make
test-all` checks every function (CHECK_EVERYTHING=1).
"""

from __future__ import annotations

import ast
import os
from functools import cache
from pathlib import Path

from beartype import BeartypeConf, beartype
from jaxtyping import _import_hook, install_import_hook

SOURCE = Path(__file__).resolve().parent.parent / "src"
check = beartype(conf=BeartypeConf(is_pep484_tower=True))
# Compiled files are kept under the name of the checker: two names, so that neither reads the other's.
check_all = check


def mentions(node: ast.AST, names: set[str]) -> bool:
    return any(isinstance(part, ast.Name) and part.id in names for part in ast.walk(node))


def array_names(module: ast.Module) -> set[str]:
    """Names that stand for arrays in a file: those of jaxtyping, and what is made of them here or where
    it is imported from.
    """
    names: set[str] = set()
    for node in module.body:
        if isinstance(node, ast.ImportFrom) and node.module == "jaxtyping":
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ncollapse."):
            made = made_in(str(node.module))
            names |= {alias.asname or alias.name for alias in node.names if alias.name in made}
        elif isinstance(node, ast.Assign) and mentions(node.value, names):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


@cache
def made_in(module: str) -> set[str]:
    path = SOURCE / Path(*module.split(".")).with_suffix(".py")
    return array_names(ast.parse(path.read_text(encoding="utf-8"))) if path.exists() else set()


class OfArrays(_import_hook.JaxtypingTransformer):
    """Decorates the functions and classes whose annotations speak of arrays, and no others."""

    names: set[str]

    def visit_Module(self, node: ast.Module) -> ast.Module:
        self.names = array_names(node)
        return super().visit_Module(node) if self.names else node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        hints = [argument.annotation for argument in arguments] + [node.returns]
        if any(hint is not None and mentions(hint, self.names) for hint in hints):
            return super().visit_FunctionDef(node)
        self.generic_visit(node)
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        fields = [item.annotation for item in node.body if isinstance(item, ast.AnnAssign)]
        if any(mentions(hint, self.names) for hint in fields):
            return super().visit_ClassDef(node)
        self.generic_visit(node)
        return node


def install() -> None:
    if os.environ.get("CHECK_EVERYTHING"):
        install_import_hook("ncollapse", "tests.checker.check_all")
        return
    _import_hook.JaxtypingTransformer = OfArrays
    install_import_hook("ncollapse", "tests.checker.check")
