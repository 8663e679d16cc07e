"""A prescription in words: code to paste, and a page of text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ncollapse.theory.subjects.prescription import Prescription

# Up to so many classes every number is written out.
LISTED = 64


def code(found: Prescription) -> str:
    """Python that applies a prescription, with `logits` and `labels` of a training step."""
    if found.by == "decay":
        return f"weight_decay *= {found.decay_factor:.6g}  # and any decay of features"
    values = np.array(found.weights if found.by == "weights" else found.factors)
    if len(values) <= LISTED:
        text = ", ".join(f"{value:.6g}" for value in values)
        tensor = f"torch.tensor([{text}])"
    else:
        # Every entry is the larger of a level and c/√n_k.
        count = np.array(found.original.counts, dtype=np.float64)
        lifted = int(values.argmax())
        above = float(values[lifted] * np.sqrt(count[lifted]))
        tensor = f"({above:.12g} / counts.double().sqrt()).clamp(min={values.min():.12g}).float()"
    if found.by == "weights":
        smooth = found.original.logit_loss.smoothing
        extra = f", label_smoothing={smooth:g}" if smooth else ""
        return f"loss = torch.nn.CrossEntropyLoss(weight={tensor}{extra})"
    return f"loss = torch.nn.functional.cross_entropy(logits * {tensor}, labels)"


def render(found: Prescription) -> str:
    """At most 24 lines."""
    prediction, problem = found.prediction, found.original
    every = len(found.keep) == problem.num_classes
    who = "every class" if every else f"classes {_listed(found.keep)}"
    below = np.flatnonzero(found.before <= 1)
    state = "no class is" if not len(below) else f"classes {_listed(below.tolist())} are"
    lines = [
        f"Keep {who} apart, with room for {found.margin:g} times the decay product",
        f" now        N² λ_W λ_H = {problem.decay_product:.4g}; {state} at or below the threshold",
    ]
    if not found.needed:
        lines.append(" change     none is needed")
    elif found.by == "weights":
        lines.append(
            f" change     class weights, largest over smallest {found.ratio:.4g}: of all that do, "
            "the least"
        )
    elif found.by == "logits":
        lines.append(
            f" change     factors of the logits up to {max(found.factors or (1,)):.4g}; adding to "
            "logits moves no threshold"
        )
    else:
        lines.append(f" change     multiply both decays by {found.decay_factor:.4g}")
    if found.by == "weights":
        lines.append(f" limit      no weights reach a margin above {found.reach:.4g}")
    lines += ["", *_code_lines(found), ""]
    lines += _rows(found)
    gap = prediction.relative_gap
    lines.append(
        f" optimum    {prediction.solution.status}, relative gap "
        f"{'unknown' if gap is None else f'{gap:.1e}'}; rank {prediction.rank}; smallest margin of "
        f"class means {float(prediction.logit_margins.min()):.3g}"
    )
    merged = sorted(set(prediction.collapsed_classes) & set(found.keep))
    if merged:
        lines.append(f" but        classes {_listed(merged)} still coincide with another class")
    elif found.holds:
        lines.append(" kept       no kept classifier row coincides with another one there")
    lines += [f" note       {warning}" for warning in prediction.warnings[:2]]
    return "\n".join(lines)


def _code_lines(found: Prescription) -> list[str]:
    lines = [found.code]
    if found.by != "decay" and found.original.num_classes > LISTED:
        lines = ["counts = torch.tensor([…])  # samples of every class", *lines]
    return lines


def _rows(found: Prescription) -> list[str]:
    """Strengths before and after, per count, the largest first."""
    problem = found.original
    values = np.array(found.weights or found.factors or (1.0,) * problem.num_classes)
    kinds: dict[tuple[int, float], list[int]] = {}
    for k, count in enumerate(problem.counts):
        kinds.setdefault((count, float(values[k])), []).append(k)
    order = sorted(kinds.items(), key=lambda kind: (-kind[0][0], kind[1][0]))
    name = {"weights": "weight", "logits": "factor", "decay": ""}[found.by]
    lines = [f" {'classes':<11}{name:>10}{'before':>12}{'after':>12}   times the threshold"]
    shown = order if len(order) <= 8 else [*order[:4], None, *order[-4:]]
    for kind in shown:
        if kind is None:
            lines.append(f" … {len(order) - 8} more")
            continue
        (count, value), classes = kind
        number = "" if found.by == "decay" else f"{value:.4g}"
        before, after = found.before[classes[0]], found.strengths[classes[0]]
        who = f"{len(classes)} × {count}"
        lines.append(f" {who:<11}{number:>10}{before:>12.4g}{after:>12.4g}")
    return lines


def _listed(classes: tuple[int, ...] | list[int]) -> str:
    text = ", ".join(str(k) for k in classes[:10])
    return text if len(classes) <= 10 else f"{text}, … ({len(classes)} of them)"
