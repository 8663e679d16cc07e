"""Blocks of classifiers by groups of class counts: how exactly descent and the solver form them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ncollapse.lab.cosines import apart, cosines
from ncollapse.lab.free import arrays, trained, unbiased
from ncollapse.losses import CrossEntropy
from ncollapse.theory.solve import solve


def block_errors(groups: Sequence[Sequence[int]], decay: float, seed: int) -> dict[str, Any]:
    """Cross-entropy without a bias on groups [classes, samples a class], by descent.

    errors: largest deviations of classifier norms (relative) and of cosines within a block from the
    block's mean, and from the solver's. counts; cosines (K, K) and norms (K), after descent.
    """
    sizes = [size for size, _ in groups]
    counts = tuple(count for size, count in groups for _ in range(size))
    problem = unbiased(counts, decay, CrossEntropy())
    weight, certified = trained(problem, seed)[0], arrays(solve(problem).geometry)[0]
    found, norms = cosines(weight), weight.norm(dim=1)
    errors = {
        "cosines in a block": max(apart(found, sizes), apart(cosines(certified), sizes)),
        "cosines to the solver's": float((found - cosines(certified)).abs().max()),
        "norms in a block": max(_uneven(norms, sizes), _uneven(certified.norm(dim=1), sizes)),
        "norms to the solver's": float((norms / certified.norm(dim=1) - 1).abs().max()),
    }
    return {"errors": errors, "counts": counts, "cosines": found, "norms": norms}


def _uneven(norms: Tensor, sizes: Sequence[int]) -> float:
    return max(float((part / part.mean() - 1).abs().max()) for part in norms.split(list(sizes)))
