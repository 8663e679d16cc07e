"""A head and a loss for ordered grades: one latent score, cut by thresholds.

    head = OrdinalHead(512, grades=5)
    loss = OrdinalLoss(head)
    loss(head(features), labels).backward()

The ends of the thresholds are finite and stay where they are: with infinite ends the end grades run
off along the latent line for ever.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from ncollapse.links import (
    CumulativeLink,
    check_grades,
    check_link,
    check_thresholds,
    flat_scores,
    limits,
    log_probabilities,
    log_probability,
    spaced,
)

# No interval that is learned becomes narrower than this share of the whole line.
NARROWEST = 1e-6


class OrdinalHead(nn.Module):
    """z = wᵀh, one latent score a sample, and the thresholds b_0 < … < b_Q that cut it.

    in_features: d. grades: Q ≥ 2. link: "logit", "probit", "cloglog" or "loglog". thresholds: Q + 1
    finite numbers that increase; None for evenly spaced ones, 4 apart, about 0. learn_thresholds:
    the inner ones are learned from there, as cumulated softplus increments; the ends stay, because
    free ends run off to infinity. seed: of the first w. There is no bias: thresholds are where
    scores are measured from.

    Geometry: with decay features of a grade meet, class means lie on the line of w, and positions
    tend to the middles of the intervals (symmetric links):
    nc.predict(counts, task="ordinal", link=…, thresholds=…). Fixed thresholds keep every grade its
    interval; learned ones narrow that of a rare grade about as its share.

    Raises ValueError for thresholds that do not increase, are infinite or not Q + 1, fewer than two
    grades, and an unknown link. Source: Ma, Obuchi, Tanaka 2025 [memory].

    >>> head = OrdinalHead(in_features=64, grades=5)
    >>> head(torch.zeros(3, 64)).shape
    torch.Size([3, 1])
    """

    ends: Tensor

    def __init__(
        self,
        in_features: int,
        grades: int,
        *,
        link: str = "logit",
        thresholds: Sequence[float] | None = None,
        learn_thresholds: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.link = check_link(link)
        values = spaced(grades) if thresholds is None else check_thresholds(thresholds, grades)
        # Drawn as nn.Linear does, by a generator of its own.
        self.linear = nn.utils.skip_init(nn.Linear, in_features, 1, bias=False)
        generator = torch.Generator().manual_seed(seed)
        reach = in_features**-0.5
        with torch.no_grad():
            self.linear.weight.uniform_(-reach, reach, generator=generator)
        dtype = torch.get_default_dtype()
        self.register_buffer("ends", torch.tensor(values, dtype=dtype))
        self.increments: nn.Parameter | None = None
        if learn_thresholds:
            widths = torch.tensor(values, dtype=torch.float64).diff()
            # Less what no interval loses, then the inverse of softplus.
            spare = NARROWEST * float(widths.sum())
            widths = (widths - spare).clamp_min(spare) / (1 - NARROWEST * grades)
            start = widths + torch.log(-torch.expm1(-widths))
            self.increments = nn.Parameter(start.to(dtype))

    @property
    def in_features(self) -> int:
        return self.linear.in_features

    @property
    def grades(self) -> int:
        """Q."""
        return self.ends.numel() - 1

    @property
    def weight(self) -> Tensor:
        """w (1, d)."""
        return self.linear.weight

    @property
    def thresholds(self) -> Float[Tensor, " ends"]:
        """b_0 < … < b_Q, in at least float32; differentiable where they are learned."""
        ends = self.ends.to(torch.promote_types(self.ends.dtype, torch.float32))
        if self.increments is None:
            return ends
        raw = functional.softplus(self.increments.to(ends))
        share = (1 - NARROWEST * self.grades) * raw / raw.sum() + NARROWEST
        inner = ends[0] + (ends[-1] - ends[0]) * share.cumsum(0)[:-1]
        return torch.cat([ends[:1], inner, ends[-1:]])

    @property
    def limits(self) -> Float[Tensor, " grades"]:
        """Where positions tend to as decay goes to 0 (`ncollapse.links.limits`)."""
        return limits(self.link, self.thresholds.detach())

    def forward(self, features: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch 1"]:
        scores: Tensor = self.linear(features)
        return scores

    def log_probabilities(self, scores: Tensor) -> Float[Tensor, "samples grades"]:
        """log P(q|z) of every grade; less than 1 in sum, as the ends are finite."""
        flat = flat_scores(scores)
        wide = flat.to(torch.promote_types(flat.dtype, torch.float32))
        return log_probabilities(self.link, self.thresholds.to(wide), wide)

    def decide(self, scores: Tensor) -> Int[Tensor, " samples"]:
        """The most likely grade of each sample, 0..Q-1."""
        return self.log_probabilities(scores).argmax(1)

    def extra_repr(self) -> str:
        learned = ", learned thresholds" if self.increments is not None else ""
        return f"grades={self.grades}, link={self.link}{learned}"


class OrdinalLoss(nn.Module):
    """The mean of -log P(y|z) over samples: of scores (N) or (N, 1) and grades 0..Q-1.

    thresholds: an `OrdinalHead`, whose own (learned ones too) are then used, or Q + 1 finite
    numbers with the link. In at least float32, whatever the scores' dtype and autocast. 0 for an
    empty batch. Raises ValueError for labels out of order range, scores of other shapes, and a
    link beside a head.

    Not cross-entropy of `log_probabilities`: that renormalises over grades, which gives the end
    grades infinite thresholds again.

    >>> OrdinalLoss((-4.0, 0.0, 4.0))(torch.tensor([2.0]), torch.tensor([1])).shape
    torch.Size([])
    """

    def __init__(self, thresholds: OrdinalHead | Sequence[float], link: str | None = None) -> None:
        super().__init__()
        self.loss: CumulativeLink | None = None
        # In a tuple: the head stays the model's, and no parameter is listed twice.
        self._head: tuple[OrdinalHead, ...] = ()
        if isinstance(thresholds, OrdinalHead):
            if link not in (None, thresholds.link):
                raise ValueError(
                    f"link={link!r} beside a head whose link is {thresholds.link!r}; leave it out"
                )
            self._head = (thresholds,)
        else:
            self.loss = CumulativeLink(tuple(thresholds), link or "logit")

    def forward(self, scores: Tensor, labels: Tensor) -> Float[Tensor, ""]:
        flat = flat_scores(scores)
        if flat.shape != labels.shape:
            raise ValueError(
                f"{labels.numel()} labels for {flat.numel()} samples; one label a sample is needed"
            )
        flat = flat.to(torch.promote_types(flat.dtype, torch.float32))
        with torch.autocast(flat.device.type, enabled=False):
            if self.loss is not None:
                values = self.loss(flat, labels)
            else:
                (head,) = self._head
                check_grades(labels, head.grades)
                values = -log_probability(head.link, head.thresholds.to(flat), flat, labels)
            return values.sum() / max(values.numel(), 1)

    def extra_repr(self) -> str:
        return "thresholds of a head" if self.loss is None else self.loss.name
