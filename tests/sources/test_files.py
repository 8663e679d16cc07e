"""Files: every kind gives the same rows in the same chunks; what is wrong is said in a sentence."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ncollapse.sources.features.arrays import ArraySource, FeatureSource
from ncollapse.sources.features.files import open_source
from tests.data import make

CASE = make("f", counts=[30, 40, 33], dim=5)
ARRAYS = {
    "features": CASE.features,
    "labels": CASE.labels,
    "weight": CASE.weight,
    "bias": CASE.bias,
    "split": np.where(np.arange(103) < 70, "train", "test"),
    "class_names": np.array(["cat", "dog", "owl"]),
}


def save(path: Path, kind: str) -> Path:
    place = path / f"data{'' if kind == 'shards' else '.' + kind.split('-')[0]}"
    if kind == "npz":
        np.savez(place, **ARRAYS)
    elif kind == "npz-compressed":
        np.savez_compressed(place, **ARRAYS)
    elif kind == "npz-fortran":
        np.savez(place, **{**ARRAYS, "features": np.asfortranarray(CASE.features)})
    elif kind == "safetensors":
        names = {
            k: torch.from_numpy(np.asarray(v)) for k, v in ARRAYS.items() if v.dtype.kind != "U"
        }
        codes = torch.from_numpy((ARRAYS["split"] == "train").astype(np.int64))
        save_file({**names, "split": codes}, place, metadata={"class_names": "cat,dog,owl"})
    elif kind == "parquet":
        import pyarrow
        from pyarrow import parquet

        table = {"features": list(CASE.features), "label": CASE.labels, "split": ARRAYS["split"]}
        parquet.write_table(pyarrow.table(table), place, row_group_size=17)
    elif kind == "shards":
        place.mkdir()
        for number, part in enumerate(np.array_split(np.arange(103), 4)):
            held = {k: ARRAYS[k][part] for k in ("features", "labels", "split")}
            np.savez(place / f"{number:03}.npz", **held)
        head = {k: ARRAYS[k] for k in ("weight", "bias", "class_names")}
        np.savez(place / "head.npz", **head)
    return place


KINDS = ["npz", "npz-compressed", "npz-fortran", "safetensors", "parquet", "shards"]


def joined(source: FeatureSource, rows: int, start: int = 0) -> torch.Tensor:
    return torch.cat([chunk.features for chunk in source.chunks(rows, start)])


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_arrays_back(kind: str, tmp_path: Path) -> None:
    source = open_source(save(tmp_path, kind))
    assert (source.num_samples, source.num_features) == CASE.features.shape
    assert source.dtype == torch.float32
    assert torch.equal(source.labels, torch.from_numpy(CASE.labels))
    for rows in (1, 10, 64, 1000):
        assert torch.equal(joined(source, rows), torch.from_numpy(CASE.features))
    assert torch.equal(joined(source, 7, 31), torch.from_numpy(CASE.features[31:]))
    sizes = [chunk.features.shape[0] for chunk in source.chunks(10)]
    assert sizes == [10] * 10 + [3]
    assert source.split_codes is not None
    train = source.split_codes == source.splits.index("1" if kind == "safetensors" else "train")
    assert int(train.sum()) == 70
    if kind != "parquet":
        assert torch.equal(source.weight, torch.from_numpy(CASE.weight))
        assert torch.equal(source.bias, torch.from_numpy(CASE.bias))
        assert source.class_names == ("cat", "dog", "owl")


def test_fingerprints_tell_data_apart(tmp_path: Path) -> None:
    one = open_source(save(tmp_path, "npz")).fingerprint
    again = ArraySource(**ARRAYS).fingerprint
    other = ArraySource(**{**ARRAYS, "labels": CASE.labels[::-1].copy()}).fingerprint
    assert one == again != other


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_the_saved_dtype_is_kept(dtype: torch.dtype, tmp_path: Path) -> None:
    features = torch.from_numpy(CASE.features).to(dtype)
    path = tmp_path / "half.safetensors"
    save_file({"features": features, "labels": torch.from_numpy(CASE.labels)}, path)
    source = open_source(path)
    assert source.dtype == dtype
    assert torch.equal(joined(source, 50), features)


def written(path: Path, **arrays: object) -> Path:
    place = path / "bad.npz"
    np.savez(place, **{**{k: ARRAYS[k] for k in ("features", "labels")}, **arrays})
    return place


BAD = {
    "missing": (lambda p: p / "none.npz", "does not exist"),
    "empty": (lambda p: (p / "e.npz").touch() or p / "e.npz", "is empty"),
    "suffix": (lambda p: (p / "a.h5").write_text("1") and p / "a.h5", "has suffix '.h5'"),
    "no npz": (lambda p: (p / "a.npz").write_text("hello") and p / "a.npz", "is no .npz archive"),
    "no safetensors": (
        lambda p: (p / "a.safetensors").write_text("hello") and p / "a.safetensors",
        "is no valid .safetensors",
    ),
    "no parquet": (
        lambda p: (p / "a.parquet").write_text("hello") and p / "a.parquet",
        "is no valid parquet",
    ),
    "no shards": (lambda p: p, "holds no .npz"),
    "a label that is NaN": (lambda p: written(p, labels=CASE.labels * np.nan), "labels hold NaN"),
    "no name": (lambda p: written(p, labels=np.array(["a"] * 102 + [""])), "labels are missing"),
    "label matrix": (lambda p: written(p, labels=np.full((103, 2), 3)), "one class number"),
    "few labels": (lambda p: written(p, labels=CASE.labels[:9]), "103 rows of features but 9"),
    "images": (lambda p: written(p, features=np.zeros((103, 3, 4, 4))), "pool over space"),
    "texts": (lambda p: written(p, features=np.full((103, 3), "a")), "real numbers are needed"),
    "no samples": (lambda p: written(p, features=np.zeros((0, 3))), "no samples to measure"),
    "narrow weight": (lambda p: written(p, weight=np.zeros((3, 4))), "features have 5 columns"),
    "long bias": (
        lambda p: written(p, weight=CASE.weight, bias=np.zeros(9)),
        "bias has shape (9,) for 3 classes",
    ),
    "bias alone": (lambda p: written(p, bias=np.zeros(3)), "a bias without a weight"),
    "weight of NaN": (lambda p: written(p, weight=CASE.weight * np.nan), "weight holds NaN"),
    "short split": (lambda p: written(p, split=np.array(["train"])), "one name a sample"),
    "few names": (lambda p: written(p, class_names=np.array(["a"])), "1 class names for 3"),
    "pickled": (lambda p: written(p, labels=np.array([{}] * 103)), "Python objects"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_explained_in_one_sentence(case: str, tmp_path: Path) -> None:
    build, said = BAD[case]
    with pytest.raises(ValueError) as caught:
        open_source(build(tmp_path))
    assert said in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_missing_arrays_are_named_with_those_found(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, hidden=CASE.features, classes_of=CASE.labels)
    with pytest.raises(
        ValueError, match="no array named features or labels; it holds classes_of, hidden"
    ):
        open_source(path)


def test_a_truncated_file_is_found_out(tmp_path: Path) -> None:
    for kind in ("npz", "npz-compressed", "safetensors", "parquet"):
        place = tmp_path / kind
        place.mkdir()
        path = save(place, kind)
        path.write_bytes(path.read_bytes()[:-200])
        with pytest.raises(ValueError, match=r"is no|is damaged"):
            open_source(path)


def test_damage_inside_a_member_is_found_out(tmp_path: Path) -> None:
    path = tmp_path / "big.npz"
    np.savez(path, features=np.ones((400, 30), np.float32), labels=np.arange(400) % 3)
    data = bytearray(path.read_bytes())
    data[4000:4010] = b"0123456789"
    path.write_bytes(data)
    source = open_source(path)
    with pytest.raises(ValueError, match="is damaged"):
        joined(source, 100)


def test_shards_must_agree(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", features=np.ones((5, 3)), labels=np.arange(5))
    np.savez(tmp_path / "b.npz", features=np.ones((5, 4)), labels=np.arange(5))
    with pytest.raises(ValueError, match="shards must agree"):
        open_source(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read in kilobytes on Linux")
def test_reading_is_flat_in_the_number_of_samples(tmp_path: Path) -> None:
    path = tmp_path / "large.npz"
    np.savez(path, features=np.ones((300_000, 64), np.float32), labels=np.arange(300_000) % 5)
    size = path.stat().st_size
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    source = open_source(path)
    assert sum(chunk.features.shape[0] for chunk in source.chunks(4096)) == 300_000
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    # Writing the arrays above already raised the peak; reading must not add a file's worth.
    assert grown < size / 2
