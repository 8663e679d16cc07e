"""Collapse read from a Gram matrix G = (⟨h_i, h_j⟩) alone: kernels, and layers of huge width.

With S = G A the inner products of samples and class means (A averages over classes), M = AᵀG A
those of means, z_i = h_i - μ_y and m_k = μ_k - mean μ,

    ⟨z_i, μ_k⟩ = S_ik - M_yk,   ‖z_i‖² = G_ii - 2 S_iy + M_yy,   ⟨m_k, m_l⟩ = M centred twice,

and with M_c = V D Vᵀ over its K - 1 non-zero eigenvalues c_i = D^-½ Vᵀ ⟨m, z_i⟩ are the coordinates
of z_i in the span of the centred means: tr(Σ_W Σ_B⁺) needs no more of Σ_W than Σ c cᵀ. So all rows
but those that invert Σ_W are read of K numbers a sample, with the class weights of the rows
themselves. Source: derived; NC1 of kernels: Kothapalli & Tirer 2025 (their ratio mixes weights of
classes and of samples, which agree for equal counts alone).

Differences of near inner products cancel: of tr Σ_W a share ε max G_ii/tr Σ_W is lost, ε that of
the matrix. Sums run over G centred twice, in float64, or in `numpy.longdouble` where G is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ncollapse.collect.statistics.decisions import MeanNoise
from ncollapse.collect.statistics.summary import ClassStatistics
from ncollapse.geometry import Geometry
from ncollapse.metrics.catalog import METRICS, of_task
from ncollapse.metrics.readings import read

# Squared lengths below this share of the largest, or near rounding, are no direction of their own.
NOTHING = 1e-12
ACCURACY = "ncc_accuracy"
# What cannot be read of the span of the means: it inverts Σ_W, or asks for the whole spectrum.
WHOLE = ("nc1_vci", "nc2_angle_ratio")


@dataclass(frozen=True, eq=False)
class Kernel:
    """A Gram matrix of labelled samples, taken apart by class.

    labels: places among the classes present (N). present: numbers of those classes. scale: largest
    diagonal entry. epsilon: relative rounding of its entries. means: class means (K, r) in an
    orthonormal basis of their span; inside: residuals z in that basis (N, r). within: ⟨z_i, z_j⟩.
    distances: ‖h_i - μ_k‖² (N, K).
    """

    labels: Int[Tensor, " samples"]
    present: Int[Tensor, " classes"]
    scale: float
    epsilon: float
    means: Float[Tensor, "classes rank"]
    inside: Float[Tensor, "samples rank"]
    within: Float[Tensor, "samples samples"]
    distances: Float[Tensor, "samples classes"]

    @classmethod
    def of(cls, gram: Any, labels: Any, *, ignore_index: int | None = -100) -> Kernel:
        """Raises ValueError for a matrix that is not square, symmetric, finite and positive
        semi-definite within rounding, labels that do not fit, and fewer than two classes."""
        G, y, epsilon = _checked(gram, labels, ignore_index)
        present, place = np.unique(y, return_inverse=True)
        counts = np.bincount(place)
        if len(present) < 2:
            raise ValueError("labels name one class; at least two are needed")
        A = np.eye(len(present), dtype=G.dtype)[place] / counts
        scale = float(np.diagonal(G).max())
        # About the mean of the class means first, so that sums do not run over a common offset.
        toward = (G @ A).mean(1)
        offset, across = (A.T @ toward).mean(), A.T @ toward
        G = G - toward[:, None] - toward + offset
        S = G @ A
        M = A.T @ S
        M = (M + M.T) / 2
        of_means = S - M[place]
        within = G - S[:, place] - S[:, place].T + M[place[:, None], place]
        distances = np.diagonal(G)[:, None] - 2 * S + np.diagonal(M)
        means, inside = _coordinates(
            M, of_means, across - offset, toward - across[place], float(offset), scale, epsilon
        )
        return cls(
            torch.from_numpy(place),
            torch.from_numpy(present),
            scale,
            epsilon,
            torch.from_numpy(means),
            torch.from_numpy(inside),
            torch.from_numpy(within.astype(np.float64)),
            torch.from_numpy(distances.astype(np.float64)).clamp_min(0),
        )

    @cached_property
    def counts(self) -> Int[Tensor, " classes"]:
        return torch.bincount(self.labels, minlength=len(self.present))

    @cached_property
    def statistics(self) -> ClassStatistics:
        """Counts, traces v_c of the whole spread, and Σ_W inside the span of the means."""
        counts = self.counts.to(torch.float64)
        square = self.within.diagonal().clamp_min(0)
        traces = torch.zeros_like(counts).index_add_(0, self.labels, square) / counts
        scatters = []
        for weights in (1 / (len(counts) * counts), torch.full_like(counts, 1 / len(self.labels))):
            rows = self.inside * weights[self.labels, None].sqrt()
            scatters.append(rows.T @ rows)
        macro, micro = scatters
        return ClassStatistics(self.counts, traces, macro, micro, present=self.present)

    @cached_property
    def geometry(self) -> Geometry:
        return Geometry(self.means, counts=self.counts)

    @property
    def lost(self) -> float:
        """Share of tr Σ_W that rounding of the entries may be: ε scale/tr Σ_W."""
        spread = float(self.statistics.within_trace("macro"))
        return self.epsilon * self.scale / spread if spread > 0 else float("inf")

    def accuracy(self, *, plain: bool = False) -> float:
        """Share of samples whose nearest class centre is their own, each left out of its own mean
        and distances without the noise of their mean; plain: as they are."""
        found = self.distances.clone()
        if not plain:
            noise = MeanNoise.of(self.statistics)
            own = self.labels[:, None]
            fair = found.gather(1, own)[:, 0] * noise.gain[self.labels] - noise.own[self.labels]
            found = found - noise.noise
            found.scatter_(1, own, fair[:, None])
        return float((found.argmin(1) == self.labels).to(torch.float64).mean())

    @cached_property
    def features(self) -> Float[Tensor, "samples some"]:
        """Rows with these inner products, about the origin that the kernel has: coordinates in the
        span of the means, and a root of what is left of `within` by its eigenvalues, which costs
        N³. Raises ValueError where one is negative beyond rounding."""
        rest = self.within - self.inside @ self.inside.T
        values, axes = torch.linalg.eigh((rest + rest.T) / 2)
        rounding = len(rest) * self.epsilon * self.scale
        keep = values > rounding
        outside = axes[:, keep] * values[keep].sqrt()
        # A root of sums to zero in every class sums so up to rounding.
        return torch.cat([self.means[self.labels] + self.inside, outside], 1)


def kernel_values(
    gram: Any, labels: Any, keys: Iterable[str] | None = None, *, definition: str = "macro"
) -> dict[str, float | None]:
    """Values by key from a Gram matrix (N, N) and labels (N) alone, in N² K: the rows of NC1 and
    NC2 that do not invert Σ_W, and the accuracy of the nearest centre.

    `definition` as in `measure_source`. None where a value is not finite. `nc.measure_kernel` reads
    every row, with comparators, at N³. Raises ValueError as `Kernel.of`, for an unknown key and for
    one that needs a head or all of Σ_W.
    """
    known = tuple(
        key
        for key, row in of_task().items()
        if set(row.takes) <= {"statistics", "geometry"}
        and "head" not in row.needs
        and key not in WHOLE
    )
    wanted = (*known, ACCURACY) if keys is None else tuple(keys)
    wrong = [key for key in wanted if key not in (*known, ACCURACY)]
    if wrong:
        raise ValueError(
            f"{wrong[0]} is not read of a Gram matrix alone; one of "
            f"{', '.join((*known, ACCURACY))} is needed"
        )
    held = Kernel.of(gram, labels)
    values, _ = read(
        [key for key in wanted if key != ACCURACY],
        statistics=held.statistics,
        geometry=held.geometry,
        definition=definition,
    )
    if ACCURACY in wanted:
        _, how = METRICS[ACCURACY].resolve(definition)
        values[ACCURACY] = held.accuracy(**how)
    return {key: values[key] for key in wanted}


def _coordinates(
    M: Any,
    of_means: Any,
    to_centre: Any,
    along: Any,
    offset: float,
    scale: float,
    epsilon: float,
) -> tuple[Any, Any]:
    """(means, residuals) in an orthonormal basis of the span of the class means.

    M: inner products of centred means. of_means: ⟨z_i, m_k⟩. to_centre: ⟨m_k, μ⟩, along: ⟨z_i, μ⟩
    and offset: ‖μ‖², μ the mean of the class means.
    """
    values, axes = np.linalg.eigh(M.astype(np.float64))
    values, axes = values[::-1][:-1], axes[:, ::-1][:, :-1]
    keep = values > max(NOTHING * values[0], len(M) * epsilon * scale)
    root, axes = np.sqrt(values[keep]), axes[:, keep]
    centred = axes * root
    inside = (of_means @ axes).astype(np.float64) / root
    # μ in the same basis, and the one direction of it that is not there.
    middle = (axes.T @ to_centre).astype(np.float64) / root
    rest = offset - float(middle @ middle)
    means = centred + middle
    if rest > max(NOTHING, 10 * epsilon) * scale:
        length = rest**0.5
        more = (along.astype(np.float64) - inside @ middle) / length
        inside = np.column_stack([inside, more])
        means = np.column_stack([means, np.full(len(means), length)])
    if not means.shape[1]:
        # Nothing but zeros.
        return np.zeros((len(means), 1)), np.zeros((len(inside), 1))
    return means, inside


def _checked(gram: Any, labels: Any, ignore_index: int | None) -> tuple[Any, Any, float]:
    """(G in float64 or longdouble, labels, ε of what was given)."""
    G = gram.detach().cpu().numpy() if isinstance(gram, Tensor) else np.asarray(gram)
    y = np.asarray(labels.detach().cpu() if isinstance(labels, Tensor) else labels)
    if G.ndim != 2 or G.shape[0] != G.shape[1]:
        raise ValueError(f"the Gram matrix has shape {G.shape}; (samples, samples) is needed")
    if y.shape != G.shape[:1]:
        raise ValueError(
            f"labels have shape {y.shape} for a Gram matrix of {len(G)} samples; one label a "
            "sample is needed"
        )
    if y.dtype.kind not in "iu":
        raise ValueError(f"labels are {y.dtype}; integers are needed")
    if G.dtype.kind not in "iuf":
        raise ValueError(f"the Gram matrix is {G.dtype}; real numbers are needed")
    epsilon = float(np.finfo(G.dtype if G.dtype.kind == "f" else np.float64).eps)
    G = G.astype(np.longdouble if G.dtype == np.longdouble else np.float64)
    if ignore_index is not None and (y == ignore_index).any():
        kept = y != ignore_index
        G, y = G[kept][:, kept], y[kept]
    if not len(G):
        raise ValueError("no sample is left to read; at least two classes are needed")
    if not np.isfinite(G).all():
        row = int(np.flatnonzero(~np.isfinite(G).all(1))[0])
        raise ValueError(
            f"the Gram matrix holds NaN or infinity, first in row {row}; finite inner products are "
            "needed: leave those samples out"
        )
    size = float(np.abs(G).max())
    rounding = len(G) * epsilon * size
    if float(np.abs(G - G.T).max()) > rounding:
        raise ValueError(
            "the Gram matrix is not symmetric; inner products of samples with one another are "
            "needed, ⟨h_i, h_j⟩ = ⟨h_j, h_i⟩"
        )
    G = (G + G.T) / 2
    lifted = G.astype(np.float64) + rounding * np.eye(len(G))
    if size > 0 and int(torch.linalg.cholesky_ex(torch.from_numpy(lifted)).info):
        raise ValueError(
            "the Gram matrix has a negative eigenvalue beyond rounding, so it is of no features; "
            "pass inner products, not distances or logits"
        )
    return G, y.astype(np.int64), epsilon
