"""Where numbers come from: versions, threads, seeds, the hash of the data and of the code."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "safetensors")


@cache
def package_version(name: str) -> str | None:
    """Installed version of a package without importing it."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def own_version() -> str:
    """Version of this library; 0.0.0 where it runs without being installed."""
    return package_version("ncollapse") or "0.0.0"


def environment(seed: int | None, data_hash: str | None) -> dict[str, Any]:
    """What a reader needs to repeat a run. Threads are read only if torch is already loaded."""
    torch = sys.modules.get("torch")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.machine(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads() if torch is not None else None,
        "packages": {name: package_version(name) for name in PACKAGES},
        "seed": seed,
        "data_hash": data_hash,
    }


def git_hash(folder: Path | None = None) -> str | None:
    """Commit of the checkout that `folder` (default: this package) lies in, None outside one."""
    place = folder or Path(__file__).resolve().parent
    try:
        done = subprocess.run(
            ["git", "-C", str(place), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
