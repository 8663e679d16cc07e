"""NC1 from class means that are known with noise: the noise taken out, or no value and the reason.

A class mean over n samples has error covariance Σ_c/n. Squares of means and of distances between
them are too large by its trace, which is known; subtracted, they are right in expectation at any n.
What a ratio of two such numbers keeps is small only while the denominator stands clear of chance,
so each reading knows the least that it can be formed from and refuses below.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.linalg import EPSILON, complement

# A reading is acted on from four standard errors of the share on: it is then known to a quarter.
CLEAR = 4.0
# nc1_fisher: largest relative errors that the inverse of the means' Gram matrix may keep, of first
# order in K‖Σ_W‖/(n λ) and √(K tr Σ_W²)/(n λ), λ its least eigenvalue.
FIRST, SECOND = 0.15, 0.5
# nc1_vci: an inverse scatter needs so many samples for each direction that varies.
EACH_DIRECTION = 4
# Up to here all pairs of classes are formed; of more classes that many, evenly chosen.
MOST_CLASSES = 2048


class UnresolvedError(ValueError):
    """The samples are too few for this reading; the message says what there is and what is
    needed."""


@dataclass(frozen=True, eq=False)
class NoisyMeans:
    """Class means up to one common shift, with what is known of the noise in them; in float64.

    noise: N with E M̂M̂ᵀ = MMᵀ + N but for the shift, (K, K), or (K) where it is diagonal: then
    s_c/n_c. spreads: s_c, unbiased for tr Σ_c. shares: p_c, the weights of classes in Σ_B. freedom:
    ν, the samples less the classes, effective where samples fade. square: tr Σ_W², None where it
    is not known. within: Σ_W (d, d) pooled over classes, with divisor ν.
    """

    means: Float[Tensor, "classes dim"]
    noise: Tensor
    spreads: Float[Tensor, " classes"]
    shares: Float[Tensor, " classes"]
    freedom: float
    square: float | None = None
    within: Float[Tensor, "dim dim"] | None = None

    @property
    def num_classes(self) -> int:
        return int(self.spreads.numel())

    @property
    def trace(self) -> float:
        """tr Σ_W, pooled as `within` is."""
        if self.within is not None:
            return float(self.within.diagonal().sum())
        return float(self.spreads.mean())

    @property
    def each(self) -> float:
        """n: samples a class, in the harmonic mean that noise goes by; inf without noise."""
        K, diagonal = self.num_classes, self._diagonal
        whole = diagonal.sum() if self.noise.dim() == 1 else self.noise.sum()
        centred = float(diagonal.sum() - whole / K)
        return (K - 1) * float(self.spreads.mean()) / centred if centred > 0 else torch.inf

    @property
    def _diagonal(self) -> Tensor:
        return self.noise if self.noise.dim() == 1 else self.noise.diagonal()

    def between(self) -> float:
        """tr Σ_B of the means less that of their noise; may be negative."""
        p, means = self.shares, self.means
        apart = means - p @ means
        noise = self.noise @ p if self.noise.dim() == 2 else self.noise * p
        found = (p * (apart * apart).sum(1)).sum() - (p * self._diagonal).sum() + p @ noise
        return float(found)

    def some(self) -> NoisyMeans:
        """At most MOST_CLASSES of the classes, evenly chosen."""
        if self.num_classes <= MOST_CLASSES:
            return self
        index = torch.linspace(0, self.num_classes - 1, MOST_CLASSES).round().long()
        noise = self.noise[index] if self.noise.dim() == 1 else self.noise[index][:, index]
        shares = self.shares[index] / self.shares[index].sum()
        return NoisyMeans(
            self.means[index], noise, self.spreads[index], shares, self.freedom, self.square
        )


def unbiased_square(scatter: Tensor, freedom: float) -> float | None:
    """tr Σ² from a scatter S with ν degrees of freedom: (tr S² - (tr S)²/ν)/(1 + 1/ν - 2/ν²), right
    in expectation for normal noise (derived). None for ν < 2."""
    if freedom < 2:
        return None
    flat = scatter.reshape(-1)
    excess = flat @ flat - scatter.diagonal().sum() ** 2 / freedom
    return float(excess / (1 + 1 / freedom - 2 / freedom**2))


def directions(trace: float, square: float | None) -> float:
    """d_eff = (tr Σ_W)²/tr Σ_W²: 1 for noise in one direction, and where it is not known."""
    return max(trace**2 / square, 1.0) if square and square > 0 else 1.0


def check_share(key: str, share: float, within: float, total: float, effective: float) -> None:
    """Refuse a share of variance explained that is not four standard errors above 0.

    se = √(2/d_eff (1/f_W - 1/f_T)), f_W and f_T the degrees of freedom within classes and in all:
    exact to first order for small shares and normal noise. Raises UnresolvedError.
    """
    apart = (1 / within - 1 / total) if total > within else 1 / within
    error = (2 / effective * apart) ** 0.5
    if not share > CLEAR * error:
        needed = within * (CLEAR * error / share) if share > 0 else torch.inf
        more = f"about {needed:.0f}" if needed < 1e9 else "many more"
        raise UnresolvedError(
            f"{key} cannot be read from {within:.0f} samples beyond one a class: classes explain "
            f"{100 * share:.2g} % of the variance with a standard error of {100 * error:.2g}, and "
            f"{more} samples are needed"
        )


def cdnv(noisy: NoisyMeans) -> float:
    """nc1_cdnv: mean over pairs of (s_i + s_j)/(2 d̃²_ij), d̃² = d̂² less the noise of both means.

    Raises UnresolvedError where a pair's d̃² is within two of its standard errors of 0, with
    var d̃² ≈ (4 d̃² ν + 2 ν²)/d_eff, ν the noise of the pair (an approximation: the difference of
    the means lies in directions of average spread).
    """
    noisy = noisy.some()
    means = noisy.means - noisy.means.mean(0)
    upper = torch.ones(len(means), len(means), dtype=torch.bool).triu(1)
    noise = noisy.noise.diag() if noisy.noise.dim() == 1 else noisy.noise
    noise = _apart(noise)[upper]
    clear = _apart(means @ means.T)[upper] - noise
    effective = directions(noisy.trace, noisy.square)
    error = ((4 * clear.clamp_min(0) * noise + 2 * noise**2) / effective).clamp_min(0).sqrt()
    low = ~(clear > 2 * error)
    if bool(low.any()):
        raise UnresolvedError(
            f"nc1_cdnv cannot be read from about {noisy.each:.1f} samples a class: of "
            f"{low.numel()} pairs of classes {int(low.sum())} lie nearer than chance could bring "
            "them; more samples are needed"
        )
    spread = (noisy.spreads[:, None] + noisy.spreads)[upper] / 2
    return float((spread / clear).mean())


def _apart(gram: Tensor) -> Tensor:
    """Squared distances of what has these inner products."""
    own = gram.diagonal()
    return own[:, None] + own - 2 * gram


def fisher(noisy: NoisyMeans) -> float:
    """nc1_fisher: tr(Σ_W Σ_B⁺)/K = tr(G⁻¹ A G⁻¹)/K with G = √p M Mᵀ √p and A = √p M Σ_W Mᵀ √p on
    the complement of √p, each less its noise: N, and N tr Σ_W²/tr Σ_W (an approximation: spreads
    are proportional to Σ_W). Where features have fewer than K - 1 directions, of Σ_B itself.

    Raises UnresolvedError while the inverse of G keeps too much of the noise.
    """
    assert noisy.within is not None
    K, within = noisy.num_classes, noisy.within
    basis = complement(noisy.shares.sqrt())
    rows, noise = _whitened(noisy, basis)
    trace, square = noisy.trace, max(noisy.square or 0.0, 0.0)
    if trace <= 0:
        return 0.0
    gram = rows @ rows.T
    if rows.shape[1] >= K - 1 and _full_rank(gram):
        inner = gram - noise
        _check_inverse(noisy, inner, noise)
        seen = rows @ within @ rows.T - (square / trace) * noise
        inverse = torch.linalg.inv(inner)
        return max(float((inverse @ seen @ inverse).diagonal().sum()) / K, 0.0)
    span = _occupied(within / trace + rows.T @ rows / gram.diagonal().sum().clamp_min(EPSILON))
    rows, within = rows @ span, span.T @ within @ span
    inner = rows.T @ rows - (noise.diagonal().sum() / trace) * within
    _check_inverse(noisy, inner, noise)
    return float(torch.linalg.solve(inner, within).diagonal().sum()) / K


def vci(noisy: NoisyMeans) -> float:
    """nc1_vci: (1/r) Σ 1/(1 + λ_i), λ the eigenvalues of Σ_W⁻¹ Σ_B, r = min(K - 1, directions).

    E S⁻¹ = κ Σ_W⁻¹ with κ = ν/(ν - q - 1) in q directions that vary, and noise of the means adds q
    N/tr Σ_W: exact for normal noise and classes of one Σ_c; to first order in q/ν for classes of
    unequal spread (derived). At ν = 4 q some 5 % too large remain (measured by simulation).

    Raises UnresolvedError for ν < 4 q.
    """
    assert noisy.within is not None
    K, within = noisy.num_classes, noisy.within
    values, vectors = torch.linalg.eigh(within)
    keep = values > values[-1].clamp_min(0) * EPSILON * 64 * len(values)
    q = int(keep.sum())
    if not noisy.freedom >= EACH_DIRECTION * q:
        raise UnresolvedError(
            f"nc1_vci cannot be read from {noisy.freedom:.0f} samples beyond one a class: features "
            f"vary in {q} directions, so {EACH_DIRECTION * q} are needed; hold nc1_ratio, or pass "
            "a longer half_life"
        )
    rows, noise = _whitened(noisy, complement(noisy.shares.sqrt()))
    rank = min(within.shape[0], K - 1)
    beyond = rows @ vectors[:, ~keep]
    if beyond.numel() and float(beyond.abs().max()) > 1e-6 * float(rows.abs().max()):
        # Means differ where nothing varies: these directions are collapsed.
        if int(torch.linalg.matrix_rank(beyond)) >= rank:
            return 0.0
        raise UnresolvedError(
            "nc1_vci cannot be read where some directions of the class means vary within classes "
            "and some do not; hold nc1_ratio"
        )
    scaled = (rows @ vectors[:, keep]) / values[keep].sqrt()
    kappa = _inflation(noisy, q)
    share = q * noise / noisy.trace
    if q < K - 1:
        level = share.diagonal().sum() / q
        inner = scaled.T @ scaled / kappa - level * torch.eye(q, dtype=scaled.dtype)
    else:
        inner = scaled @ scaled.T / kappa - share
    found = torch.linalg.eigvalsh(inner)
    if float(found[0]) <= -0.5:
        raise UnresolvedError(
            f"nc1_vci cannot be read from about {noisy.each:.1f} samples a class: a direction of "
            "the class means is not told from noise; more samples are needed"
        )
    return float((1 / (1 + found)).mean())


def _whitened(noisy: NoisyMeans, basis: Tensor) -> tuple[Tensor, Tensor]:
    """√p M and √p N √p in a basis of the complement of √p, in which no common shift is left."""
    root = noisy.shares.sqrt()
    means = noisy.means - noisy.means.mean(0)
    scaled = root[:, None] * basis
    noise = noisy.noise[:, None] * scaled if noisy.noise.dim() == 1 else noisy.noise @ scaled
    return scaled.T @ means, scaled.T @ noise


def _full_rank(gram: Tensor) -> bool:
    values = torch.linalg.eigvalsh(gram)
    return bool(values[0] > 1e-12 * len(values) * values[-1])


def _occupied(total: Tensor) -> Tensor:
    """A basis (d, q) of the directions in which anything varies."""
    values, vectors = torch.linalg.eigh(total)
    return vectors[:, values > values[-1] * 1e-12 * len(values)]


def _check_inverse(noisy: NoisyMeans, inner: Tensor, noise: Tensor) -> None:
    K, trace = noisy.num_classes, noisy.trace
    assert noisy.within is not None
    least = float(torch.linalg.eigvalsh(inner)[0])
    level = float(noise.diagonal().sum()) / ((K - 1) * trace)
    first = K * _largest(noisy.within) * level / FIRST
    second = (K * max(noisy.square or trace**2, 0.0)) ** 0.5 * level / SECOND
    worst = max(first, second)
    if not least > worst:
        needed = noisy.each * worst / least if least > 0 else torch.inf
        more = f"about {needed:.0f} are" if needed < 1e6 else "many more are"
        raise UnresolvedError(
            f"nc1_fisher cannot be read from about {noisy.each:.1f} samples a class: in one "
            f"direction the class means are not told from noise, and {more} needed"
        )


def _largest(scatter: Tensor, columns: int = 4, rounds: int = 3) -> float:
    """Largest eigenvalue, by some rounds of subspace iteration; a shade low where several are
    alike."""
    generator = torch.Generator().manual_seed(0)
    size = scatter.shape[0]
    block = torch.randn(size, min(columns, size), generator=generator, dtype=scatter.dtype)
    for _ in range(rounds):
        block = scatter @ torch.linalg.qr(block).Q
    return float(torch.linalg.matrix_norm(block, 2))


def _inflation(noisy: NoisyMeans, q: int) -> float:
    """κ: 1/κ = Σ_c f_c w_c/(1 + w_c (q+1) κ), f_c = ν p_c, w_c = s_c/(s̄ ν)."""
    f = noisy.freedom * noisy.shares
    w = noisy.spreads / float((noisy.shares * noisy.spreads).sum()) / noisy.freedom
    kappa = 1.0
    for _ in range(100):
        kappa = 1 / float((f * w / (1 + w * (q + 1) * kappa)).sum())
    return kappa
