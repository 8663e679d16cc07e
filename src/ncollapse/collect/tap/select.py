"""Names, globs and predicates → the modules of a model that are tapped."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from torch import nn

Layers = str | Callable[[str, nn.Module], bool] | Sequence[str] | None
CONTAINERS = (nn.Sequential, nn.ModuleList)
SILENT = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.ModuleList)
LISTED = 12


def select(model: nn.Module, layers: Layers) -> tuple[dict[str, nn.Module], set[str]]:
    """Modules by name in model order, and the names that were given exactly.

    "*" alone means the model's blocks (see `blocks`); elsewhere `*` stands for one part of a
    dotted name and `**` for any number. A predicate gets (name, module).

    Raises ValueError, with the names that exist, when something given matches nothing.
    """
    if layers is None:
        return {}, set()
    if not (callable(layers) or isinstance(layers, Iterable)):
        raise ValueError(
            f"layers={layers!r}; names, patterns such as 'layer*', '*' for every block, or a "
            "function of (name, module) is needed"
        )
    modules = {name: module for name, module in model.named_modules() if name}
    if callable(layers):
        chosen = {name for name, module in modules.items() if layers(name, module)}
        if not chosen:
            raise ValueError(f"the predicate chose no layer; {_existing(model, modules)}")
        return {name: module for name, module in modules.items() if name in chosen}, set()
    patterns = [layers] if isinstance(layers, str) else list(layers)
    chosen, exact = set(), set()
    for pattern in patterns:
        if pattern == "head":
            continue
        if pattern in modules:
            exact.add(pattern)
            found = {pattern}
        elif pattern == "*":
            found = set(blocks(model))
        else:
            matcher = _regex(pattern)
            found = {name for name in modules if matcher.fullmatch(name)}
        if not found:
            raise ValueError(f"layers {pattern!r} matches nothing; {_existing(model, modules)}")
        chosen |= found
    return {name: module for name, module in modules.items() if name in chosen}, exact


def blocks(model: nn.Module) -> list[str]:
    """The steps a reader would draw: the members of containers, and of any child that holds a stack
    of alike modules, or containers and most of the parameters (the encoder in a classifier)."""
    total = sum(p.numel() for p in model.parameters())
    found: list[str] = []

    def walk(module: nn.Module, prefix: str) -> None:
        for name, child in module.named_children():
            path = f"{prefix}{name}"
            size = sum(p.numel() for p in child.parameters())
            large = 2 * size > total and any(isinstance(m, CONTAINERS) for m in child.modules())
            if isinstance(child, CONTAINERS) or large or _holds_stack(child):
                walk(child, f"{path}.")
            elif not isinstance(child, SILENT):
                found.append(path)

    walk(model, "")
    return found


def _holds_stack(module: nn.Module) -> bool:
    lists = [part for part in module.modules() if isinstance(part, nn.ModuleList) and len(part) > 1]
    return any(
        len({type(member) for member in part}) == 1 and bool(list(part[0].children()))
        for part in lists
    )


def _regex(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*|\*|\?)", pattern)
    meaning = {"**": ".*", "*": r"[^.]*", "?": r"[^.]"}
    return re.compile("".join(meaning.get(part, re.escape(part)) for part in parts))


def _existing(model: nn.Module, modules: dict[str, nn.Module]) -> str:
    names = blocks(model) or list(modules)
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"the model has {', '.join(names[:LISTED])}{more}: name some of those"
