"""NC5: whether class means stand at right angles to the mean of out-of-distribution features."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from ncollapse.linalg import unit_rows


def nc5(
    means: Float[Tensor, "classes dim"],
    foreign: Float[Tensor, " wide"],
    centre: Float[Tensor, " dim"] | None = None,
) -> Float[Tensor, ""]:
    """Mean over classes of abs cos(μ_c, μ_out), in [0, 1], ideal 0.

    As published nothing is centred: features that are never negative then share an offset, which
    alone keeps the cosine up. centre: taken off both; the mean of the class means gives the centred
    reading. About √(2/(π d)) for unrelated directions. Differentiable.
    Source: Ammar et al., NECO, ICLR 2024, arXiv 2310.06823, eq. 5. Raises ValueError where widths
    disagree.
    """
    if means.shape[1] != foreign.shape[0]:
        raise ValueError(
            f"class means are {means.shape[1]} wide and the foreign mean {foreign.shape[0]}; both "
            "of one layer are needed"
        )
    if centre is not None:
        means, foreign = means - centre, foreign - centre
    return (unit_rows(means) @ unit_rows(foreign[None])[0]).abs().mean()
