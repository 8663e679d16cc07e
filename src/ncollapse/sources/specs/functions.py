"""package.module:function → the function: the user's own code, run as it is."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any


def load_function(spec: str, what: str) -> Callable[..., Any]:
    """The object that a spec names; the working directory is searched first, as python -m does.

    Raises ValueError when the module does not import or holds no such callable.
    """
    module_name, _, name = spec.rpartition(":")
    if not module_name or not name:
        raise ValueError(f"{what} {spec!r} is not understood; write package.module:function")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = import_module(module_name)
    except Exception as error:
        raise ValueError(
            f"{what} {spec!r}: {module_name} does not import ({type(error).__name__}: {error}); "
            "run from the folder that holds it, or set PYTHONPATH"
        ) from error
    found = getattr(module, name, None)
    if not callable(found):
        have = ", ".join(n for n in vars(module) if not n.startswith("_"))[:200]
        raise ValueError(f"{what} {spec!r}: {module_name} has no function {name!r} (it has {have})")
    return found
