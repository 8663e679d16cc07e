"""Settings: stated for all sizes at once, replaced one by one, read from texts by their kind."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest

from ncollapse.lab.settings import By, sizes, with_options, with_texts
from ncollapse.lab.study import SIZES, Study
from ncollapse.lab.values import listing, read, shown
from ncollapse.studies import find, names, studies


def flat(settings: dict[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in settings.items():
        inner = flat(value, f"{before}{key}.") if isinstance(value, dict) else {before + key: value}
        found |= inner
    return found


def test_a_value_is_that_of_its_size_or_of_all() -> None:
    found = sizes(a=By(1, 2, 3), b="x", c={"d": By([1], [2], [3]), "e": None})
    assert list(found) == list(SIZES)
    assert found["mini"] == {"a": 1, "b": "x", "c": {"d": [1], "e": None}}
    assert found["full"] == {"a": 3, "b": "x", "c": {"d": [3], "e": None}}


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("size", SIZES)
def test_every_setting_is_read_as_it_is_shown(name: str, size: str) -> None:
    settings = find(name).settings[size]
    for key, value in flat(settings).items():
        again = read(key, shown(value), value)
        assert again == value and type(again) is type(value), key
        assert f"{key}={shown(value)}" in listing(settings)


@pytest.mark.parametrize(
    ("text", "now", "value"),
    [
        ("7", 3, 7),
        (" 7 ", 3, 7),
        ("-1", 3, -1),
        ("7", 0.5, 7.0),
        ("1e-3", 0.5, 1e-3),
        ("TRUE", False, True),
        ("false", True, False),
        ("a b", "c", "a b"),
        ("none", "c", "none"),
        ("None", None, None),
        ("224", None, 224),
        ("0.5", None, 0.5),
        ("wide", None, "wide"),
        ("1,2,3", [5], [1, 2, 3]),
        ("1", [5, 6], [1]),
        ("[1, 2]", [5], [1, 2]),
        ("1,0.5", [0.1, 0.2, 0.3], [1.0, 0.5]),
        ("a, b", ["c"], ["a", "b"]),
        ("timm:resnet18", ["mlp", "conv"], "timm:resnet18"),
        ("30,6,0.01", [120, 12, 5e-3], [30, 6, 0.01]),
        ("[[30, 3, 1]]", [[150, 5, 5e-2], [150, 3, 8e-2]], [[30, 3, 1.0]]),
        ('[["polygon", 5]]', [["product", 4]], [["polygon", 5]]),
    ],
)
def test_texts_are_read_by_the_kind_of_the_present_value(text: str, now: Any, value: Any) -> None:
    found = read("key", text, now)
    assert found == value and type(found) is type(value)
    if isinstance(value, list):
        assert [type(inner) for inner in found] == [type(inner) for inner in value]


@pytest.mark.parametrize(
    ("text", "now", "said"),
    [
        ("abc", 3, "key=abc cannot be; a whole number is needed, as in key=3"),
        ("2.5", 3, "a whole number"),
        ("", 3, "a whole number"),
        ("none", 3, "a whole number"),
        ("abc", 0.5, "a finite number is needed, as in key=0.5"),
        ("nan", 0.5, "a finite number"),
        ("inf", 0.5, "a finite number"),
        ("1", True, "true or false is needed, as in key=true"),
        ("1,x", [5, 6], "a list of the same kind is needed, as in key=5,6"),
        ("1,2.5", [5, 6], "as in key=5,6"),
        ("", [5, 6], "as in key=5,6"),
        ("[]", [5, 6], "as in key=5,6"),
        ("[1, true]", [5, 6], "as in key=5,6"),
        ("[1, NaN]", [0.5], "as in key=0.5"),
        ("[1, 2", [5, 6], "as in key=5,6"),
        ("30,6", [120, 12, 5e-3], "as in key=120,12,0.005"),
        ("3", [[1, 2]], "as in key=[[1, 2]]"),
        ("[3]", [[1, 2]], "as in key=[[1, 2]]"),
        ("[[1, 2, 3]]", [["a", 2]], 'as in key=[["a", 2]]'),
        ("3", {"a": 1, "b": [2, 3]}, "several settings; set one of them: key.a=1, key.b=2,3"),
    ],
)
def test_what_is_of_another_kind_says_what_is_needed(text: str, now: Any, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        read("key", text, now)


# ---- replacing ----------------------------------------------------------------------------------
def test_one_size_is_changed_and_the_study_stays_as_it_was() -> None:
    for study in studies():
        before = copy.deepcopy(study.settings)
        for key, value in flat(study.settings["quick"]).items():
            other = with_options(study, "quick", {key: "new"})
            assert flat(other.settings["quick"]) == {**flat(before["quick"]), key: "new"}
            assert (other.settings["mini"], other.settings["full"]) == (
                before["mini"],
                before["full"],
            )
            assert value != "new" and study.settings == before


@pytest.mark.parametrize("key", ["epochs", "problem.deep", "seeds.a", "", ".", "problem."])
def test_an_unknown_setting_lists_the_known_ones(key: str) -> None:
    study = find("landscape")
    with pytest.raises(ValueError, match="study 'landscape' has no setting") as caught:
        with_options(study, "mini", {key: 1})
    assert "at size mini it has starts=2, seeds=1, first_seed=0, problem.classes=3" in str(
        caught.value
    )
    with pytest.raises(ValueError, match="at size full it has starts=100"):
        with_texts([study], "full", {key: "1"})


def test_of_several_studies_those_take_a_setting_that_have_it() -> None:
    several = [find("peeled"), find("imbalance"), find("minority")]
    changed, takers = with_texts(several, "mini", {"epochs": "7", "seeds": "2"})
    assert takers == {
        "epochs": ["imbalance", "minority"],
        "seeds": ["peeled", "imbalance", "minority"],
    }
    assert [study.settings["mini"].get("epochs") for study in changed] == [None, 7, 7]
    assert [len(study.units("mini")) for study in changed] == [8, 6, 3]


def test_a_setting_that_no_study_has_lists_what_each_has() -> None:
    several = [find("peeled"), find("minority")]
    with pytest.raises(ValueError, match="no study has a setting nothing") as caught:
        with_texts(several, "quick", {"epochs": "7", "nothing": "1"})
    assert "peeled has seeds=1, first_seed=100, starts=20" in str(caught.value)
    assert "minority has seeds=4" in str(caught.value)


def test_no_change_gives_the_same_units() -> None:
    def prints(study: Study) -> list[str]:
        return [unit.fingerprint for unit in study.units("quick")]

    for study in studies():
        texts = {key: shown(value) for key, value in flat(study.settings["quick"]).items()}
        (same,), _ = with_texts([study], "quick", texts)
        assert prints(same) == prints(study)
