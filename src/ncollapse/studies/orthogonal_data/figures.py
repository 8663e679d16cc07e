"""Figures of the orthogonal-data study."""

from __future__ import annotations

from ncollapse.lab.figures import Axes, Drawing, Ink, Runs

draw = Drawing()


@draw.figure("small", "large", x="⟨u_k, x_i⟩ over its class mean", y="‖h_i‖ over its class mean")
def lengths(area: Axes, ink: Ink, small: Runs, large: Runs) -> None:
    """Lengths of features against the max-margin projection of their inputs, from small and large
    weights."""
    for runs, colour, label in ((small, ink.first, "small start"), (large, ink.second, "large")):
        for run in runs[:1]:
            rows = list(zip(run["labels"], run["along"], run["lengths"], strict=True))
            for k in sorted(set(run["labels"])):
                x = [a for y, a, _ in rows if y == k]
                y = [b for c, _, b in rows if c == k]
                tall, long = sum(x) / len(x), sum(y) / len(y) or 1.0
                points = [a / tall for a in x], [b / long for b in y]
                area.plot(*points, ".", color=colour, label=label)
    area.plot([0.6, 1.4], [0.6, 1.4], color=ink.line)
