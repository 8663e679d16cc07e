"""Regression: labels are numbers, and features should lie in as many directions as there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ncollapse.collect.collector import Collector, Part, Split, Statistics
from ncollapse.collect.plan import Labelled
from ncollapse.collect.statistics.leftover import Leftover, TargetSample
from ncollapse.collect.statistics.protocol import working_dtype
from ncollapse.collect.statistics.targets import TargetMoments, TargetSummary
from ncollapse.metrics.catalog import of_task
from ncollapse.metrics.nrc import best_gamma
from ncollapse.metrics.target_comparators import Rows, keys_of, readings
from ncollapse.metrics.targets import Principal, TargetView
from ncollapse.record.readings import reference_of
from ncollapse.sources.features.spanned import SpannedSource
from ncollapse.tasks.task import Asked, Found

MOMENTS, LEFTOVER, SAMPLE = "moments", "leftover", "sample"
# Up to so many targets, matrices of them stand in the config; so many eigenvalues always.
LISTED, SPECTRUM = 64, 32


@dataclass(frozen=True)
class Regression:
    """See `ncollapse.tasks.task.Task`."""

    name: str = "regression"
    sees: str = "targets"
    counted: str = "targets"

    def recognised(self, source: Labelled) -> str | None:
        targets = source.targets
        if targets is None or bool((targets == targets.round()).all()):
            return None
        n = targets.shape[1]
        numbers = "a real number" if n == 1 else f"{n} real numbers"
        return f"a label is {numbers} ({str(targets.dtype).removeprefix('torch.')})"

    def class_count(
        self,
        source: Labelled,
        asked: int | None,
        ignore_index: int | None,
        reference: str | None = None,
    ) -> int:
        """n. Raises ValueError for targets that do not vary, fewer than two samples, a head of
        another number of outputs, and more targets than features."""
        targets, said = source.targets, source.description
        if targets is None:
            targets = source.labels[:, None]
        n = int(targets.shape[1])
        if asked is not None and asked != n:
            raise ValueError(
                f"{said}: num_classes={asked} but a sample has {n} target{'s' * (n > 1)}, real "
                "numbers; leave num_classes out, or pass class numbers (integers) as labels"
            )
        if source.weight is not None and source.weight.shape[0] != n:
            raise ValueError(
                f"{said}: the weight has {source.weight.shape[0]} rows but a sample has {n} "
                "targets; one row a target is needed: pass the weight of the layer that makes "
                "them, or class numbers (integers) if these are no targets"
            )
        width = getattr(source, "num_features", n)
        if width < n:
            raise ValueError(
                f"{said}: {n} targets and {width} features; regression collapse is of at least as "
                "many features as targets: measure a wider layer, or fewer targets"
            )
        if source.split_codes is not None and source.split_codes.numel() == targets.shape[0]:
            name = reference_of(source.splits, reference)
            targets = targets[source.split_codes == source.splits.index(name)]
        if targets.shape[0] < 2:
            raise ValueError(
                f"{said}: {targets.shape[0]} sample; at least two are needed, for targets to vary"
            )
        constant = (targets == targets[0]).all(0).nonzero().flatten()
        if constant.numel():
            place = int(constant[0])
            raise ValueError(
                f"{said}: target {place} is {float(targets[0, place]):g} in all "
                f"{targets.shape[0]} samples; targets that vary are needed: "
                + ("leave out those that do not" if n > 1 else "are these the labels?")
            )
        return n

    # ---- collecting ---------------------------------------------------------------------------
    def first(self, part: Part) -> Statistics:
        plan = part.plan
        mode = "full" if plan.mode == "full" else "trace"
        return {MOMENTS: TargetMoments(part.source.num_features, plan.num_classes, mode)}

    def second(self, part: Part, found: Mapping[str, Statistics]) -> Statistics:
        plan, source = part.plan, part.source
        summary = _summary(found[part.name])
        n = min(plan.num_classes, source.num_features)
        directions = None
        if summary.covariance is not None:
            directions = Principal.of(summary.covariance).vectors[:, :n].contiguous()
        result: Statistics = {LEFTOVER: Leftover(summary, directions, source.weight, source.bias)}
        if _with_sample(part, len(found)):
            result[SAMPLE] = TargetSample(
                summary.count,
                source.num_features,
                plan.num_classes,
                working_dtype(source.dtype),
                seed=plan.seed,
            )
        return result

    def estimate(self, parts: list[Part]) -> int:
        total = 0
        for part in parts:
            d, n = part.source.num_features, part.plan.num_classes
            # The eigenvectors of the features' covariance, once more.
            total += Leftover.estimate(d, n) + (8 * d * d if part.plan.mode == "full" else 0)
            total += _sample_bytes(part) if _with_sample(part, len(parts)) else 0
        return total

    # ---- reading ------------------------------------------------------------------------------
    def read(self, collector: Collector, split: Split, asked: Asked, layer: str) -> Found:
        source = collector.source
        held = split.statistics()
        summary, leftover, sample = _summary(held), held[LEFTOVER], held.get(SAMPLE)
        assert isinstance(leftover, Leftover)
        assert sample is None or isinstance(sample, TargetSample)
        principal = None if summary.covariance is None else Principal.of(summary.covariance)
        view = TargetView(summary, principal, leftover.result(), leftover.weight)
        rows = None
        if sample is not None:
            rows = Rows(
                sample.features,
                sample.targets,
                summary.count,
                leftover.bias,
                torch.finfo(source.dtype).eps,
            )
        keys = keys_of(view, asked.keys, of_task(self.name))
        found, notes = readings(view, rows, keys, asked.comparators, asked.note)
        least = summary.smallest
        if isinstance(source, SpannedSource):
            least = _least(source, sample)
        notes = [*_notes(view, least), *notes]
        return Found(
            found,
            summary.count,
            notes=tuple(f"{split.name}: {said}" for said in notes),
            details=_details(view, least, source.class_names),
        )


TASK = Regression()


def _summary(held: Statistics) -> TargetSummary:
    moments = held[MOMENTS]
    assert isinstance(moments, TargetMoments)
    return moments.result()


def _with_sample(part: Part, splits: int) -> bool:
    wanted = part.plan.intervals or part.plan.null
    return wanted and _sample_bytes(part) * splits <= part.plan.memory_budget / 2


def _sample_bytes(part: Part) -> int:
    size = working_dtype(part.source.dtype).itemsize
    count = int(part.counts.sum())
    return TargetSample.estimate(count, part.source.num_features, part.plan.num_classes, size)


def _least(source: SpannedSource, sample: TargetSample | None) -> float:
    """The least feature in the columns that were given."""
    if sample is None or sample.features.numel() == 0:
        return -torch.inf
    return float(source.stored(sample.features.to(torch.float64)).min())


# ---- what is said beside the numbers ------------------------------------------------------------
def _notes(view: TargetView, least: float) -> list[str]:
    said = []
    if least >= 0:
        said.append(
            "no feature is negative (after a ReLU?): signed targets then need two directions each, "
            "so n directions cannot hold them, the closed form of free features does not hold, and "
            "NRC1 to NRC3 need not fall to 0; read explained variance and nrc1_centred"
        )
    zeros = round(float(view.left["zeros"]) * view.summary.count)
    if zeros:
        said.append(f"{zeros} samples have zero features, which count 0 in NRC1 and NRC2")
    flat = (view.summary.target_covariance.diagonal() <= 0).nonzero().flatten().tolist()
    if flat:
        said.append(f"target {flat[0]} does not vary here")
    values = torch.linalg.eigvalsh(view.summary.target_covariance)
    if float(values[0]) <= 1e-12 * float(values[-1]) and not flat:
        said.append(
            "some targets are combinations of others, so that Σ has no full rank and γ is 0"
        )
    return said


def _details(view: TargetView, least: float, names: tuple[str, ...] | None) -> dict[str, Any]:
    """Targets one by one, and the matrices that theory predicts, for the report."""
    summary, left = view.summary, view.left
    found: dict[str, Any] = {"targets": view.number, "nonnegative": least >= 0}
    if view.principal is not None:
        found["feature_spectrum"] = view.principal.values[:SPECTRUM].tolist()
        found["feature_variance"] = float(view.principal.values.sum())
    if view.weight is not None:
        found["gram_spectrum"] = torch.linalg.svdvals(view.weight).square()[:SPECTRUM].tolist()
    if view.number > LISTED:
        return found
    if names is not None:
        found["names"] = list(names[: view.number])
    found["means"] = summary.target_mean.tolist()
    found["covariance"] = summary.target_covariance.tolist()
    if view.weight is not None:
        found["gram"] = _rounded(view.gram)
        if bool((view.gram != 0).any()):
            found["gamma"] = best_gamma(view.gram, summary.target_covariance)
        found["errors"] = left["errors"].tolist()
    return found


def _rounded(matrix: Tensor) -> list[list[float]]:
    return [[float(x) for x in row] for row in ((matrix + matrix.T) / 2).tolist()]
