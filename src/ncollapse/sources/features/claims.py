"""Sizes that a file or a label only claims, refused before memory is taken for them."""

from __future__ import annotations

import os

from torch import Tensor

# Classes past the number of samples that labels alone may imply: an ordinary vocabulary or a
# catalog of products fits, a hash or an identifier in the place of a class number does not.
IMPLIED_CLASSES = 2_000_000


def check_memory(size: float, what: str) -> None:
    """Raise ValueError where `size` bytes for `what` are more than this process can get."""
    free = available_memory()
    if free is not None and size > free:
        raise ValueError(
            f"{what} would take {size / 1e9:.3g} GB and {free / 1e9:.3g} GB of memory are free; "
            "if the size is what you meant, a machine with more memory is needed, else the file "
            "or the labels are damaged"
        )


def available_memory() -> float | None:
    """Bytes that this process can still take: what is free, within the limit on its address space.
    None where neither is known."""
    found = [size for size in (_free(), _below_limit()) if size is not None]
    return min(found) if found else None


def check_implied(labels: Tensor, count: int, description: str) -> None:
    """Raise ValueError for a K = `count` that only the largest label speaks for, far beyond the
    samples: its first sample is named."""
    if count <= IMPLIED_CLASSES + labels.numel():
        return
    row = int((labels == count - 1).nonzero()[0])
    raise ValueError(
        f"{description}: label {count - 1} of sample {row} would mean {count} classes for "
        f"{labels.numel()} samples; number the classes 0..K-1 (numpy.unique(labels, "
        "return_inverse=True)), or pass num_classes if so many are meant"
    )


def _free() -> float | None:
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return 1024.0 * int(line.split()[1])
    except (OSError, ValueError, IndexError):
        pass
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):
        return None


def _below_limit() -> float | None:
    try:
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        with open("/proc/self/statm", encoding="ascii") as line:
            used = int(line.read().split()[0]) * resource.getpagesize()
    except (ImportError, AttributeError, OSError, ValueError, IndexError):
        return None
    return None if limit == resource.RLIM_INFINITY else max(0.0, float(limit - used))
