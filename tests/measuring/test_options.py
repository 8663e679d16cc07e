"""Options are typed, frozen, and a keyword that is not known names the nearest."""

from __future__ import annotations

import subprocess
import sys
import traceback
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest
import torch

import ncollapse as nc
from ncollapse.collect.plan import Plan
from ncollapse.measuring.options import MeasureOptions, Options
from tests.data import make

CASE = make("options", counts=[20, 30], dim=4)
MODEL = torch.nn.Linear(4, 2)
DATA = (torch.from_numpy(CASE.features).float(), torch.from_numpy(CASE.labels))


@pytest.mark.parametrize(
    ("call", "verb"),
    [
        (lambda **k: nc.measure_features(CASE.features, CASE.labels, **k), "measure_features"),
        (lambda **k: nc.measure(MODEL, train=DATA, **k), "measure"),
    ],
)
@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("nul", "null"),
        ("interval", "intervals"),
        ("num_clases", "num_classes"),
        ("class_name", "class_names"),
    ],
)
def test_an_unknown_keyword_names_the_nearest(call, verb: str, word: str, near: str) -> None:
    with pytest.raises(
        TypeError, match=rf"{verb}\(\) has no keyword '{word}'; did you mean '{near}'"
    ) as caught:
        call(**{word: False})
    assert not any("__init__" in frame.name for frame in traceback.extract_tb(caught.tb))


def test_a_keyword_like_none_lists_all() -> None:
    with pytest.raises(TypeError, match="it takes weight, bias, .*pair_budget, task"):
        nc.measure_features(CASE.features, CASE.labels, zzz=1)


def test_options_and_plan_are_frozen() -> None:
    for value in (Options(), Plan(num_classes=3)):
        with pytest.raises(FrozenInstanceError):
            value.seed = 1
    taken = set(MeasureOptions.__annotations__) - {"metrics"}  # Another name of `keys`.
    assert {field.name for field in fields(Options)} == taken


def test_a_source_is_left_as_it_was() -> None:
    from ncollapse.measuring.measure import measure_source
    from ncollapse.sources.features.arrays import ArraySource

    source = ArraySource(CASE.features, CASE.labels)
    before, labels = dict(vars(source)), source.labels.clone()
    measure_source(source, null=False, intervals=False)
    assert torch.equal(source.labels, labels)
    changed = {k for k in vars(source) if vars(source)[k] is not before.get(k)} - {"fingerprint"}
    assert not changed


@pytest.mark.slow
def test_a_wrong_keyword_is_an_error_for_the_type_checker(tmp_path: Path) -> None:
    path = tmp_path / "user.py"
    path.write_text(
        "import numpy as np\nimport ncollapse as nc\n"
        "nc.measure_features(np.zeros((4, 2)), np.arange(4), nul=False)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", str(path)], capture_output=True, text=True
    )
    assert 'Unexpected keyword argument "nul"' in done.stdout
