"""Class means: their cosines as a heat map, and their singular values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ncollapse.report.plots.gram import blocks_of, gram_note, measured_blocks, units

if TYPE_CHECKING:
    from ncollapse.report.axes import Parts


def gram(parts: Parts, ax: Axes) -> None:
    """Cosines of the centred class means (of classifier rows where there are none): every class up
    to 50, blocks of like ones beyond."""
    unit = units(_array(parts.rows))
    counts = None if parts.counts is None else _array(parts.counts)
    order, sizes = blocks_of(unit, counts)
    values = measured_blocks(unit, order, sizes)
    single = len(sizes) == len(unit)
    reach = 1.0 if single else max(float(np.abs(values).max()), 1e-9)
    image = ax.imshow(values, cmap="RdBu_r", vmin=-reach, vmax=reach, interpolation="nearest")
    ax.figure.colorbar(image, ax=ax, label="cosine")
    what = "classifier rows" if parts.means is None else "class means"
    ax.set_title(f"{what}: {gram_note(len(unit), counts)}")
    if single and len(unit) <= 12:
        rows = parts.classes or []
        named = [row.name for row in rows] if len(rows) == len(unit) else range(len(unit))
        labels = [str(list(named)[i]) for i in order]
        ax.set_yticks(range(len(unit)), labels)
        ax.set_xticks([])
    else:
        ax.set_xticks([])
        ax.set_yticks([])


def spectrum(parts: Parts, ax: Axes) -> None:
    """Singular values of the centred class means over the largest, with those of the classifier's
    rows beside them; a simplex has K - 1 equal ones."""
    longest = 1
    for what, rows in (("class means", parts.means), ("classifier rows", parts.weight)):
        if rows is None:
            continue
        array = _array(rows)
        values = np.linalg.svd(array - array.mean(0), compute_uv=False)
        values = values[: max(len(array) - 1, 1)]
        top = float(values[0]) if len(values) and values[0] > 0 else 1.0
        ax.plot(np.arange(1, len(values) + 1), values / top, marker="o", markersize=3, label=what)
        longest = max(longest, len(values))
    ax.axhline(1.0, color="0.6", linewidth=1, linestyle=":", label="simplex")
    ax.set_ylim(bottom=0)
    ax.set_xlabel("direction")
    ax.set_ylabel("singular value / largest")
    if longest > 200:
        ax.set_xscale("log")
    else:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend()


def _array(values: Any) -> NDArray[np.float64]:
    """Tensors and arrays alike."""
    values = values.detach().cpu() if hasattr(values, "detach") else values
    return np.asarray(values, dtype=np.float64)
