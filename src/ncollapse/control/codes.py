"""A head for more classes than a simplex can hold: a softmax code."""

from __future__ import annotations

from torch import Tensor

from ncollapse.control.frames import check_sizes
from ncollapse.control.heads import FrameHead
from ncollapse.theory.codes import Code, softmax_code


class CodeHead(FrameHead):
    """K unit rows in d dimensions with the largest one-vs-rest margin that is known, fixed.

    For K > d + 1, where no simplex exists. K ≤ d + 1 gives the simplex, d = 2 a polygon,
    K ≤ 2d the vectors of a cross-polytope; beyond, the best of `restarts` seeded searches, which
    takes seconds and longer for many classes. `code` holds the margin found, a bound that no code
    exceeds, and whether it is proven optimal: `head.code.statement`.

    scale, learn_scale, bias, normalize, centre: as for SimplexHead; codes are meant for normalised
    features and a large scale (10 to 60). Raises ValueError for K < 2 and for one dimension with
    more than two classes. Source: Jiang et al. 2024.
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
        restarts: int = 12,
    ) -> None:
        check_sizes(num_classes, in_features)
        code = softmax_code(num_classes, in_features, seed=seed, restarts=restarts)
        frame = code.geometry.weight
        assert frame is not None
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
