"""Warnings of the library, and the error of checks that fail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class NCollapseWarning(UserWarning):
    """Something was repaired or left out; the message says what and why."""


class CheckError(AssertionError):
    """Something that was asked of a model or a run does not hold; the message says what, by how
    much, and why.

    failed: what does not hold, each a mapping as in `ncollapse check --json`: a limit (`key`,
    `value`, `limit`, `sign`), an answer (`id`, `answer`, `wanted`) or a law (`law`, `answer`,
    `error`, `names`, `sentence`).
    """

    def __init__(self, message: str, failed: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(message)
        self.failed = tuple(failed)
