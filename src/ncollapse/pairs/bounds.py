"""What K unit vectors in d dimensions can reach: largest cosine, margin, uniformity.

For K ≤ d + 1 a simplex reaches all at once; beyond, each has a bound of its own.
"""

from __future__ import annotations

import math

import numpy as np

# More bounds than any width of a network asks for: K grows like d^(m/2) with the degree m.
DEGREES = 60


def _checked(num_classes: int, num_features: int) -> tuple[int, int]:
    if num_classes < 2 or num_features < 1:
        raise ValueError(
            f"num_classes={num_classes}, num_features={num_features}; at least 2 and 1 are needed"
        )
    return num_classes, num_features


def margin_bound(num_classes: int, num_features: int) -> tuple[float, str]:
    """A proven upper bound on the one-vs-rest margin, and where it comes from.

    K ≤ d + 1: K/(K-1). d = 2: 1 - cos(2π/K). Else 1: if 0 lies in the hull of the code, d + 1 of
    the vectors already hold it (Carathéodory) and any other is at most 1 away; if not, the hull's
    point nearest to 0 lies on a face of d vectors, and any other is nearer than 1 to it.
    """
    K, d = num_classes, num_features
    if d + 1 >= K:
        return K / (K - 1), "a simplex has the largest margin K/(K-1) (Jiang et al. 2024)"
    if d == 2:
        return (
            1 - math.cos(2 * math.pi / K),
            "in the plane a regular polygon has the largest margin 1 - cos(2π/K)",
        )
    return 1.0, "more than d + 1 vectors cannot have margins above 1"


def welch_bound(num_classes: int, num_features: int) -> float:
    """√((K-d)/(d(K-1))), the least largest |cosine| of K unit vectors in d < K dimensions.

    0 for K ≤ d. Signed cosines obey less: -1/(K-1) for K ≤ d + 1, 0 beyond. Source: Welch 1974.
    """
    K, d = _checked(num_classes, num_features)
    return math.sqrt(max(K - d, 0) / (d * (K - 1)))


def cosine_bound(num_classes: int, num_features: int) -> tuple[float, str]:
    """A lower bound of the largest (signed) cosine of K unit vectors in d dimensions, and which.

    K ≤ d + 1: -1/(K-1), reached by a simplex. d + 2 ≤ K ≤ 2d: 0, reached by vectors of a
    cross-polytope and by other codes (Rankin 1955). d = 1, K > 2: 1, two coincide. Beyond: the
    linear programming bound of Levenshtein, whose degree grows with K; reached where codes are as
    regular as can be (polygons, icosahedron), else too low. Sources remembered, not read.
    """
    K, d = _checked(num_classes, num_features)
    if d + 1 >= K:
        return -1 / (K - 1), "a simplex has the least largest cosine -1/(K-1)"
    if d == 1:
        return 1.0, "on a line two of three directions coincide"
    if 2 * d >= K:
        return 0.0, "more than d + 1 directions have a largest cosine of at least 0, up to K = 2d"
    found, degree = _levenshtein(K, d)
    return found, f"the linear programming bound of degree {degree} (Levenshtein)"


def uniformity_bound(num_classes: int, num_features: int) -> float:
    """A lower bound of the mean of log(1/‖u_i - u_j‖) over the pairs of K unit vectors.

    With c the cosines, f(c) = -½ log(2 - 2c): f is convex, and mean c ≥ -1/(K-1), so f of that is a
    bound, which a simplex reaches. For K > d + 1 also mean c² ≥ (K-d)/(d(K-1)), and the quadratic
    that meets f at -1 and touches it at α lies below f (the third derivative is positive): the
    largest of these over α, which a cross-polytope of K = 2d reaches. Source: this library.
    """
    K, d = _checked(num_classes, num_features)
    mean, square = -1 / (K - 1), (K - d) / (d * (K - 1))
    least = -0.5 * math.log(2 - 2 * mean)
    if d + 1 >= K:
        return least
    alpha = np.append(np.linspace(max(-1 / d, -0.999), 0.9, 2001), 0.0)
    below = -math.log(2)  # f at -1.
    value, slope = -0.5 * np.log(2 - 2 * alpha), 0.5 / (1 - alpha)
    # h(c) = f(α) + f'(α)(c - α) + e (c - α)², h(-1) = f(-1).
    e = (below - value + slope * (alpha + 1)) / (alpha + 1) ** 2
    linear, constant = slope - 2 * e * alpha, value - slope * alpha + e * alpha**2
    serves = (linear >= 0) & (e >= 0)
    found = constant + linear * mean + e * square
    return max(least, float(found[serves].max(initial=least)))


def _levenshtein(K: int, d: int) -> tuple[float, int]:
    """The s with L_m(d, s) = K and its degree m, for K ≥ 2d: L_m bounds the number of unit vectors
    with largest cosine s, on an interval of s at whose ends it equals D(d, m) and D(d, m + 1), the
    least sizes of spherical designs."""
    if d == 2:
        return math.cos(2 * math.pi / K), K - 1
    degree = 3
    while _design(d, degree + 1) < K:
        degree += 1
        if degree > DEGREES:
            raise ValueError(
                f"{K} directions in {d} dimensions are past the bounds of degree {DEGREES}; "
                "fewer classes or more features are needed"
            )
    low, high = _end(d, degree), _end(d, degree + 1)
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if _size(d, degree, middle) < K else (low, middle)
    return (low + high) / 2, degree


def _design(d: int, degree: int) -> int:
    """D(d, m): 2 C(d+k-2, d-1) for m = 2k - 1, C(d+k-1, d-1) + C(d+k-2, d-1) for m = 2k."""
    k = (degree + 1) // 2
    if degree % 2:
        return 2 * math.comb(d + k - 2, d - 1)
    return math.comb(d + k - 1, d - 1) + math.comb(d + k - 2, d - 1)


def _end(d: int, degree: int) -> float:
    """Where L_m begins: the largest zero of the Jacobi polynomial of its neighbours."""
    from scipy.special import roots_jacobi

    k, half = degree // 2, (d - 3) / 2
    # L_{2k} begins at the largest zero of P_k^(1, 0), L_{2k+1} at that of P_k^(1, 1).
    zeros, _ = roots_jacobi(k, half + 1, half + degree % 2)
    return float(zeros.max())


def _size(d: int, degree: int, s: float) -> float:
    """L_m(d, s), by the polynomials P_k of Gegenbauer with P_k(1) = 1."""
    k = (degree + 1) // 2
    P = [1.0, s]
    for i in range(1, k + 1):
        P.append(((2 * i + d - 2) * s * P[i] - i * P[i - 1]) / (i + d - 2))
    if degree % 2:
        ratio = (P[k - 1] - P[k]) / ((1 - s) * P[k])
        return math.comb(k + d - 3, k - 1) * ((2 * k + d - 3) / (d - 1) - ratio)
    ratio = (1 + s) * (P[k] - P[k + 1]) / ((1 - s) * (P[k] + P[k + 1]))
    return math.comb(k + d - 2, k) * ((2 * k + d - 1) / (d - 1) - ratio)
