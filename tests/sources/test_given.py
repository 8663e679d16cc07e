"""What people have: every form of the same features and labels gives the same source, or says what
to pass."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from safetensors.torch import save_file

import ncollapse as nc
from ncollapse.sources.features.arrays import ArraySource, FeatureSource
from ncollapse.sources.features.files import open_source
from tests.data import make

CASE = make("f", counts=[8, 10, 7], dim=5)
# Whole numbers, so that every form holds the same ones.
F = np.round(20 * CASE.features).astype(np.float64)
Y = CASE.labels.astype(np.int64)
NAMES = ("cat", "dog", "owl")
TEXTS = np.array(NAMES)[Y]
TABLE = pd.DataFrame(F, columns=[f"c{i}" for i in range(5)])
PLAIN = {"null": False, "intervals": False, "decisions": False}

FEATURES = {
    "list": F.tolist(),
    "int64": F.astype(np.int64),
    "int16": torch.from_numpy(F.astype(np.int16)),
    "table": TABLE,
    "nullable table": TABLE.astype("Float64"),
    "table of integers": TABLE.astype("Int64"),
    "csr": scipy.sparse.csr_array(F),
    "coo": scipy.sparse.coo_matrix(F),
    "sparse tensor": torch.from_numpy(F).to_sparse(),
    "csr tensor": torch.from_numpy(F).to_sparse_csr(),
}
LABELS = {
    "texts": TEXTS,
    "objects": TEXTS.astype(object),
    "bytes": TEXTS.astype("S3"),
    "list of texts": TEXTS.tolist(),
    "series of texts": pd.Series(TEXTS),
    "categories": pd.Series(TEXTS, dtype="category"),
    "column": Y[:, None],
    "texts of numbers": Y.astype(str),
    "nullable": pd.Series(Y, dtype="Int64"),
}


def rows(source: FeatureSource, start: int = 0, size: int = 7) -> torch.Tensor:
    return torch.cat([chunk.features for chunk in source.chunks(size, start)])


@pytest.mark.parametrize("name", FEATURES)
def test_features_in_every_form_are_the_same_rows(name: str) -> None:
    source = ArraySource(FEATURES[name], Y)
    assert source.dtype == (torch.float32 if name == "int16" else torch.float64)
    assert torch.equal(rows(source).double(), torch.from_numpy(F))
    assert torch.equal(rows(source, 9).double(), torch.from_numpy(F[9:]))


@pytest.mark.parametrize("name", LABELS)
def test_labels_in_every_form_are_the_same_classes(name: str) -> None:
    source = ArraySource(F, LABELS[name])
    assert source.labels.tolist() == Y.tolist()
    named = name not in ("column", "texts of numbers", "nullable")
    assert source.class_names == (NAMES if named else None)


def test_truths_are_two_classes_and_a_table_names_its_column() -> None:
    assert ArraySource(F, Y == 1).class_names == ("False", "True")
    held = nc.measure_features(TABLE.assign(kind=TEXTS), "kind", **PLAIN)
    right = nc.measure_features(F, Y, **PLAIN)
    assert held.value("nc1_ratio") == right.value("nc1_ratio")
    with pytest.raises(ValueError, match="no column 'sort' for the labels"):
        nc.measure_features(TABLE, "sort")


def test_names_are_numbered_by_class_names_and_rows_of_a_weight_say_so() -> None:
    turned = ("owl", "cat", "dog")
    source = ArraySource(F, TEXTS, class_names=turned)
    assert [turned[k] for k in source.labels] == TEXTS.tolist()
    ordered = pd.Series(pd.Categorical(TEXTS, categories=list(turned)))
    assert ArraySource(F, ordered).labels.tolist() == source.labels.tolist()
    found = nc.measure_features(F, TEXTS, weight=np.ones((3, 5)), **PLAIN)
    assert any("row 0 of the weight is taken for 'cat'" in said for said in found.warnings)
    with pytest.raises(ValueError, match="3 names and the weight has 4 rows; pass class_names"):
        nc.measure_features(F, TEXTS, weight=np.ones((4, 5)))
    with pytest.raises(ValueError, match="label 'owl' of sample .* not among the class_names"):
        nc.measure_features(F, TEXTS, class_names=("cat", "dog"))


def test_names_reach_tables_and_page(tmp_path: Path) -> None:
    found = nc.measure_features(F, TEXTS, **PLAIN)
    assert [row.name for row in found.classes] == list(NAMES)
    found.save(tmp_path)
    found.save_html(tmp_path / "page.html")
    for name in ("classes.csv", "page.html"):
        assert all(word in (tmp_path / name).read_text("utf-8") for word in NAMES), name


def test_whole_floats_are_classes_where_they_can_be_nothing_else() -> None:
    right = nc.measure_features(F, Y, **PLAIN)
    for given in (Y.astype(np.float32), Y[:, None].astype(float)):
        found = nc.measure_features(F, given, **PLAIN)
        assert found.document.task == "classification"
        assert found.value("nc1_fisher") == right.value("nc1_fisher")
        assert any("taken for class numbers" in said for said in found.warnings)
    skipped = np.where(np.arange(25) == 3, -100.0, Y)
    one_less = nc.measure_features(F, skipped, weight=np.ones((3, 5)), **PLAIN)
    assert sum(one_less.document.config["splits"].values()) == 24
    with pytest.raises(ValueError, match="whole numbers"):
        nc.measure_features(F, Y * 7.0, **PLAIN)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([*TEXTS[:-1], None], "1 of 25 labels are missing, first that of sample 24"),
        ([*TEXTS[:-1], 3], "objects of type int, str"),
        (pd.Series([*TEXTS[:-1], None], dtype="category"), "labels are missing"),
        (np.stack([TEXTS, TEXTS], 1), "one name a sample"),
    ],
)
def test_labels_that_name_no_class_are_told(labels, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ArraySource(F, labels)
    with pytest.raises(ValueError, match=r"columns kind are no numbers; pass features.drop"):
        ArraySource(TABLE.assign(kind=TEXTS), Y)


# ---- files --------------------------------------------------------------------------------------
def npy_folder(p: Path) -> Path:
    np.save(p / "X.npy", F)
    np.save(p / "y.npy", TEXTS)
    return p


def saved(make_it, name: str):
    def save(p: Path) -> Path:
        make_it(p / name)
        return p / name

    return save


T = TABLE.assign(label=TEXTS)
TENSORS = {"feats": torch.from_numpy(F), "label": torch.from_numpy(Y)}
# Of each file what open_source takes beside the path, and whether its labels are names.
FILES = {
    "npz X y": (saved(lambda p: np.savez(p, X=F, y=TEXTS), "a.npz"), {}, True),
    "npz without names": (saved(lambda p: np.savez(p, F, Y), "a.npz"), {}, False),
    "npz asked for": (
        saved(lambda p: np.savez(p, a=F, b=TEXTS, X=Y), "a.npz"),
        {"features_key": "a", "labels_key": "b"},
        True,
    ),
    "npz integers": (saved(lambda p: np.savez(p, embeddings=F.astype(int), targets=Y), "a.npz"), {}, False),
    "safetensors": (saved(lambda p: save_file(TENSORS, p), "a.safetensors"), {}, False),
    "pt mapping": (saved(lambda p: torch.save(TENSORS, p), "a.pt"), {}, False),
    "pt of arrays": (saved(lambda p: torch.save({"x": F, "y": Y}, p), "a.pth"), {}, False),
    "pt pair": (saved(lambda p: torch.save(tuple(TENSORS.values()), p), "a.pt"), {}, False),
    "pt alone": (saved(lambda p: torch.save(TENSORS["feats"], p), "a.pt"), {"labels": TEXTS}, True),
    "csv": (saved(lambda p: T.to_csv(p, index=False), "a.csv"), {}, True),
    "csv with index": (saved(lambda p: T.to_csv(p), "a.csv"), {}, True),
    "csv of other names": (
        saved(lambda p: T.rename(columns={"label": "kind"}).to_csv(p), "a.csv"), {}, True
    ),
    "csv without header": (saved(lambda p: T.to_csv(p, index=False, header=False), "a.csv"), {}, True),
    "csv of integers": (
        saved(lambda p: TABLE.assign(k=Y).astype(int).to_csv(p, index=False, header=False), "a.csv"),
        {"labels_key": "5"},
        False,
    ),
    "csv of numbered columns": (
        saved(lambda p: pd.DataFrame(F).assign(y=Y).to_csv(p, index=False), "a.csv"), {}, False
    ),
    "csv by pattern": (
        saved(lambda p: T.assign(age=1.0).to_csv(p, index=False), "a.csv"),
        {"features_key": "c*"},
        True,
    ),
    "csv with semicolons": (saved(lambda p: T.to_csv(p, index=False, sep=";"), "a.csv"), {}, True),
    "tsv": (saved(lambda p: T.to_csv(p, index=False, sep="\t"), "a.tsv"), {}, True),
    "csv.gz": (saved(lambda p: T.to_csv(p, index=False), "a.csv.gz"), {}, True),
    "npy folder": (npy_folder, {}, True),
    "npy": (lambda p: npy_folder(p) / "X.npy", {}, True),
    "npy with labels": (lambda p: npy_folder(p) / "X.npy", {"labels": Y}, False),
    "parquet": (saved(lambda p: T.to_parquet(p), "a.parquet"), {}, True),
    "parquet of lists": (
        saved(lambda p: pd.DataFrame({"embedding": list(F), "target": TEXTS}).to_parquet(p), "a.parquet"),
        {}, True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_files_of_every_kind_give_the_same_rows_and_classes(name: str, tmp_path: Path) -> None:
    save, keys, named = FILES[name]
    source = open_source(save(tmp_path), **keys)
    assert torch.equal(rows(source).double(), torch.from_numpy(F))
    assert torch.equal(rows(source, 11).double(), torch.from_numpy(F[11:]))
    assert source.labels.tolist() == Y.tolist()
    assert source.class_names == (NAMES if named else None)
    usual = ("csv", "csv.gz", "tsv", "csv with semicolons", "csv of numbered columns", "parquet")
    silent = name in usual or "asked" in name or "labels_key" in keys or "pattern" in name
    assert silent or source.notes or "npy" in name or "pt" in name, "what was found is not said"


def test_splits_and_shards_of_names_mean_the_same_class(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "a.npz", X_train=F[:15], y_train=TEXTS[:15], X_test=F[15:], y_test=TEXTS[15:]
    )
    source = open_source(tmp_path / "a.npz")
    assert source.splits == ("train", "test") and source.labels.tolist() == Y.tolist()
    shards = tmp_path / "shards"
    shards.mkdir()
    some = np.isin(TEXTS, ("dog", "owl"))
    np.savez(shards / "0.npz", features=F[some], labels=TEXTS[some])
    np.savez(shards / "1.npz", features=F[~some], labels=TEXTS[~some])
    joined = open_source(shards)
    assert joined.class_names == NAMES
    assert joined.labels.tolist() == [*Y[some], *Y[~some]]


def test_labels_alone_are_read_from_files(tmp_path: Path) -> None:
    torch.save(torch.from_numpy(F), tmp_path / "f.pt")
    np.save(tmp_path / "l.npy", TEXTS)
    (tmp_path / "l.txt").write_text("\n".join(TEXTS))
    pd.DataFrame({"id": range(25), "label": TEXTS}).to_csv(tmp_path / "l.csv", index=False)
    torch.save(torch.from_numpy(Y), tmp_path / "l.pt")
    for name in ("l.npy", "l.txt", "l.csv", "l.pt"):
        source = open_source(tmp_path / "f.pt", labels=tmp_path / name)
        assert source.labels.tolist() == Y.tolist(), name
    with gzip.open(tmp_path / "bad.csv.gz", "wt") as file:
        file.write("c0,c1,label\n1,2,a\n3,x,b\n")
    with pytest.raises(ValueError, match="column 'c1' holds texts as well as numbers"):
        rows(open_source(tmp_path / "bad.csv.gz"))
