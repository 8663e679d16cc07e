"""What theory says of ordered grades: their places on the latent line, as numbers and as a page."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import Any, cast

import torch
from torch import Tensor

from ncollapse.links import derivatives, limits, log_probabilities, named_grades
from ncollapse.theory.prediction import Prediction
from ncollapse.theory.problems.ordinal import OrdinalUFM
from ncollapse.theory.subjects.imbalance import Threshold
from ncollapse.theory.words import LINES, assumption_lines, certificate_line, fit, number, wrapped


@dataclass(frozen=True, eq=False, repr=False)
class OrdinalPrediction(Prediction):
    """The optimum of `OrdinalUFM`: positions z* on the latent line, ‖w*‖, thresholds, phase.

    `geometry` holds class means alone: w is one row for all grades. Otherwise as `Prediction`.
    """

    @property
    def ordinal(self) -> OrdinalUFM:
        """The problem."""
        return cast(OrdinalUFM, self.problem)

    @property
    def positions(self) -> Tensor:
        """z*_q, ascending, (Q)."""
        return cast(Tensor, self.solution.extra["z"])

    @property
    def thresholds(self) -> Tensor:
        """b_0 < … < b_Q of the optimum: as given, or with the inner ones learned, (Q + 1)."""
        return cast(Tensor, self.solution.extra["ends"])

    @property
    def weight_norm(self) -> float:
        """‖w*‖ = (λ_h/λ_w)^¼ (Σ α z*²)^¼; 0 past the phase threshold."""
        return float(self.solution.extra["weight_norm"])

    @property
    def limits(self) -> Tensor:
        """z⁰_q of these thresholds: positions as decay goes to 0, (Q)."""
        return limits(self.ordinal.link, self.thresholds)

    @property
    def first_order(self) -> Tensor:
        """z⁰_q - √(λ_h λ_w) z⁰_q/(‖z⁰‖_α ℓ_q''(z⁰_q)): positions to first order in the decay."""
        goal, problem = self.limits, self.ordinal
        _, _, bend = derivatives(problem.link, self.thresholds, goal)
        length = (problem.shares * goal.square()).sum().sqrt()
        return goal - problem.strength * goal / (length * bend)

    @property
    def phase_threshold(self) -> float:
        """C = Σ α_q ℓ_q'(0)²: from λ_h λ_w = C on everything vanishes."""
        return self.ordinal.zero_threshold()

    @property
    def phase(self) -> str:
        """ "apart", or "zero" from the threshold on."""
        return "zero" if self.rank == 0 else "apart"

    @cached_property
    def named(self) -> tuple[bool, ...]:
        """Whether each grade is the most likely one at some score; a learned interval can become
        too narrow for that."""
        return named_grades(self.ordinal.link, self.thresholds)

    @property
    def logit_margins(self) -> Tensor:
        """log P(q|z*_q) - max over other grades, (Q)."""
        found = log_probabilities(self.ordinal.link, self.thresholds, self.positions)
        own = found.diagonal().clone()
        others = found.clone()
        others.fill_diagonal_(-torch.inf)
        return own - others.max(1).values

    @property
    def minority_threshold(self) -> tuple[Threshold, ...]:
        """None: positions of different grades never coincide short of the phase threshold."""
        return ()

    def to_dict(self) -> dict[str, Any]:
        """The document of `predict --json`, with what is of the line under `ordinal`."""
        return {
            **super().to_dict(),
            "ordinal": {
                "link": self.ordinal.link,
                "learned": self.ordinal.learn_thresholds,
                "thresholds": self.thresholds.tolist(),
                "positions": self.positions.tolist(),
                "limits": self.limits.tolist(),
                "first_order": self.first_order.tolist(),
                "weight_norm": self.weight_norm,
                "named": list(self.named),
                "phase": self.phase,
                "phase_threshold": self.phase_threshold,
                "decay_product": self.ordinal.decay_product,
            },
        }

    def __str__(self) -> str:
        return render(self.to_dict())

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"


def render(document: dict[str, Any]) -> str:
    """At most 24 lines of 80 columns: the problem, the phase, a row a grade, notes, assumptions."""
    problem, line = document["problem"], document["ordinal"]
    factor = line["decay_product"] / line["phase_threshold"]
    lines = [
        f"ordered grades · {line['link']} · thresholds {'learned' if line['learned'] else 'fixed'}",
        f"Q={problem['num_classes']} · N={problem['num_samples']} · λ_w "
        f"{problem['weight_decay']:.4g} · λ_h {problem['feature_decay']:.4g} (mean over samples)",
        certificate_line(document),
        f"‖w‖ = {number(line['weight_norm'])} · λ_h λ_w = {line['decay_product']:.4g}, "
        f"{factor:.3g} of C = {line['phase_threshold']:.4g}"
        + ("" if factor < 1 else ": everything vanishes"),
        "",
        f" {'grade':<7}{'count':>8}{'from':>10}{'to':>10}{'position':>10}{'limit':>10}"
        f"{'margin':>10}  named",
    ]
    rows = []
    for q, count in enumerate(problem["counts"]):
        low, high = line["thresholds"][q : q + 2]
        cells = (low, high, line["positions"][q], line["limits"][q], document["logit_margins"][q])
        rows.append(
            f" {q:<7}{count:>8}" + "".join(f"{number(value):>10}" for value in cells)
            + f"  {'yes' if line['named'][q] else 'nowhere'}"
        )  # fmt: skip
    lines += rows if len(rows) <= 9 else [*rows[:4], f" … {len(rows) - 8} more …", *rows[-4:]]
    lines.append("")
    closing = [text for note in document["warnings"] for text in wrapped(f"Note: {note}")]
    room = LINES - len(lines) - len(closing)
    closing += assumption_lines(document["assumptions"], max(room, 1))
    return "\n".join(fit(line) for line in [*lines, *closing][:LINES])
