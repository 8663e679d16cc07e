"""Small language models for studies, and how they are trained."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from ncollapse.collect.tap.preserve import evaluating
from ncollapse.lab.stdlib import Text
from ncollapse.sources.texts.documents import TRAIN, VALIDATION

# Features of one attention head.
HEAD = 32
WARM, LAST = 0.1, 0.1


class Block(nn.Module):
    """x + attention(norm x), then x + perceptron(norm x); a position sees those before it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = max(1, width // HEAD)
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.seen = nn.Linear(width, 3 * width, bias=False)
        self.mixed = nn.Linear(width, width, bias=False)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Float[Tensor, "n time d"]) -> Float[Tensor, "n time d"]:
        parts = self.seen(self.before(x)).unflatten(-1, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        found = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.mixed(found.transpose(1, 2).flatten(2))
        out: Tensor = x + self.narrow(functional.gelu(self.wide(self.after(x))))
        return out


class SmallGPT(nn.Module):
    """Token and place embeddings, `depth` blocks of `width` features, a norm, and `head`, which has
    weights of its own and no bias. The global random state is left as it was."""

    def __init__(
        self, vocabulary: int, width: int, depth: int, *, longest: int, seed: int = 0
    ) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.tokens = nn.Embedding(vocabulary, width)
            self.places = nn.Embedding(longest, width)
            self.blocks = nn.Sequential(*(Block(width) for _ in range(depth)))
            self.norm = nn.LayerNorm(width)
            self.head = nn.Linear(width, vocabulary, bias=False)
            for module in (self.tokens, self.places, self.head):
                nn.init.normal_(module.weight, std=0.02)
            for weight in self.blocks.parameters():
                if weight.dim() > 1:
                    nn.init.normal_(weight, std=0.6 / math.sqrt(weight.shape[1]))

    def forward(self, input_ids: Int[Tensor, "n time"]) -> Float[Tensor, "n time vocabulary"]:
        x = self.tokens(input_ids) + self.places.weight[: input_ids.shape[1]]
        logits: Tensor = self.head(self.norm(self.blocks(x)))
        return logits


@dataclass(frozen=True)
class Schooling:
    """Steps of AdamW on sequences drawn anew; the rate rises over a tenth of them and falls along a
    cosine to a tenth of itself. decay: of matrices."""

    steps: int = 400
    sequences: int = 32
    learning_rate: float = 3e-3
    decay: float = 0.1
    seed: int = 0

    def rate(self, step: int) -> float:
        rise = min(1.0, (step + 1) / max(1.0, WARM * self.steps))
        fall = LAST + (1 - LAST) * 0.5 * (1 + math.cos(math.pi * step / self.steps))
        return self.learning_rate * rise * fall


def taught(model: SmallGPT, text: Text, how: Schooling) -> SmallGPT:
    """The model, trained in place on the train split; the global random state is left alone."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    groups = [
        {"params": matrices, "weight_decay": how.decay},
        {"params": others, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=how.learning_rate, betas=(0.9, 0.95))
    generator = torch.Generator().manual_seed(how.seed)
    ids, labels = text.splits[TRAIN]
    model.train()
    for step in range(how.steps):
        for group in optimizer.param_groups:
            group["lr"] = how.rate(step)
        rows = torch.randint(len(ids), (how.sequences,), generator=generator)
        loss = _loss(model, ids[rows], labels[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model.eval()


def validation_loss(model: SmallGPT, text: Text, sequences: int, batch: int = 64) -> float:
    """Mean cross-entropy, in nats a token, of sequences of the validation split."""
    ids, labels = text.spread(VALIDATION, sequences)
    total, count = 0.0, 0
    with evaluating(model), torch.no_grad():
        for start in range(0, len(ids), batch):
            part = slice(start, start + batch)
            number = int((labels[part, 1:] >= 0).sum())
            total += number * float(_loss(model, ids[part], labels[part]))
            count += number
    return total / count


def _loss(model: SmallGPT, ids: Tensor, labels: Tensor) -> Tensor:
    logits = model(ids)[:, :-1].flatten(0, 1)
    return functional.cross_entropy(logits, labels[:, 1:].flatten(), ignore_index=-100)
