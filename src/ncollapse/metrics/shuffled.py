"""Metrics of shuffled labels that are read of the fixed total, without second moments of a draw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.linalg import EPSILON, in_complement, out_of_complement
from ncollapse.metrics.shuffle import Draws, Features, corner, wisharts


def contrasts(counts: Tensor, between: str, centre: str) -> Float[Tensor, "classes classes"]:
    """L with F = L × means and Σ_B = FᵀF; macro or micro weights of the classes and of their
    centre."""
    p, q = (_weights(counts, kind) for kind in (between, centre))
    eye = torch.eye(len(counts), dtype=torch.float64)
    return (eye - q) * p.sqrt()[:, None]


def _weights(counts: Tensor, kind: str) -> Tensor:
    if kind == "macro":
        return torch.full_like(counts, 1 / len(counts))
    return counts / counts.sum()


def _inside(features: Features, weighting: str) -> float:
    """What Σ_W of a draw is of Σ_T - Σ_B (micro): for macro mean(1 - 1/n_c) over 1 - K/N."""
    if weighting == "micro":
        return 1.0
    counts = features.statistics.counts.to(torch.float64)
    share = 1 - len(counts) / features.samples
    return float((1 - 1 / counts).mean()) / share if share > 0 else 1.0


def fisher(
    draws: Draws, features: Features, arguments: Mapping[str, Any], generator: torch.Generator
) -> list[float]:
    """tr(Σ_W Σ_B⁺)/K with Σ_W = Σ_T - Σ_B: what is fixed under shuffling is their sum.

    Where the means fill all q directions it is free of the data and read in white coordinates.
    """
    counts, q = draws.counts, features.rank
    assert q is not None
    K = len(counts)
    rank = min(q, K - 1)
    L = contrasts(counts, arguments["between"], arguments["centre"])
    micro = contrasts(counts, "micro", "micro")
    scale = _inside(features, arguments["within"])
    scale /= {"classes": K, "none": 1, "rank": rank}[arguments["divisor"]]
    if q <= K - 1:
        found = []
        share = (counts / counts.sum()).sqrt()
        for _ in range(len(draws.directions)):
            frame = corner(K - 1, q, features.samples - 1, generator)
            means = in_complement(share, frame) / share[:, None]
            B, M = L @ means, micro @ means
            within = torch.eye(q, dtype=torch.float64) - M.T @ M
            found.append(float(torch.linalg.solve(B.T @ B, within).diagonal().sum()) * scale)
        return found
    p, centre = (_weights(counts, arguments[name]) for name in ("between", "centre"))
    null = centre / p.sqrt()
    C = out_of_complement(null / torch.linalg.vector_norm(null), L)
    inner = C @ draws.gram @ C.T
    lower, failed = torch.linalg.cholesky_ex(inner)
    A = C @ features.through(draws) @ C.T
    cross = C @ draws.gram @ micro.T
    rest = A - cross @ cross.mT
    half = torch.cholesky_solve(rest, lower)
    value = torch.cholesky_solve(half.mT, lower).diagonal(dim1=1, dim2=2).sum(1)
    for draw in failed.nonzero().flatten().tolist():
        # Features that all but lie in fewer dimensions: what rounding alone holds apart is left.
        sizes, axes = torch.linalg.eigh(inner[draw])
        kept = sizes > float(sizes[-1]) * EPSILON * len(sizes)
        seen = axes[:, kept] / sizes[kept]
        value[draw] = ((rest[draw] @ seen) * seen).sum()
    return [max(one, 0.0) * scale for one in value.tolist()]


def vci(
    draws: Draws, features: Features, arguments: Mapping[str, Any], generator: torch.Generator
) -> list[float]:
    """1 - tr(Σ_T⁺Σ_B)/min(q, K-1), Σ_T = Σ_W + Σ_B fixed: free of the data. With C the corner,
    CCᵀ is L⁻¹ A L⁻ᵀ up to a rotation, A and LLᵀ - A Wishart with q and N - 1 - q degrees."""
    counts, q = draws.counts, features.rank
    assert q is not None
    K, number = len(counts), len(draws.directions)
    weighting = arguments.get("weighting", "macro")
    alike = weighting == "micro" or bool((counts == counts[0]).all())
    # With all contrasts alike only tr CCᵀ = tr CᵀC counts, and the shorter side of C serves.
    small, large = (min(q, K - 1), max(q, K - 1)) if alike else (K - 1, q)
    A = wisharts(number, large, small, generator)
    rest = features.samples - 1 - large
    if rest > 0:
        lower = torch.linalg.cholesky(A + wisharts(number, rest, small, generator))
        A = torch.linalg.solve_triangular(lower, A, upper=False)
        A = torch.linalg.solve_triangular(lower, A.mT, upper=False)
    else:
        A = torch.eye(small, dtype=torch.float64).expand_as(A)
    if alike:
        size = A.diagonal(dim1=1, dim2=2).sum(1)
    else:
        share = (counts / counts.sum()).sqrt()
        eye = torch.eye(K - 1, dtype=torch.float64)
        L = contrasts(counts, weighting, weighting) @ (in_complement(share, eye) / share[:, None])
        size = (A * (L.T @ L)).sum((1, 2))
    size = size / min(q, K - 1)
    return [max(0.0, 1 - one) for one in size.tolist()]


def share(draws: Draws, features: Features) -> list[float]:
    """1 - (N-1)/(N-K) · SSW/SST; SST is fixed, and SSW what is not between classes."""
    p = _weights(draws.counts, "micro")
    if draws.turn is None:
        apart = draws.means - (p @ draws.means)[:, None]
        between = (apart**2 * p[:, None]).sum((1, 2))
    else:
        between = (draws.gram.diagonal(dim1=1, dim2=2) * p).sum(1) - (draws.gram @ p) @ p
    within = 1 - between / features.spread
    freedom = (features.samples - 1) / (features.samples - len(draws.counts))
    found: list[float] = (1 - freedom * within).tolist()
    return found
