"""What is true of a network on its training split: by its phase, and by the certified optimum.

The rules stand in words above the claims of the study.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ncollapse.geometry import Geometry
from ncollapse.lab.calibration import truth
from ncollapse.lab.calibration.looked import Look, centre_error
from ncollapse.lab.calibration.populations import Sampled
from ncollapse.lab.calibration.truth import NO, NOT_YES, UNDECIDED, YES
from ncollapse.theory.predict import predict
from ncollapse.theory.subjects.fit import fit_tau

LONG, TIMES, DECAY, ERROR = 100, 4, 5e-4, 0.05
# How far the head may be from the optimum's: cosines, norms; cosines without balance.
COSINES, NORMS, UNBALANCED = 0.1, 0.15, 0.15
ROOM = 16


def of_training(look: Look) -> dict[str, str]:
    """By question, of a network on its training split."""
    collapsed = _collapsed(look)
    optimum = _optimum(look) if collapsed == YES and look.plan.signed else None
    return {
        "collapsed": collapsed,
        "frame": _frame(look, collapsed, optimum),
        "dual": _dual(look, optimum),
        "nearest": nearest(look.sample),
    }


def nearest(sample: Sampled) -> str:
    """From the errors of the head and of nearest centres, which bound how often they differ."""
    error = float((sample.logits.argmax(1) != sample.labels).double().mean())
    other = centre_error(sample)
    return truth.nearest(abs(error - other), error + other)


def _collapsed(look: Look) -> str:
    if look.epoch == 0:
        inputs = truth.collapsed(look.inputs, look.sample.labels)
        return NO if inputs == NO else NOT_YES
    if look.error >= ERROR:
        return NOT_YES
    since, decays = look.since, look.plan.decay >= DECAY
    if since is None or not decays:
        return UNDECIDED
    return YES if look.epoch >= max(TIMES * since, since + LONG) else UNDECIDED


def _optimum(look: Look) -> Geometry | None:
    """The certified optimum, where the head lies at it."""
    counts = look.sample.counts.tolist()
    loss = look.plan.loss
    if look.plan.balanced:
        found = predict(counts, loss=loss, weight_decay=look.plan.decay)
    else:
        means = _means(look.sample.features, look.sample.labels)
        seen = Geometry(means, look.sample.weight, look.sample.bias, look.sample.counts)
        found = fit_tau(seen, counts, loss=loss).prediction
    if found.solution.status in ("not converged", "not certified"):
        return None
    mine, theirs = look.sample.weight, found.geometry.weight
    assert theirs is not None
    if float(theirs.norm(dim=1).min()) <= 0:
        return None
    gap = float((truth.cosines_of(mine) - truth.cosines_of(theirs)).abs().max())
    if not look.plan.balanced:
        return found.geometry if gap <= UNBALANCED else None
    norms = [rows.norm(dim=1) / rows.norm(dim=1).mean() for rows in (mine, theirs)]
    near = gap < COSINES and float((norms[0] / norms[1] - 1).abs().max()) < NORMS
    return found.geometry if near else None


def _frame(look: Look, collapsed: str, optimum: Geometry | None) -> str:
    classes, width = look.sample.weight.shape
    if width < classes - 1:
        return NO
    if look.epoch == 0:
        inputs = truth.frame(_means(look.inputs.double(), look.sample.labels))
        return NOT_YES if inputs in (NO, NOT_YES) else UNDECIDED
    if optimum is None:
        return UNDECIDED
    if look.plan.balanced:
        return YES
    assert optimum.means is not None
    return NOT_YES if truth.frame(optimum.means) in (NO, NOT_YES) else UNDECIDED


def _dual(look: Look, optimum: Geometry | None) -> str:
    if look.epoch == 0:
        return NO if look.sample.weight.shape[1] >= ROOM else UNDECIDED
    if optimum is None:
        return UNDECIDED
    if look.plan.balanced:
        return YES
    assert optimum.means is not None and optimum.weight is not None
    found = truth.dual(optimum.weight, optimum.means)
    return NOT_YES if found == NO else found


def _means(rows: Tensor, labels: Tensor) -> Tensor:
    return torch.stack([rows[labels == k].mean(0) for k in labels.unique().tolist()])
