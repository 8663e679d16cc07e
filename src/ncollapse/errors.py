"""Warnings of the library."""


class NCollapseWarning(UserWarning):
    """Something was repaired or left out; the message says what and why."""
