"""Few-shot accuracy on other classes against the layer, with how far each layer mixes classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ncollapse.report.plots.ink import (
    FAINT,
    INK,
    MARK,
    SMALL,
    TEST,
    TRAIN,
    canvas,
    place,
    plain,
    style,
    to_svg,
)

WIDTH, HEIGHT, LEFT, BOTTOM = 640.0, 250.0, 48.0, 62.0


def transfer_curve(found: Mapping[str, Any], alt: str) -> str:
    """Accuracy of nearest centres (with 95 %) and of a linear probe by layer, and AUC between
    training classes and their adjacent regions where that was read."""
    names, main = list(found["layers"]), str(found["main"])
    few = [found["layers"][name]["few_shot"][main] for name in names]
    spots = list(range(len(names)))
    with style("transfer"):
        figure = canvas(WIDTH, HEIGHT)
        axes = place(figure, LEFT, BOTTOM, WIDTH - LEFT - 186, HEIGHT - BOTTOM - 16)
        centres = [100 * one["centres"]["accuracy"] for one in few]
        half = [50 * (one["centres"]["high"] - one["centres"]["low"]) for one in few]
        axes.errorbar(
            spots, centres, yerr=half, fmt="o-", color=TRAIN, markersize=4,
            label=f"{main} shots, centres",
        )  # fmt: skip
        linear = [100 * one["linear"]["accuracy"] for one in few]
        axes.plot(spots, linear, "s--", color=TEST, markersize=4, label=f"{main} shots, linear")
        over = [found["over_collapse"].get(name) for name in names]
        told = [(i, 100 * one["features"]) for i, one in enumerate(over) if one is not None]
        if told:
            axes.plot(
                [i for i, _ in told], [value for _, value in told], "^:", color=MARK,
                markersize=4, label="AUC to adjacent regions",
            )  # fmt: skip
        axes.axhline(100 / found["num_classes"], color=FAINT, linewidth=0.8, linestyle="--")
        axes.set_ylabel("%", color=INK)
        step = max(1, (len(names) + 11) // 12)
        axes.set_xticks(spots[::step])
        axes.set_xticklabels(
            [plain(name, 14) for name in names[::step]], rotation=30, ha="right", fontsize=SMALL
        )
        axes.tick_params(length=3)
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=SMALL)
        return to_svg(figure, "transfer", alt)
