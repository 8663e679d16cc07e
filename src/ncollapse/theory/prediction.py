"""Prediction: what theory says a network should have become, as numbers and as a document."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ncollapse.figures import Figures
from ncollapse.geometry import Geometry
from ncollapse.record.document import shipped_schema
from ncollapse.record.provenance import own_version
from ncollapse.theory.assumptions import Assumption, Premise
from ncollapse.theory.problems.problem import Problem
from ncollapse.theory.proof import Certificate
from ncollapse.theory.solution import Solution
from ncollapse.theory.subjects.imbalance import Threshold, minority_thresholds

if TYPE_CHECKING:
    import pandas as pd

    from ncollapse.theory.subjects.atlas import Atlas
    from ncollapse.theory.subjects.prescription import Prescription

SCHEMA_VERSION = "1.0"
# Up to here a document holds every class; beyond, blocks of classes with equal counts.
LARGEST = 64
# Classes of one group coincide when their logits differ by less than this share of the largest.
MERGED = 1e-5
# Rows of the classifier coincide when they agree to this share of the longest row.
SAME_ROW = 1e-6


@dataclass(frozen=True, eq=False)
class Prediction(Figures):
    """The optimum of a problem with its certificate, thresholds, assumptions and sources.

    problem: what was solved. solution: the point and what is proven of it. `print(p)` shows a
    page of text, `p.to_json()` the document that `ncollapse predict --json` prints.
    """

    problem: Problem
    solution: Solution
    assumptions: tuple[Assumption, ...] = ()
    sources: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    # ---- the point ----------------------------------------------------------------------------
    @property
    def geometry(self) -> Geometry:
        """Class means (K, d), weight (K, d), bias (K) or None, counts (K)."""
        return self.solution.geometry

    @property
    def objective(self) -> float:
        """f at the point found."""
        return self.solution.objective

    @property
    def lower_bound(self) -> float | None:
        """No point of the problem lies below it; None where no bound is known."""
        return self.certificate.lower_bound

    @property
    def gap(self) -> float | None:
        """objective - lower_bound ≥ 0."""
        return self.solution.gap

    @property
    def relative_gap(self) -> float | None:
        """gap over the absolute objective, however small that is; None without a bound."""
        return self.solution.relative_gap

    @property
    def certificate(self) -> Certificate:
        return self.solution.certificate

    @property
    def logit_margins(self) -> Tensor:
        """Per class y: Z_yy - max_{j≠y} Z_jy, shape (K)."""
        return self.solution.margins

    @property
    def rank(self) -> int:
        """Rank of the class-mean logits, bias left out; 0 for the zero solution."""
        return self.solution.rank

    @property
    def required_width(self) -> int:
        """Smallest d that loses nothing against a wider layer: the rank, at least 1; where a given
        width binds, the rank of the wider optimum (K - 1 or, without a bias, at most K)."""
        return self.solution.required_width

    @cached_property
    def collapsed_classes(self) -> tuple[int, ...]:
        """0-based indices, ascending, of classes whose classifier row equals another class's."""
        return collapsed(self.solution)

    # ---- thresholds ---------------------------------------------------------------------------
    @cached_property
    def minority_threshold(self) -> tuple[Threshold, ...]:
        """Per group of equal classes the N² λ_W λ_H from which on it merges."""
        return minority_thresholds(self.problem, self.collapsed_classes)

    @property
    def zero_threshold(self) -> float | None:
        """The N² λ_W λ_H from which on only the zero solution is optimal; None if unknown."""
        return self.problem.zero_threshold()

    @property
    def rank_rule(self) -> tuple[int, int] | None:
        """The conjectured range of the rank (not proven), None where there is none."""
        return self.problem.rank_rule()

    def prescribe(
        self,
        *,
        keep: str | Sequence[int] = "all",
        margin: float = 2.0,
        by: str = "weights",
        tolerance: float = 1e-8,
    ) -> Prescription:
        """The least class weights, logit factors or decay with which no class of `keep` merges,
        certified: see `ncollapse.prescribe`."""
        from ncollapse.theory.subjects.prescription import prescribe_for

        return prescribe_for(self.problem, keep=keep, margin=margin, by=by, tolerance=tolerance)

    # ---- other points -------------------------------------------------------------------------
    def landscape(self, *, most: int = 48, starts: int = 16, seed: int = 0) -> Atlas:
        """Critical points beside the optimum, with their curvature and the way out of each: see
        `ncollapse.theory.subjects.atlas.atlas`."""
        from ncollapse.theory.subjects.atlas import atlas

        return atlas(self, most=most, starts=starts, seed=seed)

    # ---- documents ----------------------------------------------------------------------------
    def with_assumptions(self, assumptions: tuple[Assumption, ...]) -> Prediction:
        """The same prediction with assumptions ticked or crossed."""
        return replace(self, assumptions=assumptions)

    def to_dict(self) -> dict[str, Any]:
        """The document of `predict --json`; no NaN, and no K × K matrix above 64 classes."""
        problem = self.problem
        zero, current = self.zero_threshold, problem.decay_product
        return {
            "schema_version": SCHEMA_VERSION,
            "ncollapse_version": own_version(),
            "problem": problem.describe(),
            "status": self.solution.status,
            "solver": self.solution.solver,
            "advice": self.solution.advice,
            "objective": _finite(self.objective),
            "lower_bound": self.lower_bound,
            "gap": None if self.gap is None else _finite(self.gap),
            "relative_gap": _finite(self.relative_gap or 0.0) if self.gap is not None else None,
            "certificate": {
                "kind": self.certificate.kind,
                "statement": self.certificate.statement,
                "stationarity": self.certificate.stationarity,
            },
            "geometry": geometry_dict(self.geometry, problem.counts),
            "logit_margins": [_finite(v) for v in self.logit_margins.tolist()],
            "rank": self.rank,
            "rank_conjecture": None if self.rank_rule is None else list(self.rank_rule),
            "required_width": self.required_width,
            "collapsed_classes": list(self.collapsed_classes),
            "minority_threshold": [row.to_dict() for row in self.minority_threshold],
            "zero_threshold": None if zero is None else {"value": zero, "current": current},
            "assumptions": [assumption.to_dict() for assumption in self.assumptions],
            "sources": list(self.sources),
            "warnings": list(self.warnings),
        }

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)

    def to_frame(self) -> pd.DataFrame:
        """A row a class: count, norms of its mean and weight row, logit margin, whether it is
        collapsed with another."""
        frame = self.geometry.to_frame()
        frame["margin"] = self.logit_margins.tolist()
        frame["collapsed"] = frame["class"].isin(self.collapsed_classes)
        return frame

    def _parts(self) -> dict[str, Any]:
        return self.geometry._parts()

    def __repr__(self) -> str:
        p = self.problem
        loss = getattr(getattr(p, "loss", None), "name", "")
        what = f"{p.num_classes} {'classes' if 'counts' in vars(p) else 'targets'}"
        said = ", ".join(part for part in (type(p).__name__, what, loss) if part)
        return f"<{type(self).__name__} of {said}: {self.solution.status}>"

    def __str__(self) -> str:
        from ncollapse.theory.words import render

        return render(self.to_dict())

    def _repr_html_(self) -> str:
        from ncollapse.theory.words import render_html

        return render_html(self.to_dict())


