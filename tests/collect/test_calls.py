"""What loaders yield, as people have them: the same numbers as from a pair of tensors."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

import ncollapse as nc
from ncollapse.collect.tap.calls import Calls, tensors_of
from ncollapse.collect.tap.loaders import padded
from ncollapse.sources.specs.optional import optional
from tests.models import K, blobs, built

D, PLAIN = 6, {"null": False, "intervals": False, "decisions": False}
INPUTS, LABELS = blobs(48, (D,))
NAMES = ("ash", "elm", "fir", "oak")
X, Y = INPUTS.numpy(), LABELS.numpy()


class Two(nn.Module):
    """Of an input and a scale, by names of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(D, K)

    def forward(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        return self.fc(x if scale is None else x * scale)


MODEL = built(Two)
RIGHT = nc.measure(MODEL, (INPUTS, LABELS), **PLAIN)


class Dicts(Dataset):
    classes = NAMES

    def __init__(self, *names: str, **more) -> None:
        self.names, self.more = names, more

    def __len__(self) -> int:
        return len(INPUTS)

    def __getitem__(self, i: int) -> dict:
        image, label = self.names
        return {image: INPUTS[i], label: int(Y[i]), **self.more}


def hugging(**columns):
    return optional("datasets").Dataset.from_dict(columns)


DATA = {
    "arrays": lambda: (X.astype(np.float64), Y),
    "tables": lambda: (pd.DataFrame(X), pd.Series(Y)),
    "batches of arrays": lambda: [(X[:20].astype(np.float64), Y[:20]), (X[20:], Y[20:])],
    "batches of lists": lambda: [(X.tolist(), Y.tolist())],
    "whole floats": lambda: [(INPUTS[:2], LABELS[:2].double()), (INPUTS[2:], LABELS[2:].double())],
    "dicts under the model's name": lambda: Dicts("x", "y"),
    "dicts": lambda: Dicts("image", "label"),
    "dicts with more": lambda: Dicts("image", "target", index=3, path="a.png"),
    "a part of dicts": lambda: Subset(Dicts("signal", "label"), range(48)),
    "hugging face": lambda: hugging(vector=X.tolist(), label=Y.tolist()),
    "hugging face, loaded": lambda: DataLoader(hugging(v=X.tolist(), label=Y.tolist()), 20),
    "hugging face, more columns": lambda: hugging(
        image=X.tolist(), label=Y.tolist(), title=["t"] * 48
    ),
}


@pytest.mark.parametrize("name", DATA)
def test_whatever_the_loader_yields_the_numbers_are_the_same(name: str) -> None:
    found = nc.measure(MODEL, DATA[name](), **PLAIN)
    assert found.value("nc1_ratio") == pytest.approx(RIGHT.value("nc1_ratio"), rel=1e-6)
    assert found.document.num_classes == K
    known = name.startswith("dicts") or "part of" in name
    assert [row.name for row in found.classes] == [*(NAMES if known else "0123")]


def test_without_the_cache_too() -> None:
    for name in ("batches of arrays", "whole floats", "dicts"):
        found = nc.measure(MODEL, DATA[name](), cache=False, **PLAIN)
        assert found.value("nc1_ratio") == pytest.approx(RIGHT.value("nc1_ratio"), rel=1e-6)


def test_arrays_are_read_in_the_dtype_of_the_model_and_tensors_left_alone() -> None:
    double = built(Two).double()
    found = nc.measure(double, (X.astype(np.float64), Y), **PLAIN)
    assert found.document.config["features_dtype"] == "float64"
    value = tensors_of({"a": X, "b": INPUTS.half(), "c": Y, "d": "text"}, torch.float64)
    assert value["a"].dtype == torch.float64 and value["b"].dtype == torch.float16
    assert value["c"].dtype == torch.int64 and value["d"] == "text"


def test_only_what_the_forward_pass_has_no_name_for_is_left_out() -> None:
    from ncollapse.collect.tap.batches import Batch

    calls = Calls(MODEL)
    scale = torch.ones(48, 1)
    kept = calls.fitted(Batch({"x": INPUTS, "scale": scale, "id": LABELS}, LABELS)).inputs
    assert set(kept) == {"x", "scale"}
    named = calls.fitted(Batch({"image": INPUTS, "scale": scale}, LABELS)).inputs
    assert named["x"] is INPUTS and named["scale"] is scale
    # Two tensors of which neither is an input by its name: nothing is guessed.
    both = {"left": INPUTS, "right": INPUTS}
    assert calls.fitted(Batch(dict(both), LABELS)).inputs == both
    with pytest.raises(ValueError, match="'left': tensor .* unexpected keyword"):
        nc.measure(MODEL, [{**both, "label": LABELS}], **PLAIN)


def test_sequences_of_several_lengths_are_padded_with_a_mask() -> None:
    rows = [{"input_ids": torch.arange(n), "labels": torch.arange(n), "id": n} for n in (2, 3)]
    batch = padded(rows)
    assert batch["input_ids"].tolist() == [[0, 1, 0], [0, 1, 2]]
    assert batch["labels"].tolist() == [[0, 1, -100], [0, 1, 2]]
    assert batch["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]


def test_names_in_the_place_of_class_numbers_get_advice_that_runs() -> None:
    names = [NAMES[k] for k in Y]
    with pytest.raises(ValueError, match=r"unpack=lambda b: \(b\[0\], \[NAMES"):
        nc.measure(MODEL, [(INPUTS, names)], **PLAIN)
    unpack = lambda b: (b[0], [NAMES.index(name) for name in b[1]])  # noqa: E731
    found = nc.measure(MODEL, [(INPUTS, names)], unpack=unpack, **PLAIN)
    assert found.value("nc1_ratio") == RIGHT.value("nc1_ratio")
    with pytest.raises(ValueError, match=r"unpack=lambda b: \(b, \[NAMES"):
        nc.measure(MODEL, [{"x": INPUTS, "label": names}], **PLAIN)
    unpack = lambda b: (b, [NAMES.index(name) for name in b["label"]])  # noqa: E731
    found = nc.measure(MODEL, [{"x": INPUTS, "label": names}], unpack=unpack, **PLAIN)
    assert found.value("nc1_ratio") == RIGHT.value("nc1_ratio")
