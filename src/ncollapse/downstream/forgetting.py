"""Forgetting: what a model that went on to new classes still knows of the old ones, and where.

A class can be forgotten by the head while its features still tell it apart, or by the features
too. Three accuracies say which: of the head, of class means, of a probe. Features of classes that
are no longer trained on drift out of the active subspace S, the span of the centred means of the
current classes: their energy ‖P_S h‖/‖h‖ falls towards what random features read. Classes that
were unlearned on purpose are audited by `ncollapse.downstream.unlearning`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ncollapse.collect.tap.batches import Unpack
from ncollapse.collect.tap.pooling import Pool
from ncollapse.downstream.foldwise import left_out
from ncollapse.downstream.forgotten import Forgetting, ForgottenClass
from ncollapse.downstream.sets import Progress, read_sets
from ncollapse.downstream.subspace import (
    Estimate,
    Subspace,
    class_means,
    cross_cdnv,
    drawn_rank,
    effective_rank,
    occupied,
    random_energy,
)
from ncollapse.sources.features.arrays import ArraySource

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
Labelled = Any  # A pair (features, labels); said in a sentence where it is none.
__all__ = ["Forgetting", "ForgottenClass", "forgetting_of_features", "measure_forgetting"]


def measure_forgetting(
    model: nn.Module,
    *,
    old: Any,
    new: Any,
    buffer: Any = None,
    layer: str | None = None,
    head: str | nn.Module | None = None,
    pool: Pool | dict[str, Pool] = "auto",
    unpack: Unpack | None = None,
    limit: int | None = None,
    batch_size: int = 128,
    folds: int = 5,
    probe_samples: int = 10_000,
    seed: int = 0,
    progress: Progress | None = None,
) -> Forgetting:
    """What a model still knows of `old` classes after it went on to `new` ones.

    old, new: loaders, datasets or pairs of tensors, best of samples that were not trained on;
    `buffer`: the old samples that are replayed. S is spanned by the class means of what is trained
    on now: `new`, and `buffer` where it is given. What enters the head is read, in one forward pass
    over all three, or the output of `layer`, which gives no head accuracy. The probe and class
    means decide about every sample of old and new by `folds` that leave it out, on at most
    `probe_samples` of them. Features are held in memory, up to `limit` samples of each set; model,
    modes and global random states are put back.

    A head that has forgotten before features that have not (a gap) shows that the class can be had
    back.

    Raises ValueError for empty data, labels beyond the head, a single current class, and an old
    class of one sample. Sources: Lanzillotta et al. 2025 (its page read); Gao et al. 2026 (abstract
    read) for the three accuracies.

    >>> print(measure_forgetting(model, old=old_test, new=new_test))   # doctest: +SKIP
    """
    sets = {"old": old, "new": new, "buffer": buffer}
    missing = [name for name in ("old", "new") if sets[name] is None]
    if missing:
        raise ValueError(f"{missing[0]} is None; data of old and of new classes are needed")
    asked = {name: data for name, data in sets.items() if data is not None}
    read = read_sets(
        model,
        asked,
        layer=layer,
        head=head,
        pool=pool,
        unpack=unpack,
        limit=limit,
        batch_size=batch_size,
        progress=progress,
    )
    return forgetting_of_features(
        read.sets["old"],
        read.sets["new"],
        buffer=read.sets.get("buffer"),
        weight=read.weight,
        bias=read.bias,
        folds=folds,
        probe_samples=probe_samples,
        seed=seed,
        source=read.source,
    )


def forgetting_of_features(
    old: Labelled,
    new: Labelled,
    *,
    buffer: Labelled | None = None,
    weight: Any = None,
    bias: Any = None,
    folds: int = 5,
    probe_samples: int = 10_000,
    seed: int = 0,
    source: str = "features",
) -> Forgetting:
    """As `measure_forgetting`, of features (samples, dim) with labels (samples): `old`, `new` and
    `buffer` are such pairs; weight (classes, dim) and bias (classes) are the head's."""
    old_x, old_y = _checked(old, "old", weight, bias)
    new_x, new_y = _checked(new, "new", weight, bias)
    if old_x.shape[1] != new_x.shape[1]:
        raise ValueError(
            f"old has {old_x.shape[1]} features and new {new_x.shape[1]}; both need those of one "
            "layer of one model"
        )
    kept = None if buffer is None else _checked(buffer, "buffer", weight, bias)
    now_x, now_y = (new_x, new_y) if kept is None else _joined((new_x, new_y), kept)
    classes, place = now_y.unique(return_inverse=True)
    span = Subspace.of(class_means(now_x, place, len(classes)))
    energy, centred = span.energy(old_x), span.energy(old_x.double() - span.centre)
    every_x, every_y = _joined((old_x, old_y), (new_x, new_y))
    decided = left_out(every_x, every_y, folds=folds, samples=probe_samples, seed=seed)
    dim = occupied(every_x)
    # Of the samples that the probe was asked about, those of old data.
    among = decided.kept < len(old_y)
    asked = decided.kept[among]
    probe, centres, labels = decided.probe[among], decided.centres[among], old_y[asked]
    head = None
    if weight is not None:
        decides = old_x[asked].double() @ torch.as_tensor(weight).double().T
        decides = decides if bias is None else decides + torch.as_tensor(bias).double()
        head = decides.argmax(1) == labels
    rows, energies, gaps = [], [], []
    for label in old_y.unique().tolist():
        mine, own = old_y == label, labels == label
        energies.append(Estimate.of(energy[mine]))
        if head is not None:
            gaps.append(Estimate.paired(probe[own], head[own]))
        rows.append(
            ForgottenClass(
                label=label,
                count=int(mine.sum()),
                energy=energies[-1].value,
                energy_interval=energies[-1].interval,
                head=None if head is None else float(head[own].double().mean()),
                centres=float(centres[own].double().mean()),
                probe=float(probe[own].double().mean()),
                gap=gaps[-1].value if gaps else None,
                gap_interval=gaps[-1].interval if gaps else None,
                rank=effective_rank(old_x[mine]),
                **_of_buffer(label, old_x[mine], kept, span, seed),
            )
        )
    whole, gap = Estimate.mean(energies), Estimate.mean(gaps) if gaps else None
    levels = torch.tensor(QUANTILES, dtype=torch.float64)
    return Forgetting(
        classes=tuple(rows),
        energy=whole.value,
        energy_interval=whole.interval,
        quantiles=tuple(energy.quantile(levels).tolist()),
        energy_centred=_macro(centred, old_y),
        energy_new=_macro(span.energy(new_x), new_y),
        random=random_energy(span.rank, dim),
        rank_of_span=span.rank,
        dim=dim,
        head=None if head is None else _macro(head, labels),
        centres=_macro(centres, labels),
        probe=_macro(probe, labels),
        gap=None if gap is None else gap.value,
        gap_interval=None if gap is None else gap.interval,
        cdnv=cross_cdnv(old_x, old_y, new_x, new_y),
        source=source,
    )


