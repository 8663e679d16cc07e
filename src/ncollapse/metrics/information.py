"""The information floor: predictions that depend on context forbid that its features collapse.

Positions in groups g, here the categories of their tokens; p(·|h) the softmax of the head over the
tokens of the group, P the centring over those tokens, h_g the group's mean feature. Then

    I_g = E KL(p(·|h) ‖ E p(·|h)) ≤ E KL(p(·|h) ‖ p(·|h_g)) ≤ ¼ E ‖P W (h - h_g)‖² ≤ ¼ ‖PW‖² Var_g:

the mean has the least mean divergence, and that of two softmax is a Bregman gap of log-sum-exp,
whose Hessian is at most ½. So variance within groups is at least Σ_g w_g 4 I_g/‖P W_g‖², I the
information I(token; context | category) in nats that the model says there is. Source: the bound is
derived; the idea of a floor is of Abrahao 2026 (abstract and summaries read, not the paper).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.collect.statistics.predictions import Predicted
from ncollapse.metrics.shares import VarianceShares


@dataclass(frozen=True, eq=False)
class Information:
    """Means per position, weighed by the positions of each group; see the module.

    nats: I. floor: of the variance within groups. dispersion: E ‖P W (h - h_g)‖², itself at least
    4 I. each: I_g.
    """

    nats: float
    floor: float
    dispersion: float
    each: Float[Tensor, " groups"]

    @classmethod
    def of(cls, found: Predicted) -> Information:
        weights = found.counts / found.counts.sum()
        each = (found.overall - found.entropy).clamp_min(0)
        # A group of one token, or with a head that tells none apart, has no information either.
        bound = torch.where(found.norms > 0, 4 * each / found.norms.clamp_min(1e-300), 0)
        return cls(
            float(weights @ each),
            float(weights @ bound),
            float(weights @ found.dispersion),
            each,
        )


def information(information: Information) -> Float[Tensor, ""]:
    """I(token; context | category) in nats per position, as the model predicts. ≥ 0."""
    return torch.tensor(information.nats, dtype=torch.float64)


def floor_share(information: Information, shares: VarianceShares) -> Float[Tensor, ""]:
    """The floor over the variance within categories. In [0, 1]; 1 where nothing more can collapse
    without a change of predictions or of the head. NaN where nothing varies within."""
    within = torch.tensor(shares.within, dtype=torch.float64)
    return torch.where(within > 0, information.floor / within, torch.nan)
