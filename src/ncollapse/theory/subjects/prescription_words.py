"""A prescription in words: code to paste, and a page of text."""

from __future__ import annotations

import textwrap
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from ncollapse.theory.subjects.row_shapes import listed

if TYPE_CHECKING:
    from ncollapse.theory.subjects.prescription import Prescription

# So many numbers, or runs of equal ones, are written out.
LISTED = 64
# Columns of the code, and of all else.
PASTED, WIDE = 79, 98


def code(found: Prescription) -> str:
    """Python that applies a prescription, with `logits` and `labels` of a training step, in lines
    of 79 columns; for very many kinds of classes from a tensor `counts`."""
    if found.by == "decay":
        return f"weight_decay *= {found.decay_factor:.6g}  # and any decay of features"
    name = "weight" if found.by == "weights" else "factor"
    return "\n".join([*_values(found, name), *_loss(found)])


def _values(found: Prescription, name: str) -> list[str]:
    """The numbers, each run of three and more equal ones as a product."""
    values = np.array(found.weights or found.factors)
    runs = _runs(found)
    if len(runs) > LISTED:
        # Every entry is the larger of a level and c/√n_k.
        count = np.array(found.original.counts, dtype=np.float64)
        lifted = int(values.argmax())
        above = float(values[lifted] * np.sqrt(count[lifted]))
        return [
            "# counts: a tensor with the samples of every class",
            f"{name} = {above:.12g} / counts.double().sqrt()",
            f"{name} = {name}.clamp(min={values.min():.12g}).float()",
        ]
    parts: list[str] = []
    for many, group in groupby(runs, lambda run: run[1] >= 3):
        if many:
            parts += [f"[{text}] * {times}" for text, times in group]
        else:
            parts.append(f"[{', '.join(text for text, times in group for _ in range(times))}]")
    # A product stays in one line.
    text = " + ".join(part.replace("] * ", "]\xa0*\xa0") for part in parts)
    lines = [f"{name} = torch.tensor({text})"]
    if len(lines[0]) > PASTED:
        lines = [f"{name} = torch.tensor(", *_wrapped(text, PASTED, " " * 4), ")"]
    return [line.replace("\xa0", " ") for line in lines]


def written_out(found: Prescription) -> bool:
    """Whether `code` holds all numbers itself."""
    return found.by == "decay" or len(_runs(found)) <= LISTED


def _runs(found: Prescription) -> list[tuple[str, int]]:
    """Numbers of six digits, each with how often it follows upon itself."""
    texts = map(_number, found.weights or found.factors or ())
    return [(text, len(list(run))) for text, run in groupby(texts)]


def _loss(found: Prescription) -> list[str]:
    """The last lines: torch's loss with them."""
    loss = found.original.logit_loss
    smooth = f"label_smoothing={loss.smoothing:g}" if loss.smoothing else ""
    own = loss.weight is not None or loss.scale is not None or loss.shift is not None
    remark = ["# beside the weights, factors and shifts that the loss has already"] if own else []
    if found.by == "weights":
        settings = ", ".join(["weight=weight", smooth] if smooth else ["weight=weight"])
        return [*remark, f"loss = torch.nn.CrossEntropyLoss({settings})"]
    return [*remark, f"loss = torch.nn.CrossEntropyLoss({smooth})(logits * factor, labels)"]


def _number(value: float) -> str:
    """Six digits of a float that stays one."""
    return repr(float(f"{value:.6g}"))


def _wrapped(text: str, width: int, indent: str, first: str | None = None) -> list[str]:
    """Lines that break between words alone."""
    return textwrap.wrap(
        text,
        width,
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def render(found: Prescription) -> str:
    """A short page: what is below the threshold, the change as code, and what the optimum shows."""
    prediction, problem = found.prediction, found.original
    every = len(found.keep) == problem.num_classes
    who = "every class" if every else f"classes {listed(found.keep)}"
    below = tuple(np.flatnonzero(found.before <= 1).tolist())
    state = "no class is" if not below else f"classes {listed(below)} are"
    if len(below) == 1:
        state = f"class {below[0]} is"
    now = f"N² λ_W λ_H = {problem.decay_product:.4g}; {state} at or below the threshold"
    lines = [f"Keep {who} apart, with room for {found.margin:g} times the decay product"]
    lines += _wrapped(now, WIDE, " " * 12, first=" now        ")
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
    lines += ["", found.code, ""]
    lines += _rows(found)
    gap = prediction.relative_gap
    lines.append(
        f" optimum    {prediction.solution.status}, relative gap "
        f"{'unknown' if gap is None else f'{gap:.1e}'}; rank {prediction.rank}; smallest margin of "
        f"class means {float(prediction.logit_margins.min()):.3g}"
    )
    merged = tuple(sorted(set(prediction.collapsed_classes) & set(found.keep)))
    if merged:
        lines.append(f" but        classes {listed(merged)} still coincide with another class")
    elif found.holds:
        lines.append(" kept       no kept classifier row coincides with another one there")
    for warning in prediction.warnings[:2]:
        lines += _wrapped(warning, WIDE, " " * 12, first=" note       ")
    return "\n".join(lines)


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
