"""Labels, loaders and layers as users have them: equal numbers, or one sentence."""

from __future__ import annotations

import copy
from collections import namedtuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence

import ncollapse as nc
from ncollapse.collect.tap.batches import Batch, rows_of, unpack_batch
from tests.models import K, blobs, built

D, PLAIN = 6, {"null": False, "intervals": False, "decisions": False}
INPUTS, LABELS = blobs(48, (D,))
IDS = np.array([17, 8_975, 2_900_000_001, 200_000_000_000])
Pair = namedtuple("Pair", ("x", "scale"))


def features() -> np.ndarray:
    return INPUTS.double().numpy()


# ---- labels -----------------------------------------------------------------------------------
def test_identifiers_read_as_the_classes_they_are() -> None:
    split = np.where(np.arange(48) < 30, "train", "test")
    right = nc.measure_features(features(), LABELS, split=split, **PLAIN)
    labels = IDS[LABELS]
    labels[5] = -100
    found = nc.measure_features(features(), IDS[LABELS], split=split, **PLAIN)
    for key in ("nc1_fisher", "nc2_etf_means", "worst_share"):
        assert found.value(key) == right.value(key)
        assert found.value(key, "test") == right.value(key, "test")
    assert found.document.num_classes == K
    assert [row.name for row in found.classes[:K]] == [str(one) for one in IDS]
    assert "identifiers up to 200000000000" in found.warnings[0]
    one_less = nc.measure_features(features(), labels, split=split, **PLAIN)
    assert sum(one_less.document.config["splits"].values()) == 47
    assert nc.measure_features(features(), LABELS, **PLAIN).warnings == ()


@pytest.mark.parametrize("options", [{}, {"weight": np.eye(K, D)}, {"num_classes": K}])
def test_one_wild_label_is_named(options) -> None:
    labels = LABELS.clone()
    labels[7] = 10**9
    with pytest.raises(ValueError, match="label 1000000000 of sample 7"):
        nc.measure_features(features(), labels, **options, **PLAIN)


# ---- arrays and loaders -----------------------------------------------------------------------
def test_reversed_arrays_read_alike_and_others_are_told_what_to_pass() -> None:
    right = nc.measure_features(features(), LABELS, **PLAIN).value("nc1_fisher")
    found = nc.measure_features(features()[::-1], LABELS.numpy()[::-1], **PLAIN)
    assert found.value("nc1_fisher") == pytest.approx(right, rel=1e-12)

    with pytest.raises(ValueError, match="masked"):
        nc.measure_features(np.ma.masked_array(features(), features() > 1), LABELS, **PLAIN)


def test_inputs_keep_their_kind_when_they_are_cut_or_moved() -> None:
    class OfPair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(D, K)

        def forward(self, pair: Pair) -> Tensor:
            return self.fc(pair.x * pair.scale)

    model = built(OfPair)
    loader = [(Pair(INPUTS, torch.ones(48, 1)), LABELS.numpy()[::-1][::-1])]
    found = nc.measure(model, loader, limit=40, **PLAIN)
    right = nc.measure(model.fc, (INPUTS[:40], LABELS[:40]), **PLAIN)
    assert found.value("nc1_ratio") == right.value("nc1_ratio")


def test_packed_sequences_are_cut_by_sample() -> None:
    packed = pack_sequence([INPUTS[: 2 + k % 3] for k in range(9)], enforce_sorted=False)
    assert rows_of((packed, 3)) == 9 and rows_of({"a": None, "b": INPUTS}) == 48
    batch = unpack_batch((packed, LABELS[:9]))
    part = batch.taken(packed, slice(4))
    assert isinstance(part, PackedSequence) and rows_of(part) == 4
    whole = nn.utils.rnn.pad_packed_sequence(packed, batch_first=True)[0]
    cut = nn.utils.rnn.pad_packed_sequence(part, batch_first=True)[0]
    assert torch.equal(cut, whole[:4, : cut.shape[1]])
    rows = torch.tensor([7, 2])
    assert rows_of(Batch(packed, LABELS[:9]).taken(packed, rows)) == 2


def test_what_can_be_read_once_only_is_not_called_empty() -> None:
    model = built(nn.Linear, D, K)
    once = zip(INPUTS.split(20), LABELS.split(20), strict=True)
    with pytest.raises(ValueError, match="this loader can be read once only"):
        nc.measure(model, once, cache=False, **PLAIN)
    again = zip(INPUTS.split(20), LABELS.split(20), strict=True)
    assert nc.measure(model, again, **PLAIN).value("nc1_ratio") is not None


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (torch.zeros(48, 7, dtype=torch.int64), "tokens='same'"),
        (torch.zeros(48, 3, 3, dtype=torch.int64), "labels of pixels"),
        (torch.eye(K)[LABELS], r"b\['labels'\].argmax\(1\)"),
        (torch.eye(K)[LABELS].long(), r"argmax\(1\)"),
        (LABELS + 0.5, "regression"),
    ],
)
def test_labels_that_are_no_class_numbers_get_advice_that_fits(labels, said) -> None:
    with pytest.raises(ValueError, match=said):
        nc.measure(built(nn.Linear, D, K), [{"input": INPUTS, "labels": labels}], **PLAIN)


# ---- layers -----------------------------------------------------------------------------------
class Spike(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        made = x.clone()
        made[3, 2] = float("inf")
        return made


def test_a_layer_that_is_not_finite_is_named_or_left_out() -> None:
    model = built(lambda: nn.Sequential(nn.Linear(D, D), Spike(), nn.Tanh(), nn.Linear(D, K)))
    right = nc.measure(copy.deepcopy(model), (INPUTS, LABELS), **PLAIN)
    with pytest.raises(ValueError, match=r"layer '1': .* NaN or infinity"):
        nc.measure(model, (INPUTS, LABELS), layers=["0", "1"], **PLAIN)
    found = nc.measure(model, (INPUTS, LABELS), layers="*", **PLAIN)
    assert list(found.results["train"]) == ["0", "2", "head"]
    assert any("layer '1' is left out" in said for said in found.warnings)
    assert found.value("nc1_ratio") == right.value("nc1_ratio")


def test_features_that_are_all_alike_are_called_so() -> None:
    found = nc.measure_features(np.ones((48, D)), LABELS, **PLAIN)
    said = [*found.warnings, *(verdict.sentence for verdict in found.verdicts)]
    assert any("features are alike" in text for text in found.warnings)
    assert found.verdicts[0].sentence.startswith("All features are alike")
    assert not any("class of its own" in text for text in said)
