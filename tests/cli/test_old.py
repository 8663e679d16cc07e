"""`ncollapse measure --old`: earlier classes in the terminal, results.json and the page."""

from __future__ import annotations

import json

import jsonschema
import pytest

from ncollapse.record.document import Document, json_schema, read_document
from ncollapse.report.downstream import render_downstream
from tests.cli.test_commands import run
from tests.models import blobs, net

HERE = "tests.cli.test_old"
QUICK = ("--no-null", "--no-intervals", "--no-decisions", "-q")
MODEL = ("--model", f"{HERE}:model", "--data", f"{HERE}:new")


def model():
    return net()


def some(first: int, samples: int = 48, seed: int = 0):
    inputs, labels = blobs(samples, seed=seed)
    kept = (labels == first) | (labels == first + 1)
    return inputs[kept], labels[kept]


def new():
    return {"train": some(2), "test": some(2, 24, 1)}


def old():
    return {"train": some(0), "test": some(0, 24, 1)}


def beyond():
    inputs, labels = some(0)
    return {"train": (inputs, labels + 4)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("old") / "out"


def test_what_is_left_of_old_classes_is_printed_saved_and_shown(capsys, folder) -> None:
    code, out, _ = run(capsys, "measure", *MODEL, "--old", f"{HERE}:old", "-o", folder, *QUICK)
    assert code == 0
    assert "Forgetting\n" in out and "energy" in out
    found = json.loads((folder / "results.json").read_text("utf-8"))
    jsonschema.validate(found, json_schema())
    part = found["downstream"]["forgetting"]
    # Of the samples that were not trained on: six of each of two classes.
    assert [row[:2] for row in part["rows"]] == [[0, 6], [1, 6]]
    assert 0 <= part["numbers"]["energy"] <= 1
    page = (folder / "report.html").read_text("utf-8")
    assert "<h2>Forgetting</h2>" in page and part["sentences"][1] in page
    again = read_document(folder)
    assert again.downstream == found["downstream"]
    assert render_downstream(again) in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("x.npz", "--old", f"{HERE}:old"), "--old needs --model"),
        ((*MODEL, "--old", f"{HERE}:beyond"), "outside the head's classes"),
        ((*MODEL, "--old", "no.module:f"), "does not import"),
        (
            (*MODEL, "--old", f"{HERE}:old", "--head", "none", "--layers", "*"),
            "reads one classifier",
        ),
    ],
)
def test_bad_old_data_end_in_a_sentence(arguments, says, capsys, tmp_path) -> None:
    code, _, err = run(capsys, "measure", *arguments, "-o", tmp_path / "out", *QUICK)
    assert code == 2 and says in err
    assert not (tmp_path / "out" / "results.json").exists()


@pytest.mark.parametrize(
    "harm",
    [
        lambda part: part.pop("title"),
        lambda part: part.update(sentences="one"),
        lambda part: part["rows"].append([1]),
        lambda part: part.update(columns=None),
        lambda part: part.update(rows=None),
        lambda part: part.pop("rows"),
        lambda part: part.pop("columns"),
    ],
)
def test_damaged_parts_are_refused(harm, capsys, folder) -> None:
    data = json.loads((folder / "results.json").read_text("utf-8"))
    harm(data["downstream"]["forgetting"])
    with pytest.raises(ValueError, match="is damaged"):
        Document.from_dict(data)