def _of_buffer(
    label: int, rows: Tensor, kept: tuple[Tensor, Tensor] | None, span: Subspace, seed: int
) -> dict[str, Any]:
    """What of a class is in the buffer: number, ranks and how far out its mean lies."""
    mine = kept[0][kept[1] == label] if kept is not None else rows[:0]
    if not len(mine):
        return {}
    out = [float((part.double().mean(0) - span.centre).norm()) for part in (mine, rows)]
    return {
        "buffer_count": len(mine),
        "buffer_rank": effective_rank(mine),
        "drawn_rank": drawn_rank(rows, len(mine), seed),
        "inflation": out[0] / out[1] if out[1] > 0 else math.nan,
    }


def _joined(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return torch.cat([one[0], other[0]]), torch.cat([one[1], other[1]])


def _macro(values: Tensor, labels: Int[Tensor, " samples"]) -> float:
    """Mean of class means."""
    means = [values[labels == k].double().mean() for k in labels.unique()]
    return float(torch.stack(means).mean())


def _checked(
    data: Labelled, name: str, weight: Any, bias: Any
) -> tuple[Float[Tensor, "samples dim"], Int[Tensor, " samples"]]:
    """Features and labels of one set, by the rules of all arrays."""
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        raise ValueError(f"{name} is a {type(data).__name__}; a pair (features, labels) is needed")
    source = ArraySource(data[0], data[1], weight=weight, bias=bias, description=name)
    if source.targets is not None:
        raise ValueError(f"{name}: labels are {data[1].dtype}; integers 0..K-1 are needed")
    rows = torch.cat(list(source.rows(0, source.num_samples)))
    bad = (~rows.isfinite().all(1)).nonzero()
    if bad.numel():
        raise ValueError(f"{name}: sample {int(bad[0])} is not finite; leave it out or repair it")
    if weight is not None and int(source.labels.max()) >= len(weight):
        raise ValueError(
            f"{name}: label {int(source.labels.max())} lies outside the head's classes "
            f"0..{len(weight) - 1}"
        )
    return rows, source.labels
