"""Predictions: what a head says of next tokens, summed by category, for the information floor.

Of every position one category counts, that of its label, and of the softmax the tokens of that
category alone: so the state is a number a token, however many categories there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ncollapse.collect.statistics.protocol import Batch, Summed, Tensors, working_dtype

# Logits of one slice.
SLICE = 1 << 22


@dataclass(frozen=True, eq=False)
class Predicted:
    """Means over the positions of each category c that has some: float64.

    counts (C): positions N_c. entropy (C): mean of H(p(·|h)), p the softmax over the tokens of c.
    overall (C): H of the mean of p. dispersion (C): mean of ‖P W_c (h - h̄_c)‖², P the centring over
    those tokens. norms (C): ‖P W_c‖², the square of the largest singular value.
    """

    counts: Float[Tensor, " categories"]
    entropy: Float[Tensor, " categories"]
    overall: Float[Tensor, " categories"]
    dispersion: Float[Tensor, " categories"]
    norms: Float[Tensor, " categories"]


class Predictions(Summed):
    """Sums of probabilities, logits and entropies. weight (V, d), bias (V): of the head. category
    (V): whole numbers from 0, None for one category. `ignore_index` is skipped.

    The head is applied again, one product with the tokens of its category a position; `update`
    takes the logits instead where they are at hand. Raises ValueError for a map of another length.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"features", "labels"})
    SUMS = ("counts", "entropies", "probabilities", "logits", "squares")

    def __init__(
        self,
        weight: Float[Tensor, "vocabulary dim"],
        bias: Float[Tensor, " vocabulary"] | None = None,
        category: Int[Tensor, " tokens"] | None = None,
        ignore_index: int | None = -100,
    ) -> None:
        V = len(weight)
        group = torch.zeros(V, dtype=torch.int64) if category is None else category
        if group.shape != (V,) or group.is_floating_point() or bool((group < 0).any()):
            raise ValueError(
                f"category has shape {tuple(group.shape)} and the head {V} rows; one whole number "
                "from 0 a token is needed"
            )
        self.ignore_index = ignore_index
        self._weight, self._bias, self._group = weight.detach(), bias, group.to(torch.int64)
        G = int(group.max()) + 1
        self._tokens = [(self._group == c).nonzero().flatten() for c in range(G)]
        self._heads: list[Tensor | None] = [None] * G
        self.counts = torch.zeros(G, dtype=torch.float64)
        self.entropies = torch.zeros(G, dtype=torch.float64)
        self.squares = torch.zeros(G, dtype=torch.float64)
        self.probabilities = torch.zeros(V, dtype=torch.float64)
        self.logits = torch.zeros(V, dtype=torch.float64)

    def take(self, batch: Batch) -> None:
        self.update(batch.features, batch.labels)

    @torch.no_grad()
    def update(
        self,
        features: Float[Tensor, "samples dim"],
        labels: Int[Tensor, " samples"],
        logits: Float[Tensor, "samples vocabulary"] | None = None,
    ) -> None:
        """Add positions: features (samples, d) with their labels; logits as the head gives them."""
        groups = labels.clone()
        known = torch.ones_like(labels, dtype=torch.bool)
        if self.ignore_index is not None:
            known = labels != self.ignore_index
        groups[known] = self._group[labels[known]]
        for c in groups[known].unique().tolist():
            rows, tokens = (known & (groups == c)).nonzero().flatten(), self._tokens[c]
            for part in rows.split(max(SLICE // len(tokens), 1)):
                if logits is None:
                    self._add(c, tokens, self._scores(c, features[part]))
                    continue
                found = logits[part][:, tokens].to(working_dtype(logits.dtype))
                if self._bias is not None:
                    found = found - self._bias[tokens]
                self._add(c, tokens, found - found.mean(1, keepdim=True))

    def _scores(self, c: int, features: Tensor) -> Tensor:
        """P W_c h."""
        dtype = working_dtype(features.dtype)
        head = self._heads[c]
        if head is None or head.dtype != dtype:
            head = self._heads[c] = self._centred(c).to(dtype)
        return features.to(dtype) @ head.T

    def _centred(self, c: int) -> Tensor:
        rows = self._weight[self._tokens[c]].to("cpu", torch.float64)
        return rows - rows.mean(0)

    def _add(self, c: int, tokens: Tensor, scores: Tensor) -> None:
        biased = scores if self._bias is None else scores + self._bias[tokens].to(scores.dtype)
        logs = torch.log_softmax(biased, 1)
        likely = logs.exp()
        self.counts[c] += len(scores)
        self.entropies[c] -= (likely * logs).sum(1).to(torch.float64).sum()
        self.squares[c] += (scores**2).sum(1).to(torch.float64).sum()
        self.probabilities[tokens] += likely.to(torch.float64).sum(0)
        self.logits[tokens] += scores.to(torch.float64).sum(0)

    def merge(self, other: Predictions) -> Predictions:
        for name in self.SUMS:
            getattr(self, name).add_(getattr(other, name))
        return self

    @property
    def identity(self) -> str:
        return f"predictions {tuple(self._weight.shape)} {len(self._tokens)} {self.ignore_index}"

    def summands(self, centres: Tensors) -> dict[str, Tensor]:
        return {name: getattr(self, name) for name in self.SUMS}

    def load(self, centres: Tensors, summed: Tensors, minima: Tensors) -> None:
        self.load_state_dict(dict(summed))

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name).clone() for name in self.SUMS}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in self.SUMS:
            setattr(self, name, state[name].clone())

    @property
    def state_bytes(self) -> int:
        """With the head, its rows centred (in float32), and which tokens are of which category."""
        sums = 8 * (3 * len(self._tokens) + 2 * len(self._group))
        bias = 0 if self._bias is None else self._bias.nbytes
        head = self._weight.nbytes + 4 * self._weight.numel() + bias
        return sums + head + 2 * self._group.nbytes

    def result(self) -> Predicted:
        """Raises ValueError where no position was taken in."""
        if not bool(self.counts.any()):
            raise ValueError("no position was taken in; an information floor needs at least one")
        found: list[tuple[float, ...]] = []
        for c in self.counts.nonzero().flatten().tolist():
            tokens, number = self._tokens[c], float(self.counts[c])
            mean, middle = self.probabilities[tokens] / number, self.logits[tokens] / number
            overall = -torch.xlogy(mean, mean).sum()
            spread = self.squares[c] / number - (middle**2).sum()
            rows = self._centred(c)
            gram = rows @ rows.T if len(rows) < rows.shape[1] else rows.T @ rows
            norm = torch.linalg.eigvalsh(gram)[-1].clamp_min(0)
            entropy = float(self.entropies[c]) / number
            found.append((number, entropy, float(overall), float(spread), float(norm)))
        return Predicted(*torch.tensor(found, dtype=torch.float64).T)
