"""A head for more classes than a simplex can hold: a softmax code."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from ncollapse.control.frames import check_sizes
from ncollapse.control.heads import FrameHead
from ncollapse.geometry import Geometry
from ncollapse.theory.solvers.codes import Code, margin_bound, softmax_code, welch_bound

# Inverse temperatures from a smooth landscape to a sharp one; steps shrink to nothing.
COLD, HOT, STEPS, RATE = 1024.0, 4.0, 1000, 0.03
# One non-negative least-squares problem a class: up to here the margin is computed exactly.
LARGEST_EXACT = 300


class CodeHead(FrameHead):
    """K unit rows in d dimensions, as far apart as is known, fixed: for K > d + 1.

    K ≤ d + 1 gives the simplex, d = 2 a polygon, K ≤ 2d the vectors of a cross-polytope, all
    optimal. Beyond, a code is searched: restarts = 0 spreads the rows by `spread_rows` (under a
    second for 200 classes, ten for 1,000), restarts > 0 searches for the largest one-vs-rest margin
    with `ncollapse.theory.solvers.codes.softmax_code`, up to a per cent better and a hundred times
    slower. `code` holds the margin, a bound that no code exceeds, and whether it is proven optimal:
    `head.code.statement`. code: one that was found before, instead of a search.

    scale, learn_scale, bias, normalize, centre: as for SimplexHead; codes are meant for normalised
    features and a large scale (10 to 60). Raises ValueError for K < 2, for one dimension with more
    than two classes, and for a code of other sizes. Source: Jiang et al. 2024.
    """

    code: Code

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        scale: float = 1.0,
        learn_scale: bool = False,
        bias: bool | Tensor = False,
        normalize: bool = False,
        centre: bool = False,
        seed: int = 0,
        restarts: int = 0,
        code: Code | None = None,
    ) -> None:
        check_sizes(num_classes, in_features)
        if code is None:
            code = _found(num_classes, in_features, seed, restarts)
        frame = code.geometry.weight
        assert frame is not None
        if frame.shape != (num_classes, in_features):
            raise ValueError(
                f"the code has (classes, dim) {tuple(frame.shape)}; ({num_classes}, {in_features}) "
                "is needed: leave code out to have one found"
            )
        super().__init__(
            frame.clone,
            scale=scale,
            learn_scale=learn_scale,
            bias=bias,
            normalize=normalize,
            centre=centre,
        )
        self.code = code

    def extra_repr(self) -> str:
        word = "optimal" if self.code.proven else f"at most {self.code.bound:.4g}"
        return f"margin={self.code.margin:.4g} ({word})"


def _found(K: int, d: int, seed: int, restarts: int) -> Code:
    if restarts or d <= 2 or 2 * d >= K:
        return softmax_code(K, d, seed=seed, restarts=max(restarts, 1))
    rows = spread_rows(K, d, seed=seed)
    cosines = rows @ rows.T
    largest = float(cosines.fill_diagonal_(-1).max())
    geometry = Geometry(means=rows, weight=rows)
    # A feature along its own row has this margin, so the code's is at least that.
    margin = 1 - largest
    if K <= LARGEST_EXACT:
        margin = float(geometry.one_vs_rest_margin("weight").min())
    bound, why = margin_bound(K, d)
    known = "its margin" if K <= LARGEST_EXACT else "a lower bound of its margin"
    return Code(
        geometry=geometry,
        margin=margin,
        bound=bound,
        proven=margin >= bound - 1e-6,
        max_cosine=largest,
        welch=welch_bound(K, d),
        statement=f"rows spread by descent on their largest cosine, not proven optimal; {known} is "
        f"{margin:.4g}, and {why}",
    )


def spread_rows(
    num_classes: int, num_features: int, *, seed: int = 0, steps: int = STEPS
) -> Float[Tensor, "classes dim"]:
    """K unit rows (K, d) of small largest cosine, in float64, by seeded projected descent.

    Minimises (1/β) log Σ_{j≠k} exp(β w_j·w_k) while β rises from 4 to 1,024, and keeps the best
    rows met. A feature along w_k has the margin 1 - max_j cos, so the one-vs-rest margin of the
    code is at least 1 - max cos. Cost K² d a step. A local optimum.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = (num_classes, num_features)
    rows = functional.normalize(torch.randn(shape, generator=generator, dtype=torch.float64), dim=1)
    speed = torch.zeros_like(rows)
    lowest, best = math.inf, rows
    for step in range(steps):
        part = step / steps
        cosines = (rows @ rows.T).fill_diagonal_(-2)
        largest = float(cosines.max())
        if largest < lowest:
            lowest, best = largest, rows
        beta = HOT * (COLD / HOT) ** part
        shares = (beta * (cosines - largest)).exp_()
        force = -shares @ rows
        force -= (force * rows).sum(1, keepdim=True) * rows
        speed = 0.9 * speed + 0.1 * _scaled(force)
        rate = RATE * math.cos(math.pi / 2 * part)
        rows = functional.normalize(rows + rate * _scaled(speed), dim=1)
    return best


def _scaled(moves: Tensor) -> Tensor:
    """Moves whose longest row has length 1."""
    return moves / torch.linalg.vector_norm(moves, dim=1).max().clamp_min(1e-30)
