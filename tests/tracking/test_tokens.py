"""Language models and taggers are followed along training; what cannot be followed is left alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import ncollapse as nc
from ncollapse.errors import NCollapseWarning
from ncollapse.tracking.following import Following
from tests.models import built

WORDS, D = 6, 5
IDS = torch.randint(0, WORDS, (16, 9), generator=torch.Generator().manual_seed(0))
TAGS = IDS % 3
TAGS[:, 7:] = -100


class Tagger(nn.Module):
    """Logits of every token; takes labels as Hugging Face models do."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.embed, self.classifier = nn.Embedding(WORDS, D), nn.Linear(D, classes)

    def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.classifier(self.embed(input_ids).tanh())


CASES = {"same": (3, TAGS, TAGS), "next": (WORDS, None, None), True: (WORDS, IDS, None)}


@pytest.mark.parametrize("tokens", CASES)
@pytest.mark.parametrize("given", [False, True])
def test_online_reads_of_tokens_what_measure_reads(tokens, given) -> None:
    classes, labels, _ = CASES[tokens]
    model = built(Tagger, classes)
    tracker = nc.Tracker(model, online=True, tokens=tokens, half_life=1e12, every=1, keys=None)
    if given:
        model(IDS, labels=labels)
    else:
        model(input_ids=IDS)
    tracker.observe(None if given else labels)
    found = tracker.online or tracker._online.readings()
    data = {"input_ids": IDS} if labels is None else {"input_ids": IDS, "labels": labels}
    right = nc.measure(
        model, [data], tokens=tokens, definition="micro", null=False, intervals=False,
        task="classification",
    )  # fmt: skip
    assert found["head"]["nc2_etf_means"].value == pytest.approx(
        right.value("nc2_etf_means"), rel=1e-4
    )
    assert found["head"]["nc1_ratio"].n == right.document.num_samples
    tracker.close()


def test_probing_and_evaluation_read_tokens_too() -> None:
    model = built(Tagger, 3)
    batch = {"input_ids": IDS, "labels": TAGS}
    tracker = nc.Tracker(model, train=[batch], tokens="same")
    right = nc.measure(model, [batch], tokens="same", null=False, intervals=False)
    assert tracker.probe().value("nc1_ratio") == right.value("nc1_ratio")
    following = Following(tokens="same", keys=("nc1_ratio",))
    evaluation = following.watch(model.eval())
    model(IDS)
    evaluation.observe(following.labels(batch))
    read = evaluation.readings()["head"]["nc1_ratio"]
    assert read == pytest.approx(right.value("nc1_ratio"), rel=1e-4)


TASKS = {
    "tagger": (lambda: built(Tagger, 3), IDS, TAGS, "tokens='same'"),
    "language model": (lambda: built(Tagger, WORDS), IDS, IDS, "tokens=True"),
    "regression": (
        lambda: nn.Sequential(built(nn.Linear, D, 1)),
        torch.ones(16, D),
        IDS[:, 0] / 7,
        "regression",
    ),
    "two outputs": (lambda: built(Two), torch.ones(16, D), TAGS[:, 0], "more than one output"),
    "bent": (
        lambda: nn.Sequential(built(Bent)),
        torch.ones(16, D),
        TAGS[:, 0],
        "no linear layer reproduces",
    ),
}


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(D, 3), nn.Linear(D, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.a(x), self.b(x)


class Bent(nn.Linear):
    def __init__(self) -> None:
        super().__init__(D, 3)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).pow(3)


@pytest.mark.parametrize("task", TASKS)
def test_a_task_that_is_not_followed_is_said_once_and_training_goes_on(task: str) -> None:
    make, inputs, labels, said = TASKS[task]
    model = make()
    tracker = nc.Tracker(model, online=True, every=1)
    with pytest.warns(NCollapseWarning, match=said) as caught:
        [(model(inputs), tracker.step(labels)) for _ in range(3)]
    assert len(caught) == 1 and tracker.steps == 3
    following = Following()
    evaluation = following.watch(model.eval())
    with pytest.warns(NCollapseWarning) as caught:
        [(model(inputs), evaluation.observe(labels), evaluation.start()) for _ in range(3)]
    assert len(caught) == 1 and evaluation.readings() == {}


def test_a_model_without_a_head_is_left_alone_by_callbacks() -> None:
    following = Following()
    with pytest.warns(NCollapseWarning, match="no linear layer was found in ReLU"):
        following.start(nn.ReLU())
    with pytest.warns(NCollapseWarning, match="evaluation is not read"):
        assert following.watch(nn.ReLU()) is None
    assert following.watch(nn.ReLU()) is None
    following.step(None)
    named = Following(head="nothing")
    with pytest.raises(ValueError, match="no module of the model"):
        named.start(built(nn.Linear, D, 3))


def _step(model: nn.Module, tracker: nc.Tracker) -> None:
    functional.cross_entropy(model(torch.ones(16, D)), TAGS[:, 0]).backward()
    tracker.step(TAGS[:, 0])


def test_a_layer_that_cannot_be_pooled_does_not_end_a_forward_pass() -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, :, None].expand(-1, -1, x.shape[1])

    model = built(lambda: nn.Sequential(nn.Sequential(Odd(), nn.Flatten()), nn.Linear(D * D, 3)))
    tracker = nc.Tracker(model, online=True, layers=["0.0"], every=1)
    with pytest.warns(NCollapseWarning, match=r"layer '0.0': .* nothing tells") as caught:
        [_step(model, tracker) for _ in range(2)]
    assert len(caught) == 1
