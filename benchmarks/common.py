"""What benchmarks share: bars, clocks and rows."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """A measured number beside its bar (None: for information)."""

    benchmark: str
    what: str
    value: float
    unit: str
    bar: float | None = None

    @property
    def holds(self) -> bool | None:
        return None if self.bar is None else self.value <= self.bar


@dataclass(frozen=True)
class Options:
    """Command-line options that benchmarks read."""

    peer: Path | None = None
    full: bool = False


def wall(function: Callable[[], object]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def cpu(function: Callable[[], object]) -> float:
    """CPU-seconds over all threads."""
    began = time.process_time()
    function()
    return time.process_time() - began


def interleaved(
    functions: dict[str, Callable[[], object]],
    repeats: int = 9,
    clock: Callable[[Callable[[], object]], float] = wall,
) -> dict[str, list[float]]:
    """Times of functions run in turn, after one round of warm-up."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for number in range(repeats + 1):
        for name, function in functions.items():
            taken = clock(function)
            if number:
                times[name].append(taken)
    return times


def median_ratio(above: list[float], *below: list[float]) -> float:
    """Median over rounds of a/(b + c + …)."""
    return statistics.median(a / sum(b) for a, *b in zip(above, *below, strict=True))


def peak_bytes() -> int:
    """Peak resident memory of this process (Linux counts kilobytes)."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def reset_peak() -> int:
    """Start the peak anew where the kernel allows it, and return what is resident now."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return peak_bytes()
    return high_water()


def high_water() -> int:
    """Peak resident memory since `reset_peak`."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return 1024 * int(line.split()[1])
    return peak_bytes()