def json_schema() -> dict[str, Any]:
    """The JSON Schema of this version's prediction.json."""
    major = SCHEMA_VERSION.partition(".")[0]
    return shipped_schema(f"prediction-{major}.json")


def premises_of(solution: Solution) -> tuple[Premise, ...]:
    """Those of the problem, and that the width suffices."""
    problem, required = solution.problem, solution.required_width
    width = problem.num_features
    wide = Premise(
        f"the width d is at least {required}",
        lambda measured: measured.geometry.num_features >= required,
        None if width is None else width >= required,
    )
    return *problem.premises(), wide


def assumptions_of(solution: Solution) -> tuple[Assumption, ...]:
    """What a solution rests on; only the width can be ticked without a measurement."""
    return tuple(Assumption(premise.text, premise.holds) for premise in premises_of(solution))


def collapsed(solution: Solution) -> tuple[int, ...]:
    """Classes whose classifier rows coincide: those whose group has no spread left, and those
    whose row equals that of another class (all of them at the zero solution)."""
    problem = solution.problem
    if solution.rank == 0:
        return tuple(range(problem.num_classes))
    found = set()
    roots = np.sqrt(np.array(problem.counts) / problem.num_samples)
    if solution.spreads:
        apart = [(k, s / roots[k]) for k, s in enumerate(solution.spreads) if s is not None]
        largest = float(solution.spectrum[0]) / float(roots.max())
        found |= {k for k, spread in apart if spread <= MERGED * largest}
    weight = solution.geometry.weight
    if weight is not None:
        longest = float(weight.norm(dim=1).max())
        cells = (weight / max(longest * SAME_ROW, 1e-300)).round()
        _, place, size = torch.unique(cells, dim=0, return_inverse=True, return_counts=True)
        found |= set((size[place] > 1).nonzero().flatten().tolist())
    return tuple(sorted(found))


