"""What people hold in memory → tensors: tables, integers and sparse matrices as features, names as
labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

# Integers up to this many bytes are exact in float32.
EXACT_IN_FLOAT32 = 2
SHOWN = 5
KINDS = {"U": "texts", "S": "bytes", "O": "Python objects", "M": "dates", "m": "time spans"}


def as_tensor(value: Any) -> Tensor:
    """A tensor on the CPU that shares memory where it can."""
    if isinstance(value, Tensor):
        if value.layout is not torch.strided:
            raise ValueError(
                f"a tensor of layout {value.layout} was passed; pass .to_dense() of it"
            )
        return value.detach().cpu()
    if hasattr(value, "toarray") and hasattr(value, "nnz"):
        raise ValueError(f"a {type(value).__name__} was passed; pass .toarray() of it")
    if np.ma.isMaskedArray(value):
        hidden = int(np.ma.getmaskarray(value).any(tuple(range(1, value.ndim))).sum())
        raise ValueError(
            f"a masked array was passed, in which {hidden} of {len(value)} entries are masked; "
            "plain arrays are needed: leave masked samples out first (array[~mask].data)"
        )
    array = _rectangular(value)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{_said(value, array)} was passed; real numbers are needed{_hint(value)}")
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()  # torch knows no steps backwards.
    if array.dtype == np.uint16 or array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("="))
    try:
        return torch.from_numpy(array)
    except TypeError:
        raise ValueError(
            f"an array of dtype {array.dtype} was passed, which torch has not; convert it to "
            "float64 or int64"
        ) from None


def _rectangular(value: Any) -> np.ndarray[Any, Any]:
    try:
        return np.asarray(value)
    except ValueError:
        lengths = sorted({len(row) for row in value if hasattr(row, "__len__")})
        raise ValueError(
            f"a {type(value).__name__} of {len(value)} rows was passed, of "
            f"{_listed(list(map(str, lengths)))} entries; rows of one length are needed: pad them, "
            "or leave out those that differ"
        ) from None


def _said(value: Any, array: np.ndarray[Any, Any]) -> str:
    """What was passed in the place of numbers."""
    if value is None:
        return "None"
    if isinstance(value, (str, Path)):
        return f"the text {str(value)!r}"
    if array.ndim == 0:
        return f"a {type(value).__name__}"
    return f"an array of {KINDS.get(array.dtype.kind, 'dtype ' + str(array.dtype))}"


def _hint(value: Any) -> str:
    if isinstance(value, (str, Path)):
        return "; nc.measure_source(nc.open_source(path)) reads them from a file"
    if isinstance(value, Mapping):
        keys = [str(key) for key in value]
        return f"; pass one of its arrays, such as data[{keys[0]!r}]" if keys else ""
    if isinstance(value, torch.nn.Module):
        return "; of a model nc.measure reads features itself, and a head's are layer.weight"
    return ": pass .real or .imag of it" if np.iscomplexobj(value) else ""


def no_source(value: Any) -> str:
    """What to say of anything that stands in the place of a source of features."""
    if isinstance(value, (str, Path)):
        place = str(value)
        return f"the source is the text {place!r}; what nc.open_source({place!r}) returns is needed"
    return (
        f"the source is a {type(value).__name__}; what nc.open_source returns is needed, and "
        "arrays go to nc.measure_features"
    )


# ---- features -----------------------------------------------------------------------------------
class SparseRows:
    """Rows of a sparse matrix, made dense as they are read."""

    def __init__(self, value: Any) -> None:
        if isinstance(value, Tensor):
            import scipy.sparse

            held = value.detach().cpu().to_sparse_coo().coalesce()
            numbers = held.values()
            numbers = numbers if numbers.dtype == torch.float64 else numbers.to(torch.float32)
            value = scipy.sparse.coo_array(
                (numbers.numpy(), tuple(held.indices().numpy())), shape=tuple(held.shape)
            )
        self._rows = value.tocsr()
        self.shape: tuple[int, ...] = tuple(value.shape)
        self.dtype = as_tensor(self._rows[:0].toarray()).dtype

    def __getitem__(self, part: slice) -> Tensor:
        return as_tensor(self._rows[part].toarray())


def features_of(value: Any) -> Tensor | SparseRows:
    """Features (samples, dim) as they are passed: a tensor, or the rows of a sparse matrix. Raises
    ValueError for columns of a table that are no numbers."""
    sparse = isinstance(value, Tensor) and value.layout is not torch.strided
    if sparse or (hasattr(value, "tocsr") and hasattr(value, "nnz")):
        return SparseRows(value)
    if _of_pandas(value) and hasattr(value, "select_dtypes"):
        other = [str(name) for name in value.select_dtypes(exclude=["number", "bool"]).columns]
        if other:
            raise ValueError(
                f"features are a table in which the columns {_listed(other)} are no numbers; pass "
                f"features.drop(columns={other[:SHOWN]!r}), and the classes among them as labels"
            )
        if any(kind.kind not in "fiub" or _nullable(kind) for kind in value.dtypes):
            value = value.to_numpy(dtype=np.float64, na_value=np.nan)
    return as_tensor(value)


def column_of(features: Any, labels: Any) -> tuple[Any, Any]:
    """Features and labels where the labels are the name of a column of a table. Raises ValueError
    for a name that the table has not."""
    if not isinstance(labels, str):
        return features, labels
    if not (_of_pandas(features) and hasattr(features, "columns")):
        raise ValueError(
            f"labels are the text {labels!r}; one label a sample is needed, or the name of a "
            "column where features are a pandas table"
        )
    if labels not in features.columns:
        raise ValueError(
            f"the table has no column {labels!r} for the labels; name one that it has: "
            f"{_listed([str(name) for name in features.columns])}"
        )
    return features.drop(columns=[labels]), features[labels]


def floating(dtype: torch.dtype) -> torch.dtype:
    """The dtype that features are read in: their own, and one that holds whole numbers exactly."""
    if dtype.is_floating_point or dtype.is_complex:
        return dtype
    return torch.float32 if dtype.itemsize <= EXACT_IN_FLOAT32 else torch.float64


def floats(rows: Tensor) -> Tensor:
    """Rows of features as floating-point numbers."""
    return rows.to(floating(rows.dtype))


# ---- labels -------------------------------------------------------------------------------------
def labels_of(
    value: Any, class_names: Any, description: str
) -> tuple[Tensor, tuple[str, ...] | None]:
    """Labels as numbers, and the names of the classes where they are names, truths or categories.

    Class k is class_names[k] where those are passed, else the k-th category, else the k-th of the
    names in sorted order. Texts that are all whole numbers are those numbers; a column of integers
    is a vector of them. Raises ValueError for missing labels, kinds that are mixed, and names that
    are not among class_names.
    """
    if isinstance(value, Tensor):
        return _numbers(value.detach().cpu() if value.layout is torch.strided else as_tensor(value))
    if _of_pandas(value) and str(getattr(value, "dtype", "")) == "category":
        held = getattr(value, "cat", value)
        return _categories(
            np.asarray(held.codes),
            [str(name) for name in held.categories],
            class_names,
            description,
        )
    # numpy would write the numbers of a mixed list as texts.
    texts = isinstance(value, (list, tuple)) and any(isinstance(one, str) for one in value)
    array = np.asarray(value, dtype=object) if texts else _rectangular(value)
    if np.ma.isMaskedArray(value) or array.dtype.kind in "fiu" or array.ndim == 0:
        return _numbers(as_tensor(value))
    if array.dtype.kind == "b":
        return _numbers(as_tensor(array))
    if array.dtype.kind not in "OUST":
        return as_tensor(array), None  # Which is refused there.
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(
            f"{description}: labels are an array {array.shape} of texts; one name a sample is "
            "needed, and several labels a sample as a matrix of 0 and 1"
        )
    return _texts(array, class_names, description)


def _numbers(labels: Tensor) -> tuple[Tensor, tuple[str, ...] | None]:
    if labels.dim() == 2 and labels.shape[1] == 1 and not labels.is_floating_point():
        labels = labels[:, 0]
    if labels.dtype == torch.bool and labels.dim() == 1:
        return labels.to(torch.int64), ("False", "True")
    return labels, None


def _texts(array: Any, class_names: Any, description: str) -> tuple[Tensor, tuple[str, ...] | None]:
    entries = [entry.decode() if isinstance(entry, bytes) else entry for entry in array.tolist()]
    missing = [row for row, entry in enumerate(entries) if _missing(entry)]
    if missing:
        raise ValueError(
            f"{description}: {len(missing)} of {len(entries)} labels are missing, first that of "
            f"sample {missing[0]}; leave those samples out, or label them ignore_index (-100)"
        )
    kinds = sorted({type(entry).__name__ for entry in entries})
    if all(isinstance(entry, (bool, np.bool_)) for entry in entries):
        return _numbers(torch.tensor([bool(entry) for entry in entries]))
    if all(isinstance(entry, (int, np.integer)) for entry in entries):
        return torch.tensor([int(entry) for entry in entries], dtype=torch.int64), None
    if all(isinstance(entry, (int, float, np.number)) for entry in entries):
        return torch.tensor([float(entry) for entry in entries], dtype=torch.float64), None
    if not all(isinstance(entry, str) for entry in entries):
        raise ValueError(
            f"{description}: labels are objects of type {_listed(kinds)}; class numbers, or one "
            "name a sample, are needed"
        )
    if all(entry.lstrip("-").isdecimal() and str(int(entry)) == entry for entry in entries):
        return torch.tensor([int(entry) for entry in entries], dtype=torch.int64), None
    names = sorted(set(entries))
    places = {name: place for place, name in enumerate(names)}
    codes = np.array([places[entry] for entry in entries])
    return _categories(codes, names, class_names, description)


def _categories(
    codes: Any, names: list[str], class_names: Any, description: str
) -> tuple[Tensor, tuple[str, ...]]:
    """Codes of names as class numbers: places among class_names, where those are passed."""
    labels = torch.from_numpy(np.asarray(codes).astype(np.int64))
    if bool((labels < 0).any()):
        row = int((labels < 0).nonzero()[0])
        raise ValueError(
            f"{description}: {int((labels < 0).sum())} of {len(labels)} labels are missing, first "
            f"that of sample {row}; leave those samples out"
        )
    if class_names is None:
        return labels, tuple(names)
    known = {str(name): place for place, name in enumerate(np.asarray(class_names).tolist())}
    found = torch.tensor([known.get(name, -1) for name in names], dtype=torch.int64)[labels]
    if bool((found < 0).any()):
        row = int((found < 0).nonzero()[0])
        raise ValueError(
            f"{description}: label {names[int(labels[row])]!r} of sample {row} is not among the "
            f"class_names {_listed(list(known))}; pass the names of all classes"
        )
    return found, tuple(known)


def _missing(entry: Any) -> bool:
    """None, NaN, pandas' NA and NaT, and empty texts."""
    if entry is None or (isinstance(entry, str) and not entry.strip()):
        return True
    return type(entry).__name__ in ("NAType", "NaTType") or (
        isinstance(entry, float) and entry != entry
    )


def _of_pandas(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "pandas"


def _nullable(kind: Any) -> bool:
    return not isinstance(kind, np.dtype)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
