"""Hooks that stay with the model they were put on: copies and pickles of it carry none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Hook:
    """A hook that copies and pickles of the model leave behind."""

    def __init__(self, call: Callable[..., None]) -> None:
        self._call = call

    def __call__(self, *arguments: Any) -> None:
        self._call(*arguments)

    def __deepcopy__(self, memo: dict[int, Any]) -> Silent:
        return Silent()

    def __reduce__(self) -> tuple[Any, ...]:
        return Silent, ()


class Silent:
    """What stands in a hook's place in a copy."""

    def __call__(self, *arguments: Any) -> None:
        return None
