"""measure_weights: a classifier alone → Measurement; no data, no features, no backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ncollapse.answers.questions import judge
from ncollapse.geometry import Geometry
from ncollapse.measuring.bars import bars
from ncollapse.measuring.measurement import Measurement
from ncollapse.metrics.bare import Bare, read_head
from ncollapse.metrics.classes import name_of
from ncollapse.pairs.means import PAIR_BUDGET, Progress
from ncollapse.record.document import Document
from ncollapse.record.readings import HEAD, ClassRow
from ncollapse.sources.features.given import as_tensor
from ncollapse.sources.heads.head import StoredHead, stored_head
from ncollapse.sources.heads.opened import open_checkpoint
from ncollapse.sources.heads.tensors import of_state

# The task of a document of a classifier alone, and the split that its readings stand under.
TASK, SPLIT = "weights", "weights"
WHY = "a classifier was read alone"


def measure_weights(
    source: Path | str | nn.Module | Mapping[str, Tensor] | Tensor | Any,
    *,
    head: str | None = None,
    bias: Tensor | Any = None,
    class_names: Sequence[str] | None = None,
    null: bool = True,
    seed: int = 0,
    pair_budget: float = PAIR_BUDGET,
    progress: Progress | bool | None = None,
) -> Measurement:
    """What the rows of a classifier say by themselves: their sum (NC0), lengths, angles, effective
    rank, distance to the simplex and to the orthogonal frame, with more classes than a simplex can
    hold (K > d + 1) how near they are to a softmax code, and which rows coincide.

    source: a checkpoint (.safetensors, .pt, .pth, .onnx, or a folder with config.json and weights),
    of which the head alone is read; a module or its state dict; or a weight (classes, dim) with its
    `bias`. The head is guessed from names and shapes (`ncollapse.sources.heads.guess` has the
    rules) unless `head` names its tensor or layer. Every reading stands beside what `null` random
    rows of its size have; none has an interval, for the rows are known. Past `pair_budget` pairs of
    classes some are drawn, by `seed`.

    The result has one split and one layer, `results["weights"]["head"]`, with the keys that a
    measurement of features gives to the classifier.

    >>> m = measure_weights("model.safetensors")   # doctest: +SKIP
    >>> m.value("nc2_etf_weights"), m.document.config["head"]["name"]   # doctest: +SKIP

    Raises ValueError where no head or several could be meant (all matrices are listed), for fewer
    than two rows, and for entries that are NaN or infinite.
    """
    stored = _stored(source, head, bias)
    names = stored.class_names if class_names is None else tuple(str(n) for n in class_names)
    if names is not None and len(names) != len(stored.weight):
        raise ValueError(
            f"{len(names)} class_names for {len(stored.weight)} rows of {stored.description}; one "
            "a row is needed"
        )
    weight = _checked(stored)
    how: dict[str, Any] = {"null": null, "seed": seed, "pair_budget": pair_budget}
    dtype = stored.weight.dtype
    if progress is True:
        with bars() as shown:
            bare = read_head(weight, dtype=dtype, progress=shown, **how)
    else:
        told = None if isinstance(progress, bool) else progress
        bare = read_head(weight, dtype=dtype, progress=told, **how)
    rows = _rows(weight, bare, names)
    results = {SPLIT: {HEAD: bare.readings}}
    K, d = weight.shape
    document = Document.build(
        source=stored.description,
        config=_config(stored, bare, how),
        seed=seed,
        data_hash=stored.fingerprint,
        num_classes=K,
        num_features=d,
        num_samples=0,
        results=results,
        verdicts=judge(results, rows, num_classes=K, num_features=d, task=TASK),
        warnings=(*_zeros(weight, names), *bare.notes),
    )
    parts = None if stored.bias is None else stored.bias.to(torch.float64)
    return Measurement(document, tuple(rows), {SPLIT: Geometry(weight=weight, bias=parts)})


def _stored(source: Any, head: str | None, bias: Any) -> StoredHead:
    if isinstance(source, (str, Path)):
        checkpoint = open_checkpoint(source)
    elif isinstance(source, nn.Module):
        checkpoint = of_state(source.state_dict(), type(source).__name__)
    elif isinstance(source, Mapping):
        checkpoint = of_state(source, "a state dict")
    else:
        return _given(source, bias)
    if bias is not None:
        raise ValueError(
            "bias= was passed beside a checkpoint, which has its own; leave it out, or pass the "
            "weight"
        )
    return stored_head(checkpoint, head)


def _given(weight: Any, bias: Any) -> StoredHead:
    matrix = as_tensor(weight)
    if matrix.dim() != 2 or not matrix.is_floating_point():
        raise ValueError(
            f"weight has shape {tuple(matrix.shape)} of {matrix.dtype}; floats (classes, dim) are "
            "needed"
        )
    shift = None if bias is None else as_tensor(bias)
    if shift is not None and shift.shape != matrix.shape[:1]:
        raise ValueError(
            f"bias has shape {tuple(shift.shape)}; ({len(matrix)},) is needed, a number a row"
        )
    return StoredHead(matrix, shift, None, None, f"a weight of {len(matrix)} rows")


def _checked(stored: StoredHead) -> Tensor:
    weight = stored.weight.detach().cpu().to(torch.float64).contiguous()
    if len(weight) < 2:
        raise ValueError(
            f"{stored.description} has {len(weight)} row; rows of classes, at least two are "
            "needed: name another matrix by head="
        )
    if not bool(weight.isfinite().all()):
        row = int((~weight.isfinite().all(1)).nonzero()[0])
        raise ValueError(
            f"row {row} of {stored.description} holds NaN or infinity; finite numbers are needed: "
            "take an earlier checkpoint"
        )
    if not bool((weight != 0).any()):
        raise ValueError(
            f"all weights of {stored.description} are zero; rows with a direction are needed: is "
            "the checkpoint trained?"
        )
    return weight


def _rows(weight: Tensor, bare: Bare, names: Sequence[str] | None) -> list[ClassRow]:
    """A row a class: its length, and the row that is nearest in direction, with the distance of the
    two; none where not all pairs were looked at."""
    if bare.closest is None:
        return []
    index, _ = bare.closest
    partner = index.clamp_min(0)
    apart = (weight - weight[partner]).norm(dim=1).tolist()
    norms = weight.norm(dim=1).tolist()
    return [
        ClassRow(
            split=SPLIT,
            layer=HEAD,
            name=name_of(names, k),
            index=k,
            count=0,
            norm=norm,
            within=0.0,
            nearest="" if near < 0 else name_of(names, near),
            distance=0.0 if near < 0 else gap,
        )
        for k, (norm, gap, near) in enumerate(zip(norms, apart, index.tolist(), strict=True))
    ]


def _zeros(weight: Tensor, names: Sequence[str] | None) -> list[str]:
    zero = (weight == 0).all(1).nonzero().flatten().tolist()
    if not zero:
        return []
    listed = ", ".join(name_of(names, k) for k in zero[:10]) + (", …" if len(zero) > 10 else "")
    return [f"{len(zero)} rows are zero and have no direction: {listed}"]


def _config(stored: StoredHead, bare: Bare, how: Mapping[str, Any]) -> dict[str, Any]:
    found = stored.found
    head: dict[str, Any] = {
        "name": "weight" if found is None else found.guess.name,
        "origin": "given" if found is None else found.origin,
        "check": "given as a matrix" if found is None else found.why,
        "others": [] if found is None else [str(other) for other in found.others],
        "bias": stored.bias is not None,
        "rank": bare.rank,
        "columns": bare.columns,
    }
    return {
        "task": {"name": TASK, "why": WHY, "counted": "classes"},
        "reference": SPLIT,
        "head": head,
        "features_dtype": str(stored.weight.dtype).removeprefix("torch."),
        "splits": {},
        **how,
    }
