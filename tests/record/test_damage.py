"""Damaged parts of a run are refused in one sentence that names the file and what is wrong."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save

import ncollapse as nc
from ncollapse.record.document import Document
from ncollapse.record.run import Run, read_geometries
from ncollapse.record.tables import read_classes
from ncollapse.record.trace import Trace
from tests.data import make


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    case = make("damage", counts=[9, 12, 10], dim=4)
    m = nc.measure_features(case.features, case.labels, weight=case.weight, bias=case.bias)
    return m.save(tmp_path_factory.mktemp("good"))


def places(value, path=()):
    if path:
        yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list) and value:
        yield from places(value[0], (*path, 0))


def test_a_document_with_a_field_of_another_type_is_refused_or_read(good: Path) -> None:
    """Never another error than one sentence, and what is read can be written and shown again."""
    document = json.loads((good / "results.json").read_text())
    kept = {k: v for k, v in document.items() if k not in ("environment", "config")}
    sentences: list[str] = []
    read = 0
    for place in {p[-1]: p for p in places(kept)}.values():
        for value in ("x", None, [], {}, True, 1e400, 10**400, -1):
            changed = copy.deepcopy(document)
            inner = changed
            for key in place[:-1]:
                inner = inner[key]
            inner[place[-1]] = value
            try:
                found = Document.from_dict(changed, "it")
            except ValueError as error:
                sentences.append(str(error))
                continue
            found.to_json()
            read += 1
    assert all(said.startswith("it ") and "\n" not in said for said in sentences)
    assert len(sentences) > 3 * read > 0


@pytest.mark.parametrize("text", ["[" * 100_000 + "]" * 100_000, "", "{", "[]", "\udcff"])
def test_what_is_no_json_object_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(ValueError, match=r"results\.json (is no valid JSON|holds a list)"):
        Run.read(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t[: t.rindex(",") - 2], "cut in its last line"),
        (lambda t: t.replace("train,head", "train", 1), "damaged in line 2"),
        (lambda t: t + "a" * 200_000 + "\n", "damaged in line"),
        (lambda t: t.replace("\n", ",9\n", 2).replace(",9\n", "\n", 1), "fields too many"),
        (lambda t: t.replace("train,head,0,0,9", "train,head,0,0," + "9" * 400), "no count"),
        (
            lambda t: t.replace("\ntrain,head,0,0,9,", "\ntrain,head,0,0,9,inf", 1),
            "no finite number",
        ),
        (lambda t: t.replace("split,", "splot,", 1), "lacks the columns split"),
    ],
)
def test_a_damaged_table_is_refused(change, said: str, good: Path, tmp_path: Path) -> None:
    text = (good / "classes.csv").read_text()
    (tmp_path / "classes.csv").write_text(change(text))
    assert change(text) != text
    with pytest.raises(ValueError, match=said):
        read_classes(tmp_path / "classes.csv")


@pytest.mark.parametrize(
    "row", ["9" * 400 + ",,train,head,a,1", "1,,train,head,a,nan", "x", "a" * 200_000]
)
def test_a_damaged_trace_is_refused(row: str, tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(f"step,epoch,split,layer,key,value\n{row}\n2,,train,head,a,0.4\n")
    with pytest.raises(ValueError, match="is damaged in line 2"):
        Trace.load(path)


@pytest.mark.parametrize("kind", ["empty", "cut", "flat means", "square counts", "other K", "name"])
def test_a_damaged_geometry_is_refused(kind: str, good: Path, tmp_path: Path) -> None:
    data = (good / "geometry.safetensors").read_bytes()
    tensors = load(data)
    changed = {
        "flat means": {"train/means": np.ones(3)},
        "square counts": {"train/counts": np.ones((3, 3), dtype=np.int64)},
        "other K": {"train/counts": np.ones(4, dtype=np.int64)},
        "name": {"train/middle": np.ones(3)},
    }
    if kind in changed:
        data = save({**tensors, **changed[kind]})
    else:
        data = b"" if kind == "empty" else data[: len(data) // 2]
    path = tmp_path / "geometry.safetensors"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"geometry\.safetensors (cannot be read|is damaged)"):
        read_geometries(path)
