"""Documents: round trips, versions, and no NaN in any file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ncollapse as nc
from ncollapse.record.document import (
    SCHEMA_VERSION,
    Document,
    json_schema,
    read_document,
)
from ncollapse.record.readings import Null, Reading, Verdict
from ncollapse.record.tables import read_classes
from tests.data import make

NUMBER = st.floats(allow_nan=False, allow_infinity=False)


def measured() -> nc.Measurement:
    case = make("doc", counts=[20, 30, 25], dim=6)
    return nc.measure_features(case.features, case.labels, weight=case.weight, bias=case.bias)


# How long drawing takes tells of the machine, not of documents.
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    value=st.none() | NUMBER,
    null=st.none() | st.builds(Null, NUMBER, NUMBER, NUMBER),
    floor=st.none() | NUMBER,
    interval=st.none() | st.tuples(NUMBER, NUMBER),
    n=st.integers(0, 10**9),
)
def test_readings_survive_json(value, null, floor, interval, n) -> None:
    reading = Reading(value, null, floor, interval, 0.0, n, "macro")
    assert Reading.from_dict(json.loads(json.dumps(reading.to_dict()))) == reading


def test_documents_survive_files_and_meet_their_schema(tmp_path: Path) -> None:
    m = measured()
    m.save(tmp_path)
    found = json.loads((tmp_path / "results.json").read_text())
    jsonschema.validate(found, json_schema())
    jsonschema.Draft202012Validator.check_schema(json_schema())
    assert read_document(tmp_path) == m.document
    again = nc.Measurement.load(tmp_path)
    assert again.classes == m.classes == tuple(read_classes(tmp_path / "classes.csv"))
    assert float(again.compare(m).distance) < 1e-12
    assert {p.name for p in tmp_path.iterdir()} == {
        "results.json",
        "classes.csv",
        "layers.csv",
        "config.toml",
        "geometry.safetensors",
    }


def test_not_a_number_becomes_null_with_a_warning() -> None:
    document = measured().document
    results = {"train": {"head": {"nc1_ratio": Reading(float("nan"))}}}
    data = replace(document, results=results).to_dict()
    assert data["results"]["train"]["head"]["nc1_ratio"]["value"] is None
    assert "results/train/head/nc1_ratio/value is not finite" in data["warnings"][-1]
    json.dumps(data, allow_nan=False)


def test_newer_majors_are_refused_and_unknown_fields_ignored(tmp_path: Path) -> None:
    data = measured().document.to_dict()
    assert Document.from_dict({**data, "schema_version": "1.9", "new": 1}).num_classes == 3
    path = tmp_path / "results.json"
    path.write_text(json.dumps({**data, "schema_version": "2.0"}))
    with pytest.raises(ValueError, match=rf"schema 2\.0, newer than {SCHEMA_VERSION}"):
        read_document(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "no valid JSON"), ("[]", "holds a list"), ("{}", "names no schema_version")],
)
def test_other_files_are_refused(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=said):
        read_document(path)
    with pytest.raises(ValueError, match="does not exist"):
        read_document(tmp_path / "none.json")


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    data = measured().document.to_dict()
    del data["config"]
    with pytest.raises(ValueError, match="lacks 'config'"):
        Document.from_dict(data)


def test_answers_are_one_of_five() -> None:
    with pytest.raises(ValueError, match="answer 'maybe' is unknown"):
        Verdict("?", "maybe", "")


def test_same_seed_gives_the_same_json_but_for_the_date() -> None:
    one, two = (replace(measured().document, date="") for _ in range(2))
    assert one.to_json() == two.to_json()