# ---- geometry as plain data -------------------------------------------------------------------
def blocks_of(counts: tuple[int, ...]) -> list[list[int]]:
    """Classes with equal counts together, largest first; neighbouring counts are joined where
    more than 64 differ."""
    order = sorted(range(len(counts)), key=lambda k: (-counts[k], k))
    found: list[list[int]] = []
    for k in order:
        if found and counts[found[-1][-1]] == counts[k]:
            found[-1].append(k)
        else:
            found.append([k])
    if len(found) <= LARGEST:
        return found
    cuts = np.linspace(0, len(found), LARGEST + 1).astype(int)
    return [[k for part in found[a:b] for k in part] for a, b in pairwise(cuts)]


def geometry_dict(geometry: Geometry, counts: tuple[int, ...]) -> dict[str, Any]:
    """Norms and cosines of means (centred; raw_ as they are) and of classifier rows.

    Up to 64 classes one entry a class and K × K cosines. Beyond, one entry a block of classes
    with equal counts: mean norms, mean cosines between blocks, and within a block between its
    different classes (null in a block of one); `blocks` says which classes those are.
    """
    rows: dict[str, Tensor] = {}
    if geometry.means is not None:
        rows["mean"] = geometry.centred_means
    if geometry.weight is not None:
        rows["weight"] = geometry.weight
    if geometry.means is not None:
        rows["raw_mean"] = geometry.means
    found: dict[str, Any] = {}
    blocks = blocks_of(counts) if len(counts) > LARGEST else None
    for name, values in rows.items():
        array = values.detach().cpu().numpy()
        norms = np.linalg.norm(array, axis=1)
        unit = _unit(array, norms)
        if blocks is None:
            found[f"{name}_norms"] = norms.tolist()
            found[f"{name}_cosines"] = np.clip(unit @ unit.T, -1, 1).tolist()
        else:
            found[f"{name}_norms"] = [float(norms[block].mean()) for block in blocks]
            found[f"{name}_cosines"] = _block_cosines(unit, blocks)
    if blocks is not None:
        found["blocks"] = [
            {
                "count": [min(counts[k] for k in block), max(counts[k] for k in block)],
                "classes": block,
            }
            for block in blocks
        ]
    if geometry.bias is not None:
        bias = geometry.bias.tolist()
        found["bias"] = (
            bias if blocks is None else [float(np.mean([bias[k] for k in b])) for b in blocks]
        )
    return found


def _unit(rows: NDArray[np.float64], norms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit rows; rows that are rounding beside the longest have no direction and become 0."""
    kept = norms > 1e-9 * max(float(norms.max()), 1e-300)
    safe = np.where(kept, norms, 1.0)
    return np.where(kept[:, None], rows / safe[:, None], 0.0)


def _block_cosines(unit: NDArray[np.float64], blocks: list[list[int]]) -> list[list[float | None]]:
    sums = np.stack([unit[block].sum(0) for block in blocks])
    own = np.array([float((unit[block] ** 2).sum()) for block in blocks])
    sizes = np.array([len(block) for block in blocks], dtype=np.float64)
    total = sums @ sums.T
    means = total / np.outer(sizes, sizes)
    found: list[list[float | None]] = means.tolist()
    for i, size in enumerate(sizes):
        inside = float(total[i, i] - own[i])
        found[i][i] = None if size < 2 else inside / (size * (size - 1))
    return found


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
