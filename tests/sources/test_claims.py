"""What a file only claims, or says twice, or of another type, is refused before it is believed."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from numpy.lib import format as npy

import ncollapse as nc
from ncollapse.sources.features import claims
from ncollapse.sources.features.files import open_source
from ncollapse.sources.features.given import as_tensor

N, K, D = 60, 3, 4
RNG = np.random.default_rng(0)
LABELS = np.arange(N) % K
FEATURES = (np.eye(K, D)[LABELS] + 0.1 * RNG.normal(size=(N, D))).astype(np.float32)
PLAIN = {"features": FEATURES, "labels": LABELS}
TYPES = {
    "structured": np.zeros(N, dtype=[("a", float), ("b", int)]),
    "texts": np.array([["x"] * D] * N),
    "dates": np.zeros(N, "M8[s]"),
    "spans": np.zeros((N, D), "m8[s]"),
    "raw bytes": np.zeros(N, "V4"),
    "complex": FEATURES.astype(complex),
    "long doubles": np.zeros((N, D), np.longdouble),
}


def refused(path: Path, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        list(open_source(path).chunks())
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("name", ["features", "labels", "weight", "bias"])
def test_arrays_of_another_type_are_named(name: str, kind: str, tmp_path: Path) -> None:
    extra = {"weight": np.eye(K, D)} if name == "bias" else {}
    np.savez(tmp_path / "a.npz", **{**PLAIN, **extra, name: TYPES[kind]})
    refused(tmp_path / "a.npz", name)


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({"weight": np.zeros((0, D))}, "one row a class"),
        ({"split": TYPES["structured"]}, "split is an array of"),
        ({"class_names": np.array(1.0)}, "class_names is an array of float64"),
        ({"class_names": np.array("one")}, "a list of names"),
    ],
)
def test_what_stands_beside_features_has_its_form(extra, said: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **PLAIN, **extra)
    refused(tmp_path / "a.npz", said)


def test_a_type_that_torch_has_not_is_a_sentence() -> None:
    with pytest.raises(ValueError, match=r"real numbers|torch has not"):
        as_tensor(np.zeros(3, "V8"))


def member(array: np.ndarray, shape: tuple[int, ...] | None = None) -> bytes:
    """An array as an .npz holds it; `shape`: what it claims instead of its own."""
    out = io.BytesIO()
    header = npy.header_data_from_array_1_0(array)
    header["shape"] = array.shape if shape is None else shape
    npy.write_array_header_1_0(out, header)
    return out.getvalue() + array.tobytes()


def archive(path: Path, *members: tuple[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as out:
        for name, data in members:
            out.writestr(f"{name}.npy", data)
    return path


@pytest.mark.parametrize("shape", [(10**12,), (N + 1,), (N - 1,)])
def test_a_claimed_size_is_held_against_the_bytes_that_are_there(shape, tmp_path: Path) -> None:
    labels = ("labels", member(LABELS, shape))
    path = archive(tmp_path / "a.npz", ("features", member(FEATURES)), labels)
    refused(path, "is damaged: labels of shape")


def test_an_array_that_stands_there_twice_is_refused(tmp_path: Path) -> None:
    labels = ("labels", member(LABELS))
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = archive(tmp_path / "a.npz", ("features", member(FEATURES)), labels, labels)
    refused(path, "holds labels twice")


def test_a_whole_array_beyond_the_memory_is_not_taken(tmp_path: Path, monkeypatch) -> None:
    np.savez(tmp_path / "a.npz", **PLAIN)
    monkeypatch.setattr(claims, "available_memory", lambda: 8.0 * N - 1)
    monkeypatch.setattr("ncollapse.sources.features.store.BLOCK_ROWS", 1)
    refused(tmp_path / "a.npz", "labels .* would take .* of memory are free")


def test_a_head_that_claims_gigabytes_is_not_read(tmp_path: Path) -> None:
    head = b"\x93NUMPY\x02\x00" + (2**31).to_bytes(4, "little")
    bomb = head + b" " * 1000
    path = archive(tmp_path / "a.npz", ("features", member(FEATURES)), ("labels", bomb))
    refused(path, "labels is damaged .*longer than any")


def test_a_name_damaged_in_the_list_of_an_archive_is_no_array_less(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, **PLAIN, split=np.array(["train", "test"] * (N // 2)))
    data = path.read_bytes()
    place = data.rindex(b"split.npy")
    path.write_bytes(data[:place] + b"spliv.npy" + data[place + 9 :])
    refused(path, "is no .npz archive")


def test_a_label_that_is_an_identifier_is_named() -> None:
    labels = LABELS.copy()
    labels[7] = 1_000_000_000
    with pytest.raises(
        ValueError, match="label 1000000000 of sample 7 stands beside class numbers 0..2"
    ):
        nc.measure_features(FEATURES, labels)


def test_classes_that_do_not_fit_into_memory_are_refused() -> None:
    with pytest.raises(ValueError, match="means of 1000000000000 classes"):
        nc.measure_features(FEATURES, LABELS, num_classes=10**12)


# ---- parquet --------------------------------------------------------------------------------
def table(path: Path, rows: list) -> Path:
    column = pa.array(rows, type=pa.list_(pa.float32()))
    pq.write_table(pa.table({"features": column, "labels": LABELS}), path)
    return path


def ragged() -> list:
    return [row.tolist() for row in FEATURES]


def shifted(rows: list) -> list:
    """One number of a row with the next one: the total stays."""
    rows[11], rows[12] = [*rows[11], rows[12][0]], rows[12][1:]
    return rows


def gone(rows: list) -> list:
    rows[11], rows[12] = None, rows[12] * 2
    return rows


def holed(rows: list) -> list:
    rows[20] = [rows[20][0], None, *rows[20][2:]]
    return rows


def wider(rows: list) -> list:
    """All rows of the second half, so that a batch of rows may agree in itself."""
    return rows[: N // 2] + [row * 2 for row in rows[N // 2 :]]


@pytest.mark.parametrize("change", [shifted, gone, holed, wider])
@pytest.mark.parametrize("size", [8192, 30, 1])
def test_rows_of_unequal_length_are_never_reshaped(change, size: int, tmp_path: Path) -> None:
    path = table(tmp_path / "a.parquet", change(ragged()))
    with pytest.raises(ValueError, match="rows of features are needed that all have") as caught:
        list(open_source(path).chunks(size))
    assert "\n" not in str(caught.value)


def test_columns_of_other_kinds_and_named_twice_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"features": ["x"] * N, "labels": LABELS}), path)
    refused(path, "a column of string")
    nested = pa.array([[row] for row in ragged()])
    pq.write_table(pa.table({"features": nested, "labels": LABELS}), path)
    refused(path, "lists of numbers")
    twice = pa.Table.from_arrays([pa.array(FEATURES[:, 0])] * 2 + [LABELS], ["f0", "f0", "labels"])
    pq.write_table(twice, path)
    refused(path, "f0 twice")


def test_pages_with_checksums_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    rows = pa.table({"features": list(FEATURES), "labels": LABELS})
    pq.write_table(rows, path, compression="none", use_dictionary=False, write_page_checksum=True)
    assert torch.equal(next(open_source(path).chunks()).features, torch.from_numpy(FEATURES))
    data = bytearray(path.read_bytes())
    data[data.index(FEATURES[20].tobytes())] ^= 1
    path.write_bytes(data)
    refused(path, "is damaged")
