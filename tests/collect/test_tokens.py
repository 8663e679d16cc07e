"""Language models: every token a sample, its class the next token; padding and rare classes out."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import ncollapse as nc
from ncollapse.collect.tap.tokens import targets, token_batch, token_kind
from ncollapse.sources.specs.optional import optional
from tests.ranks import spawn

V, D = 23, 16


class Tiny(nn.Module):
    """Embedding, one mixing layer over the past, and a head over the vocabulary."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(V, D)
        self.mix = nn.Linear(D, D)
        self.lm_head = nn.Linear(D, V, bias=False)

    def forward(self, input_ids, attention_mask=None):
        hidden = self.embed(input_ids)
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        weight = mask[..., None].to(hidden)
        past = (hidden * weight).cumsum(1) / weight.cumsum(1).clamp_min(1)
        return self.lm_head(torch.tanh(self.mix(hidden + past)))


def tiny() -> Tiny:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Tiny()


def sequences(count: int = 40, time: int = 12, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    share = 1 / torch.arange(1, V + 1, dtype=torch.float64)
    drawn = torch.multinomial(share, count * time, replacement=True, generator=generator)
    return drawn.view(count, time)


def padded() -> list[dict[str, torch.Tensor]]:
    ids = sequences()
    mask = torch.ones_like(ids)
    for row in range(len(ids)):
        mask[row, 12 - row % 5 :] = 0
    ids = torch.where(mask.bool(), ids, 0)
    return [{"input_ids": i, "attention_mask": m} for i, m in zip(ids, mask, strict=True)]


def by_hand(model: nn.Module, rows: list[dict[str, torch.Tensor]]) -> tuple[torch.Tensor, ...]:
    features, labels = [], []
    taken = []
    hook = model.lm_head.register_forward_hook(lambda m, i, o: taken.append(i[0].detach()))
    for row in rows:
        model(row["input_ids"][None], row["attention_mask"][None])
        hidden = taken.pop()[0]
        for t in range(int(row["attention_mask"].sum()) - 1):
            features.append(hidden[t])
            labels.append(row["input_ids"][t + 1])
    hook.remove()
    return torch.stack(features), torch.stack(labels)


def test_targets_are_the_next_tokens_of_valid_places() -> None:
    ids = torch.tensor([[5, 6, 7, 0], [1, 2, 3, 4]])
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
    found, where = targets(ids, mask=mask)
    assert found.tolist() == [6, 7, 2, 3, 4]
    assert where.tolist() == [0, 1, 4, 5, 6]
    labels = ids.clone()
    labels[1, 2] = -100
    found, where = targets(ids, labels, mask)
    assert found.tolist() == [6, 7, 2, 4]
    assert where.tolist() == [0, 1, 4, 6]
    found, where = targets(ids, labels, mask, kind="same")
    assert found.tolist() == [5, 6, 7, 1, 2, 4]
    # Left padding: the first real token is no target of a pad.
    found, where = targets(torch.tensor([[0, 0, 8, 9]]), mask=torch.tensor([[0, 0, 1, 1]]))
    assert (found.tolist(), where.tolist()) == ([9], [2])


def test_a_model_is_read_at_every_token() -> None:
    rows, model = padded(), tiny()
    features, labels = by_hand(model, rows)
    wanted = nc.measure_features(features.double(), labels, weight=model.lm_head.weight)
    found = nc.measure(
        model, DataLoader(rows, batch_size=8), tokens=True, layers=["mix"], task="classification"
    )
    left, right = found.results["train"]["head"], wanted.results["train"]["head"]
    assert found.document.num_samples == len(labels)
    for key, reading in right.items():
        if reading.value is None:
            assert left[key].value is None, key
            continue
        assert left[key].value == pytest.approx(reading.value, rel=2e-4, abs=1e-5), key
    assert left["nc1_ratio"].definition == "macro"
    assert found.results["train"]["mix"]["nc1_ratio"].definition == "macro, every token"


def test_tensors_pairs_and_labels_are_understood() -> None:
    ids = sequences()
    plain = nc.measure(tiny(), [ids[:20], ids[20:]], tokens=True, null=False)
    assert plain.document.task == "language"
    for data in (
        [{"input_ids": ids[:20]}, {"input_ids": ids[20:]}],
        [(ids[:20], ids[:20]), (ids[20:], ids[20:])],
        [{"input_ids": ids[:20], "labels": ids[:20]}, {"input_ids": ids[20:], "labels": ids[20:]}],
    ):
        other = nc.measure(tiny(), data, tokens="next", null=False)
        for key, reading in plain.results["train"]["head"].items():
            assert other.results["train"]["head"][key].value == reading.value
    part = nc.measure(tiny(), [ids], tokens=True, limit=15, null=False)
    assert part.document.num_samples == 15 * 11


def test_rare_tokens_are_left_out_and_counted() -> None:
    ids = sequences()
    found = nc.measure(tiny(), [ids], tokens=True, min_count=10, null=False)
    counts = torch.bincount(ids[:, 1:].flatten(), minlength=V)
    assert len(found.classes) == int((counts >= 10).sum())
    assert found.document.num_samples == int(counts[counts >= 10].sum())
    assert any("classes with fewer than 10 samples" in w for w in found.document.warnings)


def test_the_cache_may_be_left_off() -> None:
    ids = sequences()
    data = [ids[:25], ids[25:]]
    kept = nc.measure(tiny(), data, tokens=True, min_count=5, null=False)
    again = nc.measure(tiny(), data, tokens=True, min_count=5, null=False, cache=False)
    for key, reading in kept.results["train"]["head"].items():
        value = again.results["train"]["head"][key].value
        if reading.value is None:
            assert value is None, key
            continue
        assert value == pytest.approx(reading.value, rel=1e-9), key


def on_rank(rank: int) -> nc.Measurement:
    return nc.measure(
        tiny(),
        DataLoader(padded(), batch_size=8),
        tokens=True,
        min_count=5,
        task="classification",
    )


def test_ranks_share_sequences() -> None:
    one = on_rank(0)
    for found in spawn(on_rank, 2):
        for key, reading in one.results["train"]["head"].items():
            other = found.results["train"]["head"][key]
            assert other.value == pytest.approx(reading.value, rel=1e-12, abs=1e-14), key
            if reading.interval is not None:
                assert other.interval == pytest.approx(reading.interval, rel=1e-8, abs=1e-10)


@pytest.mark.parametrize(
    ("data", "kept", "said"),
    [
        ([torch.zeros(2, 5)], {"tokens": True}, "mappings with 'input_ids'"),
        ([torch.zeros(2, 5).long()], {"tokens": "last"}, "tokens='last' is unknown"),
        ([torch.zeros(2, 1).long()], {"tokens": True}, "sequences of 1 token, which has no next"),
        (
            [{"input_ids": torch.ones(2, 5).long(), "attention_mask": torch.zeros(2, 5)}],
            {"tokens": True},
            "all are padding",
        ),
        ([torch.zeros(2, 5).long()], {"tokens": "same"}, "reads the label of each token"),
        (
            [(torch.zeros(2, 5).long(), torch.zeros(2).long())],
            {"tokens": True},
            "one entry a token",
        ),
        ([(torch.zeros(2, 5).long(), torch.zeros(2).long())], {}, "measured with tokens=True"),
    ],
)
def test_what_does_not_fit_is_said(data, kept, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        nc.measure(tiny(), data, **kept)


def test_kinds_and_batches_stand_alone() -> None:
    assert token_kind(False) is None
    assert token_kind(True) == "next"
    batch = token_batch(sequences(3, 5), "next")
    assert batch.rows == 3
    assert batch.labels.numel() == 12


def test_a_hugging_face_model_is_measured() -> None:
    transformers = optional("transformers")
    config = transformers.GPT2Config(
        vocab_size=V, n_positions=16, n_embd=D, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.GPT2LMHeadModel(config)
    rows = padded()
    found = nc.measure(model, DataLoader(rows, batch_size=8), layers="*", null=False)
    assert found.document.config["head"]["name"] == "lm_head"
    valid = sum(int(row["attention_mask"].sum()) - 1 for row in rows)
    assert found.document.num_samples == valid
    assert "transformer.h.1" in found.results["train"]
    # A causal model on token ids is found out by itself, and said.
    assert found.document.config["task"]["name"] == "language"
    assert "next token" in found.document.config["task"]["why"]
    accuracy = found.results["train"]["head"]["lm_accuracy"].value
    assert accuracy is not None and 0 <= accuracy < 0.5


def test_next_tokens_are_read_as_classes_too() -> None:
    """What stands for any classes stands for tokens, whichever task they are taken for."""
    data, asked = (
        DataLoader(padded(), batch_size=8),
        {"tokens": True, "null": False, "intervals": False, "min_count": 10},
    )
    unasked = nc.measure(tiny(), data, **asked)
    classes = nc.measure(tiny(), data, task="classification", **asked)
    assert unasked.document.task == "language"
    for key in ("nc1_ratio", "class_share", "nc3_duality"):
        assert unasked.value(key) == pytest.approx(classes.value(key), rel=1e-9)
